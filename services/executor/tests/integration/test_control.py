"""Halts and flattens on a real bus and a paper exchange in real time, with executors that are paused and killed."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from breakwater_bybit.client import BybitClient
from breakwater_cli.bus_address import BusAddress
from breakwater_cli.control import UNCONFIRMED, flatten, halt, resume, status
from breakwater_core.control_answers import FlatProof
from breakwater_core.errors import InvalidInputError
from breakwater_core.events import Alert, Leg, OrderEvent, OrderStatus, Severity, Side
from breakwater_core.identities import order_link_id
from breakwater_runtime.bus import Bus
from breakwater_runtime.control import ControlStore, read_acknowledgements
from breakwater_runtime.readers import wait_for_value
from breakwater_runtime.subjects import ACCOUNT_BUCKET, CONTROL_BUCKET, day_open_key, flat_key
from executor_service.venue_clock import ClockMode, wall_clock_ms
from paper_exchange_service.engine.markets import Costs
from paper_exchange_service.engine.orders import OrderRequest, OrderType
from paper_exchange_service.playback import play_synthetic
from paper_exchange_service.server import Options, PaperExchange
from paper_exchange_service.settings import AccountSettings

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
NAMES = ("main", "second")
KEYS = json.dumps([{"name": name, "api_key": f"key-{name}", "api_secret": f"secret-{name}"} for name in NAMES])
WALL: dict[str, Any] = {"clock": ClockMode.WALL, "accounts": SecretStr(KEYS), "settle_s": 5.5}


@dataclass
class Shift:
    """How far the exchange's clock is ahead of the machine's, milliseconds."""

    ms: int = 0

    def now_ms(self) -> int:
        return wall_clock_ms() + self.ms


@pytest.fixture
def shift() -> Shift:
    return Shift()


@pytest.fixture
async def exchange(faults: Any, shift: Shift) -> AsyncIterator[PaperExchange]:
    playback = play_synthetic(seed=1, symbols=SYMBOLS, trades_per_day=20_000, history_days=1, now_ms=wall_clock_ms())
    options = Options(
        accounts=tuple(
            AccountSettings(name=name, key=f"key-{name}", secret=SecretStr(f"secret-{name}"), usdt=Decimal(100_000))
            for name in NAMES
        ),
        costs=Costs(slippage_ratio=Decimal(0), latency_ms=5),
        faults=faults,
        clock=shift.now_ms,
    )
    async with PaperExchange(options, playback) as exchange:
        yield exchange


@dataclass
class Floor:
    """People at their desks: they trade by hand, make intents in signal's name, and look at the books."""

    exchange: PaperExchange
    bus: Bus
    kit: Any
    day: Any
    address: BusAddress
    links: list[str] = field(default_factory=list)

    def intent(self, leg: Leg = Leg.ENTRY, symbol: str = "BTCUSDT", **changes: Any) -> Any:
        now_ms = wall_clock_ms()
        price = self.exchange.engine.market(symbol).last_at(now_ms)
        values: dict[str, Any] = {
            "symbol": symbol,
            "day": self.day,
            "trigger_time_ms": now_ms,
            "trigger_price": price,
            "target_price": price,
            "gross_leverage": Decimal("0.5"),
            "valid_until_ms": None if leg.reduces else now_ms + 30_000,
        }
        return self.kit.intent(leg, **values | changes)

    async def open_day(self, name: str = "main") -> None:
        key = day_open_key(self.bus.run_id, name, self.day.isoformat())
        await self.bus.write(ACCOUNT_BUCKET, key, self.kit.day_open(day=self.day).encode())

    async def trade_by_hand(self, name: str, symbol: str, side: Side, quantity: str) -> None:
        link = f"by-hand-{len(self.links)}"
        self.links.append(link)
        keys = {"api_key": f"key-{name}", "api_secret": f"secret-{name}"}
        async with BybitClient(self.exchange.rest_url, **keys) as client:
            await client.place_market_order(
                symbol=symbol, side=side, quantity=Decimal(quantity), order_link_id=link, reduce_only=False
            )
            while not await client.positions():
                pass

    def leave_limit_order(self, name: str, symbol: str) -> None:
        now_ms = wall_clock_ms()
        price = round(self.exchange.engine.market(symbol).last_at(now_ms) / 2)
        request = OrderRequest(symbol, Side.BUY, OrderType.LIMIT, Decimal(1), price=Decimal(price))
        order = self.exchange.engine.place(self.exchange.engine.accounts[name], request, now_ms)
        self.exchange.engine.execute(order, now_ms)

    def sizes(self, name: str) -> dict[str, Decimal]:
        positions = self.exchange.engine.accounts[name].positions.values()
        return {position.symbol: position.size for position in positions if position.size}

    def open_orders(self, name: str) -> int:
        return sum(len(orders) for orders in self.exchange.engine.accounts[name].open_orders.values())

    def orders(self, name: str = "main") -> list[Any]:
        return list(self.exchange.engine.accounts[name].orders.values())


