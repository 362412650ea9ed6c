"""The market of a backtest over a bar table: rules and prices as of a time, looked up, nothing read or copied.

Times are milliseconds UTC, prices quote currency per 1 base unit.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from breakwater_core.market import TradeBatch
from breakwater_core.price_history import PriceHistory
from breakwater_recordings.instruments import instrument_for
from breakwater_recordings.recording import Window, window_ends
from breakwater_research.bars.bar_table import BarTable
from breakwater_research.bars.paths import first_from
from breakwater_research.simulated_market import Market


class TableHistory(PriceHistory):
    """The trades of one symbol within a run, as far back as the run goes."""

    def __init__(self, table: BarTable, number: int, *, start_ms: int, end_ms: int) -> None:
        """Show the trades of [start_ms, end_ms) of the table's symbol `number`."""
        super().__init__(table.symbols[number], retention_ms=0)
        self._table = table
        self._number = number
        self._first, self._stop = (self._from(time_ms) for time_ms in (start_ms, end_ms))

    def price_at(self, time_ms: int) -> float | None:
        """Return the price of the last trade at or before the time, or None if none is known."""
        trade = min(self._from(time_ms + 1), self._stop) - 1
        return None if trade < self._first else float(self._table.paths.prices[trade])

    def between(self, after_ms: int, through_ms: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Yield times and prices of the trades with `after_ms < time <= through_ms`, oldest first, in one slice."""
        start, stop = (max(self._first, min(self._from(time_ms + 1), self._stop)) for time_ms in (after_ms, through_ms))
        if start < stop:
            trades = np.arange(start, stop)
            yield self._table.times_of(self._number, trades), self._table.paths.prices[start:stop]

    def append(self, batch: TradeBatch) -> None:
        """Do nothing: the table holds every trade."""

    def drop_before(self, time_ms: int) -> None:
        """Do nothing: nothing was copied."""

    def _from(self, time_ms: int) -> int:
        """Return the first trade at or after the time."""
        table = self._table
        starts_ms, trade_at = table.day_starts_ms, table.trade_at[self._number]
        day = int(np.searchsorted(starts_ms, time_ms, side="right")) - 1
        if day < 0:
            return int(trade_at[0])
        if day >= starts_ms.size - 1:
            return int(trade_at[-1])
        return first_from(table.paths, self._number, int(trade_at[day]), int(trade_at[day + 1]), time_ms)


class BarMarket(Market):
    """Trading rules and prices of a table's symbols within a run."""

    def __init__(
        self, table: BarTable, *, start_ms: int, end_ms: int, played_ms: tuple[int, int], span_ms: int
    ) -> None:
        """Stand before the first window.

        Args:
            table: The bars.
            start_ms: First instant of the run.
            end_ms: First instant that is not part of it.
            played_ms: The part of the run that is played: its start and end.
            span_ms: Length of a window.
        """
        super().__init__(
            histories={
                symbol: TableHistory(table, number, start_ms=start_ms, end_ms=end_ms)
                for number, symbol in enumerate(table.symbols)
            },
            instruments={symbol: instrument_for(symbol, price) for symbol, price in table.first_prices().items()},
            end_ms=end_ms,
        )
        self._session = table.session
        self._played_ms = played_ms
        self._span_ms = span_ms

    def windows(self) -> Iterator[Window]:
        """Yield the windows, without their trades."""
        start_ms = self._played_ms[0]
        for number, end_ms in enumerate(window_ends(self._session, *self._played_ms, self._span_ms), start=1):
            yield Window(number, start_ms, end_ms, ())
            start_ms = end_ms

    def forget_before(self, time_ms: int) -> None:
        """Do nothing: nothing was copied."""
