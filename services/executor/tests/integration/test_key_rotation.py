"""Exchange keys are replaced while both roles work: nothing is doubled or lost, and a bad key costs no exit."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from breakwater_core.events import AccountSnapshot, Alert, Fill, Leg, OrderEvent, OrderStatus, SnapshotKind
from executor_service.main import run
from executor_service.settings import ExecutorSettings
from executor_service.venue_clock import wall_clock_ms
from paper_exchange_service.engine.accounts import Credentials
from paper_exchange_service.engine.markets import Costs
from paper_exchange_service.faults import Fault
from paper_exchange_service.playback import play_synthetic
from paper_exchange_service.server import Options, PaperExchange
from paper_exchange_service.settings import AccountSettings

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
OLD, NEW = ("canary-old-key", "canary-old-secret"), ("canary-new-key", "canary-new-secret")


@pytest.fixture
async def exchange(faults: Any) -> AsyncIterator[PaperExchange]:
    playback = play_synthetic(seed=1, symbols=SYMBOLS, trades_per_day=60_000, history_days=1, now_ms=wall_clock_ms())
    options = Options(
        accounts=(
            AccountSettings(name="main", key=OLD[0], secret=SecretStr(OLD[1]), usdt=Decimal(100_000)),
            AccountSettings(name="other", key="canary-other-key", secret=SecretStr("canary-other-secret")),
        ),
        costs=Costs(slippage_ratio=Decimal(0), latency_ms=5),
        faults=faults,
    )
    async with PaperExchange(options, playback) as exchange:
        yield exchange


@dataclass
class Desk:
    """Both roles with their keys in a file, and intents for them."""

    exchange: PaperExchange
    file: Path
    log: Any
    bus: Any
    kit: SimpleNamespace
    day: Any

    @property
    def account(self) -> Any:
        return self.exchange.engine.accounts["main"]

    def give(self, key: tuple[str, str], name: str = "main") -> None:
        """Put a key into the file, in one step."""
        text = json.dumps([{"name": name, "api_key": key[0], "api_secret": key[1]}])
        draft = self.file.with_suffix(".new")
        draft.write_text(text)
        draft.replace(self.file)

    def admit(self, key: tuple[str, str], **rights: Any) -> None:
        """Have the exchange know a further key of the account."""
        self.exchange.engine.add_key(self.account, Credentials(*key, **rights))

    def connections(self) -> set[Any]:
        """Return the account's private connections."""
        return set(self.exchange.private._connections.get("main", ()))

    async def decide(self, symbol: str, leg: Leg = Leg.ENTRY) -> None:
        now_ms = wall_clock_ms()
        price = self.exchange.engine.market(symbol).last_at(now_ms)
        valid = {} if leg is Leg.EXIT else {"valid_until_ms": now_ms + 30_000}
        await self.bus.publish(
            self.kit.intent(
                leg,
                symbol=symbol,
                day=self.day,
                trigger_time_ms=now_ms,
                trigger_price=price,
                target_price=price,
                portfolio_size=3,
                **valid,
            )
        )

    def closed(self) -> list[OrderEvent]:
        return [event for event in self.log.of(OrderEvent) if event.intent_closed]

    async def until_closed(self, count: int) -> None:
        await self.log.until(lambda _log: len(self.closed()) >= count, patience_s=40)

    async def until_alert(self, name: str) -> Alert:
        def found() -> list[Alert]:
            return [alert for alert in self.log.of(Alert) if alert.name == name]

        await self.log.until(lambda _log: bool(found()), patience_s=40)
        return found()[0]


class Roles:
    """Starts both roles in this process from the environment, as `__main__` does."""

    def __init__(self, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._environment = environment
        self._monkeypatch = monkeypatch
        self.settings: list[ExecutorSettings] = []

    def load(self, role: str) -> ExecutorSettings:
        for name, value in (self._environment | {"ROLE": role, "INSTANCE": role}).items():
            self._monkeypatch.setenv(f"EXECUTOR_{name}", value)
        return ExecutorSettings.load()

    async def until_in_use(self, key: str) -> None:
        """Wait until every role has taken the file with this key."""
        async with asyncio.timeout(90):
            while not all(key in settings.rotating_secret("accounts").current for settings in self.settings):
                await asyncio.sleep(0.02)


@pytest.fixture
def given() -> dict[str, str]:
    """Settings that a test adds."""
    return {}


@pytest.fixture
def others() -> list[dict[str, str]]:
    """Accounts that a test adds."""
    return []


@pytest.fixture
async def roles(
    nats_url: str,
    exchange: PaperExchange,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, str],
    others: list[dict[str, str]],
) -> AsyncIterator[Roles]:
    file = tmp_path / "accounts.json"
    file.write_text(json.dumps([*others, {"name": "main", "api_key": OLD[0], "api_secret": OLD[1]}]))
    environment = {
        "NATS_URL": nats_url,
        "RUN_ID": "test-run",
        "ACCOUNTS_FILE": str(file),
        "EXCHANGE_URL": exchange.rest_url,
        "PRIVATE_STREAM_URL": exchange.stream_url,
        "SECRETS_REFRESH_S": "0.1",
        "CATCH_UP_INTERVAL_S": "1",
        "SNAPSHOT_INTERVAL_S": "1",
        "EXIT_SPREAD_S": "0",
        "DRAIN_TIMEOUT_S": "5",
    } | given
    started = Roles(environment, monkeypatch)
    stop = asyncio.Event()
    tasks = []
    for role in ("account", "order"):
        started.settings.append(started.load(role))
        tasks.append(asyncio.create_task(run(started.settings[-1], stop)))
    try:
        yield started
    finally:
        stop.set()
        await asyncio.gather(*tasks)


