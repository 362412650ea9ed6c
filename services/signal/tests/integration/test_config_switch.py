"""Signal across the boundary of two days under different configurations: applied, killed, doubled, too late."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from breakwater_cli.bus_address import BusAddress
from breakwater_cli.config_versions import ApplyRequest, apply
from breakwater_cli.nats_process import NatsProcess
from breakwater_core.config import BreakwaterConfig
from breakwater_core.config_schedule import ConfigVersion, ScheduledVersion
from breakwater_core.events import Alert, Intent, Leg, OrderEvent, OrderStatus, Side
from breakwater_core.identities import order_event_id, order_link_id
from breakwater_core.market import BarState, Clock, ClockKind, DailyBar, TradeBatch
from breakwater_runtime import codec, subjects
from breakwater_runtime.bus import Bus, connect
from breakwater_runtime.config_file import write_config
from breakwater_runtime.config_versions import ConfigStore
from breakwater_runtime.readers import Delivery, read_stream, wait_for_value
from breakwater_runtime.settings import ServiceSettings
from signal_service.main import run
from signal_service.settings import SignalSettings

RUN_ID = "test-run"
FIRST, SECOND, THIRD = (date(2024, 1, 6) + timedelta(days=number) for number in range(3))
START_MS = 1_704_499_200_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
ALL_SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
OLD = BreakwaterConfig.parse({"portfolio": {"symbols": ["BTCUSDT", "ETHUSDT"]}})
NEW = BreakwaterConfig.parse(
    {"portfolio": {"symbols": ["ETHUSDT", "SOLUSDT"], "gross_leverage": 1}, "strategy": {"k_long": 0.25, "k_short": 4}}
)

Row = tuple[str, str, str, str, str]
"""Symbol, leg, day, target price and version of an intent."""


def row(symbol: str, leg: str, day: date, target: str, config: BreakwaterConfig) -> Row:
    return symbol, leg, day.isoformat(), target, config.version


# Under OLD the targets are 104 and 96; under NEW they are 102 and 68. BTCUSDT would break out on both days.
OLD_DAY = [
    row("BTCUSDT", "entry", FIRST, "104", OLD),
    row("ETHUSDT", "entry", FIRST, "96", OLD),
    row("BTCUSDT", "exit", FIRST, "104.5", OLD),
    row("ETHUSDT", "exit", FIRST, "95", OLD),
]
NEW_DAY = [
    row("ETHUSDT", "entry", SECOND, "102", NEW),
    row("SOLUSDT", "entry", SECOND, "102", NEW),
    row("ETHUSDT", "exit", SECOND, "102.5", NEW),
    row("SOLUSDT", "exit", SECOND, "103", NEW),
]
POINTS: dict[date, dict[str, list[tuple[int, float]]]] = {
    FIRST: {"BTCUSDT": [(0, 100.0), (1, 104.5)], "ETHUSDT": [(0, 100.0), (2, 95.0)], "SOLUSDT": [(0, 100.0)]},
    SECOND: {
        "BTCUSDT": [(0, 100.0), (1, 105.0)],
        "ETHUSDT": [(0, 100.0), (3, 102.5)],
        "SOLUSDT": [(0, 100.0), (4, 103.0)],
    },
}
POINTS[THIRD] = POINTS[SECOND]


def found(seen: list[Intent]) -> list[Row]:
    return [(i.symbol, i.leg.value, i.day.isoformat(), f"{i.target_price:f}", i.strategy_version) for i in seen]


def bar(symbol: str, day: date, state: BarState) -> DailyBar:
    if state is BarState.OPEN:
        return DailyBar(symbol, day, state, 100.0, 100.0, 100.0, 100.0, 0.0, complete=True)
    return DailyBar(symbol, day, state, 98.0, 104.0, 96.0, 100.0, 1.0, complete=True)


def start_of(day: date) -> int:
    return START_MS + (day - FIRST).days * DAY_MS


def opening(day: date, window: int) -> list[Any]:
    """Return what market-data publishes as a day opens."""
    closed = [bar(s, day - timedelta(days=back), BarState.CLOSED) for s in ALL_SYMBOLS for back in range(6, 0, -1)]
    opened = [bar(symbol, day, BarState.OPEN) for symbol in ALL_SYMBOLS]
    now_ms = start_of(day)
    return [Clock(ClockKind.DAY_OPENED, now_ms, now_ms, day, window=window), *closed, *opened]


def traded(day: date, window: int) -> list[TradeBatch]:
    batches = []
    for symbol, points in POINTS[day].items():
        times = np.array([start_of(day) + hour * HOUR_MS for hour, _ in points], np.int64)
        prices = np.array([price for _, price in points])
        ones = np.ones(len(points))
        batches.append(TradeBatch(symbol, times, prices, ones, ones.astype(np.int8), window=window))
    return batches


def advanced(day: date, hours: int, window: int) -> Clock:
    now_ms = start_of(day) + hours * HOUR_MS
    return Clock(ClockKind.ADVANCED, now_ms, now_ms, day, window=window, trades_total=window)


async def play_morning(bus: Bus, day: date) -> int:
    """Publish a day up to its noon; return the window that ends there."""
    window = 2 * (day - FIRST).days + 1
    await bus.publish_all([*opening(day, window - 1), *traded(day, window)])
    await bus.publish(advanced(day, 12, window))
    return window


async def play_evening(bus: Bus, day: date) -> int:
    """Publish the rest of a day; return its last window."""
    window = 2 * (day - FIRST).days + 2
    await bus.publish(advanced(day, 24, window))
    return window


def closing(intent: Intent) -> OrderEvent:
    status = OrderStatus.FILLED
    return OrderEvent(
        event_id=order_event_id(intent=intent.intent_id, child=0, status=status, filled_quantity="1", closed=True),
        run_id=intent.run_id,
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


class StandIn:
    """Closes every intent as filled, in place of the executor, as many as it is told to."""

    def __init__(self, bus: Bus, end: Callable[[Intent], OrderEvent]) -> None:
        self._bus = bus
        self._end = end
        self.seen: list[Intent] = []
        self._answers = asyncio.Semaphore(0)
        self._changed = asyncio.Event()

    def hear(self, delivery: Delivery) -> None:
        self.seen.append(codec.decode(delivery.subject, delivery.payload).value)
        self._changed.set()  # each waiter holds the event of its own call
        self._changed = asyncio.Event()

    def answer(self, count: int) -> None:
        for _ in range(count):
            self._answers.release()

    async def have_seen(self, count: int) -> None:
        async with asyncio.timeout(90):
            while len(self.seen) < count:
                await self._wait()

    async def _wait(self) -> None:
        changed = self._changed
        await changed.wait()

    async def work(self) -> None:
        number = 0
        while True:
            await self._answers.acquire()
            number += 1
            while len(self.seen) < number:
                await self._wait()
            await self._bus.publish(self._end(self.seen[number - 1]))


@asynccontextmanager
async def standing_in(
    bus: Bus, *, answers: int = 100, end: Callable[[Intent], OrderEvent] = closing
) -> AsyncIterator[StandIn]:
    stand_in = StandIn(bus, end)
    stand_in.answer(answers)
    async with read_stream(bus, name="stand-in", stream="INTENT", filters=["intent.>"], start=1, handle=stand_in.hear):
        task = asyncio.create_task(stand_in.work())
        try:
            yield stand_in
        finally:
            task.cancel()


@pytest.fixture
def settings(nats_server: NatsProcess, tmp_path: Path) -> SignalSettings:
    path = tmp_path / "old.json"
    write_config(OLD, path)
    write_config(NEW, tmp_path / "new.json")
    return SignalSettings(nats_url=nats_server.url, run_id=RUN_ID, config_file=path, instance="a")


@asynccontextmanager
async def signal_running(settings: SignalSettings) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(run(settings, stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)


@asynccontextmanager
async def signal_process(settings: SignalSettings) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = os.environ | {
        "SIGNAL_NATS_URL": settings.nats_url,
        "SIGNAL_RUN_ID": settings.run_id,
        "SIGNAL_CONFIG_FILE": str(settings.config_file),
        "SIGNAL_INSTANCE": settings.instance,
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "signal_service", env=environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def apply_new(settings: SignalSettings, **options: Any) -> dict[str, Any]:
    assert settings.config_file is not None
    request = ApplyRequest(path=settings.config_file.with_name("new.json"), run_id=settings.run_id, wait_s=0, **options)
    return (await apply(BusAddress(settings.nats_url), request)).values


async def window_done(bus: Bus, window: int) -> None:
    key = subjects.progress_key(bus.run_id, "signal")
    await wait_for_value(bus, subjects.CHECKPOINT_BUCKET, key, lambda value: int(value) >= window)


async def alerts(bus: Bus, name: str) -> list[Alert]:
    heard: list[Alert] = []
    info = await bus.api("STREAM.INFO.ALERT")
    complete = asyncio.Event()

    def hear(delivery: Delivery) -> None:
        heard.append(codec.decode(delivery.subject, delivery.payload).value)
        if delivery.sequence >= info["state"]["last_seq"]:
            complete.set()

    if not info["state"]["messages"]:
        return []
    async with read_stream(bus, name="alerts", stream="ALERT", filters=["alert.>"], start=1, handle=hear):
        await asyncio.wait_for(complete.wait(), 10)
    return [alert for alert in heard if alert.name == name]


async def test_a_version_applied_during_a_day_rules_from_the_next_and_exits_belong_to_their_day(
    bus: Bus, settings: SignalSettings
) -> None:
    async with standing_in(bus) as stand_in, signal_running(settings):
        await window_done(bus, await play_morning(bus, FIRST))
        applied = await apply_new(settings)
        await play_evening(bus, FIRST)
        await play_morning(bus, SECOND)
        await window_done(bus, await play_evening(bus, SECOND))
    assert applied["day"] == SECOND.isoformat()
    assert found(stand_in.seen) == OLD_DAY + NEW_DAY
    sizes = {(i.strategy_version, i.gross_leverage, i.portfolio_size) for i in stand_in.seen}
    assert sizes == {(OLD.version, Decimal(2), 2), (NEW.version, Decimal(1), 2)}
    switched = await alerts(bus, "config_switched")
    assert [(one.facts["version"], one.severity.value) for one in switched] == [(NEW.version, "info")]
    stated = await ConfigStore(bus).seen()
    assert [(one.instance, one.version) for one in stated] == [("a", NEW.version)]


@pytest.mark.parametrize("cut", [2, 3, 5])
async def test_a_signal_killed_on_either_side_of_the_boundary_goes_on_with_the_same_intents(
    bus: Bus, settings: SignalSettings, cut: int
) -> None:
    """The lock-step stands still behind intent `cut`: in the evening, in the exit window, on the day after."""
    async with standing_in(bus, answers=cut - 1) as stand_in:
        async with signal_process(settings) as first:
            await play_morning(bus, FIRST)
            await apply_new(settings)
            await play_evening(bus, FIRST)
            await play_morning(bus, SECOND)
            await play_evening(bus, SECOND)
            await stand_in.have_seen(cut)
            first.kill()
            await first.wait()
        stand_in.answer(100)
        async with signal_process(settings):
            await window_done(bus, 4)
    assert found(stand_in.seen) == OLD_DAY + NEW_DAY


async def test_two_signals_with_different_files_switch_at_the_same_event_and_decide_the_same(
    bus: Bus, settings: SignalSettings, tmp_path: Path
) -> None:
    other = tmp_path / "other.json"
    write_config(OLD.model_copy(update={"risk": OLD.risk.model_copy(update={"max_open_positions": 7})}), other)
    await ConfigStore(bus).keep(ConfigVersion.of(OLD))
    twin = settings.model_copy(update={"instance": "b", "config_file": other})
    async with standing_in(bus) as stand_in, signal_running(settings):
        await window_done(bus, await play_morning(bus, FIRST))
        async with signal_running(twin):
            await apply_new(settings)
            await play_evening(bus, FIRST)
            await play_morning(bus, SECOND)
            await play_evening(bus, SECOND)
            for instance in ("a", "b"):
                key = subjects.signal_state_key(RUN_ID, instance)
                await wait_for_value(bus, subjects.CHECKPOINT_BUCKET, key, lambda value: b'"window":4' in value)
    assert found(stand_in.seen) == OLD_DAY + NEW_DAY
    assert {(one.instance, one.day, one.version) for one in await ConfigStore(bus).seen()} == {
        ("a", THIRD, NEW.version),
        ("b", THIRD, NEW.version),
    }
    assert len(await alerts(bus, "config_switched")) == 1


async def test_a_version_written_for_a_day_that_has_begun_starts_with_the_following_one(
    bus: Bus, settings: SignalSettings
) -> None:
    """As of an apply that stood still between its look at the clock and its write."""
    store = ConfigStore(bus)
    async with standing_in(bus) as stand_in, signal_running(settings):
        await play_morning(bus, FIRST)
        await window_done(bus, await play_evening(bus, FIRST))
        await store.keep(ConfigVersion.of(NEW))
        stored = await store.schedule()
        late = stored.schedule.with_entry(ScheduledVersion(SECOND, NEW.version, "", 0))
        revision = await store.replace_schedule(late, last=stored.revision)
        await play_morning(bus, SECOND)
        await window_done(bus, await play_evening(bus, SECOND))
        assert (await apply_new(settings))["changed"] is False  # it holds from the third day on already
        await window_done(bus, await play_morning(bus, THIRD))
    assert {i.strategy_version for i in stand_in.seen if i.day == SECOND} == {OLD.version}
    assert [(i.symbol, i.strategy_version) for i in stand_in.seen if i.day == THIRD] == [
        ("ETHUSDT", NEW.version),
        ("SOLUSDT", NEW.version),
    ]
    assert revision == (await store.schedule()).revision
    assert await store.day(SECOND) is not None


async def test_a_version_applied_while_no_signal_runs_is_taken_up_by_the_one_that_starts(
    bus: Bus, settings: SignalSettings
) -> None:
    await play_morning(bus, FIRST)
    applied = await apply_new(settings)
    assert applied["acknowledged"] == applied["unacknowledged"] == []
    await play_evening(bus, FIRST)
    await play_morning(bus, SECOND)
    await play_evening(bus, SECOND)
    async with standing_in(bus) as stand_in, signal_running(settings):
        await window_done(bus, 4)
    assert found(stand_in.seen) == OLD_DAY + NEW_DAY


async def test_a_scheduled_version_that_cannot_be_used_leaves_the_day_to_the_one_before_and_is_told(
    bus: Bus, settings: SignalSettings
) -> None:
    store = ConfigStore(bus)
    elsewhere = BreakwaterConfig.parse(NEW.as_values() | {"session": {"timezone": "Asia/Seoul"}})
    await store.keep(ConfigVersion.of(elsewhere))
    schedule = (await store.schedule()).schedule.with_entry(ScheduledVersion(SECOND, elsewhere.version, "", 0))
    await store.replace_schedule(schedule, last=0)
    async with standing_in(bus) as stand_in, signal_running(settings):
        await play_morning(bus, FIRST)
        await play_evening(bus, FIRST)
        await window_done(bus, await play_morning(bus, SECOND))
    assert {i.strategy_version for i in stand_in.seen} == {OLD.version}
    assert [one.facts["version"] for one in await alerts(bus, "config_refused")] == [OLD.version]


async def test_live_signals_turn_at_the_exit_window_without_waiting_for_outcomes(
    nats_server: NatsProcess, settings: SignalSettings
) -> None:
    live = settings.model_copy(update={"run_id": "live", "checkpoint_interval_s": 0.05})
    twin = live.model_copy(update={"instance": "b"})
    async with (
        connect(ServiceSettings(nats_url=nats_server.url, run_id="live"), name="test") as bus,
        standing_in(bus) as stand_in,
        signal_running(live),
        signal_running(twin),
    ):
        await play_morning(bus, FIRST)
        await stand_in.have_seen(2)
        applied = await apply_new(live)
        assert applied["day"] == SECOND.isoformat()
        await play_evening(bus, FIRST)
        await stand_in.have_seen(4)
        await play_morning(bus, SECOND)
        await play_evening(bus, SECOND)
        await stand_in.have_seen(8)
    assert sorted(found(stand_in.seen)) == sorted(OLD_DAY + NEW_DAY)
    assert stand_in.seen[0].side is Side.BUY


def expired(intent: Intent) -> OrderEvent:
    """Return the end of an entry in BTCUSDT that was given up; everything else is filled."""
    event = closing(intent)
    if (intent.symbol, intent.leg) != ("BTCUSDT", Leg.ENTRY):
        return event
    return replace(
        event,
        event_id=f"{event.event_id}-expired",
        status=OrderStatus.EXPIRED,
        filled_quantity=Decimal(0),
        average_price=None,
    )


async def test_a_fill_learned_of_on_the_day_after_is_exited_under_its_own_days_version_and_a_restart_bears_it(
    nats_server: NatsProcess, settings: SignalSettings
) -> None:
    live = settings.model_copy(update={"run_id": "live", "checkpoint_interval_s": 0.05})
    async with (
        connect(ServiceSettings(nats_url=nats_server.url, run_id="live"), name="test") as bus,
        standing_in(bus, end=expired) as stand_in,
    ):
        async with signal_running(live):
            await play_morning(bus, FIRST)
            await stand_in.have_seen(2)
            await apply_new(live)
            await play_evening(bus, FIRST)
            await stand_in.have_seen(3)  # nothing to exit in BTCUSDT
            await play_morning(bus, SECOND)
            await stand_in.have_seen(5)
            late = closing(stand_in.seen[0])
            await bus.publish(replace(late, event_time_ms=start_of(SECOND) + 13 * HOUR_MS))
            while len(stand_in.seen) < 6:
                now_ms = start_of(SECOND) + 14 * HOUR_MS
                await bus.publish(Clock(ClockKind.ADVANCED, now_ms, now_ms, SECOND))
                await asyncio.sleep(0.02)
        exit_ = stand_in.seen[5]
        assert (exit_.symbol, exit_.leg, exit_.day) == ("BTCUSDT", Leg.EXIT, FIRST)
        assert exit_.strategy_version == OLD.version
        async with signal_running(live):
            await play_evening(bus, SECOND)
            await stand_in.have_seen(8)
    assert found(stand_in.seen)[6:] == NEW_DAY[2:]
