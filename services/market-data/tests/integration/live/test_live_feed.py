"""The live feed against a local exchange: order, gaps, restarts, the day's turn."""

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from breakwater_core.config import BreakwaterConfig
from breakwater_core.config_schedule import ConfigSchedule, ConfigVersion, DayVersion, ScheduledVersion
from breakwater_core.errors import InvalidInputError
from breakwater_core.market import BarState, ClockKind
from breakwater_core.session import Session
from breakwater_recordings.day_openings import read_day_opening
from breakwater_recordings.sources import open_recording
from breakwater_runtime.bus import Bus
from breakwater_runtime.config_versions import ConfigStore
from breakwater_runtime.errors import DependencyError
from breakwater_runtime.readers import read_stream
from market_data_service.incomplete_days import IncompleteDays
from market_data_service.main import run
from market_data_service.symbol_feed import Gap

DAY_MS = 86_400_000
LEAD_MS = 5000
"""How long before the end of a day a service is started that is to see it; it must be connected by then."""


async def connected(exchange: Any, listener: Any, times: int = 1) -> None:
    """Wait until the stream is up for the nth time and a first trade has come through."""
    await listener.until(lambda: exchange.connections >= times and exchange.sockets)


async def test_at_the_start_come_the_days_before_then_the_days_opening_then_open_bars_and_the_clock(
    exchange: Any, listener: Any, live_service: Any
) -> None:
    async with live_service():
        await listener.until(lambda: len(listener.clocks(ClockKind.ADVANCED)) > 3)
    today = datetime.fromtimestamp(exchange.now_ms() / 1000, tz=UTC).date()
    kinds = [getattr(event, "state", None) or event.kind for event in listener.seen]
    assert kinds[:14] == [BarState.CLOSED] * 10 + [ClockKind.DAY_OPENED] + [BarState.OPEN] * 2 + [ClockKind.ADVANCED]
    days = [bar.day for bar in listener.bars("BTCUSDT", BarState.CLOSED)]
    assert days == [today - timedelta(days=number) for number in (5, 4, 3, 2, 1)]
    assert all(bar.complete for bar in listener.bars("BTCUSDT", BarState.CLOSED))
    assert listener.bars("ETHUSDT", BarState.OPEN)[0].open == 100
    times = [clock.now_ms for clock in listener.clocks(ClockKind.ADVANCED)]
    assert times == sorted(times)
    assert abs(times[-1] - exchange.now_ms()) < 2000


async def test_trades_are_published_in_order_and_the_clock_never_runs_ahead_of_what_it_states(
    exchange: Any, listener: Any, live_service: Any
) -> None:
    async with live_service():
        await connected(exchange, listener)
        for number in range(50):
            await exchange.trade("BTCUSDT", 100 + number)
            await exchange.trade("ETHUSDT", 200 + number)
        await listener.until(lambda: len(listener.prices("ETHUSDT")) == 50)
    assert listener.prices("BTCUSDT") == [100.0 + number for number in range(50)]
    newest_ms = 0
    for event in listener.seen:
        if hasattr(event, "times_ms"):
            newest_ms = max(newest_ms, int(event.times_ms[-1]))
        elif hasattr(event, "trades_through_ms") and newest_ms:
            assert event.trades_through_ms <= newest_ms + 1


async def test_trades_made_while_the_stream_was_away_are_fetched_and_published_in_order(
    exchange: Any, listener: Any, live_service: Any
) -> None:
    async with live_service():
        await connected(exchange, listener)
        await exchange.trade("BTCUSDT", 1)
        await listener.until(lambda: listener.prices("BTCUSDT"))
        exchange.accepts_streams = False
        await exchange.drop()
        for price in (2, 3, 4):
            await exchange.trade("BTCUSDT", price)
        exchange.accepts_streams = True
        await connected(exchange, listener, 2)
        await exchange.trade("BTCUSDT", 5)
        await listener.until(lambda: len(listener.prices("BTCUSDT")) == 5)
    assert listener.prices("BTCUSDT") == [1, 2, 3, 4, 5]
    assert not listener.alerts("data_gap")
    assert all(bar.complete for bar in listener.bars("BTCUSDT", BarState.OPEN))