@pytest.fixture
async def desk(roles: Roles, exchange: PaperExchange, tmp_path: Path, log: Any, bus: Any, kit: SimpleNamespace) -> Desk:
    session = roles.settings[0].configuration().session.session()
    await log.until(
        lambda log: any(snapshot.kind is SnapshotKind.DAY_OPEN for snapshot in log.of(AccountSnapshot)), patience_s=40
    )
    return Desk(exchange, tmp_path / "accounts.json", log, bus, kit, session.day_of(wall_clock_ms()))


async def until_told(desk: Desk) -> None:
    """Wait until every execution has become a fill."""
    await desk.log.until(
        lambda log: {fill.exec_id for fill in log.of(Fill)} == {one.exec_id for one in desk.account.executions},
        patience_s=40,
    )


def nothing_doubled(desk: Desk) -> None:
    fills = [fill.exec_id for fill in desk.log.of(Fill)]
    assert len(fills) == len(set(fills))
    links = [order.link_id for order in desk.account.order_log]
    assert len(links) == len(set(links))
    said = "".join(map(str, desk.log.events))
    assert "canary" not in said


async def test_orders_in_flight_survive_the_rotation(desk: Desk, roles: Roles, faults: Any) -> None:
    """One order's answer comes late, one's never: both are known under the new key, when the old one is gone."""
    faults.script["order/create"] = [Fault(delay_s=1.5), Fault(lose_answer=True, delay_s=1.5)]
    sent = len(desk.account.order_log)
    await desk.decide("BTCUSDT")
    await desk.decide("ETHUSDT")
    async with asyncio.timeout(90):
        while len(desk.account.order_log) < sent + 2:
            await asyncio.sleep(0.01)
    connected = desk.connections()
    desk.admit(NEW)
    desk.give(NEW)
    await roles.until_in_use(NEW[0])
    async with asyncio.timeout(90):
        while not desk.connections() or desk.connections() & connected:  # until the stream has logged in anew
            await asyncio.sleep(0.01)
    desk.exchange.engine.revoke_key(OLD[0])
    await desk.decide("SOLUSDT")
    await desk.until_closed(3)
    assert {event.status for event in desk.closed()} == {OrderStatus.FILLED}
    for symbol in SYMBOLS:
        await desk.decide(symbol, Leg.EXIT)
    await desk.until_closed(6)
    await until_told(desk)
    assert all(desk.account.position(symbol, 0).size == 0 for symbol in SYMBOLS)
    assert len(desk.account.order_log) == sent + 6
    nothing_doubled(desk)


@pytest.mark.parametrize(
    ("key", "rights", "said"),
    [
        (("canary-bad-key", "canary-bad-secret"), None, "the exchange refuses it"),
        ((NEW[0], "canary-wrong-secret"), {}, "the exchange refuses it"),
        (NEW, {"read_only": True}, "read-only"),
        (NEW, {"wallet_permissions": ("Withdraw",)}, "may withdraw"),
        (("canary-other-key", "canary-other-secret"), None, "another account of the exchange"),
    ],
    ids=["unknown", "wrong-secret", "read-only", "withdraws", "other-account"],
)
async def test_a_bad_key_is_not_used_and_exits_go_on(
    desk: Desk, key: tuple[str, str], rights: dict[str, Any] | None, said: str
) -> None:
    if rights is not None:
        desk.admit(NEW, **rights)
    await desk.decide("BTCUSDT")
    await desk.until_closed(1)
    desk.give(key)
    alert = await desk.until_alert("secret_refused")
    assert said in alert.summary
    await desk.decide("BTCUSDT", Leg.EXIT)
    await desk.until_closed(2)
    await until_told(desk)
    assert [event.status for event in desk.closed()] == [OrderStatus.FILLED] * 2
    nothing_doubled(desk)


