"""Daily bars of sessions made of the exchange's candles."""

from datetime import date, time, timedelta

import pytest

from breakwater_bybit.model import Candle, Interval
from breakwater_core.session import Session
from market_data_service.candle_bars import closed_bar, interval_for, open_bar

DAY = date(2024, 3, 5)
KOLKATA = Session(time(0, 0), "Asia/Kolkata")
SEOUL = Session(time(0, 0), "Asia/Seoul")


@pytest.mark.parametrize(
    ("session", "expected"),
    [
        (Session(), Interval.DAY),
        (Session(time(9, 0), "Asia/Seoul"), Interval.DAY),
        (SEOUL, Interval.HOUR),
        (Session(time(12, 0)), Interval.HOURS_12),
        (Session(time(4, 0)), Interval.HOURS_4),
        (KOLKATA, Interval.MINUTES_30),
        (Session(time(0, 7)), Interval.MINUTE),
    ],
)
def test_the_longest_candle_that_fits_the_session_is_chosen(session: Session, expected: Interval) -> None:
    assert interval_for(session, DAY, DAY + timedelta(days=2)) is expected


def candles_of(session: Session, day: date, interval: Interval, *, closed: int | None = None) -> list[Candle]:
    start_ms, end_ms = session.day_start_ms(day), session.day_end_ms(day)
    count = 999 if closed is None else closed
    starts = range(start_ms, end_ms, interval.milliseconds)
    return [
        Candle("BTCUSDT", interval, start, 10.0 + n, 12.0 + n, 9.0 - n, 11.0 + n, 2.0, 20.0, is_closed=n < count)
        for n, start in enumerate(starts)
    ]


def test_a_closed_bar_spans_all_candles_of_its_session_day() -> None:
    candles = candles_of(SEOUL, DAY, Interval.HOUR) + candles_of(SEOUL, DAY + timedelta(days=1), Interval.HOUR)
    bar = closed_bar(candles, SEOUL, DAY)
    assert bar is not None
    assert (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.complete) == (10, 35, -14, 34, 48, True)


def test_a_day_with_a_candle_that_may_change_is_not_closed() -> None:
    assert closed_bar(candles_of(SEOUL, DAY, Interval.HOUR, closed=23), SEOUL, DAY) is None
    assert closed_bar(candles_of(SEOUL, DAY, Interval.HOUR)[:-1], SEOUL, DAY) is None
    assert closed_bar([], SEOUL, DAY) is None


def test_a_day_whose_first_candles_are_missing_is_incomplete() -> None:
    late = candles_of(SEOUL, DAY, Interval.HOUR)[5:]
    closed, opened = closed_bar(late, SEOUL, DAY), open_bar(late, SEOUL, DAY)
    assert closed is not None
    assert opened is not None
    assert not closed.complete
    assert not opened.complete


def test_an_open_bar_has_the_open_of_the_days_first_candle() -> None:
    bar = open_bar(candles_of(Session(), DAY, Interval.DAY, closed=0), Session(), DAY)
    assert bar is not None
    assert (bar.open, bar.complete) == (10, True)
    assert open_bar([], Session(), DAY) is None