async def test_a_gap_that_the_exchange_cannot_fill_marks_the_day_and_a_restart_remembers(
    exchange: Any, listener: Any, live_service: Any
) -> None:
    exchange.history = 2
    async with live_service():
        await connected(exchange, listener)
        await exchange.trade("BTCUSDT", 1)
        await listener.until(lambda: listener.prices("BTCUSDT"))
        exchange.accepts_streams = False
        await exchange.drop()
        for price in (2, 3, 4, 5, 6):
            await exchange.trade("BTCUSDT", price)
            await asyncio.sleep(0.003)  # trades of different milliseconds
        exchange.accepts_streams = True
        await listener.until(lambda: listener.alerts("data_gap"))
        await listener.until(lambda: listener.prices("BTCUSDT") == [1, 5, 6])
    opened = listener.bars("BTCUSDT", BarState.OPEN)
    assert [bar.complete for bar in opened] == [True, False]
    assert [alert.symbol for alert in listener.alerts("data_gap")] == ["BTCUSDT"]
    assert all(bar.complete for bar in listener.bars("ETHUSDT", BarState.OPEN))
    async with live_service():
        await listener.until(lambda: len(listener.bars("BTCUSDT", BarState.OPEN)) == 3)
    assert not listener.bars("BTCUSDT", BarState.OPEN)[-1].complete


async def test_a_restarted_process_fetches_what_was_traded_meanwhile_and_opens_the_day_only_once(
    exchange: Any, listener: Any, live_service: Any
) -> None:
    async with live_service():
        await connected(exchange, listener)
        for price in (1, 2):
            await exchange.trade("BTCUSDT", price)
        await listener.until(lambda: len(listener.prices("BTCUSDT")) == 2)
    for price in (3, 4):
        await exchange.trade("BTCUSDT", price)
    async with live_service():
        await listener.until(lambda: len(listener.prices("BTCUSDT")) >= 4)
        await exchange.trade("BTCUSDT", 5)
        await listener.until(lambda: len(listener.prices("BTCUSDT")) >= 5)
    assert listener.prices("BTCUSDT") == [1, 2, 3, 4, 5]
    assert len(listener.clocks(ClockKind.DAY_OPENED)) == 1
    assert not listener.alerts("data_gap")


async def test_an_exchange_that_answers_nothing_after_a_gap_delays_frames_only_so_long(
    exchange: Any, listener: Any, live_service: Any
) -> None:
    async with live_service(backfill_timeout_s=0.3):
        await connected(exchange, listener)
        await exchange.trade("BTCUSDT", 1)
        await listener.until(lambda: listener.prices("BTCUSDT"))
        exchange.refused_requests.add("trades")
        await exchange.drop()
        await connected(exchange, listener, 2)
        await exchange.trade("BTCUSDT", 2)
        await listener.until(lambda: listener.prices("BTCUSDT") == [1, 2])
        await listener.until(lambda: listener.alerts("data_gap"))


async def test_a_symbol_whose_frames_stop_while_others_go_on_is_fetched_and_the_stream_is_renewed(
    exchange: Any, listener: Any, live_service: Any
) -> None:
    async with live_service(stale_after_s=0.4):
        await connected(exchange, listener)
        await exchange.trade("BTCUSDT", 1)
        await listener.until(lambda: listener.prices("BTCUSDT"))
        exchange.lost.add("BTCUSDT")
        await exchange.trade("BTCUSDT", 2)
        while not listener.alerts("stream_silent"):
            await exchange.trade("ETHUSDT", 7)
            await asyncio.sleep(0.02)  # other symbols move
        await connected(exchange, listener, 2)
        exchange.lost.clear()
        await exchange.trade("BTCUSDT", 3)
        await listener.until(lambda: len(listener.prices("BTCUSDT")) == 3)
    assert listener.prices("BTCUSDT") == [1, 2, 3]
    assert not listener.alerts("data_gap")


async def test_a_stream_that_stands_and_delivers_nothing_at_all_is_renewed_and_a_quiet_market_is_not(
    exchange: Any, listener: Any, live_service: Any
) -> None:
    async with live_service(stale_after_s=0.4):
        await connected(exchange, listener)
        await exchange.trade("BTCUSDT", 1)
        await listener.until(lambda: listener.prices("BTCUSDT"))
        looks = exchange.looks
        await listener.until(lambda: exchange.looks >= looks + 6)  # nobody trades, and it has asked about that
        assert exchange.connections == 1
        exchange.lost.update(("BTCUSDT", "ETHUSDT"))
        await exchange.trade("ETHUSDT", 7)
        await exchange.trade("BTCUSDT", 2)
        await connected(exchange, listener, 2)
        exchange.lost.clear()
        await exchange.trade("BTCUSDT", 3)
        await listener.until(lambda: len(listener.prices("BTCUSDT")) == 3)
    assert listener.prices("BTCUSDT") == [1, 2, 3]
    assert listener.alerts("stream_silent")
    assert not listener.alerts("data_gap")


