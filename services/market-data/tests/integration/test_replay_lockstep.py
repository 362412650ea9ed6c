"""A whole replay over a real bus: order of the messages, waiting, going on after an end, bad recordings."""

import asyncio
import json
import time
from datetime import date
from typing import Any

import pytest

from breakwater_core.errors import InvalidInputError, InvariantError
from breakwater_core.market import BarState, Clock, ClockKind, DailyBar, TradeBatch
from breakwater_core.session import Session
from breakwater_recordings.sources import open_recording
from breakwater_runtime.bus import Bus
from breakwater_runtime.subjects import CHECKPOINT_BUCKET, progress_key
from market_data_service.main import run
from market_data_service.settings import MarketDataSettings, Mode

RUN_ID = "replay-test"


def settings_of(server: Any, recording: Any, **changes: Any) -> MarketDataSettings:
    values: dict[str, Any] = {
        "nats_url": server.url,
        "run_id": RUN_ID,
        "mode": Mode.REPLAY,
        "recordings": (str(recording),),
        "window_s": 43_200.0,
    }
    return MarketDataSettings(**(values | changes))


async def play(settings: MarketDataSettings, parties: Any) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(run(settings, stop))
    ended = asyncio.create_task(parties.ended.wait())
    await asyncio.wait({task, ended}, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    ended.cancel()
    await task


async def test_messages_of_a_run_come_in_exactly_the_agreed_order(
    nats_server: Any, recordings: Any, other_parties: Any, bus: Bus
) -> None:
    recording = recordings.make(days=3, incomplete=(("ETHUSDT", date(2024, 3, 3)),))
    async with other_parties() as parties:
        await play(settings_of(nats_server, recording, start=date(2024, 3, 2)), parties)
    assert parties.described() == [
        "closed 2024-03-01 BTCUSDT complete w1",
        "closed 2024-03-01 ETHUSDT complete w1",
        "trades 1 BTCUSDT 24",
        "trades 1 ETHUSDT 24",
        "day_opened 0 2024-03-02 48",
        "open 2024-03-02 BTCUSDT complete w1",
        "open 2024-03-02 ETHUSDT complete w1",
        "trades 2 BTCUSDT 24",
        "trades 2 ETHUSDT 24",
        "advanced 1 2024-03-02 96",
        "trades 3 BTCUSDT 24",
        "trades 3 ETHUSDT 24",
        "advanced 2 2024-03-03 144",
        "closed 2024-03-02 BTCUSDT complete w2",
        "closed 2024-03-02 ETHUSDT complete w2",
        "day_opened 2 2024-03-03 144",
        "open 2024-03-03 BTCUSDT complete w3",
        "open 2024-03-03 ETHUSDT incomplete w3",
        "trades 4 BTCUSDT 24",
        "trades 4 ETHUSDT 24",
        "advanced 3 2024-03-03 192",
        "advanced 4 2024-03-04 192",
        "closed 2024-03-03 BTCUSDT complete w4",
        "closed 2024-03-03 ETHUSDT incomplete w4",
        "day_opened 4 2024-03-04 192",
        "ended 4 2024-03-04 192",
    ]
    value = await bus.read(CHECKPOINT_BUCKET, progress_key(RUN_ID, "market-data"))
    progress = json.loads(value or b"")
    assert (progress["window"], progress["trades_total"], progress["ended"]) == (4, 192, True)
    assert progress["now_ms"] == progress["end_ms"]


async def test_the_trades_on_the_bus_are_those_of_the_recording_and_the_bars_follow_from_them(
    nats_server: Any, recordings: Any, other_parties: Any
) -> None:
    recording = recordings.make(days=2, trades_per_day=1000)
    async with other_parties() as parties:
        await play(settings_of(nats_server, recording, window_s=3600.0), parties)
    original = open_recording([str(recording)], session=Session())
    for symbol in original.symbols:
        expected = original.reader(symbol).take_until(2**62)
        batches = [event for event in parties.seen if isinstance(event, TradeBatch) and event.symbol == symbol]
        assert [time for batch in batches for time in batch.times_ms] == expected.times_ms.tolist()
        assert [price for batch in batches for price in batch.prices] == expected.prices.tolist()
        assert [side for batch in batches for side in batch.taker_sides] == expected.taker_sides.tolist()
        closed = [
            event
            for event in parties.seen
            if isinstance(event, DailyBar) and event.symbol == symbol and event.state is BarState.CLOSED
        ]
        first_day = expected.prices[:1000]
        assert [bar.day for bar in closed] == [date(2024, 3, 1), date(2024, 3, 2)]
        assert (closed[0].open, closed[0].high, closed[0].low, closed[0].close) == (
            first_day[0],
            first_day.max(),
            first_day.min(),
            first_day[-1],
        )


async def test_trades_run_one_window_ahead_of_the_clock_and_no_further_while_signal_is_silent_at_a_days_end(
    nats_server: Any, recordings: Any, other_parties: Any
) -> None:
    recording = recordings.make(days=2)
    stop = asyncio.Event()
    async with other_parties() as parties:
        parties.hold("signal", 2)
        task = asyncio.create_task(run(settings_of(nats_server, recording), stop))
        await parties.until_clock(ClockKind.ADVANCED, 2)
        before = parties.described()
        assert before[-1].startswith("advanced 2")
        assert max(event.window for event in parties.seen if isinstance(event, TradeBatch)) == 3
        parties.release("signal", 2)
        parties.hold("account", 2)
        await parties.until_clock(ClockKind.DAY_OPENED, 2)
        assert not any(isinstance(event, DailyBar) and event.day == date(2024, 3, 2) for event in parties.seen)
        parties.release("account", 2)
        await parties.ended.wait()
        stop.set()
        await task


async def test_every_trade_before_the_stated_time_is_on_the_bus_ahead_of_the_clock(
    nats_server: Any, recordings: Any, other_parties: Any
) -> None:
    recording = recordings.make(days=2, trades_per_day=200)
    async with other_parties() as parties:
        await play(settings_of(nats_server, recording, window_s=7200.0), parties)
    through_ms = 0
    for event in parties.seen:
        if isinstance(event, TradeBatch):
            assert event.times_ms[0] >= through_ms
        elif isinstance(event, Clock):
            assert event.trades_through_ms >= event.now_ms
            through_ms = event.trades_through_ms


async def test_a_run_that_has_ended_is_not_played_again(nats_server: Any, recordings: Any, other_parties: Any) -> None:
    settings = settings_of(nats_server, recordings.make(days=1))
    async with other_parties() as parties:
        await play(settings, parties)
        messages = parties.described()
        await play(settings, parties)
        assert parties.described() == messages


async def test_the_bus_being_killed_in_mid_replay_changes_nothing(
    nats_server: Any, recordings: Any, other_parties: Any
) -> None:
    recording = recordings.make(days=2, trades_per_day=500)
    settings = settings_of(nats_server, recording, window_s=3600.0)
    stop = asyncio.Event()
    async with other_parties() as parties:
        parties.hold("signal", 30)
        task = asyncio.create_task(run(settings, stop))
        await parties.until_clock(ClockKind.ADVANCED, 30)
        nats_server.kill()
        nats_server.start()
        parties.release("signal", 30)
        await parties.ended.wait()
        stop.set()
        await task
    # What the crash took from the stream is published again, and may so reach a reader a second time.
    clocks = [event for event in parties.seen if isinstance(event, Clock) and event.kind is ClockKind.ADVANCED]
    assert list(dict.fromkeys(clock.window for clock in clocks)) == list(range(1, 49))
    trades = {
        (event.symbol, event.window, int(event.times_ms[0])): len(event)
        for event in parties.seen
        if isinstance(event, TradeBatch)
    }
    assert sum(trades.values()) == clocks[-1].trades_total == 2000


async def test_a_replay_can_be_recorded_and_the_record_holds_the_same(
    nats_server: Any, recordings: Any, other_parties: Any, tmp_path: Any
) -> None:
    recording = recordings.make(days=2, incomplete=(("BTCUSDT", date(2024, 3, 2)),))
    async with other_parties() as parties:
        await play(settings_of(nats_server, recording, record_directory=tmp_path / "again"), parties)
    original = open_recording([str(recording)], session=Session())
    again = open_recording([str(tmp_path / "again")], session=Session())
    assert again.coverage == original.coverage
    for symbol in original.symbols:
        assert (
            again.reader(symbol).take_until(2**62).prices.tolist()
            == original.reader(symbol).take_until(2**62).prices.tolist()
        )


async def test_another_range_of_days_under_the_same_run_is_refused(
    nats_server: Any, recordings: Any, other_parties: Any
) -> None:
    recording = recordings.make(days=3)
    async with other_parties() as parties:
        await play(settings_of(nats_server, recording), parties)
        with pytest.RaisesGroup(pytest.RaisesExc(InvariantError, match="use another RUN_ID"), flatten_subgroups=True):
            await run(settings_of(nats_server, recording, start=date(2024, 3, 2)), asyncio.Event())


async def test_days_that_the_recording_does_not_hold_are_refused_with_what_it_holds(
    nats_server: Any, recordings: Any
) -> None:
    recording = recordings.make(days=2)
    expected = pytest.RaisesExc(InvalidInputError, match="the recording holds 2024-03-01 to 2024-03-02")
    with pytest.RaisesGroup(expected, flatten_subgroups=True):
        await run(settings_of(nats_server, recording, start=date(2025, 1, 1), end=date(2025, 1, 2)), asyncio.Event())


async def test_a_set_speed_is_not_exceeded(nats_server: Any, recordings: Any, other_parties: Any) -> None:
    day_per_second = 86_400.0
    settings = settings_of(nats_server, recordings.make(days=1), window_s=None, speed=day_per_second)
    async with other_parties() as parties:
        started = time.perf_counter()
        await play(settings, parties)
        assert time.perf_counter() - started >= 1.0
    advanced = [event for event in parties.seen if isinstance(event, Clock) and event.kind is ClockKind.ADVANCED]
    assert [clock.window for clock in advanced] == [1, 2, 3, 4]
