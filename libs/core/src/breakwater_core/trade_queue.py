"""Trades of one symbol that are fed but not yet decided upon, and the searches through them.

Short batches are kept as Python lists and searched by a plain loop, long ones as arrays and searched by NumPy; both
give the same index. Times are milliseconds UTC, prices float64 quote currency per 1 base unit.
"""

from bisect import bisect_left
from collections import deque

import numpy as np
from numpy.typing import NDArray

from breakwater_core.day_plan import EntryZones, Targets
from breakwater_core.errors import InvalidInputError
from breakwater_core.market import TradeBatch

VECTOR_LENGTH = 64
"""Batches of at least this many trades are searched by NumPy."""


class ListSegment:
    """A short run of trades; `start` is the first one not consumed."""

    __slots__ = ("prices", "size", "start", "times_ms")

    def __init__(self, times_ms: list[int], prices: list[float]) -> None:
        self.times_ms = times_ms
        self.prices = prices
        self.start = 0
        self.size = len(times_ms)

    def time_at(self, index: int) -> int:
        """Return the time of a trade."""
        return self.times_ms[index]

    def price_at(self, index: int) -> float:
        """Return the price of a trade."""
        return self.prices[index]

    def index_before(self, time_ms: int) -> int:
        """Return how many trades, from the segment's first, are earlier than the time; at least `start`."""
        if self.times_ms[-1] < time_ms:
            return self.size
        return bisect_left(self.times_ms, time_ms, self.start)

    def first_enclosed(self, stop: int, targets: Targets) -> int:
        """Return the first index from `start` whose price lies strictly between the targets, or `stop`."""
        prices, low, high = self.prices, targets.short, targets.long
        for index in range(self.start, stop):
            if low < prices[index] < high:
                return index
        return stop

    def first_entry(self, stop: int, zones: EntryZones) -> int:
        """Return the first index from `start` whose price lies in an entry zone, or `stop`."""
        prices, below, above = self.prices, zones.short_high, zones.long_low
        for index in range(self.start, stop):
            price = prices[index]
            if below < price < above:
                continue
            if above <= price <= zones.long_high or zones.short_low <= price <= below:
                return index
        return stop

    def first_through(self, start: int, stop: int, level: float, *, falling: bool) -> int:
        """Return the first index from `start` at or through the level, seen from above if `falling`, or `stop`."""
        prices = self.prices
        for index in range(start, stop):
            if prices[index] <= level if falling else prices[index] >= level:
                return index
        return stop


class ArraySegment:
    """A long run of trades; `start` is the first one not consumed."""

    __slots__ = ("prices", "size", "start", "times_ms")

    def __init__(self, times_ms: NDArray[np.int64], prices: NDArray[np.float64]) -> None:
        self.times_ms = times_ms
        self.prices = prices
        self.start = 0
        self.size = int(times_ms.size)

    def time_at(self, index: int) -> int:
        """Return the time of a trade."""
        return int(self.times_ms[index])

    def price_at(self, index: int) -> float:
        """Return the price of a trade."""
        return float(self.prices[index])

    def index_before(self, time_ms: int) -> int:
        """Return how many trades, from the segment's first, are earlier than the time; at least `start`."""
        if self.times_ms[-1] < time_ms:
            return self.size
        return max(self.start, int(self.times_ms.searchsorted(time_ms)))

    def first_enclosed(self, stop: int, targets: Targets) -> int:
        """Return the first index from `start` whose price lies strictly between the targets, or `stop`."""
        prices = self.prices[self.start : stop]
        return self.start + _first_true((prices > targets.short) & (prices < targets.long))

    def first_entry(self, stop: int, zones: EntryZones) -> int:
        """Return the first index from `start` whose price lies in an entry zone, or `stop`."""
        prices = self.prices[self.start : stop]
        if prices.size == 0 or (zones.short_high < prices.min() and prices.max() < zones.long_low):
            return stop
        is_long = (prices >= zones.long_low) & (prices <= zones.long_high)
        is_short = (prices >= zones.short_low) & (prices <= zones.short_high)
        return self.start + _first_true(is_long | is_short)

    def first_through(self, start: int, stop: int, level: float, *, falling: bool) -> int:
        """Return the first index from `start` at or through the level, seen from above if `falling`, or `stop`."""
        prices = self.prices[start:stop]
        return start + _first_true(prices <= level if falling else prices >= level)


