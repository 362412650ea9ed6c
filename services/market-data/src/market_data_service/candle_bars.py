"""Daily bars of any session from the exchange's candles, which begin on multiples of their length in UTC.

Pure functions; times are milliseconds since 1970-01-01T00:00Z.
"""

from collections.abc import Sequence
from datetime import date, timedelta

from breakwater_bybit.model import Candle, Interval
from breakwater_core.market import BarState, DailyBar
from breakwater_core.session import Session

_INTERVALS = sorted(
    (interval for interval in Interval if interval is not Interval.WEEK),
    key=lambda interval: interval.milliseconds,
    reverse=True,
)


def interval_for(session: Session, first_day: date, last_day: date) -> Interval:
    """Return the longest candle of which every day from `first_day` to `last_day` is made of whole ones."""
    boundaries = [session.day_start_ms(first_day + timedelta(days=n)) for n in range((last_day - first_day).days + 2)]
    for interval in _INTERVALS:
        if all(boundary % interval.milliseconds == 0 for boundary in boundaries):
            return interval
    return Interval.MINUTE


def closed_bar(candles: Sequence[Candle], session: Session, day: date) -> DailyBar | None:
    """Return the CLOSED bar of a day; None unless the candles reach its end and all of them are closed.

    The bar is incomplete if candles are missing, as on the day on which a contract was listed.

    Args:
        candles: Of one symbol and interval, oldest first.
        session: Defines the days.
        day: The day.
    """
    start_ms, end_ms = session.day_start_ms(day), session.day_end_ms(day)
    of_day = [candle for candle in candles if start_ms <= candle.start_ms < end_ms]
    if not of_day or not all(candle.is_closed for candle in of_day):
        return None
    step_ms = of_day[0].interval.milliseconds
    if of_day[-1].start_ms + step_ms < end_ms:
        return None
    return DailyBar(
        symbol=of_day[0].symbol,
        day=day,
        state=BarState.CLOSED,
        open=of_day[0].open,
        high=max(candle.high for candle in of_day),
        low=min(candle.low for candle in of_day),
        close=of_day[-1].close,
        volume=sum(candle.volume for candle in of_day),
        complete=len(of_day) * step_ms == end_ms - start_ms,
    )


def open_bar(candles: Sequence[Candle], session: Session, day: date) -> DailyBar | None:
    """Return the OPEN bar of a running day; None before its first candle.

    The bar is incomplete if the day's first candle is missing: then its open is not the day's.

    Args:
        candles: Of one symbol and interval, oldest first.
        session: Defines the days.
        day: The day.
    """
    start_ms, end_ms = session.day_start_ms(day), session.day_end_ms(day)
    of_day = [candle for candle in candles if start_ms <= candle.start_ms < end_ms]
    if not of_day:
        return None
    return DailyBar(
        symbol=of_day[0].symbol,
        day=day,
        state=BarState.OPEN,
        open=of_day[0].open,
        high=max(candle.high for candle in of_day),
        low=min(candle.low for candle in of_day),
        close=of_day[-1].close,
        volume=sum(candle.volume for candle in of_day),
        complete=of_day[0].start_ms == start_ms,
    )
