"""What must be right before anything is traded, and what is said if it is not."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from breakwater_bybit import errors
from breakwater_bybit.client import BybitClient
from breakwater_bybit.fields import MalformedPayload
from breakwater_bybit.model import AccountInfo, KeyInformation, PositionState
from breakwater_runtime.errors import DependencyError
from executor_service.preflight import Preflight, PreflightError
from executor_service.venue_clock import wall_clock_ms


@pytest.fixture
async def client(exchange: Any) -> AsyncIterator[BybitClient]:
    async with BybitClient(exchange.rest_url, api_key="test-key", api_secret="test-secret") as client:
        yield client


def preflight(**changes: Any) -> Preflight:
    values: dict[str, Any] = {
        "account": "main",
        "symbols": ("BTCUSDT", "ETHUSDT"),
        "leverage": Decimal(7),
        "max_clock_skew_ms": None,
    }
    return Preflight(**values | changes)


async def test_leverage_is_set_and_read_back(client: BybitClient) -> None:
    for _ in range(2):  # the second time nothing is modified
        await preflight().run(client)
    assert (await client.position("BTCUSDT")).leverage == 7


async def test_a_leverage_that_the_symbol_does_not_allow_stops_the_start(client: BybitClient) -> None:
    with pytest.raises(PreflightError, match="EXECUTOR_MARGIN_LEVERAGE"):
        await preflight(leverage=Decimal(5000)).run(client)


async def test_hedge_mode_is_switched_to_one_way(client: BybitClient) -> None:
    await client.switch_position_mode(symbol="BTCUSDT", one_way=False)
    await preflight().run(client)
    assert (await client.position("BTCUSDT")).position_index == 0


async def test_an_exchange_that_is_not_there_is_a_missing_dependency() -> None:
    async with BybitClient("http://127.0.0.1:9", api_key="k", api_secret="s") as client:
        with pytest.raises(DependencyError, match="no connection"):
            await preflight().run(client)


async def test_a_wrong_key_stops_the_start(exchange: Any) -> None:
    async with BybitClient(exchange.rest_url, api_key="wrong", api_secret="s") as client:
        with pytest.raises(PreflightError, match="key is invalid"):
            await preflight().run(client)


async def test_both_roles_are_ready_only_after_their_checks(roles: SimpleNamespace) -> None:
    accounts = SecretStr(json.dumps([{"name": "main", "api_key": "test-key", "api_secret": "wrong"}]))
    for role in (roles.order, roles.account):
        with pytest.raises(PreflightError, match="signature"):
            async with role(accounts=accounts) as task:
                await task


KEY = KeyInformation(
    read_only=False,
    permissions={"ContractTrade": ("Order", "Position"), "Wallet": ()},
    ips=("10.0.0.1",),
    deadline_day=None,
    expires_at_ms=None,
    user_id="1",
    is_unified=True,
    vip_level="",
)


@dataclass
class StatedAccount:
    """An account that states what it is told to."""

    key: KeyInformation = KEY
    info: AccountInfo = field(default_factory=lambda: AccountInfo("REGULAR_MARGIN", 6))
    skew_ms: int = 0
    size: Decimal = Decimal(0)
    leverage: Decimal = Decimal(10)
    hedged: bool = False

    async def server_time_ms(self) -> int:
        return wall_clock_ms() + self.skew_ms

    async def key_information(self) -> KeyInformation:
        return self.key

    async def account_info(self) -> AccountInfo:
        return self.info

    async def position(self, symbol: str) -> PositionState:
        if self.hedged:
            raise MalformedPayload("position/list", symbol, "has no one-way position")
        return PositionState(symbol, self.size, None, None, self.leverage, None, None, None, 0, 1, 1)

    async def set_leverage(self, symbol: str, leverage: Decimal) -> bool:
        raise errors.Rejected("margin", reason=errors.RejectReason.INSUFFICIENT_MARGIN, ret_code=110007)

    async def switch_position_mode(self, *, symbol: str, one_way: bool) -> bool:
        raise errors.Rejected("open position", reason=errors.RejectReason.MODE_LOCKED, ret_code=110024)


REASONS: dict[str, tuple[StatedAccount, str]] = {
    "withdrawals": (StatedAccount(key=replace(KEY, permissions={"Wallet": ("Withdraw",)})), "may withdraw"),
    "read_only": (StatedAccount(key=replace(KEY, read_only=True)), "may not trade"),
    "isolated": (StatedAccount(info=AccountInfo("ISOLATED_MARGIN", 6)), "cross margin"),
    "classic": (StatedAccount(info=AccountInfo("REGULAR_MARGIN", 1)), "no unified account"),
    "clock": (StatedAccount(skew_ms=5000), "synchronise"),
    "hedge_mode_with_a_position": (StatedAccount(hedged=True), "close its position"),
    "leverage": (StatedAccount(leverage=Decimal(3)), "leverage should be 7"),
}


@pytest.mark.parametrize("case", REASONS)
async def test_an_account_that_must_not_be_traded_stops_the_start_with_what_to_do(case: str) -> None:
    account, words = REASONS[case]
    with pytest.raises(PreflightError, match=words):
        await preflight(max_clock_skew_ms=1000).run(account)


async def test_a_foreign_leverage_does_not_keep_an_open_position_from_its_exit() -> None:
    await preflight(max_clock_skew_ms=1000).run(StatedAccount(leverage=Decimal(3), size=Decimal(1)))
