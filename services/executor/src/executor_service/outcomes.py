"""From what became of an order to the outcome of its intent and to the order events that tell of it."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from breakwater_bybit.model import OrderState
from breakwater_core.decimals import to_text
from breakwater_core.events import Intent, OrderEvent, OrderStatus
from breakwater_core.identities import order_event_id
from executor_service.intent_record import Child, Outcome
from executor_service.order_life import Refusal

ZERO = Decimal(0)


def order_event(intent: Intent, outcome: Outcome, *, is_last: bool) -> OrderEvent:
    """Return the event that tells of an outcome; `is_last`: the intent is closed by it."""
    return OrderEvent(
        event_id=order_event_id(
            intent=intent.intent_id,
            child=outcome.child,
            status=outcome.status,
            filled_quantity=to_text(outcome.filled_quantity),
            closed=is_last,
        ),
        run_id=intent.run_id,
        account=intent.account,
        symbol=intent.symbol,
        day=intent.day,
        strategy_version=intent.strategy_version,
        intent_id=intent.intent_id,
        order_link_id=outcome.order_link_id,
        child=outcome.child,
        status=outcome.status,
        leg=intent.leg,
        side=outcome.side,
        reduce_only=intent.leg.reduces,
        quantity=outcome.quantity,
        filled_quantity=outcome.filled_quantity,
        average_price=outcome.average_price,
        target_price=intent.target_price,
        trigger_price=intent.trigger_price,
        trigger_time_ms=intent.trigger_time_ms,
        intent_closed=is_last,
        event_time_ms=outcome.event_time_ms,
        reason=outcome.reason,
        detail=outcome.detail,
    )


def without_order(
    intent: Intent, status: OrderStatus, *, child: int = 0, at_ms: int, reason: str = "", detail: str = ""
) -> Outcome:
    """Return the outcome of an intent that ends without an order: REFUSED, EXPIRED or FLAT."""
    return Outcome(status, child, "", intent.side, ZERO, ZERO, None, at_ms, reason, detail)


def in_progress(child: Child, status: OrderStatus, *, at_ms: int, reason: str = "") -> Outcome:
    """Return the state of an order of which no fill is known yet: SUBMITTED or UNKNOWN."""
    return Outcome(status, child.number, child.order_link_id, child.side, child.quantity, ZERO, None, at_ms, reason)


def of_order(child: Child, order: OrderState) -> Outcome:
    """Return the outcome that an order in its final state is; a fill of the whole quantity is never a cancellation."""
    status = OrderStatus.FILLED if order.filled_quantity >= child.quantity else order.status
    reason = "" if status is OrderStatus.FILLED else order.reject_reason or order.cancel_type
    return Outcome(
        status=status,
        child=child.number,
        order_link_id=child.order_link_id,
        side=child.side,
        quantity=child.quantity,
        filled_quantity=order.filled_quantity,
        average_price=order.average_price if order.filled_quantity else None,
        event_time_ms=order.updated_ms,
        reason=reason,
    )


def of_refusal(child: Child, refusal: Refusal, *, at_ms: int) -> Outcome:
    """Return the outcome of an order that the exchange refused."""
    return Outcome(
        OrderStatus.REJECTED,
        child.number,
        child.order_link_id,
        child.side,
        child.quantity,
        ZERO,
        None,
        at_ms,
        refusal.reason,
        refusal.detail,
    )


ENTRY_LOST = "the exchange did not tell what became of the order; the day's exit closes what it may have opened"
EXIT_LOST = "the exchange did not tell what became of the order; the position is read and the rest closed by the next"


def of_lost(child: Child, order: OrderState | None, *, at_ms: int, detail: str) -> Outcome:
    """Return the outcome of an order of which nothing can be learned: it stays UNKNOWN, and the position decides."""
    filled = ZERO if order is None else order.filled_quantity
    return Outcome(
        OrderStatus.UNKNOWN,
        child.number,
        child.order_link_id,
        child.side,
        child.quantity,
        filled,
        order.average_price if order is not None and filled else None,
        at_ms,
        "not_found_out",
        detail,
    )


def proven_flat(outcome: Outcome, *, at_ms: int) -> Outcome:
    """Return the outcome with its evidence: the exchange has reported the position as 0."""
    time = datetime.fromtimestamp(at_ms / 1000, tz=UTC).isoformat(timespec="milliseconds")
    return replace(outcome, flat_at_ms=at_ms, detail=f"the exchange reported the position as 0 at {time}")
