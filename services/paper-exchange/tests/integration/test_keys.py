"""Several keys of one account: added, used with their own rights, revoked; the keys of a rotated file."""

import json
from collections.abc import AsyncIterator
from decimal import Decimal

import httpx
import pytest
from pydantic import SecretStr

from breakwater_bybit.client import BybitClient
from breakwater_bybit.errors import CredentialError
from breakwater_core.errors import InvalidInputError
from paper_exchange_service.server import Options, PaperExchange
from paper_exchange_service.settings import AccountSettings, Mode, accounts_of_text


@pytest.fixture
async def exchange() -> AsyncIterator[PaperExchange]:
    options = Options(
        mode=Mode.REPLAY, accounts=(AccountSettings(name="main", key="k1", secret=SecretStr("s1"), usdt=Decimal(7)),)
    )
    async with PaperExchange(options) as exchange:
        exchange.replay.feed_clock(10**15, 10**15)
        yield exchange


async def may_read(exchange: PaperExchange, key: str, secret: str) -> bool:
    async with BybitClient(exchange.rest_url, api_key=key, api_secret=secret) as client:
        try:
            return (await client.key_information()).user_id == str(exchange.engine.accounts["main"].uid)
        except CredentialError:
            return False


async def test_a_further_key_has_rights_of_its_own_until_it_is_revoked(exchange: PaperExchange) -> None:
    async with httpx.AsyncClient(base_url=exchange.rest_url, trust_env=False) as control:
        given = {"name": "main", "key": "k2", "secret": "s2", "read_only": True}
        assert (await control.post("/paper/keys", json=given)).json() == {"account": "main"}
        assert await may_read(exchange, "k1", "s1")
        assert await may_read(exchange, "k2", "s2")
        assert not await may_read(exchange, "k2", "s1")
        async with BybitClient(exchange.rest_url, api_key="k2", api_secret="s2") as client:
            assert (await client.key_information()).read_only
        answer = await control.request("DELETE", "/paper/keys", content=json.dumps({"key": "k1"}))
        assert answer.json()["account"] == "main"
        assert not await may_read(exchange, "k1", "s1")
        assert await may_read(exchange, "k2", "s2")
        for wrong in ({"name": "nobody", "key": "k", "secret": "s"}, {"name": "main"}):
            refused = await control.post("/paper/keys", json=wrong)
            assert (refused.status_code, "main" in refused.text) == (400, True)


async def test_keys_of_a_new_list_are_valid_and_those_before_until_the_next_one(exchange: PaperExchange) -> None:
    for number in (2, 3):
        text = json.dumps([{"name": "main", "key": f"k{number}", "secret": f"s{number}"}])
        exchange.take_accounts(accounts_of_text(text))
        assert await may_read(exchange, f"k{number}", f"s{number}")
        assert await may_read(exchange, f"k{number - 1}", f"s{number - 1}")
    assert not await may_read(exchange, "k1", "s1")
    assert exchange.engine.accounts["main"].wallet == 7


@pytest.mark.parametrize("text", ["canary", "{}", '[{"name": "main", "key": "canary"}]', "other"])
def test_a_list_that_is_malformed_or_names_others_changes_nothing(text: str) -> None:
    exchange = PaperExchange(
        Options(mode=Mode.REPLAY, accounts=(AccountSettings(name="main", key="k1", secret=SecretStr("s1")),))
    )
    text = '[{"name": "second", "key": "canary", "secret": "canary"}]' if text == "other" else text
    with pytest.raises(InvalidInputError) as raised:
        exchange.take_accounts(accounts_of_text(text))
    assert "canary" not in f"{raised.value!r}"
    assert set(exchange.engine.keys) == {"k1"}