async def test_trades_that_came_while_the_bus_was_down_are_on_it_in_order_once_it_is_back(
    exchange: Any, listener: Any, live_service: Any, live_bus: Bus, nats_server: Any
) -> None:
    async with live_service():
        await connected(exchange, listener)
        await exchange.trade("BTCUSDT", 1)
        await listener.until(lambda: listener.prices("BTCUSDT"))
        nats_server.kill()
        for price in (2, 3, 4):
            await exchange.trade("BTCUSDT", price)
        nats_server.start()
        await exchange.trade("BTCUSDT", 5)
        again = type(listener)()
        async with read_stream(live_bus, name="again", stream="MD", filters=["md.>"], start=1, handle=again.received):
            await again.until(lambda: 5 in again.prices("BTCUSDT"))
    # the server may forget what it stored right before it was killed; a lost acknowledgement makes a trade come twice
    assert [price for price in dict.fromkeys(again.prices("BTCUSDT")) if price > 1] == [2, 3, 4, 5]


async def test_at_a_days_end_the_closed_bar_is_the_exchanges_candle_and_the_next_day_opens(
    exchange: Any, listener: Any, live_service: Any
) -> None:
    exchange.offset_ms = DAY_MS - round(datetime.now(tz=UTC).timestamp() * 1000) % DAY_MS - LEAD_MS
    started = datetime.fromtimestamp(exchange.now_ms() / 1000, tz=UTC).date()
    async with live_service():
        await connected(exchange, listener)
        await exchange.trade("BTCUSDT", 130)
        await exchange.trade("BTCUSDT", 80)
        await listener.until(lambda: len(listener.bars("BTCUSDT", BarState.OPEN)) == 2)
        await listener.until(lambda: len(listener.bars("ETHUSDT", BarState.OPEN)) == 2)
    closed = listener.bars("BTCUSDT", BarState.CLOSED)[-1]
    assert (closed.day, closed.high, closed.low, closed.close, closed.complete) == (started, 130, 80, 80, True)
    assert listener.bars("BTCUSDT", BarState.OPEN)[-1].day == started + timedelta(days=1)
    turns = listener.clocks(ClockKind.DAY_OPENED)
    assert [clock.day for clock in turns] == [started, started + timedelta(days=1)]
    positions = [listener.seen.index(event) for event in (turns[1], closed)]
    assert positions == sorted(positions)


@pytest.mark.parametrize(
    ("start", "timezone"),
    [("00:37", "UTC"), ("09:30", "UTC"), ("00:00", "Asia/Kolkata"), ("09:30", "America/New_York")],
)
async def test_a_day_that_begins_within_an_hour_is_closed_and_opened_at_its_boundary(
    exchange: Any, listener: Any, live_service: Any, tmp_path: Path, start: str, timezone: str
) -> None:
    config = tmp_path / "session.json"
    settings = {
        "portfolio": {"symbols": ["BTCUSDT"]},
        "strategy": {"ma_window": 25},
        "session": {"start": start, "timezone": timezone},
    }
    config.write_text(json.dumps(settings))
    session = BreakwaterConfig.parse(settings).session.session()
    ended = session.day_of(exchange.now_ms())
    exchange.offset_ms = session.day_end_ms(ended) - exchange.now_ms() - LEAD_MS
    async with live_service(config_file=config):
        await connected(exchange, listener)
        await exchange.trade("BTCUSDT", 130)
        await listener.until(lambda: len(listener.bars("BTCUSDT", BarState.OPEN)) == 2)
    closed = {bar.day: bar for bar in listener.bars("BTCUSDT", BarState.CLOSED)}
    assert sorted(closed) == [ended - timedelta(days=number) for number in range(27, -1, -1)]
    assert all(bar.complete for bar in closed.values())
    assert closed[ended].high == 130
    assert [bar.day for bar in listener.bars("BTCUSDT", BarState.OPEN)] == [ended, ended + timedelta(days=1)]
    assert not listener.alerts("candle_late")


