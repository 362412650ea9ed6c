"""The steps of an intent from tick to Slack: their names, what their ids are made of, and which step led to which.

docs/tracing.md draws the tree. A step that other processes name as theirs to follow has an id that they can work out:
from the intent id, the order link id, the id of an order event or of an execution.
"""

import time
from datetime import UTC, datetime

from breakwater_core.events import Alert, Fill, Intent, Leg, OrderEvent
from breakwater_core.market import LIVE_RUN_ID
from breakwater_runtime import tracing
from breakwater_runtime.trace_ids import span_of, trace_of_intent
from breakwater_runtime.tracing import CLOSED, Context, Kind, Value

TICK = "tick"
TRADES_TO_BUS = "trades to bus"
BUS_TO_SIGNAL = "bus to signal"
DECIDE = "decide"
PUBLISH_INTENT = "publish intent"
HANDLE = "handle intent"
CHECK_ENTRY = "check entry"
WAIT_FOR_SLOT = "wait for slot"
WAIT_FOR_TURN = "wait for turn"
ORDER = "order"
WAIT_FOR_BUDGET = "wait for budget"
FOLLOW_ORDER = "follow order"
PUBLISH_ORDER = "publish order event"
FILL = "fill"
RAISE_ALERT = "raise alert"
COMMIT_ORDER = "commit order event"
COMMIT_FILL = "commit fill"
NOTIFY = "notify"
POST = "post to Slack"

MILLISECOND_NS = 1_000_000


def facts_of_intent(intent_id: str) -> dict[str, Value]:
    """Return what an intent id says, as attributes."""
    names = ("run_id", "account", "strategy_version", "symbol", "day", "leg")
    return {"intent_id": intent_id, **dict(zip(names, intent_id.split("/"), strict=False))}


def now_ns() -> int:
    """Return the time of this machine's clock."""
    return time.time_ns()


def time_text(time_ms: int) -> str:
    """Return a venue time as ISO 8601 text with milliseconds; one that is no time of ours as the number that it is."""
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return str(time_ms)


# -- signal ------------------------------------------------------------------------------------------------------------


def tick(intent: Intent, *, start_ns: int) -> Context:
    """Return the first step: from the tick to the intent on the bus."""
    return _of_intent(TICK, intent, parent_id=None, start_ns=start_ns)


# -- publishing --------------------------------------------------------------------------------------------------------


def published(event: object, *, start_ns: int, is_repeat: bool) -> None:
    """Tell that the bus has stored an event; `is_repeat`: it had it already, from another process or an earlier try."""
    if tracing.active() is None:
        return
    match event:
        case Intent():
            _published_intent(event, start_ns=start_ns, is_repeat=is_repeat)
        case OrderEvent() if not is_repeat:
            _published_order(event, start_ns)
        case Fill() if not is_repeat and event.order_link_id:
            _published_fill(event, start_ns)
        case Alert() if not is_repeat and "intent_id" in event.facts:
            _published_alert(event, event.facts["intent_id"], start_ns)
        case _:
            return


def _published_intent(intent: Intent, *, start_ns: int, is_repeat: bool) -> None:
    trace_id = trace_of_intent(intent.intent_id)
    if is_repeat:  # the process whose intent was taken tells of it
        if (span := tracing.current_of(trace_id)) is not None:
            span.drop()
        return
    tracing.record(
        PUBLISH_INTENT,
        trace_id=trace_id,
        key=intent.intent_id,
        parent_id=span_of(TICK, intent.intent_id),
        start_ns=start_ns,
        end_ns=time.time_ns(),
        kind=Kind.PRODUCER,
        **facts_of_intent(intent.intent_id),
    )


def _published_order(event: OrderEvent, start_ns: int) -> None:
    trace_id = trace_of_intent(event.intent_id)
    tracing.record(
        PUBLISH_ORDER,
        trace_id=trace_id,
        key=event.event_id,
        parent_id=span_of(ORDER, event.order_link_id) if event.order_link_id else _place_in(trace_id, event.intent_id),
        start_ns=start_ns,
        end_ns=time.time_ns(),
        kind=Kind.PRODUCER,
        **_facts_of_order(event),
    )


