"""Market data as the strategy sees it: trades, daily bars, instruments, the clock.

Prices are quote currency per 1 base unit; quantities are base units; times are milliseconds since
1970-01-01T00:00Z (venue time). Market data is float64, money is Decimal.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # processes that see no trades do without its memory
    import numpy as np
    from numpy.typing import NDArray

LIVE_RUN_ID = "live"


@dataclass(frozen=True, slots=True)
class TradeBatch:
    """Trades of one symbol, oldest first; the four arrays have the same length.

    Attributes:
        symbol: Venue symbol, e.g. `BTCUSDT`.
        times_ms: Shape (n_trades,), int64, never falling.
        prices: Shape (n_trades,), float64, finite, above 0.
        sizes: Shape (n_trades,), float64, base units.
        taker_sides: Shape (n_trades,), int8: +1 the taker bought, -1 the taker sold, 0 unknown.
        window: Replay window that the trades belong to, counted from 1; 0 when live.
    """

    symbol: str
    times_ms: "NDArray[np.int64]"
    prices: "NDArray[np.float64]"
    sizes: "NDArray[np.float64]"
    taker_sides: "NDArray[np.int8]"
    window: int = 0

    def __len__(self) -> int:
        return int(self.times_ms.size)


class BarState(StrEnum):
    """Whether a daily bar may still change."""

    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class DailyBar:
    """One session day of one symbol. While OPEN only `open` and `complete` may be relied on."""

    symbol: str
    day: date
    state: BarState
    open: float
    high: float
    low: float
    close: float
    volume: float
    complete: bool
    window: int = 0


class ClockKind(StrEnum):
    """What a clock message announces."""

    ADVANCED = "advanced"
    DAY_OPENED = "day_opened"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Clock:
    """The time of the run.

    Attributes:
        kind: ADVANCED: trades before `now_ms` may be acted on. DAY_OPENED: the day before is finished, all its
            intents are closed, and `day` begins. ENDED: the recording is over.
        now_ms: Venue time.
        trades_through_ms: Every trade before this time is on the bus ahead of this message. In replay it runs one
            window ahead of `now_ms`, so that the exchange can match an order with its latency.
        day: The session's day that `now_ms` lies in.
        window: Replay window that ends at `now_ms`; 0 when live.
        trades_total: Trades published in this run so far.
    """

    kind: ClockKind
    now_ms: int
    trades_through_ms: int
    day: date
    window: int = 0
    trades_total: int = 0


@dataclass(frozen=True, slots=True)
class Instrument:
    """Trading rules of a linear perpetual.

    Attributes:
        tick_size: Prices are multiples of it.
        quantity_step: Quantities are multiples of it.
        min_quantity: Smallest order, base units.
        max_quantity: Largest limit order, base units.
        max_market_quantity: Largest market order, base units.
        min_notional: Smallest order value, quote currency; does not bind reduce-only orders.
        max_leverage: Largest leverage that may be set.
    """

    symbol: str
    tick_size: Decimal
    quantity_step: Decimal
    min_quantity: Decimal
    max_quantity: Decimal
    max_market_quantity: Decimal
    min_notional: Decimal
    max_leverage: Decimal = Decimal(100)