@pytest.fixture
def floor(exchange: PaperExchange, bus: Bus, kit: SimpleNamespace, roles: SimpleNamespace, nats_url: str) -> Floor:
    return Floor(exchange, bus, kit, roles.SESSION.day_of(wall_clock_ms()), BusAddress(nats_url))


@asynccontextmanager
async def process(nats_url: str, exchange_url: str, name: str, **changes: str) -> AsyncIterator[Any]:
    """An executor as a process of its own, ready to be paused and killed."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("EXECUTOR_")}
    values = {
        "ROLE": "order",
        "NATS_URL": nats_url,
        "RUN_ID": "test-run",
        "ACCOUNTS": KEYS,
        "EXCHANGE_URL": exchange_url,
        "INSTANCE": name,
        "ACK_WAIT_S": "1",
        "SETTLE_S": "5.5",
    }
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "executor_service",
        env=environment | {f"EXECUTOR_{key}": value for key, value in (values | changes).items()},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                started.send_signal(signal.SIGCONT)
                started.kill()
            await started.wait()


async def until_known(bus: Bus, count: int) -> None:
    """Wait until so many executors have acknowledged anything."""
    async with asyncio.timeout(90):
        while len(await read_acknowledgements(bus)) < count:
            await asyncio.sleep(0.05)


def closing(log: Any) -> list[OrderEvent]:
    return [event for event in log.of(OrderEvent) if event.intent_closed]


async def test_a_halt_is_acknowledged_by_every_executor_and_holds_until_the_resume(
    roles: SimpleNamespace, floor: Floor, desk: Any, log: Any
) -> None:
    await floor.open_day()
    async with roles.order(**WALL), roles.order(**WALL):
        await until_known(floor.bus, 2)
        halted = await halt(floor.address, None, reason="a test", wait_s=10)
        assert halted.exit_code == 0
        assert [one["epoch"] for one in halted.values["executors"]] == [1, 1]
        await desk.decide(floor.intent(epoch=1))
        await log.until(lambda log: len(closing(log)) == 1)
        assert (await resume(floor.address, None, gives_up_flatten=False)).values["halted"] is False
        await desk.decide(floor.intent(symbol="ETHUSDT", epoch=0))
        await log.until(lambda log: len(closing(log)) == 2)
        await desk.decide(floor.intent(symbol="SOLUSDT", epoch=1))
        await log.until(lambda log: len(closing(log)) == 3)
    assert [(event.status, event.reason) for event in closing(log)] == [
        (OrderStatus.REFUSED, "halted"),
        (OrderStatus.REFUSED, "fenced"),
        (OrderStatus.FILLED, ""),
    ]
    assert (await status(floor.address)).values["executors"] == []  # both have stopped in order


async def test_a_halt_of_one_account_lets_the_other_enter(
    roles: SimpleNamespace, floor: Floor, desk: Any, log: Any
) -> None:
    for name in NAMES:
        await floor.open_day(name)
    async with roles.order(**WALL):
        await until_known(floor.bus, 1)
        await halt(floor.address, "main", reason="", wait_s=10)
        await desk.decide(floor.intent(account="main"))
        await desk.decide(floor.intent(account="second"))
        await log.until(lambda log: len(closing(log)) == 2)
        with pytest.raises(InvalidInputError, match="main, second"):
            await halt(floor.address, "mian", reason="", wait_s=0)
    assert {event.account: event.reason for event in closing(log)} == {"main": "halted", "second": ""}


async def test_an_executor_paused_across_a_halt_and_a_resume_does_not_enter_when_it_goes_on(
    nats_url: str, exchange: PaperExchange, floor: Floor, bus: Bus, desk: Any, log: Any
) -> None:
    async with process(nats_url, exchange.rest_url, "paused") as executor:
        await until_known(bus, 1)
        await desk.decide(floor.intent())  # checked at once, then it waits for the day's open
        async with asyncio.timeout(90):
            while not any(queue["num_ack_pending"] for queue in (await bus.api("CONSUMER.LIST.INTENT"))["consumers"]):
                pass
        executor.send_signal(signal.SIGSTOP)
        halted = await halt(floor.address, None, reason="", wait_s=0.3)
        assert halted.exit_code == UNCONFIRMED
        assert halted.values["unacknowledged"] == ["paused"]
        await resume(floor.address, None, gives_up_flatten=False)
        await floor.open_day()
        executor.send_signal(signal.SIGCONT)
        await log.until(lambda log: len(closing(log)) == 1)
    assert (closing(log)[0].status, closing(log)[0].reason) == (OrderStatus.REFUSED, "fenced")
    assert not floor.orders()


@asynccontextmanager
async def held_up(
    exchange: PaperExchange, path: bytes, meanwhile: Callable[[], Any], answered: Callable[[], None]
) -> AsyncIterator[str]:
    """A way to the exchange on which the first request for the path stays until `meanwhile` is over.

    `answered` is called with the answer to it.
    """
    port = int(exchange.rest_url.rpartition(":")[2])
    held = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_request: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if is_request and path in data and not held:
                    held.append(data)
                    await meanwhile()
                elif not is_request and b'"retCode":10002' in data:
                    answered()
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, far_writer, is_request=True), pump(far_reader, writer, is_request=False))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_a_request_held_up_after_the_last_check_is_refused_by_the_exchange_for_its_stamp(
    roles: SimpleNamespace, exchange: PaperExchange, floor: Floor, desk: Any, log: Any, shift: Shift, bus: Bus
) -> None:
    await floor.open_day()

    async def a_halt_and_six_seconds() -> None:
        await ControlStore(bus).change(lambda control: control.halt())
        shift.ms = 6_000

    def what_was_on_the_way_has_arrived() -> None:
        shift.ms = 0

    async with (
        held_up(exchange, b"/v5/order/create", a_halt_and_six_seconds, what_was_on_the_way_has_arrived) as url,
        roles.order(**WALL, exchange_url=url),
    ):
        await desk.decide(floor.intent())
        await log.until(lambda log: len(closing(log)) == 1)
    assert (closing(log)[0].status, closing(log)[0].reason) == (OrderStatus.REFUSED, "halted")
    assert not floor.orders()


async def test_four_executors_two_of_them_killed_bring_an_account_to_nothing_with_one_chain_of_orders(
    nats_url: str,
    roles: SimpleNamespace,
    exchange: PaperExchange,
    floor: Floor,
    bus: Bus,
    log: Any,
    faults: Any,
) -> None:
    await floor.trade_by_hand("main", "BTCUSDT", Side.BUY, "0.5")
    await floor.trade_by_hand("main", "SOLUSDT", Side.SELL, "7")  # configured nowhere, ordered by nobody
    await floor.trade_by_hand("second", "ETHUSDT", Side.BUY, "2")
    floor.leave_limit_order("main", "ETHUSDT")
    floor.leave_limit_order("second", "ETHUSDT")
    faults.script["/order/create"] = [roles.Fault(delay_s=0.5)] * 2  # time to be killed in
    async with AsyncExitStack() as stack:
        doomed = [
            await stack.enter_async_context(process(nats_url, exchange.rest_url, f"doomed-{number}"))
            for number in range(2)
        ]
        await until_known(bus, 2)
        known = len(faults.seen)
        flattening = asyncio.create_task(flatten(floor.address, "main", reason="", wait_s=40))
        async with asyncio.timeout(90):
            while not any(path.endswith("/order/create") for path in faults.seen[known:]):
                await asyncio.sleep(0.005)
        for executor in doomed:
            executor.kill()
        await stack.enter_async_context(roles.order(**WALL, instance="left-1"))
        await stack.enter_async_context(roles.order(**WALL, instance="left-2"))
        answer = await flattening
        assert answer.exit_code == 0, answer.lines
        await log.until(lambda log: any(alert.name == "flattened" for alert in log.of(Alert)))
    (proof,) = answer.values["flat"]
    assert proof["sizes"] == {"BTCUSDT": "0", "SOLUSDT": "0"}
    assert proof["open_orders"] == 0
    assert floor.sizes("main") == {}
    assert floor.open_orders("main") == 0
    closers = [order for order in floor.orders() if order.link_id.startswith("bw-")]
    assert sorted(order.symbol for order in closers) == ["BTCUSDT", "SOLUSDT"]
    assert all(order.request.reduce_only for order in closers)
    assert {event.leg for event in closing(log)} == {Leg.FLATTEN}
    assert {event.symbol for event in closing(log)} == {"BTCUSDT", "SOLUSDT"}
    assert len({event.event_id for event in closing(log)}) == 2
    assert floor.sizes("second") == {"ETHUSDT": Decimal(2)}
    assert floor.open_orders("second") == 1
    (alert,) = [alert for alert in log.of(Alert) if alert.name == "flattened"]
    assert (alert.severity, alert.account, alert.facts["epoch"]) == (Severity.INFO, "main", "1")


async def test_four_executors_that_flatten_an_account_close_orders_in_doubt_once(
    roles: SimpleNamespace, exchange: PaperExchange, floor: Floor, log: Any, faults: Any
) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
        await floor.trade_by_hand("main", symbol, Side.BUY, "2")
    faults.script["/order/create"] = [roles.Fault(before=(502, b""))] * 3  # in doubt, and not there
    async with AsyncExitStack() as stack:
        for number in range(4):
            await stack.enter_async_context(roles.order(**WALL, instance=f"executor-{number}"))
        await until_known(floor.bus, 4)
        answer = await flatten(floor.address, "main", reason="", wait_s=60)
    assert answer.exit_code == 0, answer.lines
    assert floor.sizes("main") == {}
    assert len({event.event_id for event in closing(log)}) == 3
    assert sorted(order.symbol for order in floor.orders() if order.link_id.startswith("bw-")) == [
        "BTCUSDT",
        "ETHUSDT",
        "SOLUSDT",
    ]


async def test_a_flatten_is_not_proven_while_the_end_of_an_entry_is_not_known(
    roles: SimpleNamespace, exchange: PaperExchange, floor: Floor, bus: Bus, desk: Any, log: Any, faults: Any
) -> None:
    await floor.open_day()
    faults.script["/order/create"] = [roles.Fault(before=(502, b""))]
    faults.script["/order/realtime"] = []
    is_blind = [roles.Fault(before=(502, b""))] * 10_000
    async with roles.order(**WALL):
        await until_known(bus, 1)
        entry = floor.intent()
        by_id = faults.of_request

        def blind(method: str, path: str, account: str) -> Any:
            fault = by_id(method, path, account)
            return is_blind[0] if is_blind and path.endswith(("/order/history", "/execution/list")) else fault

        faults.of_request = blind
        await desk.decide(entry)
        await log.until(lambda log: any(event.status is OrderStatus.UNKNOWN for event in log.of(OrderEvent)))
        await flatten(floor.address, None, reason="", wait_s=1.0)
        key = flat_key("test-run", "main", 1)
        assert await bus.read(CONTROL_BUCKET, key) is None
        is_blind.clear()
        async with asyncio.timeout(90):
            proof = FlatProof.decode(await wait_for_value(bus, CONTROL_BUCKET, key, bool))
    ended = [event for event in closing(log) if event.intent_id == entry.intent_id]
    assert [(event.status, event.reason) for event in ended] == [(OrderStatus.REFUSED, "halted")]
    assert proof.open_orders == 0
    assert order_link_id(entry.intent_id, 0) not in {order.link_id for order in floor.orders()}


async def test_an_exit_and_a_stop_after_a_flatten_find_it_flat(
    roles: SimpleNamespace, floor: Floor, desk: Any, log: Any
) -> None:
    await floor.open_day()
    async with roles.order(**WALL):
        await desk.decide(floor.intent())
        await log.until(lambda log: len(closing(log)) == 1)
        answer = await flatten(floor.address, None, reason="", wait_s=30)
        assert answer.exit_code == 0, answer.lines
        await desk.decide(floor.intent(Leg.STOP))
        await desk.decide(floor.intent(Leg.EXIT))
        await log.until(lambda log: len(closing(log)) == 4)
    assert [(event.leg, event.status) for event in closing(log)] == [
        (Leg.ENTRY, OrderStatus.FILLED),
        (Leg.FLATTEN, OrderStatus.FILLED),
        (Leg.STOP, OrderStatus.FLAT),
        (Leg.EXIT, OrderStatus.FLAT),
    ]


async def test_a_flatten_that_takes_too_long_raises_an_alert_and_goes_on(
    roles: SimpleNamespace, floor: Floor, log: Any, faults: Any
) -> None:
    await floor.trade_by_hand("main", "BTCUSDT", Side.BUY, "0.5")
    faults.script["/order/create"] = [roles.Fault(before=(503, b""))] * 2
    async with roles.order(**WALL, flatten_deadline_s=0.2):
        await until_known(floor.bus, 1)
        answer = await flatten(floor.address, "main", reason="", wait_s=0.5)
        assert answer.exit_code == UNCONFIRMED
        assert answer.values["not_flat"] == ["main"]
        with pytest.raises(InvalidInputError, match="not proven"):
            await resume(floor.address, "main", gives_up_flatten=False)
        await log.until(lambda log: any(alert.name == "flatten_overdue" for alert in log.of(Alert)))
        await log.until(lambda log: any(alert.name == "flattened" for alert in log.of(Alert)))
        assert (await resume(floor.address, "main", gives_up_flatten=False)).values["flatten"] == []
    assert floor.sizes("main") == {}