@pytest.mark.parametrize("text", ["[]", "canary", '[{"name": "main"}]', "other"])
async def test_a_file_that_is_malformed_or_names_other_accounts_is_not_used(desk: Desk, text: str) -> None:
    if text == "other":
        desk.give(NEW, name="second")
    else:
        desk.file.write_text(text)
    alert = await desk.until_alert("secret_refused")
    assert "EXECUTOR_ACCOUNTS" in alert.summary
    assert "the value read before stays in use" in alert.summary
    await desk.decide("BTCUSDT")
    await desk.until_closed(1)
    nothing_doubled(desk)


async def test_a_key_that_was_revoked_first_is_replaced_by_the_next_one(desk: Desk, roles: Roles) -> None:
    """The exchange refuses the old key before the new one is in the file: an alert asks for it, then all goes on."""
    await desk.decide("BTCUSDT")
    await desk.until_closed(1)
    desk.exchange.engine.revoke_key(OLD[0])
    desk.exchange.sockets.drop("private", "main")
    alert = await desk.until_alert("key_refused")
    assert "EXECUTOR_ACCOUNTS_FILE" in alert.summary
    await desk.decide("BTCUSDT", Leg.EXIT)
    desk.admit(NEW)
    desk.give(NEW)
    await roles.until_in_use(NEW[0])
    await desk.until_closed(2)
    await until_told(desk)
    assert desk.account.position("BTCUSDT", 0).size == 0
    nothing_doubled(desk)


async def test_an_exit_that_waits_for_a_key_does_not_wait_for_its_examination(desk: Desk, faults: Any) -> None:
    """The old key is gone and part of the exchange is down: the new key is answered, so the exit goes out under it."""
    await desk.decide("BTCUSDT")
    await desk.until_closed(1)
    desk.exchange.engine.revoke_key(OLD[0])
    await desk.decide("BTCUSDT", Leg.EXIT)
    faults.script["account/info"] = [Fault(before=(503, b""), delay_s=4)] * 1000
    desk.admit(NEW)
    desk.give(NEW)
    await desk.until_closed(2)
    assert desk.account.position("BTCUSDT", 0).size == 0
    await desk.decide("ETHUSDT")
    await desk.until_closed(3)
    assert (desk.closed()[-1].status, desk.closed()[-1].reason) == (OrderStatus.REFUSED, "preflight_failed")
    await until_told(desk)
    nothing_doubled(desk)


async def test_a_login_that_was_refused_for_a_while_is_tried_again_with_the_same_key(desk: Desk) -> None:
    """The exchange refuses the login once, e.g. as the route had changed; nobody writes a new key: none is needed."""
    desk.exchange.engine.revoke_key(OLD[0])
    desk.exchange.sockets.drop("private", "main")
    await desk.until_alert("key_refused")
    desk.admit(OLD)
    async with asyncio.timeout(90):
        while not desk.connections():
            await asyncio.sleep(0.02)
    await desk.decide("BTCUSDT")
    await desk.until_closed(1)
    await until_told(desk)
    nothing_doubled(desk)


class TestWithAnExpectedAddress:
    """The installation states from where requests leave, and the key is bound to it."""

    @pytest.fixture
    def given(self, exchange: PaperExchange) -> dict[str, str]:
        account = exchange.engine.accounts["main"]
        account.credentials = replace(account.credentials, ips=("127.0.0.1",))
        return {"EGRESS_EXPECTED_IPS": "127.0.0.1", "EGRESS_ECHO_URL": "http://127.0.0.1:9"}

    @pytest.mark.parametrize(
        ("ips", "said"), [((), "bound to no address"), (("127.0.0.1", "10.0.0.1"), "")], ids=["any", "wider"]
    )
    async def test_a_key_whose_list_does_not_fit_is_not_used(
        self, desk: Desk, roles: Roles, ips: tuple[str, ...], said: str
    ) -> None:
        desk.admit(NEW, ips=ips)
        desk.give(NEW)
        if said:
            alert = await desk.until_alert("secret_refused")
            assert said in alert.summary
        else:
            await roles.until_in_use(NEW[0])
        await desk.decide("BTCUSDT")
        await desk.until_closed(1)
        assert desk.closed()[0].status is OrderStatus.FILLED
        nothing_doubled(desk)


class TestWithAnAccountWhoseKeyIsRefused:
    """One of two keys has expired when the executors start."""

    @pytest.fixture
    def others(self) -> list[dict[str, str]]:
        return [{"name": "other", "api_key": "canary-gone-key", "api_secret": "canary-gone-secret"}]

    async def test_the_other_account_is_traded_and_exits(self, desk: Desk) -> None:
        await desk.decide("BTCUSDT")
        await desk.until_closed(1)
        await desk.decide("BTCUSDT", Leg.EXIT)
        await desk.until_closed(2)
        assert [event.status for event in desk.closed()] == [OrderStatus.FILLED] * 2
        await until_told(desk)
        for name in ("preflight_failed", "key_refused"):
            assert (await desk.until_alert(name)).account == "other"
        nothing_doubled(desk)
