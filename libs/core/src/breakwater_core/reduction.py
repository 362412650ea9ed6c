"""How a position is brought to zero: one reduce-only order after the other, until the exchange reports it flat."""

from dataclasses import dataclass
from decimal import Decimal

from breakwater_core.events import Side
from breakwater_core.market import Instrument

ROUND_PAUSES_S = (0.0, 0.2, 0.5, 1.0, 2.0)
"""Pauses before a further round while nothing is filled, seconds; the last one repeats."""


@dataclass(frozen=True, slots=True)
class ReducingOrder:
    """The next order on the way to zero.

    Attributes:
        closes_all: It is sent as an order that closes the whole position, since an ordinary one would be refused.
    """

    side: Side
    quantity: Decimal
    closes_all: bool = False


def reducing_order(
    size: Decimal, instrument: Instrument | None, *, is_other_form: bool = False
) -> ReducingOrder | None:
    """Return the order that shrinks a position as far as one order can; None if there is no position.

    What is left may be smaller than the smallest order, or off its step, e.g. after the exchange has changed its rules.
    Only an order that closes the whole position is taken then (Bybit v5 docs, "Place Order", `qty`).

    Args:
        size: Position in base units, negative when short. Its sign decides the side, whatever anybody assumed.
        instrument: Its largest market order caps the quantity; None: not known, so not capped.
        is_other_form: The exchange refused an order for its form: one is tried that closes the whole position where an
            ordinary one seemed right, and the other way round.
    """
    if size == 0:
        return None
    side, quantity = Side.SELL if size > 0 else Side.BUY, abs(size)
    ordinary = quantity
    if instrument is not None and instrument.max_market_quantity > 0:
        ordinary = min(quantity, instrument.max_market_quantity)
    if _is_odd(ordinary, instrument) is not is_other_form:
        return ReducingOrder(side, quantity, closes_all=True)
    return ReducingOrder(side, ordinary)


def _is_odd(quantity: Decimal, instrument: Instrument | None) -> bool:
    if instrument is None:
        return False
    return quantity < instrument.min_quantity or quantity % instrument.quantity_step != 0


def round_pause_s(fruitless_rounds: int) -> float:
    """Return the pause before the next round after so many in a row that filled nothing, seconds."""
    return ROUND_PAUSES_S[min(fruitless_rounds, len(ROUND_PAUSES_S) - 1)]
