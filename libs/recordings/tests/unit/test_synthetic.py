"""The synthetic generator."""

from datetime import date, time, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from breakwater_core.errors import InvalidInputError
from breakwater_core.market import DailyBar, TradeBatch
from breakwater_core.session import Session
from breakwater_recordings.daily_bars import DailyBarBuilder
from breakwater_recordings.parts import first_fault
from breakwater_recordings.sources import open_recording
from breakwater_recordings.synthetic import (
    DEFAULT_SYMBOLS,
    EPOCH,
    generate,
    generate_day,
    synthetic_instrument,
    write_synthetic,
)

FIRST = date(2024, 3, 1)
SESSION = Session()


def batches(**changes: object) -> list[TradeBatch]:
    wanted = {"seed": 7, "first_day": FIRST, "days": 2, "trades_per_day_total": 20_000, "session": SESSION}
    return list(generate(**wanted | changes))  # type: ignore[arg-type]  # changes vary by test


def same(one: TradeBatch, other: TradeBatch) -> bool:
    names = ("times_ms", "prices", "sizes", "taker_sides")
    return one.symbol == other.symbol and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in names
    )


def test_a_day_of_a_symbol_does_not_depend_on_what_else_is_asked_for() -> None:
    everything = batches(days=3)

    again = batches(days=3)
    one_day = batches(first_day=FIRST + timedelta(days=2), days=1)
    one_symbol = generate_day(
        seed=7, symbol="SOLUSDT", day=FIRST + timedelta(days=1), trades_per_day_total=20_000, session=SESSION
    )

    assert all(same(one, other) for one, other in zip(everything, again, strict=True))
    assert all(same(one, other) for one, other in zip(everything[20:], one_day, strict=True))
    assert same(everything[10 + DEFAULT_SYMBOLS.index("SOLUSDT")], one_symbol)


def test_seeds_symbols_and_days_differ() -> None:
    prices = [
        generate_day(seed=seed, symbol=symbol, day=day, trades_per_day_total=20_000, session=SESSION).prices
        for seed, symbol, day in [
            (7, "BTCUSDT", FIRST),
            (8, "BTCUSDT", FIRST),
            (7, "ETHUSDT", FIRST),
            (7, "BTCUSDT", FIRST + timedelta(days=1)),
        ]
    ]

    assert all(not np.array_equal(prices[0][:100], other[:100]) for other in prices[1:])


def test_trades_are_sound_and_lie_on_the_symbols_grid_and_day() -> None:
    for batch in batches(symbols=(*DEFAULT_SYMBOLS, "NEWUSDT")):
        instrument = synthetic_instrument(batch.symbol)
        day = SESSION.day_of(int(batch.times_ms[0]))
        assert first_fault(batch) is None
        assert SESSION.day_start_ms(day) <= batch.times_ms[0]
        assert batch.times_ms[-1] < SESSION.day_end_ms(day)
        for value in batch.prices[:50].tolist():
            assert Decimal(repr(value)) % instrument.tick_size == 0
        for value in batch.sizes[:50].tolist():
            assert Decimal(repr(value)) % instrument.quantity_step == 0
        assert batch.sizes.min() >= float(instrument.quantity_step)


def test_the_number_of_trades_is_near_the_one_asked_for() -> None:
    found = batches(days=20, trades_per_day_total=50_000)

    assert sum(len(batch) for batch in found) / 20 == pytest.approx(50_000, rel=0.3)


def test_a_day_opens_where_the_one_before_closed() -> None:
    found = batches(days=5, trades_per_day_total=200_000, symbols=["BTCUSDT"])

    for before, after in pairwise(found):
        assert after.prices[0] == pytest.approx(before.prices[-1], rel=2e-3)


def test_days_of_a_session_elsewhere_fill_that_session() -> None:
    session = Session(start=time(0), timezone="America/New_York")
    day = date(2024, 3, 10)  # 23 hours long

    batch = generate_day(seed=1, symbol="BTCUSDT", day=day, trades_per_day_total=50_000, session=session)

    assert session.day_start_ms(day) <= batch.times_ms[0] < session.day_start_ms(day) + 600_000
    assert session.day_end_ms(day) - 600_000 < batch.times_ms[-1] < session.day_end_ms(day)