async def test_a_process_that_starts_right_after_the_boundary_waits_for_the_days_candle(
    exchange: Any, listener: Any, live_service: Any
) -> None:
    exchange.offset_ms = DAY_MS - round(datetime.now(tz=UTC).timestamp() * 1000) % DAY_MS + 10
    exchange.candle_lag_ms = 2000
    today = datetime.fromtimestamp(exchange.now_ms() / 1000, tz=UTC).date()
    async with live_service():
        await listener.until(lambda: listener.bars("BTCUSDT", BarState.OPEN))
        await listener.until(lambda: listener.bars("ETHUSDT", BarState.OPEN))
    assert [bar.day for bar in listener.bars("BTCUSDT", BarState.OPEN)] == [today]
    closed = listener.bars("BTCUSDT", BarState.CLOSED)[-5:]
    assert [bar.day for bar in closed] == [today - timedelta(days=number) for number in (5, 4, 3, 2, 1)]
    assert not listener.alerts("candle_late")


async def test_a_day_that_begins_within_a_minute_is_refused(exchange: Any, live_settings: Any, tmp_path: Path) -> None:
    config = tmp_path / "session.json"
    config.write_text(json.dumps({"portfolio": {"symbols": ["BTCUSDT"]}, "session": {"start": "00:37:30"}}))
    expected = pytest.RaisesExc(InvalidInputError, match="begins on a full minute")
    with pytest.RaisesGroup(expected, flatten_subgroups=True, allow_unwrapped=True):
        await run(live_settings(config_file=config), asyncio.Event())


async def test_a_recorded_live_feed_is_a_recording_with_its_coverage(
    exchange: Any, listener: Any, live_service: Any, tmp_path: Path
) -> None:
    async with live_service(record_directory=tmp_path / "record"):
        await connected(exchange, listener)
        for number in range(20):
            await exchange.trade("BTCUSDT", 100 + number)
        await listener.until(lambda: len(listener.prices("BTCUSDT")) == 20)
        await exchange.trade("ETHUSDT", 1)
        await listener.until(lambda: listener.prices("ETHUSDT"))
    recording = open_recording([str(tmp_path / "record")], session=Session())
    assert recording.reader("BTCUSDT").take_until(2**62).prices.tolist() == listener.prices("BTCUSDT")
    (covered,) = recording.coverage["BTCUSDT"].intervals
    assert abs(covered[0] - exchange.trades["BTCUSDT"][0]["T"]) < 1000
    assert covered[1] == exchange.trades["ETHUSDT"][0]["T"]


async def test_the_bars_that_a_recorded_day_was_traded_with_stand_beside_its_trades(
    exchange: Any, listener: Any, live_service: Any, tmp_path: Path
) -> None:
    exchange.offset_ms = DAY_MS - round(datetime.now(tz=UTC).timestamp() * 1000) % DAY_MS - LEAD_MS
    started = datetime.fromtimestamp(exchange.now_ms() / 1000, tz=UTC).date()
    async with live_service(record_directory=tmp_path):
        await connected(exchange, listener)
        await exchange.trade("BTCUSDT", 130)
        await listener.until(lambda: len(listener.bars("BTCUSDT", BarState.OPEN)) == 2)
        await listener.until(lambda: len(listener.bars("ETHUSDT", BarState.OPEN)) == 2)
    for number in (0, 1):
        day = started + timedelta(days=number)
        opening = read_day_opening(tmp_path, day)
        assert opening is not None
        assert opening.symbols == ("BTCUSDT", "ETHUSDT")
        of_symbol = [bar for bar in opening.bars if bar.symbol == "BTCUSDT"]
        closed = {bar.day: bar for bar in listener.bars("BTCUSDT", BarState.CLOSED) if bar.day < day}
        opened = [bar for bar in listener.bars("BTCUSDT", BarState.OPEN) if bar.day == day]
        assert of_symbol == [*(closed[known] for known in sorted(closed)[-5:]), opened[-1]]


async def test_two_processes_at_once_store_each_trade_once_and_forget_no_gap_of_each_other(
    exchange: Any, listener: Any, live_service: Any, live_bus: Bus
) -> None:
    async with live_service(instance="a"), live_service(instance="b"):
        await connected(exchange, listener, 2)
        await listener.until(lambda: len(exchange.sockets) == 2)
        for number in range(40):
            await exchange.trade("BTCUSDT", 100 + number)
        await listener.until(lambda: 139 in listener.prices("BTCUSDT"))
        first, second = (IncompleteDays(live_bus, Session()) for _ in range(2))
        await asyncio.gather(
            first.add("BTCUSDT", Gap(DAY_MS, DAY_MS + 1)), second.add("ETHUSDT", Gap(2 * DAY_MS, 2 * DAY_MS + 1))
        )
    await first.read()
    assert first.holds("BTCUSDT", date(1970, 1, 2))
    assert first.holds("ETHUSDT", date(1970, 1, 3))
    assert listener.prices("BTCUSDT") == [100.0 + number for number in range(40)]


