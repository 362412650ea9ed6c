"""Candles of every Bybit interval, kept as dense one-minute bars and grouped when asked for.

A minute without trades is carried at the previous close with volume 0, as Bybit does. Volume is base units,
turnover quote currency.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from breakwater_core.market import TradeBatch

MINUTE_MS = 60_000
DAY_MS = 86_400_000
_WEEK_MS = 7 * DAY_MS
_MONDAY_MS = 4 * DAY_MS
"""1970-01-05 was a Monday."""

INTERVALS = ("1", "3", "5", "15", "30", "60", "120", "240", "360", "720", "D", "W", "M")
"""Bybit's names: minutes, or day, week, month."""


@dataclass(frozen=True, slots=True)
class Candle:
    """One bar covering [start_ms, end_ms)."""

    start_ms: int
    end_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    turnover: float


def interval_start(interval: str, time_ms: int) -> int:
    """Return the start of the bar that contains the time."""
    if interval == "M":
        moment = datetime.fromtimestamp(time_ms / 1000, tz=UTC)
        return round(datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp() * 1000)
    if interval == "W":
        return (time_ms - _MONDAY_MS) // _WEEK_MS * _WEEK_MS + _MONDAY_MS
    step = DAY_MS if interval == "D" else int(interval) * MINUTE_MS
    return time_ms // step * step


def interval_end(interval: str, start_ms: int) -> int:
    """Return the end of the bar that starts at the time."""
    if interval == "M":
        return interval_start("M", start_ms + 32 * DAY_MS)
    if interval == "W":
        return start_ms + _WEEK_MS
    return start_ms + (DAY_MS if interval == "D" else int(interval) * MINUTE_MS)


class MinuteCandles:
    """One-minute bars of one symbol, dense from the first minute with a trade."""

    def __init__(self) -> None:
        """Start without bars."""
        self._first = 0
        self._count = 0
        self._values: NDArray[np.float64] = np.empty((6, 2048))

    def __len__(self) -> int:
        return self._count

    @property
    def first_ms(self) -> int:
        """Start of the first bar; 0 if there is none."""
        return self._first * MINUTE_MS

    def absorb(self, batch: TradeBatch) -> None:
        """Add trades that are not older than those added before."""
        if not len(batch):
            return
        minutes = batch.times_ms // MINUTE_MS
        starts = np.concatenate(([0], np.flatnonzero(np.diff(minutes)) + 1))
        ends = np.append(starts[1:], len(batch)) - 1
        prices, sizes = batch.prices, batch.sizes
        bars = np.vstack(
            (
                prices[starts],
                np.maximum.reduceat(prices, starts),
                np.minimum.reduceat(prices, starts),
                prices[ends],
                np.add.reduceat(sizes, starts),
                np.add.reduceat(prices * sizes, starts),
            )
        )
        numbers = minutes[starts]
        if not self._count:
            self._first = int(numbers[0])
        elif int(numbers[0]) - self._first == self._count - 1:
            self._merge_into_last(bars[:, 0])
            bars, numbers = bars[:, 1:], numbers[1:]
        if numbers.size:
            self._extend(numbers - self._first, bars)

    def carry_to(self, time_ms: int) -> None:
        """Carry the last close forward, so that the minute of the time has a bar."""
        wanted = time_ms // MINUTE_MS - self._first + 1
        if not self._count or wanted <= self._count:
            return
        self._reserve(wanted)
        self._fill(self._count, wanted)
        self._count = wanted

    def query(self, interval: str, start_ms: int, end_ms: int, limit: int) -> list[Candle]:
        """Return the newest `limit` bars with `start_ms <= start <= end_ms`, newest first."""
        found: list[Candle] = []
        stop_ms = (self._first + self._count) * MINUTE_MS
        start = interval_start(interval, min(end_ms, stop_ms - 1))
        while self._count and len(found) < limit and start >= start_ms:
            end = interval_end(interval, start)
            low = max(0, start // MINUTE_MS - self._first)
            high = min(self._count, end // MINUTE_MS - self._first)
            if high <= low:
                break
            found.append(self._group(start, end, low, high))
            start = interval_start(interval, start - 1)
        return found

    def last(self, interval: str) -> Candle | None:
        """Return the newest bar, or None if there is none."""
        found = self.query(interval, 0, self._stop_ms, 1)
        return found[0] if found else None

    def window(self, after_ms: int) -> Candle | None:
        """Return the minutes from `after_ms` on as one bar (for the 24-hour figures), or None if there are none."""
        low = max(0, -(-after_ms // MINUTE_MS) - self._first)
        if low >= self._count:
            return None
        return self._group((self._first + low) * MINUTE_MS, self._stop_ms, low, self._count)

    @property
    def _stop_ms(self) -> int:
        return (self._first + self._count) * MINUTE_MS

    def _group(self, start_ms: int, end_ms: int, low: int, high: int) -> Candle:
        values = self._values[:, low:high]
        traded = values[:, values[4] > 0]
        if traded.shape[1]:  # carried minutes count only where there are no others
            values = traded
        return Candle(
            start_ms=start_ms,
            end_ms=end_ms,
            open=float(values[0, 0]),
            high=float(values[1].max()),
            low=float(values[2].min()),
            close=float(values[3, -1]),
            volume=float(values[4].sum()),
            turnover=float(values[5].sum()),
        )

    def _merge_into_last(self, bar: NDArray[np.float64]) -> None:
        last = self._values[:, self._count - 1]
        last[1] = max(last[1], bar[1])
        last[2] = min(last[2], bar[2])
        last[3] = bar[3]
        last[4] += bar[4]
        last[5] += bar[5]

    def _extend(self, places: NDArray[np.int64], bars: NDArray[np.float64]) -> None:
        total = int(places[-1]) + 1
        self._reserve(total)
        previous = self._count
        for number in range(places.size):
            place = int(places[number])
            if place > previous:
                self._fill(previous, place)
            self._values[:, place] = bars[:, number]
            previous = place + 1
        self._count = total

    def _fill(self, low: int, high: int) -> None:
        self._values[:4, low:high] = self._values[3, low - 1]
        self._values[4:, low:high] = 0.0

    def _reserve(self, total: int) -> None:
        capacity = self._values.shape[1]
        if total <= capacity:
            return
        grown = np.empty((6, max(total, 2 * capacity)))
        grown[:, : self._count] = self._values[:, : self._count]
        self._values = grown