@pytest.fixture(scope="module")
def year() -> list[DailyBar]:
    builder = DailyBarBuilder(SESSION)
    for batch in generate(
        seed=3,
        first_day=date(2023, 1, 1),
        days=240,
        trades_per_day_total=12_000,
        session=SESSION,
        symbols=("BTCUSDT", "SOLUSDT", "XRPUSDT"),
    ):
        builder.feed(batch)
    return builder.close_until(SESSION.day_start_ms(date(2030, 1, 1)))


def columns(bars: list[DailyBar], symbol: str) -> tuple[np.ndarray, ...]:
    rows = np.array([(bar.open, bar.high, bar.low, bar.close) for bar in bars if bar.symbol == symbol])
    return tuple(rows.T)


def test_breakouts_of_half_the_range_are_about_as_frequent_as_in_real_markets(year: list[DailyBar]) -> None:
    entries = []
    for symbol in ("BTCUSDT", "SOLUSDT", "XRPUSDT"):
        opens, highs, lows, _ = columns(year, symbol)
        half_range = 0.5 * (highs - lows)[4:-1]
        averages = np.convolve(opens, np.ones(5) / 5, mode="valid")[1:]
        long = (highs[5:] >= opens[5:] + half_range) & (opens[5:] + half_range > averages)
        short = (lows[5:] <= opens[5:] - half_range) & (opens[5:] - half_range < averages)
        entries.append((long | short).mean())

    assert 0.45 < np.mean(entries) < 0.7


def test_returns_have_plausible_size_clustered_ranges_and_a_common_factor(year: list[DailyBar]) -> None:
    returns, clustering = {}, []
    for symbol in ("BTCUSDT", "SOLUSDT", "XRPUSDT"):
        opens, highs, lows, closes = columns(year, symbol)
        returns[symbol] = np.log(closes / opens)
        assert 0.01 < returns[symbol].std() < 0.08
        assert np.abs(returns[symbol]).max() < 0.5
        ranges = np.log(highs / lows)
        clustering.append(np.corrcoef(ranges[1:], ranges[:-1])[0, 1])

    assert np.mean(clustering) > 0.2
    assert 0.3 < np.corrcoef(returns["BTCUSDT"], returns["SOLUSDT"])[0, 1] < 0.95


def test_fills_share_instants_and_sizes_have_a_heavy_tail() -> None:
    (batch,) = batches(days=1, trades_per_day_total=200_000, symbols=["ETHUSDT"])

    assert 0.2 < np.mean(np.diff(batch.times_ms) == 0) < 0.7
    assert batch.sizes.max() > 50 * np.median(batch.sizes)
    assert 0.4 < np.mean(batch.taker_sides == 1) < 0.6


def test_written_recordings_hold_what_is_generated_and_are_complete(tmp_path: Path) -> None:
    session = Session(start=time(9), timezone="America/New_York")
    wanted = {"seed": 7, "first_day": FIRST, "days": 2, "trades_per_day_total": 20_000, "session": session}

    written = write_synthetic(tmp_path, **wanted)  # type: ignore[arg-type]  # one set of values for both calls
    recording = open_recording([str(tmp_path)], session=session)

    assert recording.symbols == tuple(sorted(DEFAULT_SYMBOLS))
    assert recording.days == [FIRST, FIRST + timedelta(days=1)]
    assert all(recording.complete_days(symbol) == recording.days for symbol in recording.symbols)
    assert recording.estimated_trades == written
    generated = [batch for batch in generate(**wanted) if batch.symbol == "BTCUSDT"]  # type: ignore[arg-type]  # as above
    reader = recording.reader("BTCUSDT")
    for day, batch in zip(recording.days, generated, strict=True):
        assert same(reader.take_until(session.day_end_ms(day)), batch)


@pytest.mark.parametrize(
    "changes",
    [
        {"days": 0},
        {"symbols": ()},
        {"trades_per_day_total": 0},
        {"first_day": EPOCH - timedelta(days=1)},
        {"symbols": ["a b"]},
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        batches(**changes)