async def test_a_symbol_that_nobody_trades_any_more_is_told_once_while_others_go_on(
    exchange: Any, listener: Any, live_service: Any
) -> None:
    async with live_service(stale_after_s=0.1, quiet_after_s=0.3):
        await connected(exchange, listener)
        await exchange.trade("BTCUSDT", 1)
        while not listener.alerts("symbol_not_trading"):
            await exchange.trade("ETHUSDT", 7)
            await asyncio.sleep(0.02)  # other symbols move
        for _ in range(20):
            await exchange.trade("ETHUSDT", 7)
            await asyncio.sleep(0.02)
    assert [alert.symbol for alert in listener.alerts("symbol_not_trading")] == ["BTCUSDT"]
    assert not listener.alerts("data_gap")


async def test_an_absent_exchange_is_named(live_settings: Any, exchange: Any) -> None:
    exchange.refused_requests.add("time")
    expected = pytest.RaisesExc(DependencyError, match="the exchange did not answer at http://127.0.0.1")
    with pytest.RaisesGroup(expected, flatten_subgroups=True, allow_unwrapped=True):
        await run(live_settings(), asyncio.Event())


async def test_the_symbols_of_a_version_that_is_to_begin_are_followed_without_a_restart(
    exchange: Any, listener: Any, live_service: Any, live_bus: Bus
) -> None:
    wider = ConfigVersion.of(
        BreakwaterConfig.parse({"portfolio": {"symbols": ["BTCUSDT", "SOLUSDT"]}, "strategy": {"ma_window": 8}})
    )
    today = datetime.fromtimestamp(exchange.now_ms() / 1000, tz=UTC).date()
    store = ConfigStore(live_bus)
    async with live_service():
        await connected(exchange, listener)
        await exchange.trade("BTCUSDT", 1)
        await listener.until(lambda: listener.prices("BTCUSDT"))
        await store.keep(wider)
        entry = ScheduledVersion(today + timedelta(days=1), wider.version, "", 0)
        await store.replace_schedule(ConfigSchedule().with_entry(entry), last=0)
        await connected(exchange, listener, 2)
        await listener.until(lambda: len(listener.bars("SOLUSDT", BarState.OPEN)) == 1)
        assert len(listener.bars("SOLUSDT", BarState.CLOSED)) == 10
        assert len(listener.bars("BTCUSDT", BarState.CLOSED)) == 5 + 10
        for symbol, price in (("BTCUSDT", 2), ("ETHUSDT", 3), ("SOLUSDT", 4)):
            await exchange.trade(symbol, price)
        await listener.until(lambda: listener.prices("SOLUSDT") and listener.prices("ETHUSDT"))
        for day in (today, today + timedelta(days=1), today + timedelta(days=2)):
            await store.fix_day(DayVersion(day, wider.version, 1))
        await connected(exchange, listener, 3)
        for symbol, price in (("ETHUSDT", 5), ("SOLUSDT", 6), ("BTCUSDT", 7)):
            await exchange.trade(symbol, price)
        await listener.until(lambda: len(listener.prices("BTCUSDT")) == 3 and len(listener.prices("SOLUSDT")) == 2)
    assert (listener.prices("BTCUSDT"), listener.prices("SOLUSDT")) == ([1, 2, 7], [4, 6])
    assert listener.prices("ETHUSDT") == [3]
    assert not listener.alerts("data_gap")


async def test_a_symbol_that_the_exchange_does_not_answer_for_holds_up_no_other(
    exchange: Any, listener: Any, live_service: Any, live_bus: Bus
) -> None:
    wider = ConfigVersion.of(BreakwaterConfig.parse({"portfolio": {"symbols": ["BTCUSDT", "SOLUSDT"]}}))
    today = datetime.fromtimestamp(exchange.now_ms() / 1000, tz=UTC).date()
    store = ConfigStore(live_bus)
    async with live_service():
        await connected(exchange, listener)
        exchange.refused_requests.add("candles")
        await store.keep(wider)
        entry = ScheduledVersion(today + timedelta(days=1), wider.version, "", 0)
        await store.replace_schedule(ConfigSchedule().with_entry(entry), last=0)
        await listener.until(lambda: listener.alerts("symbol_not_followed"))
        await exchange.trade("BTCUSDT", 1)
        await listener.until(lambda: listener.prices("BTCUSDT") == [1])
