"""What must be right before anything is traded, and what is said if it is not."""

import asyncio
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
from executor_service.preflight import Egress, Preflight, PreflightError, Report, Status
from executor_service.venue_clock import wall_clock_ms
from paper_exchange_service.server import Options, PaperExchange
from paper_exchange_service.settings import AccountSettings


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
        await preflight().require(client)
    assert (await client.position("BTCUSDT")).leverage == 7


async def test_a_leverage_that_the_symbol_does_not_allow_stops_the_start(client: BybitClient) -> None:
    with pytest.raises(PreflightError, match="EXECUTOR_MARGIN_LEVERAGE"):
        await preflight(leverage=Decimal(5000)).require(client)


async def test_hedge_mode_is_switched_to_one_way(client: BybitClient) -> None:
    await client.switch_position_mode(symbol="BTCUSDT", one_way=False)
    await preflight().require(client)
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

    endpoint = "http://127.0.0.1:9"
    key: KeyInformation = KEY
    info: AccountInfo = field(default_factory=lambda: AccountInfo("REGULAR_MARGIN", 6))
    skew_ms: int = 0
    size: Decimal = Decimal(0)
    leverage: Decimal = Decimal(10)
    hedged: bool = False
    equity: Decimal = Decimal(100)
    statuses: dict[str, str] = field(default_factory=lambda: {"BTCUSDT": "Trading", "ETHUSDT": "Trading"})

    async def server_time_ms(self) -> int:
        return wall_clock_ms() + self.skew_ms

    async def key_information(self) -> KeyInformation:
        return self.key

    async def wallet(self) -> SimpleNamespace:
        return SimpleNamespace(equity=self.equity)

    async def symbol_statuses(self, symbols: tuple[str, ...]) -> dict[str, str]:
        return {symbol: self.statuses[symbol] for symbol in symbols if symbol in self.statuses}

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
    "no_position_right": (StatedAccount(key=replace(KEY, permissions={"ContractTrade": ("Order",)})), "Positions"),
    "expired": (StatedAccount(key=replace(KEY, expires_at_ms=1)), "has expired"),
    "no_money": (StatedAccount(equity=Decimal(0)), "move USDT"),
    "suspended": (StatedAccount(statuses={"BTCUSDT": "Closed", "ETHUSDT": "Trading"}), "BTCUSDT: Closed"),
    "unknown_symbol": (StatedAccount(statuses={"BTCUSDT": "Trading"}), "ETHUSDT: unknown"),
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
        await preflight(max_clock_skew_ms=1000).require(account)


async def test_a_foreign_leverage_does_not_keep_an_open_position_from_its_exit() -> None:
    await preflight(max_clock_skew_ms=1000).require(StatedAccount(leverage=Decimal(3), size=Decimal(1)))


def status(report: Report, name: str) -> Status:
    (check,) = [check for check in report.checks if check.name == name]
    return check.status


async def test_a_key_warns_two_weeks_before_it_expires_and_while_any_address_may_use_it() -> None:
    soon = StatedAccount(key=replace(KEY, ips=("*",), expires_at_ms=wall_clock_ms() + 13 * 86_400_000))
    report = await preflight().examine(soon)
    assert (status(report, "key_expiry"), status(report, "key_addresses")) == (Status.WARNED, Status.WARNED)
    later = StatedAccount(key=replace(KEY, expires_at_ms=wall_clock_ms() + 15 * 86_400_000))
    assert status(await preflight().examine(later), "key_expiry") is Status.PASSED


@pytest.fixture
async def echo() -> AsyncIterator[str]:
    """A service that answers everybody with 203.0.113.7."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\n203.0.113.7\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/ip"


@pytest.mark.parametrize(
    ("ips", "expected", "outcome"),
    [
        (("203.0.113.7",), ("203.0.113.0/28",), (Status.PASSED, Status.PASSED)),
        (("203.0.113.7",), (), (Status.PASSED, Status.PASSED)),
        (("198.51.100.1",), (), (Status.PASSED, Status.FAILED)),
        (("203.0.113.7",), ("198.51.100.1",), (Status.FAILED, Status.FAILED)),
        (("*",), ("203.0.113.7",), (Status.FAILED, Status.PASSED)),
        (("*",), (), (Status.WARNED, Status.PASSED)),
    ],
)
async def test_the_address_seen_must_be_on_the_keys_list_and_among_those_expected(
    echo: str, ips: tuple[str, ...], expected: tuple[str, ...], outcome: tuple[Status, Status]
) -> None:
    account = StatedAccount(key=replace(KEY, ips=ips))
    report = await preflight(egress=Egress(echo, expected)).examine(account)
    assert (status(report, "key_addresses"), status(report, "egress_address")) == outcome


async def test_an_echo_service_that_is_away_is_only_a_warning() -> None:
    report = await preflight(egress=Egress("http://127.0.0.1:9/secret-path")).examine(StatedAccount())
    assert status(report, "egress_address") is Status.WARNED
    assert "secret-path" not in str(report)


async def test_looking_alone_changes_nothing(client: BybitClient, exchange: Any) -> None:
    report = await preflight(sets_up=False).examine(client)
    assert {check.status for check in report.checks if check.name == "leverage"} == {Status.WARNED}
    assert (await client.position("BTCUSDT")).leverage == 10


async def test_a_key_that_may_withdraw_at_the_exchange_is_refused() -> None:
    account = AccountSettings(name="main", key="k", secret=SecretStr("s"), wallet_permissions=("Withdraw",))
    async with (
        PaperExchange(Options(accounts=(account,))) as exchange,
        BybitClient(exchange.rest_url, api_key="k", api_secret="s") as client,
    ):
        report = await preflight(leverage=None).examine(client)
    assert status(report, "key_withdrawal") is Status.FAILED
