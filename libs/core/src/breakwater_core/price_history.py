"""The trades of one symbol in event time, with as-of look-ups; old trades are dropped, the last known ones never."""

import math
from bisect import bisect_right
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from breakwater_core.errors import InvariantError
from breakwater_core.market import TradeBatch

_CHUNK = 8192


class PriceHistory:
    """Trades in chunks, oldest first.

    Prices are quote currency per 1 base unit, times milliseconds UTC.
    """

    def __init__(self, symbol: str, retention_ms: int) -> None:
        """Start empty.

        Args:
            symbol: Venue symbol.
            retention_ms: Trades older than the newest by more than this may be dropped.
        """
        self.symbol = symbol
        self.retention_ms = retention_ms
        self.last_price: float | None = None
        self.last_ms = -1
        self.total = 0
        self._chunks: list[TradeBatch] = []
        self._firsts: list[int] = []

    def append(self, batch: TradeBatch) -> None:
        """Add trades that are not older than the last one.

        Raises:
            InvariantError: If they are older: the feed went backwards.
        """
        if not len(batch):
            return
        first = int(batch.times_ms[0])
        if first < self.last_ms:
            raise InvariantError(f"{self.symbol}: trades went back from {self.last_ms} to {first} ms")
        if self._chunks and len(self._chunks[-1]) + len(batch) <= _CHUNK:
            self._chunks[-1] = _join(self._chunks[-1], batch)
        else:
            self._chunks.append(batch)
            self._firsts.append(first)
        self.last_price = float(batch.prices[-1])
        self.last_ms = int(batch.times_ms[-1])
        self.total += len(batch)

    def price_at(self, time_ms: int) -> float | None:
        """Return the price of the last trade at or before the time, or None if none is known."""
        if time_ms >= self.last_ms:
            return self.last_price
        number = bisect_right(self._firsts, time_ms) - 1
        if number < 0:
            return None
        chunk = self._chunks[number]
        return float(chunk.prices[int(np.searchsorted(chunk.times_ms, time_ms, side="right")) - 1])

    def extremes(self, from_ms: int, through_ms: int) -> tuple[float, float] | None:
        """Return the lowest and the highest price that was the last one at any time of [from_ms, through_ms].

        So the last trade at or before `from_ms` counts beside those that follow. None if none is known by then.
        """
        start = self.price_at(from_ms)
        low, high = (math.inf, -math.inf) if start is None else (start, start)
        for _, prices in self.between(from_ms, through_ms):
            low, high = min(low, float(prices.min())), max(high, float(prices.max()))
        return None if low > high else (low, high)

    def between(self, after_ms: int, through_ms: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Yield times and prices of the trades with `after_ms < time <= through_ms`, oldest first, in slices."""
        if after_ms >= self.last_ms:
            return
        start = max(0, bisect_right(self._firsts, after_ms) - 1)
        for chunk in self._chunks[start:]:
            if int(chunk.times_ms[0]) > through_ms:
                return
            low = int(np.searchsorted(chunk.times_ms, after_ms, side="right"))
            high = int(np.searchsorted(chunk.times_ms, through_ms, side="right"))
            if high > low:
                yield chunk.times_ms[low:high], chunk.prices[low:high]

    def last_trades(self, limit: int, through_ms: int) -> list[TradeBatch]:
        """Return up to `limit` trades at or before the time, oldest first, in slices."""
        found: list[TradeBatch] = []
        for chunk in reversed(self._chunks):
            if limit <= 0:
                break
            high = int(np.searchsorted(chunk.times_ms, through_ms, side="right"))
            low = max(0, high - limit)
            if high > low:
                found.append(_part(chunk, low, high))
                limit -= high - low
        return found[::-1]

    def drop_before(self, time_ms: int) -> None:
        """Forget chunks that end before the time and are beyond the retention; the last chunk always stays."""
        horizon = min(time_ms, self.last_ms - self.retention_ms)
        count = 0
        while count < len(self._chunks) - 1 and int(self._chunks[count].times_ms[-1]) < horizon:
            count += 1
        # One chunk before the horizon stays, so that the price at the horizon itself is still known.
        count = max(0, count - 1)
        del self._chunks[:count]
        del self._firsts[:count]


def _part(batch: TradeBatch, low: int, high: int) -> TradeBatch:
    return TradeBatch(
        symbol=batch.symbol,
        times_ms=batch.times_ms[low:high],
        prices=batch.prices[low:high],
        sizes=batch.sizes[low:high],
        taker_sides=batch.taker_sides[low:high],
        window=batch.window,
    )


def _join(first: TradeBatch, second: TradeBatch) -> TradeBatch:
    return TradeBatch(
        symbol=first.symbol,
        times_ms=np.concatenate((first.times_ms, second.times_ms)),
        prices=np.concatenate((first.prices, second.prices)),
        sizes=np.concatenate((first.sizes, second.sizes)),
        taker_sides=np.concatenate((first.taker_sides, second.taker_sides)),
        window=second.window,
    )
