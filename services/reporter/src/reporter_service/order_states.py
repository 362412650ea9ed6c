"""What is known of an order or intent after several of its events, in whatever order and however often they came.

Merging is commutative, associative and idempotent: the same events give the same state.
"""

from dataclasses import replace
from decimal import Decimal

from breakwater_core.events import OrderEvent, OrderStatus

_RANKS = {
    OrderStatus.UNKNOWN: 0,
    OrderStatus.SUBMITTED: 1,
    OrderStatus.PARTIALLY_FILLED: 2,
    OrderStatus.EXPIRED: 3,
    OrderStatus.REFUSED: 4,
    OrderStatus.FLAT: 5,
    OrderStatus.REJECTED: 6,
    OrderStatus.CANCELLED: 7,
    OrderStatus.FILLED: 8,
}
"""How far along its life an order is in each state; an event never takes it back to a lower one."""

_FIRST_FINAL_RANK = _RANKS[OrderStatus.EXPIRED]


def is_final(status: OrderStatus) -> bool:
    """Whether nothing more can happen to an order in this state."""
    return _RANKS[status] >= _FIRST_FINAL_RANK


def merge_order(known: OrderEvent | None, event: OrderEvent) -> OrderEvent:
    """Return the order's state after one more event: the furthest status, and the largest filled quantity."""
    if known is None:
        return event
    furthest = max(known, event, key=_order_key)
    most_filled = max(known, event, key=lambda each: (each.filled_quantity, each.average_price or Decimal(0)))
    return replace(
        furthest,
        filled_quantity=most_filled.filled_quantity,
        average_price=most_filled.average_price,
        intent_closed=known.intent_closed or event.intent_closed,
    )


def merge_intent(known: OrderEvent | None, event: OrderEvent) -> OrderEvent:
    """Return the event that tells how far an intent is: the one that closed it, else the furthest of its last order."""
    return event if known is None else max(known, event, key=_intent_key)


def _order_key(event: OrderEvent) -> tuple[int, int, str]:
    return (_RANKS[event.status], event.event_time_ms, event.event_id)


def _intent_key(event: OrderEvent) -> tuple[bool, int, int, int, str]:
    return (event.intent_closed, event.child, *_order_key(event))
