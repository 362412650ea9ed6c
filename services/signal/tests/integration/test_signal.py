"""Signal against a real NATS server: a replayed day, kills in the middle of it, two hot replicas, bad messages."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from breakwater_cli.nats_process import NatsProcess
from breakwater_core.config import BreakwaterConfig
from breakwater_core.events import Intent, Leg, OrderEvent, OrderStatus, Side
from breakwater_core.identities import order_event_id, order_link_id
from breakwater_core.market import BarState, Clock, ClockKind, DailyBar, TradeBatch
from breakwater_runtime import codec, subjects
from breakwater_runtime.bus import Bus
from breakwater_runtime.config_file import write_config
from breakwater_runtime.control import ControlStore
from breakwater_runtime.errors import SettingsError
from breakwater_runtime.readers import Delivery, read_stream, wait_for_value
from signal_service.main import run
from signal_service.settings import SignalSettings

RUN_ID = "test-run"
DAY = date(2024, 1, 6)
DAY_START_MS = 1_704_499_200_000
HOUR_MS = 3_600_000
SYMBOLS = ("BTCUSDT", "ETHUSDT")
CONFIG = BreakwaterConfig.parse({"portfolio": {"symbols": list(SYMBOLS)}, "strategy": {"stop_loss": 0.05}})


def bars(window: int = 0) -> list[DailyBar]:
    closed = [
        DailyBar(
            symbol, DAY - timedelta(days=back), BarState.CLOSED, 98.0, 104.0, 96.0, 100.0, 1.0, complete=True, window=0
        )
        for symbol in SYMBOLS
        for back in range(6, 0, -1)
    ]
    opened = [DailyBar(s, DAY, BarState.OPEN, 100.0, 100.0, 100.0, 100.0, 0.0, complete=True) for s in SYMBOLS]
    return closed + opened


def trades(symbol: str, window: int, points: list[tuple[int, float]]) -> TradeBatch:
    times = np.array([DAY_START_MS + offset for offset, _ in points], np.int64)
    prices = np.array([price for _, price in points])
    return TradeBatch(symbol, times, prices, np.ones(len(points)), np.ones(len(points), np.int8), window=window)


# BTCUSDT breaks out upwards at 104 and is stopped out; ETHUSDT breaks out downwards and is held to the exit window.
WINDOWS: list[list[TradeBatch]] = [
    [
        trades("BTCUSDT", 1, [(0, 100.0), (HOUR_MS, 104.5)]),
        trades("ETHUSDT", 1, [(0, 100.0), (2 * HOUR_MS, 95.0)]),
    ],
    [trades("BTCUSDT", 2, [(13 * HOUR_MS, 104.0), (14 * HOUR_MS, 99.0)]), trades("ETHUSDT", 2, [(15 * HOUR_MS, 94.0)])],
]
EXPECTED = [
    ("BTCUSDT", "entry", "buy"),
    ("ETHUSDT", "entry", "sell"),
    ("BTCUSDT", "stop", "sell"),
    ("ETHUSDT", "exit", "buy"),
]


def closing(intent: Intent) -> OrderEvent:
    status = OrderStatus.FILLED
    return OrderEvent(
        event_id=order_event_id(intent=intent.intent_id, child=0, status=status, filled_quantity="1", closed=True),
        run_id=RUN_ID,
        account=intent.account,
        symbol=intent.symbol,
        day=intent.day,
        strategy_version=intent.strategy_version,
        intent_id=intent.intent_id,
        order_link_id=order_link_id(intent.intent_id, 0),
        child=0,
        status=status,
        leg=intent.leg,
        side=intent.side,
        reduce_only=intent.leg is not Leg.ENTRY,
        quantity=Decimal(1),
        filled_quantity=Decimal(1),
        average_price=intent.trigger_price,
        target_price=intent.target_price,
        trigger_price=intent.trigger_price,
        trigger_time_ms=intent.trigger_time_ms,
        intent_closed=True,
        event_time_ms=intent.trigger_time_ms + 50,
    )


@asynccontextmanager
async def executor(bus: Bus, *, answer_after: int = 0) -> AsyncIterator[list[Intent]]:
    """Stand in for the executor: closes every intent as filled, once the first `answer_after` were seen unanswered."""
    seen: list[Intent] = []
    pending: asyncio.Queue[Intent] = asyncio.Queue()

    def handle(delivery: Delivery) -> None:
        intent = codec.decode(delivery.subject, delivery.payload).value
        seen.append(intent)
        pending.put_nowait(intent)

    async def answer() -> None:
        while True:
            intent = await pending.get()
            if len(seen) > answer_after:
                await bus.publish(closing(intent))

    async with read_stream(bus, name="executor", stream="INTENT", filters=["intent.>"], start=1, handle=handle):
        task = asyncio.create_task(answer())
        try:
            yield seen
        finally:
            task.cancel()


async def play(bus: Bus) -> None:
    """Publish the day as market-data does in a replay, without waiting for anybody."""
    await bus.publish_all([*bars(), *WINDOWS[0]])
    half, end = DAY_START_MS + 12 * HOUR_MS, DAY_START_MS + 24 * HOUR_MS
    await bus.publish_all([*WINDOWS[1], Clock(ClockKind.ADVANCED, half, end, DAY, window=1, trades_total=4)])
    await bus.publish(Clock(ClockKind.ADVANCED, end, end, DAY, window=2, trades_total=7))


@pytest.fixture
def settings(nats_server: NatsProcess, tmp_path: Path) -> SignalSettings:
    path = tmp_path / "config.json"
    write_config(CONFIG, path)
    return SignalSettings(nats_url=nats_server.url, run_id=RUN_ID, config_file=path, instance="a")


@asynccontextmanager
async def signal_running(settings: SignalSettings) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    task = asyncio.create_task(run(settings, stop))
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)


async def window_done(bus: Bus, window: int) -> None:
    key = subjects.progress_key(RUN_ID, "signal")
    await wait_for_value(bus, subjects.CHECKPOINT_BUCKET, key, lambda value: int(value) >= window)


def found(seen: list[Intent]) -> list[tuple[str, str, str]]:
    return [(intent.symbol, intent.leg.value, intent.side.value) for intent in seen]


async def test_a_replayed_day_gives_its_intents_in_event_time(bus: Bus, settings: SignalSettings) -> None:
    async with executor(bus) as seen, signal_running(settings):
        await play(bus)
        await window_done(bus, 2)
    assert found(seen) == EXPECTED
    assert [intent.trigger_time_ms for intent in seen] == sorted(intent.trigger_time_ms for intent in seen)
    assert seen[3].trigger_time_ms == DAY_START_MS + 24 * HOUR_MS - 30_000
    assert seen[0].side is Side.BUY
    assert seen[0].target_price == Decimal(104)
    assert seen[0].trigger_price == Decimal("104.5")


async def test_the_next_intent_waits_until_the_one_before_is_closed(bus: Bus, settings: SignalSettings) -> None:
    async with executor(bus, answer_after=1) as seen, signal_running(settings):
        await play(bus)
        while not seen:
            await asyncio.sleep(0.01)
        await bus.client.flush()
        assert found(seen) == EXPECTED[:1]
        await bus.publish(closing(seen[0]))
        await window_done(bus, 2)
    assert found(seen) == EXPECTED


async def test_intents_carry_the_epoch_of_a_halt_from_before_the_start(bus: Bus, settings: SignalSettings) -> None:
    await ControlStore(bus).change(lambda control: control.halt().halt())
    async with executor(bus) as seen, signal_running(settings):
        await play(bus)
        await window_done(bus, 2)
    assert [intent.epoch for intent in seen] == [2] * len(EXPECTED)


async def test_a_flatten_by_a_person_does_not_end_what_the_strategy_has_to_exit(
    bus: Bus, settings: SignalSettings
) -> None:
    def flattened(intent: Intent) -> OrderEvent:
        by_hand = replace(intent, leg=Leg.FLATTEN, intent_id=intent.intent_id.replace("/entry/", "/flatten/"))
        return closing(by_hand)

    async with executor(bus, answer_after=1) as seen, signal_running(settings):
        await play(bus)
        while not seen:
            await asyncio.sleep(0.01)
        await bus.publish(flattened(seen[0]))
        await bus.publish(closing(seen[0]))
        await window_done(bus, 2)
    assert found(seen) == EXPECTED


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
async def test_a_signal_cut_off_at_any_intent_and_started_again_adds_and_loses_nothing(
    bus: Bus, settings: SignalSettings, cut: int
) -> None:
    async with executor(bus) as seen:
        first = asyncio.create_task(run(settings, asyncio.Event()))
        await play(bus)
        while len(seen) <= cut:
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        async with signal_running(settings):
            await window_done(bus, 2)
    assert found(seen) == EXPECTED


async def test_two_hot_signals_publish_each_intent_once(bus: Bus, settings: SignalSettings) -> None:
    twin = settings.model_copy(update={"instance": "b"})
    async with executor(bus) as seen, signal_running(settings), signal_running(twin):
        await play(bus)
        for instance in ("a", "b"):
            key = subjects.signal_state_key(RUN_ID, instance)
            await wait_for_value(bus, subjects.CHECKPOINT_BUCKET, key, lambda value: b'"window":2' in value)
    assert found(seen) == EXPECTED


async def test_an_unreadable_message_is_kept_and_its_symbol_is_not_entered_blindly(
    bus: Bus, settings: SignalSettings
) -> None:
    dead = asyncio.get_running_loop().create_future()
    async with executor(bus) as seen, signal_running(settings):
        await bus.publish_all(bars())
        await bus.publish_encoded(codec.Encoded(subjects.trades("BTCUSDT"), "", b"\xff\xff"))
        async with read_stream(bus, name="dead", stream="DEAD", filters=["dead.>"], start=1, handle=dead.set_result):
            assert (await dead).subject == "dead.MD.signal"
        outside = replace(WINDOWS[0][0], times_ms=WINDOWS[0][0].times_ms[1:], prices=WINDOWS[0][0].prices[1:])
        outside = replace(outside, sizes=outside.sizes[1:], taker_sides=outside.taker_sides[1:])
        half = DAY_START_MS + 12 * HOUR_MS
        await bus.publish_all([outside, Clock(ClockKind.ADVANCED, half, half, DAY, window=1, trades_total=1)])
        await window_done(bus, 1)
    assert found(seen) == []


async def test_signal_refuses_to_start_without_symbols(settings: SignalSettings) -> None:
    empty = settings.model_copy(update={"config_file": None})
    with pytest.raises(SettingsError, match="symbols is empty"):
        await run(empty, asyncio.Event())