def _published_fill(fill: Fill, start_ns: int) -> None:
    """Tell of an execution: live from the exchange's time of it to the bus, in a replay the publishing alone."""
    trace_id = _trace_of_fill(fill)
    if trace_id is None:
        return
    if fill.run_id == LIVE_RUN_ID:
        start_ns = min(start_ns, fill.exec_time_ms * MILLISECOND_NS)
    tracing.record(
        FILL,
        trace_id=trace_id,
        key=_fill_key(fill),
        parent_id=span_of(ORDER, fill.order_link_id),
        start_ns=start_ns,
        end_ns=time.time_ns(),
        kind=Kind.PRODUCER,
        **_facts_of_fill(fill),
    )


def _published_alert(alert: Alert, intent_id: str, start_ns: int) -> None:
    trace_id = trace_of_intent(intent_id)
    tracing.record(
        RAISE_ALERT,
        trace_id=trace_id,
        key=alert.alert_id,
        parent_id=_place_in(trace_id, intent_id),
        start_ns=start_ns,
        end_ns=time.time_ns(),
        kind=Kind.PRODUCER,
        **facts_of_intent(intent_id),
        **_facts_of_alert(alert),
    )


def _place_in(trace_id: int, intent_id: str) -> int | None:
    """Return the step that this process is at; without one, what led to the executor's work."""
    span = tracing.current_of(trace_id)
    return _cause_of_handling(intent_id) if span is None else span.span_id


# -- executor ----------------------------------------------------------------------------------------------------------


def handle(intent: Intent, *, delivery: int) -> Context:
    """Return the step in which an executor works on a delivery of an intent."""
    if tracing.active() is None:
        return CLOSED
    return _of_intent(
        HANDLE,
        intent,
        parent_id=_cause_of_handling(intent.intent_id),
        suffix=f"@{delivery}",
        kind=Kind.CONSUMER,
        delivery=delivery,
    )


def flatten(intent: Intent, *, place: str) -> Context:
    """Return the step in which a process works on an intent that no signal has published.

    `place` is which try of which process it is.
    """
    return _of_intent(HANDLE, intent, parent_id=None, suffix=f"@{place}")


def order(intent: Intent, *, order_link_id: str, child: int) -> Context:
    """Return the step from an order's first request to its end, inside the handling of its intent.

    Under a name of its own if it is cut off, since another process goes on with the order, or if it is not the first
    try under this link id.
    """
    place = tracing.current()
    if tracing.active() is None or place is tracing.NOTHING:
        return CLOSED
    tries = place.number(order_link_id)
    here = f"{place.lineage}/{order_link_id}/{tries}"
    context = tracing.opened(
        ORDER,
        trace_id=place.trace_id,
        key=order_link_id if tries == 0 else here,
        parent_id=place.span_id,
        lineage=here,
        cut_key=here,
    )
    _set(context, order_link_id=order_link_id, child=child, **facts_of_intent(intent.intent_id))
    return context


# -- reporter and notifier ---------------------------------------------------------------------------------------------


def commit(event: OrderEvent | Fill, *, delivery: int) -> Context:
    """Return the step in which the reporter writes an event into the database."""
    place = _place_of(event)
    if place is None:
        return CLOSED
    trace_id, parent_id, key, facts = place
    name = COMMIT_FILL if isinstance(event, Fill) else COMMIT_ORDER
    context = tracing.opened(name, trace_id=trace_id, key=f"{key}@{delivery}", parent_id=parent_id, kind=Kind.CONSUMER)
    _set(context, delivery=delivery, **facts)
    return context


def told(event: object, *, identity: str, stored_ns: int, outcome: str) -> None:
    """Tell that the notifier is done with an event, which was on the bus since `stored_ns`."""
    place = _place_of(event)
    if place is None:
        return
    trace_id, parent_id, _, facts = place
    tracing.record(
        NOTIFY,
        trace_id=trace_id,
        key=identity,
        parent_id=parent_id,
        start_ns=stored_ns,
        end_ns=time.time_ns(),
        kind=Kind.CONSUMER,
        **facts | {"outcome": outcome},
    )


