"""Daily bars made of trades."""

from collections.abc import Callable
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.errors import InvalidInputError, InvariantError
from breakwater_core.market import BarState, DailyBar, TradeBatch
from breakwater_core.session import Session
from breakwater_recordings.daily_bars import DailyBarBuilder, OpeningBars, bars_before
from breakwater_recordings.parquet import RecordingWriter
from breakwater_recordings.recording import Recording
from breakwater_recordings.sources import open_recording

DAY = date(2024, 1, 1)
DAY_MS = 1_704_067_200_000
HOURS_24_MS = 86_400_000

type MakeBatch = Callable[..., TradeBatch]


def test_a_bar_opens_at_the_first_trade_and_closes_when_its_day_is_over(make_batch: MakeBatch) -> None:
    builder = DailyBarBuilder(Session(), is_complete=lambda _symbol, day: day == DAY)
    first = make_batch([DAY_MS + 5, DAY_MS + 6], prices=[10, 12], sizes=[1, 2])
    second = make_batch([DAY_MS + 7, DAY_MS + 8], prices=[8, 11], sizes=[3, 4])

    (opened,) = builder.feed(first)
    assert (opened.state, opened.day, opened.open, opened.complete) == (BarState.OPEN, DAY, 10.0, True)
    assert builder.feed(second) == []
    assert builder.close_until(DAY_MS + HOURS_24_MS - 1) == []
    assert builder.close_until(DAY_MS + HOURS_24_MS, window=3) == [
        DailyBar("BTCUSDT", DAY, BarState.CLOSED, 10.0, 12.0, 8.0, 11.0, 10.0, complete=True, window=3)
    ]
    assert builder.close_until(DAY_MS + 5 * HOURS_24_MS) == []


def test_a_batch_over_several_days_feeds_each_of_them(make_batch: MakeBatch) -> None:
    builder = DailyBarBuilder(Session())

    opened = builder.feed(
        make_batch([DAY_MS, DAY_MS + HOURS_24_MS - 1, DAY_MS + HOURS_24_MS, DAY_MS + 3 * HOURS_24_MS])
    )

    assert [bar.day for bar in opened] == [date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 4)]
    closed = builder.close_until(DAY_MS + 3 * HOURS_24_MS)
    assert [bar.day for bar in closed] == [date(2024, 1, 1), date(2024, 1, 2)]


def test_bars_close_in_order_of_day_and_symbol(make_batch: MakeBatch) -> None:
    builder = DailyBarBuilder(Session())
    for symbol in ("ETHUSDT", "BTCUSDT"):
        builder.feed(make_batch([DAY_MS, DAY_MS + HOURS_24_MS], symbol=symbol))

    closed = builder.close_until(DAY_MS + 2 * HOURS_24_MS)

    assert [(bar.day.day, bar.symbol) for bar in closed] == [
        (1, "BTCUSDT"),
        (1, "ETHUSDT"),
        (2, "BTCUSDT"),
        (2, "ETHUSDT"),
    ]


def test_a_trade_of_a_closed_day_is_an_error(make_batch: MakeBatch) -> None:
    builder = DailyBarBuilder(Session())
    builder.close_until(DAY_MS + HOURS_24_MS)

    with pytest.raises(InvariantError, match="belongs to a day that is closed"):
        builder.feed(make_batch([DAY_MS + HOURS_24_MS - 1]))


TRADES = st.lists(
    st.tuples(st.integers(0, 2 * HOURS_24_MS), st.floats(1e-3, 1e6), st.floats(0, 1e9)), min_size=1, max_size=40
).map(lambda trades: sorted(trades, key=lambda trade: trade[0]))


@given(TRADES, st.sets(st.integers(0, 40)))
def test_bars_do_not_depend_on_how_the_trades_are_cut(
    make_batch: MakeBatch, trades: list[tuple[int, float, float]], cuts: set[int]
) -> None:
    def bars(bounds: list[int]) -> list[DailyBar]:
        builder = DailyBarBuilder(Session())
        for start, stop in pairwise(bounds):
            times, prices, sizes = zip(*trades[start:stop], strict=True)
            builder.feed(make_batch([DAY_MS + time_ms for time_ms in times], prices=prices, sizes=sizes))
        return builder.close_until(DAY_MS + 3 * HOURS_24_MS)

    bounds = sorted({0, len(trades), *(cut for cut in cuts if cut < len(trades))})

    assert bars(bounds) == bars([0, len(trades)])


@pytest.fixture
def recording(tmp_path: Path, make_batch: MakeBatch) -> Recording:
    """Three days of two symbols; the second trades late on its days and not at all on the second one."""
    with RecordingWriter(tmp_path) as writer:
        for day in range(3):
            start_ms = DAY_MS + day * HOURS_24_MS
            writer.write(make_batch([start_ms + 10, start_ms + 20], prices=[day + 1, day + 2]))
            if day != 1:
                writer.write(make_batch([start_ms + HOURS_24_MS - 9], symbol="ETHUSDT", prices=[50 + day]))
        writer.cover("BTCUSDT", DAY_MS, DAY_MS + 2 * HOURS_24_MS)
    return open_recording([str(tmp_path)], session=Session())


def test_bars_before_a_day_are_closed_and_say_whether_they_are_complete(recording: Recording) -> None:
    bars = bars_before(recording, date(2024, 1, 3), days=5)

    assert [(bar.day.day, bar.symbol, bar.open, bar.close, bar.complete) for bar in bars] == [
        (1, "BTCUSDT", 1.0, 2.0, True),
        (1, "ETHUSDT", 50.0, 50.0, False),
        (2, "BTCUSDT", 2.0, 3.0, True),
    ]
    assert {bar.state for bar in bars} == {BarState.CLOSED}
    assert [bar.day.day for bar in bars_before(recording, date(2024, 1, 3), days=1)] == [2]
    assert bars_before(recording, date(2024, 1, 3), days=0) == []
    with pytest.raises(InvalidInputError, match="must not be negative"):
        bars_before(recording, DAY, days=-1)


def test_opening_bars_state_the_first_price_of_a_day_before_it_is_traded(recording: Recording) -> None:
    opening = OpeningBars(recording)

    found = [[(bar.symbol, bar.open, bar.complete) for bar in opening.of(date(2024, 1, day))] for day in (1, 2, 3)]

    assert found == [
        [("BTCUSDT", 1.0, True), ("ETHUSDT", 50.0, False)],
        [("BTCUSDT", 2.0, True)],
        [("BTCUSDT", 3.0, False), ("ETHUSDT", 52.0, False)],
    ]
    with pytest.raises(InvalidInputError, match="cannot go back"):
        opening.of(DAY)
