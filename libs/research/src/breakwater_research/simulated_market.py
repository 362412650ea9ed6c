"""The market of a tick backtest: a recording's trades in windows, and each symbol's rules and prices as of a time.

Windows are read one after the other and forgotten behind the clock, so memory does not grow with the recording. Times
are milliseconds UTC, prices quote currency per 1 base unit.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from decimal import Decimal

from breakwater_core.decimals import from_float
from breakwater_core.errors import InvariantError
from breakwater_core.market import Instrument, TradeBatch
from breakwater_core.price_history import PriceHistory
from breakwater_core.venue_rules import RANGE_SPAN_MS
from breakwater_recordings.instruments import instrument_for
from breakwater_recordings.recording import Recording, Window
from breakwater_recordings.selection import first_prices

_PATIENCE_MS = 86_400_000
"""An order that no price lets fill may be repeated for this long after the last trade."""


class Market(ABC):
    """Trading rules and prices of every symbol, as of a time; what an account and an executor see of an engine."""

    def __init__(
        self, *, histories: Mapping[str, PriceHistory], instruments: Mapping[str, Instrument], end_ms: int
    ) -> None:
        """Take what is known.

        Args:
            histories: Trades by symbol.
            instruments: Trading rules of the symbols that trade.
            end_ms: When the run's last day ends.
        """
        self._histories = histories
        self._instruments = instruments
        self._end_ms = end_ms
        self._known: dict[str, tuple[float, Decimal]] = {}

    @abstractmethod
    def windows(self) -> Iterator[Window]:
        """Yield the windows in order; their trades are known when they are handed out.

        Raises:
            InvalidInputError: If the recording is damaged here.
        """

    @abstractmethod
    def forget_before(self, time_ms: int) -> None:
        """Drop trades that nothing at or after the time can ask for; the range of a minute looks back by that."""

    def read_through(self, time_ms: int) -> None:
        """Know every trade at or before the time, as far as the run has any.

        Raises:
            InvalidInputError: If the recording is damaged here.
            InvariantError: If the time lies so far behind the end that whoever asks would never stop.
        """
        if time_ms >= self._end_ms + _PATIENCE_MS:
            raise InvariantError(
                f"an order was repeated until {time_ms} ms, a day after the last trade, and still not filled; look "
                " at the symbol's last prices and at costs.slippage_bps and costs.slippage_range_share"
            )

    def instrument(self, symbol: str) -> Instrument:
        """Return the trading rules of a symbol that trades."""
        return self._instruments[symbol]

    def history(self, symbol: str) -> PriceHistory:
        """Return the trades of a symbol that are known."""
        return self._histories[symbol]

    def last_at(self, symbol: str, time_ms: int) -> Decimal | None:
        """Return the price of the last trade at or before the time, or None before the first one."""
        price = self._histories[symbol].price_at(time_ms)
        if price is None:
            return None
        known = self._known.get(symbol)
        if known is None or known[0] != price:
            known = self._known[symbol] = (price, from_float(price))
        return known[1]


class SimulatedMarket(Market):
    """A recording's trades; reads ahead of the clock only as far as an order's latency needs."""

    def __init__(self, recording: Recording, *, start_ms: int, end_ms: int) -> None:
        """Stand before the first window of [start_ms, end_ms).

        Raises:
            InvalidInputError: If the range is empty or the recording damaged.
        """
        super().__init__(
            histories={symbol: PriceHistory(symbol, retention_ms=0) for symbol in recording.symbols},
            instruments={symbol: instrument_for(symbol, price) for symbol, price in first_prices(recording).items()},
            end_ms=end_ms,
        )
        span_ms = recording.suggested_span_ms(start_ms, end_ms)
        self._unread = recording.windows(start_ms, end_ms, span_ms)
        self._ahead: deque[Window] = deque()
        self._read_until_ms = start_ms

    def windows(self) -> Iterator[Window]:
        """Yield the windows in order, as `Market` says."""
        while True:
            if not self._ahead and not self._read():
                return
            yield self._ahead.popleft()

    def read_through(self, time_ms: int) -> None:
        """Read ahead through the time, as `Market` says."""
        super().read_through(time_ms)
        while self._read_until_ms <= time_ms and self._read():
            pass

    def forget_before(self, time_ms: int) -> None:
        """Drop old trades, as `Market` says."""
        for history in self._histories.values():
            history.drop_before(time_ms - RANGE_SPAN_MS)

    def _read(self) -> bool:
        window = next(self._unread, None)
        if window is None:
            return False
        for batch in window.batches:
            self._take(batch)
        self._read_until_ms = window.end_ms
        self._ahead.append(window)
        return True

    def _take(self, batch: TradeBatch) -> None:
        self._histories[batch.symbol].append(batch)
