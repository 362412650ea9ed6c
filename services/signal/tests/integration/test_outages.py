"""Signal when the bus does not store, when messages make no sense, and when several processes share a run."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from breakwater_cli.nats_process import NatsProcess
from breakwater_core.config import BreakwaterConfig
from breakwater_core.market import BarState, Clock, ClockKind, DailyBar, TradeBatch
from breakwater_runtime import codec, subjects
from breakwater_runtime.bus import Bus, connect
from breakwater_runtime.bus_streams import stream_body
from breakwater_runtime.config_file import write_config
from breakwater_runtime.dead_letters import list_letters
from breakwater_runtime.readers import Delivery
from breakwater_runtime.settings import ServiceSettings
from signal_service.checkpoint import Checkpoint
from signal_service.handler import MarketMessage, SignalHandler, Unreadable
from signal_service.main import run
from signal_service.progress import Progress
from signal_service.settings import SignalSettings

DAY = date(2024, 1, 6)
DAY_START_MS = 1_704_499_200_000
CONFIG = BreakwaterConfig.parse({"portfolio": {"symbols": ["BTCUSDT"]}})
LIVE = "live"


def bars() -> list[DailyBar]:
    closed = [
        DailyBar("BTCUSDT", DAY - timedelta(days=back), BarState.CLOSED, 98.0, 104.0, 96.0, 100.0, 1.0, complete=True)
        for back in range(6, 0, -1)
    ]
    return [*closed, DailyBar("BTCUSDT", DAY, BarState.OPEN, 100.0, 100.0, 100.0, 100.0, 0.0, complete=True)]


def trades(*points: tuple[int, float]) -> TradeBatch:
    times = np.array([DAY_START_MS + offset for offset, _ in points], np.int64)
    prices = np.array([price for _, price in points])
    return TradeBatch("BTCUSDT", times, prices, np.ones(len(points)), np.ones(len(points), np.int8))


BREAKOUT = (trades((0, 100.0)), trades((1000, 104.5)))
EXIT_AT = Clock(ClockKind.ADVANCED, DAY_START_MS + 86_399_000, DAY_START_MS + 86_399_000, DAY)


def message(value: Any, sequence: int) -> MarketMessage:
    return MarketMessage(value, Delivery("md.trades.bybit.BTCUSDT", b"", sequence, sequence), 0.0)


async def until(happened: Callable[[], Any]) -> None:
    async with asyncio.timeout(90):
        while not await happened():
            await asyncio.sleep(0.02)


async def no_letter(_delivery: Delivery, _reason: str) -> None:
    raise AssertionError("no message is to be put aside here")


@pytest.fixture
async def live_bus(nats_server: NatsProcess) -> Any:
    async with connect(ServiceSettings(nats_url=nats_server.url, run_id=LIVE), name="test") as connected:
        yield connected


async def checkpoint_of(bus: Bus) -> Checkpoint | None:
    value = await bus.read(subjects.CHECKPOINT_BUCKET, subjects.signal_state_key(LIVE, "a"))
    return None if value is None else Checkpoint.decode(value)


async def stored_intents(bus: Bus) -> int:
    return int((await bus.api("STREAM.INFO.INTENT"))["state"]["messages"])


async def test_no_checkpoint_is_written_ahead_of_an_intent_that_the_bus_has_not_stored(live_bus: Bus) -> None:
    await live_bus.api("STREAM.DELETE.INTENT")  # a stream that does not store, while the others do
    async with asyncio.TaskGroup() as tasks:
        handler = SignalHandler(live_bus, CONFIG, instance="a", tasks=tasks, put_aside=no_letter)
        for number, value in enumerate([*bars(), BREAKOUT[0]], 1):
            await handler.market_message(message(value, number))
        await handler.checkpoint_live()
        before = await checkpoint_of(live_bus)
        await handler.market_message(message(BREAKOUT[1], 9))
        await handler.market_message(message(EXIT_AT, 10))
        await handler.checkpoint_live()
        assert await checkpoint_of(live_bus) == before, "a restart must decide the entry and the exit again"
        await live_bus.api("STREAM.CREATE.INTENT", stream_body(subjects.INTENT_STREAM))
        await handler.drain(20)
        assert await stored_intents(live_bus) == 2
        await handler.checkpoint_live()
        after = await checkpoint_of(live_bus)
    assert before is not None
    assert after is not None
    assert (before.market_sequence, after.market_sequence) == (8, 10)


async def test_a_process_that_starts_late_in_the_day_and_one_that_resumes_publish_nothing_new(live_bus: Bus) -> None:
    async with asyncio.TaskGroup() as tasks:
        first = SignalHandler(live_bus, CONFIG, instance="a", tasks=tasks, put_aside=no_letter)
        for number, value in enumerate([*bars(), *BREAKOUT], 1):
            await first.market_message(message(value, number))
        await first.drain(20)
        await first.checkpoint_live()
        late = SignalHandler(live_bus, CONFIG, instance="b", tasks=tasks, put_aside=no_letter)
        resumed = SignalHandler(live_bus, CONFIG, instance="a", tasks=tasks, put_aside=no_letter)
        checkpoint = await checkpoint_of(live_bus)
        assert checkpoint is not None
        await resumed.resume(checkpoint)
        for number, value in enumerate([*bars(), *BREAKOUT], 1):
            await late.market_message(message(value, number))
        for handler in (first, late, resumed):
            await handler.market_message(message(BREAKOUT[1], 9))  # a repeat, as of a second market-data
            await handler.market_message(message(EXIT_AT, 10))
            await handler.drain(20)
    assert await stored_intents(live_bus) == 2


async def test_a_batch_that_makes_no_sense_is_put_aside_and_counts_as_missing_data(live_bus: Bus) -> None:
    aside: list[str] = []

    async def put_aside(_delivery: Delivery, reason: str) -> None:
        aside.append(reason)

    backwards = trades((2000, 100.0), (1000, 104.5))
    async with asyncio.TaskGroup() as tasks:
        handler = SignalHandler(live_bus, CONFIG, instance="a", tasks=tasks, put_aside=put_aside)
        sequence = [*bars(), BREAKOUT[0], backwards, Unreadable("malformed"), trades((3000, 105.0)), EXIT_AT]
        for number, value in enumerate(sequence, 1):
            await handler.market_message(message(value, number))
        await handler.drain(20)
    assert len(aside) == 2
    assert "times must never fall" in aside[0]
    assert await stored_intents(live_bus) == 0, "the price was outside when it was first seen again"


async def test_an_order_event_that_cannot_be_read_does_not_stop_signal(
    bus: Bus, nats_server: NatsProcess, tmp_path: Path
) -> None:
    write_config(CONFIG, tmp_path / "config.json")
    settings = SignalSettings(
        nats_url=nats_server.url, run_id="test-run", config_file=tmp_path / "config.json", instance="a", queue_limit=100
    )
    stop = asyncio.Event()
    await bus.publish_encoded(codec.Encoded("order.main.BTCUSDT", "", b"\xff\xff"))
    await bus.publish_all(replace(trades((0, 100.0)), window=1) for _ in range(500))  # more than it may hold
    await bus.publish(Clock(ClockKind.ADVANCED, DAY_START_MS + 1000, DAY_START_MS + 1000, DAY, window=1))
    task = asyncio.create_task(run(settings, stop))
    await until(lambda: bus.read(subjects.CHECKPOINT_BUCKET, subjects.progress_key("test-run", "signal")))
    await until(lambda: list_letters(bus))
    [letter] = await list_letters(bus)
    assert (letter.consumer, letter.subject) == ("signal-orders", "order.main.BTCUSDT")
    stop.set()
    await task


async def test_the_progress_of_several_processes_is_the_furthest_and_never_goes_back(bus: Bus) -> None:
    fast, slow = Progress(bus), Progress(bus)
    for of_fast, of_slow in ((3, 1), (4, 2), (5, 5), (6, 7), (7, 6)):
        await fast.raise_to(of_fast)
        await slow.raise_to(of_slow)
        stored = await bus.read(subjects.CHECKPOINT_BUCKET, subjects.progress_key("test-run", "signal"))
        assert stored == str(max(of_fast, of_slow)).encode()
    await asyncio.gather(*(progress.raise_to(number) for number in range(8, 20) for progress in (Progress(bus), slow)))
    assert await bus.read(subjects.CHECKPOINT_BUCKET, subjects.progress_key("test-run", "signal")) == b"19"