Segment = ListSegment | ArraySegment


def _first_true(mask: NDArray[np.bool_]) -> int:
    if mask.size == 0:
        return 0
    index = int(mask.argmax())
    return index if mask[index] else int(mask.size)


class TradeQueue:
    """Trades in the order in which they were fed.

    Time never goes back: trades older than the newest one fed before are repeats, or too late to matter, and dropped.

    Attributes:
        fed_ms: Time of the newest trade fed; -1: none yet.
        consumed_ms: Time of the newest trade consumed; -1: none yet.
        last_price: Price of the newest trade consumed.
    """

    __slots__ = ("_segments", "_waiting", "consumed_ms", "fed_ms", "last_price")

    def __init__(self) -> None:
        self._segments: deque[Segment] = deque()
        self._waiting = 0
        self.fed_ms = -1
        self.consumed_ms = -1
        self.last_price: float | None = None

    def __len__(self) -> int:
        return self._waiting

    def feed(self, batch: TradeBatch) -> None:
        """Append the trades of a batch that are not older than what was fed before.

        Raises:
            InvalidInputError: If the batch's columns differ in length or its times fall.
        """
        size = batch.times_ms.size
        if size == 0:
            return
        if batch.prices.size != size:
            raise InvalidInputError(
                f"trades of {batch.symbol}: {size} times but {batch.prices.size} prices; the columns must match"
            )
        segment: Segment
        if size < VECTOR_LENGTH:
            times_ms = batch.times_ms.tolist()
            falls = times_ms != sorted(times_ms)
            segment = ListSegment(times_ms, batch.prices.tolist())
        else:
            falls = bool((batch.times_ms[1:] < batch.times_ms[:-1]).any())
            segment = ArraySegment(batch.times_ms, batch.prices)
        if falls:
            raise InvalidInputError(f"trades of {batch.symbol}: times must never fall within a batch; sort it by time")
        if segment.time_at(0) < self.fed_ms:
            segment.start = segment.index_before(self.fed_ms)
            if segment.start == size:
                return
        self._segments.append(segment)
        self._waiting += segment.size - segment.start
        self.fed_ms = segment.time_at(segment.size - 1)

    def head(self) -> Segment | None:
        """Return the segment with the oldest trade not consumed."""
        return self._segments[0] if self._segments else None

    def oldest_ms(self) -> int | None:
        """Return the time of the oldest trade not consumed."""
        return self._segments[0].time_at(self._segments[0].start) if self._segments else None

    def consume(self, stop: int) -> None:
        """Consume the head's trades before the index `stop`."""
        segment = self._segments[0]
        if stop == segment.start:
            return
        self._waiting -= stop - segment.start
        self.consumed_ms = segment.time_at(stop - 1)
        self.last_price = segment.price_at(stop - 1)
        segment.start = stop
        if stop == segment.size:
            self._segments.popleft()

    def consume_before(self, time_ms: int) -> None:
        """Consume every trade earlier than the time."""
        while self._segments:
            stop = self._segments[0].index_before(time_ms)
            ends_here = stop < self._segments[0].size
            self.consume(stop)
            if ends_here:
                return

    def shrink(self, limit: int, time_ms: int) -> None:
        """Consume the oldest segments, wholly earlier than the time, while more than `limit` trades wait."""
        while self._waiting > limit and self._segments[0].index_before(time_ms) == self._segments[0].size:
            self.consume(self._segments[0].size)

    def resume(self, *, from_ms: int, consumed_ms: int, last_price: float | None) -> None:
        """Start again, empty: trades older than `from_ms` count as fed."""
        self._segments.clear()
        self._waiting = 0
        self.fed_ms = from_ms
        self.consumed_ms = consumed_ms
        self.last_price = last_price
