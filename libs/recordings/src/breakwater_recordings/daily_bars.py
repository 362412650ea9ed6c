"""Daily bars made of trades, and what a replay needs of them beforehand.

Prices are quote currency per 1 base unit, volumes base units, times milliseconds since 1970-01-01T00:00Z.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np

from breakwater_core.errors import InvalidInputError, InvariantError
from breakwater_core.market import BarState, DailyBar, TradeBatch
from breakwater_core.session import Session

if TYPE_CHECKING:
    from breakwater_recordings.recording import Recording

_STEP_MS = 3_600_000


@dataclass(slots=True)
class _RunningBar:
    open: float
    high: float
    low: float
    close: float
    volume: float


class DailyBarBuilder:
    """Builds the daily bars of any number of symbols; the result does not depend on how trades are cut into batches.

    A bar is OPEN from the first trade of its day and CLOSED once `close_until` has passed the day's end. A day without
    trades has no bar.
    """

    def __init__(
        self, session: Session, *, is_complete: Callable[[str, date], bool] = lambda _symbol, _day: True
    ) -> None:
        """Start without bars.

        Args:
            session: Defines the days.
            is_complete: Tells of symbol and day whether nothing is missing; asked when a bar is made.
        """
        self._session = session
        self._is_complete = is_complete
        self._running: dict[tuple[date, str], _RunningBar] = {}
        self._closed_until_ms = -(2**62)

    def feed(self, batch: TradeBatch) -> list[DailyBar]:
        """Add trades, which may span days; return the OPEN bars of the days that they began.

        Raises:
            InvariantError: If a trade belongs to a day that was closed before.
        """
        opened: list[DailyBar] = []
        start = 0
        while start < len(batch):
            first_ms = int(batch.times_ms[start])
            if first_ms < self._closed_until_ms:
                raise InvariantError(f"{batch.symbol}: a trade of {first_ms} belongs to a day that is closed")
            day = self._session.day_of(first_ms)
            stop = int(np.searchsorted(batch.times_ms, self._session.day_end_ms(day)))
            if self._add(day, batch, start, stop):
                opened.append(self._bar(day, batch.symbol, BarState.OPEN, batch.window))
            start = stop
        return opened

    def close_until(self, now_ms: int, *, window: int = 0) -> list[DailyBar]:
        """Return the CLOSED bars of the days that ended at or before `now_ms`, by day and symbol, and forget them.

        Args:
            now_ms: No trade before it is still to come.
            window: Replay window that the bars are stamped with.
        """
        ended = sorted(key for key in self._running if self._session.day_end_ms(key[0]) <= now_ms)
        bars = [self._bar(day, symbol, BarState.CLOSED, window) for day, symbol in ended]
        for key in ended:
            del self._running[key]
        day_start_ms = self._session.day_start_ms(self._session.day_of(now_ms))
        self._closed_until_ms = max(self._closed_until_ms, day_start_ms)
        return bars

    def _add(self, day: date, batch: TradeBatch, start: int, stop: int) -> bool:
        """Add the trades [start, stop), all of one day; return whether they are its first."""
        prices, sizes = batch.prices[start:stop], batch.sizes[start:stop]
        running = self._running.get((day, batch.symbol))
        is_first = running is None
        if running is None:
            price = float(prices[0])
            running = self._running[day, batch.symbol] = _RunningBar(price, price, price, price, 0.0)
        running.high = max(running.high, float(prices.max()))
        running.low = min(running.low, float(prices.min()))
        running.close = float(prices[-1])
        # strictly from left to right, so that the sum's rounding does not depend on the batches
        running.volume = float(np.add.accumulate(np.concatenate(([running.volume], sizes)))[-1])
        return is_first

    def _bar(self, day: date, symbol: str, state: BarState, window: int) -> DailyBar:
        running = self._running[day, symbol]
        return DailyBar(
            symbol=symbol,
            day=day,
            state=state,
            open=running.open,
            high=running.high,
            low=running.low,
            close=running.close,
            volume=running.volume,
            complete=self._is_complete(symbol, day),
            window=window,
        )


def bars_before(
    recording: "Recording", day: date, *, days: int, symbols: Sequence[str] | None = None
) -> list[DailyBar]:
    """Return the CLOSED bars of the `days` calendar days before `day`, by day and symbol: the warm-up of a run.

    Days of which the recording has no trades are left out.

    Args:
        recording: Where the trades are.
        day: First day that is not returned.
        days: How many days to look back, at least 0.
        symbols: Symbols to return; None for all.

    Raises:
        InvalidInputError: If `days` is negative, a symbol is not held, or the recording is damaged.
    """
    if days < 0:
        raise InvalidInputError(f"days must not be negative, was {days}")
    session = recording.session
    builder = DailyBarBuilder(session, is_complete=recording.is_complete)
    start_ms, end_ms = session.day_start_ms(day - timedelta(days=days)), session.day_start_ms(day)
    for symbol in recording.symbols if symbols is None else symbols:
        reader = recording.reader(symbol)
        reader.skip_to(start_ms)
        for until_ms in [*range(start_ms + _STEP_MS, end_ms, _STEP_MS), end_ms]:
            builder.feed(reader.take_until(until_ms))
    return builder.close_until(end_ms)


class OpeningBars:
    """The OPEN bars of a recording's days, for days asked for in rising order."""

    def __init__(self, recording: "Recording", *, symbols: Sequence[str] | None = None) -> None:
        """Start before the first day.

        Args:
            recording: Where the trades are.
            symbols: Symbols to return; None for all.

        Raises:
            InvalidInputError: If a symbol is not held.
        """
        self._recording = recording
        self._readers = [recording.reader(symbol) for symbol in symbols or recording.symbols]

    def of(self, day: date, *, window: int = 0) -> list[DailyBar]:
        """Return one OPEN bar per symbol that trades on the day, its prices being that of the day's first trade.

        Args:
            day: Not before that of an earlier call.
            window: Replay window that the bars are stamped with.

        Raises:
            InvalidInputError: If the day is before that of an earlier call, or the recording is damaged.
        """
        session = self._recording.session
        bars: list[DailyBar] = []
        for reader in self._readers:
            reader.skip_to(session.day_start_ms(day))
            first = reader.peek(session.day_end_ms(day))
            if first is not None:
                price = first[1]
                complete = self._recording.is_complete(reader.symbol, day)
                bars.append(
                    DailyBar(reader.symbol, day, BarState.OPEN, price, price, price, price, 0.0, complete, window)
                )
        return bars
