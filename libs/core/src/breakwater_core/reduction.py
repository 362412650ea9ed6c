"""How a position is brought to zero: one reduce-only order after the other, until the exchange reports it flat."""

from dataclasses import dataclass
from decimal import Decimal

from breakwater_core.events import Side
from breakwater_core.market import Instrument

ROUND_PAUSES_S = (0.0, 0.2, 0.5, 1.0, 2.0)
"""Pauses before a further round while nothing is filled, seconds; the last one repeats."""


@dataclass(frozen=True, slots=True)
class ReducingOrder:
    """The next order on the way to zero."""

    side: Side
    quantity: Decimal


def reducing_order(size: Decimal, instrument: Instrument | None) -> ReducingOrder | None:
    """Return the order that shrinks a position as far as one order can; None if there is no position.

    Args:
        size: Position in base units, negative when short. Its sign decides the side, whatever anybody assumed.
        instrument: Its largest market order caps the quantity; None: not known, so not capped.
    """
    if size == 0:
        return None
    quantity = abs(size)
    if instrument is not None and instrument.max_market_quantity > 0:
        quantity = min(quantity, instrument.max_market_quantity)
    return ReducingOrder(Side.SELL if size > 0 else Side.BUY, quantity)


def round_pause_s(fruitless_rounds: int) -> float:
    """Return the pause before the next round after so many in a row that filled nothing, seconds."""
    return ROUND_PAUSES_S[min(fruitless_rounds, len(ROUND_PAUSES_S) - 1)]
