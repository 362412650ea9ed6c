"""How an order ended, as facts of its span."""

from breakwater_bybit.model import OrderState
from breakwater_runtime import trace_steps, tracing
from breakwater_runtime.tracing import Span
from executor_service.order_life import Barred, End, Ended, Lost, NeverPlaced


def note_end(span: Span, end: End) -> None:
    """Note how an order ended, and how long it was followed after the exchange had taken it; `span` is the current."""
    match end:
        case Ended(order):
            span.set(outcome=order.status.value, **_facts_of(order))
        case NeverPlaced(refusal):
            span.set(outcome="rejected", **({} if refusal.code is None else {"ret_code": refusal.code}))
        case Barred(refused):
            span.set(outcome="barred", reason=refused.rule)
        case Lost(found):
            span.set(outcome="lost", **({} if found is None else _facts_of(found)))
        case _:
            span.set(outcome="too_late")
    if span.mark_ns:
        tracing.record_child(trace_steps.FOLLOW_ORDER, start_ns=span.mark_ns)


def _facts_of(order: OrderState) -> dict[str, tracing.Value]:
    return {"exchange_status": order.exchange_status, "reason": order.reject_reason or order.cancel_type}