def posted(event: object, *, identity: str, attempt: int, start_ns: int, grouped: int, outcome: str) -> None:
    """Tell of an attempt to post the message that tells of an event and of `grouped` - 1 others."""
    place = _place_of(event)
    if place is None:
        return
    trace_id, _, _, facts = place
    tracing.record(
        POST,
        trace_id=trace_id,
        key=f"{identity}#{attempt}",
        parent_id=span_of(NOTIFY, identity),
        start_ns=start_ns,
        end_ns=time.time_ns(),
        kind=Kind.CLIENT,
        **facts | {"outcome": outcome, "attempt": attempt, "grouped": grouped},
    )


# -- what they share ---------------------------------------------------------------------------------------------------


def learn(event: object) -> None:
    """Take note of the intent that an event names, so that fills of its orders find their trace."""
    tracer = tracing.active()
    if tracer is not None and isinstance(event, OrderEvent):
        tracer.orders.learn(event.intent_id, event.child)


def _of_intent(
    name: str,
    intent: Intent,
    *,
    parent_id: int | None,
    suffix: str = "",
    start_ns: int | None = None,
    kind: Kind = Kind.INTERNAL,
    **attributes: Value,
) -> Context:
    if tracing.active() is None:
        return CLOSED
    context = tracing.opened(
        name,
        trace_id=trace_of_intent(intent.intent_id),
        key=f"{intent.intent_id}{suffix}",
        parent_id=parent_id,
        start_ns=start_ns,
        kind=kind,
    )
    _set(
        context,
        **facts_of_intent(intent.intent_id),
        side=intent.side.value,
        event_time=time_text(intent.trigger_time_ms),
        **attributes,
    )
    return context


def _place_of(event: object) -> tuple[int, int | None, str, dict[str, Value]] | None:
    """Return an event's trace, the step that published it, what its ids are made of and its facts; None without."""
    tracer = tracing.active()
    if tracer is None:
        return None
    match event:
        case OrderEvent():
            learn(event)
            trace_id, parent_id = trace_of_intent(event.intent_id), span_of(PUBLISH_ORDER, event.event_id)
            return trace_id, parent_id, event.event_id, _facts_of_order(event)
        case Fill() if event.order_link_id and (found := _trace_of_fill(event)) is not None:
            key = _fill_key(event)
            return found, span_of(FILL, key), key, _facts_of_fill(event)
        case Alert() if "intent_id" in event.facts:
            trace_id = trace_of_intent(event.facts["intent_id"])
            return trace_id, span_of(RAISE_ALERT, event.alert_id), event.alert_id, _facts_of_alert(event)
        case _:
            return None


def _cause_of_handling(intent_id: str) -> int | None:
    """Return the step that led to an executor's work: a person's flatten has none."""
    return None if f"/{Leg.FLATTEN.value}/" in intent_id else span_of(PUBLISH_INTENT, intent_id)


def _trace_of_fill(fill: Fill) -> int | None:
    tracer = tracing.active()
    return None if tracer is None else tracer.orders.trace_of(fill.order_link_id)


def _fill_key(fill: Fill) -> str:
    return f"{fill.run_id}/{fill.account}/{fill.exec_id}"


def _facts_of_order(event: OrderEvent) -> dict[str, Value]:
    return facts_of_intent(event.intent_id) | {
        "order_link_id": event.order_link_id,
        "child": event.child,
        "outcome": event.status.value,
        "reason": event.reason,
        "intent_closed": event.intent_closed,
        "event_time": time_text(event.event_time_ms),
    }


def _facts_of_fill(fill: Fill) -> dict[str, Value]:
    return {
        "run_id": fill.run_id,
        "account": fill.account,
        "symbol": fill.symbol,
        "order_link_id": fill.order_link_id,
        "exec_id": fill.exec_id,
        "fill_kind": fill.kind.value,
        "event_time": time_text(fill.exec_time_ms),
    }


def _facts_of_alert(alert: Alert) -> dict[str, Value]:
    return {
        "alert": alert.name,
        "severity": alert.severity.value,
        "event_time": time_text(alert.event_time_ms),
    }


def _set(context: Context, **attributes: Value) -> None:
    if isinstance(context, tracing.Open):
        context.span.set(**attributes)
