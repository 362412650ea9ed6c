"""Which step leads to which, across processes that share nothing but the messages."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from breakwater_core.events import Alert, Fill, FillKind, Leg, OrderEvent, OrderStatus, Severity, Side
from breakwater_core.identities import intent_id, order_event_id, order_link_id
from breakwater_runtime import trace_steps, tracing
from breakwater_runtime.trace_ids import span_of, trace_of_intent
from breakwater_runtime.tracing import Span, Tracer

EXECUTED_MS = 1_704_067_200_123


def identity(leg: Leg = Leg.ENTRY) -> str:
    return intent_id(
        run_id="live",
        account="main",
        strategy_version="version",
        symbol="BTCUSDT",
        day=date(2024, 1, 1),
        leg=leg,
        attempt=1,
    )


def order_event(status: OrderStatus, leg: Leg = Leg.ENTRY, child: int = 0) -> OrderEvent:
    intent = identity(leg)
    return OrderEvent(
        event_id=order_event_id(intent=intent, child=child, status=status, filled_quantity="1", closed=True),
        run_id="live",
        account="main",
        symbol="BTCUSDT",
        day=date(2024, 1, 1),
        strategy_version="version",
        intent_id=intent,
        order_link_id=order_link_id(intent, child) if status.has_order else "",
        child=child,
        status=status,
        leg=leg,
        side=Side.BUY,
        reduce_only=False,
        quantity=Decimal(1),
        filled_quantity=Decimal(1),
        average_price=None,
        target_price=Decimal(1),
        trigger_price=Decimal(1),
        trigger_time_ms=0,
        intent_closed=True,
        event_time_ms=EXECUTED_MS,
        reason="halted" if status is OrderStatus.REFUSED else "",
    )


def fill(child: int = 0, run_id: str = "live") -> Fill:
    return Fill(
        exec_id="e-1",
        run_id=run_id,
        account="main",
        symbol="BTCUSDT",
        order_id="o-1",
        order_link_id=order_link_id(identity(), child),
        side=Side.BUY,
        quantity=Decimal(1),
        price=Decimal(1),
        fee=Decimal(0),
        fee_rate=Decimal(0),
        is_maker=False,
        kind=FillKind.TRADE,
        exec_time_ms=EXECUTED_MS,
    )


ALERT = Alert(
    alert_id=f"order_unknown/{identity()}",
    run_id="live",
    severity=Severity.CRITICAL,
    service="executor",
    name="order_unknown",
    summary="nobody knows",
    event_time_ms=EXECUTED_MS,
    facts={"intent_id": identity()},
)


@pytest.fixture
def spans() -> Iterator[list[Span]]:
    made: list[Span] = []
    with tracing.installed(Tracer(made.append)):
        yield made


@pytest.mark.parametrize(
    ("event", "cause"),
    [
        (order_event(OrderStatus.FILLED), span_of("order", order_link_id(identity(), 0))),
        (order_event(OrderStatus.REFUSED), span_of("publish intent", identity())),
        (order_event(OrderStatus.FLAT, Leg.FLATTEN), None),
        (fill(), span_of("order", order_link_id(identity(), 0))),
        (ALERT, span_of("publish intent", identity())),
    ],
    ids=["order", "without_order", "flatten", "fill", "alert"],
)
def test_whoever_takes_an_event_finds_the_step_that_published_it(
    spans: list[Span], event: OrderEvent | Fill | Alert, cause: int | None
) -> None:
    trace_steps.published(event, start_ns=1, is_repeat=False)
    trace_steps.posted(event, identity="notice", attempt=1, start_ns=3, grouped=1, outcome="posted")
    trace_steps.told(event, identity="notice", stored_ns=2, outcome="posted")
    published, post, notify = spans
    assert published.parent_id == cause
    assert notify.parent_id == published.span_id
    assert post.parent_id == notify.span_id
    assert len({span.trace_id for span in spans}) == 1
    if not isinstance(event, Alert):
        with trace_steps.commit(event, delivery=1), trace_steps.commit(event, delivery=2):
            pass
        assert {span.parent_id for span in spans[3:]} == {published.span_id}
        assert len({span.span_id for span in spans}) == 5


def test_what_the_bus_had_already_has_no_second_span(spans: list[Span]) -> None:
    for event in (order_event(OrderStatus.FILLED), fill(), ALERT):
        trace_steps.published(event, start_ns=1, is_repeat=True)
    assert spans == []


def test_an_event_without_order_lies_inside_the_step_that_is_being_done(spans: list[Span]) -> None:
    with tracing.opened("handle intent", trace_id=trace_of_intent(identity()), key="k", parent_id=None) as handling:
        trace_steps.published(order_event(OrderStatus.REFUSED), start_ns=1, is_repeat=False)
        trace_steps.published(ALERT, start_ns=1, is_repeat=False)
    assert [span.parent_id for span in spans] == [handling.span_id, handling.span_id, None]


def test_live_a_fill_begins_with_the_exchanges_time_and_in_a_replay_with_its_publishing(spans: list[Span]) -> None:
    trace_steps.published(fill(), start_ns=EXECUTED_MS * 1_000_000 + 7, is_repeat=False)
    trace_steps.published(fill(run_id="replay-1"), start_ns=EXECUTED_MS * 1_000_000 + 7, is_repeat=False)
    assert [span.start_ns for span in spans] == [EXECUTED_MS * 1_000_000, EXECUTED_MS * 1_000_000 + 7]
    assert {span.attributes["event_time"] for span in spans} == {"2024-01-01T00:00:00.123+00:00"}


def test_a_fill_of_a_later_order_is_found_once_an_event_of_its_intent_was_seen(spans: list[Span]) -> None:
    trace_steps.learn(order_event(OrderStatus.SUBMITTED))
    trace_steps.told(fill(child=2), identity="notice", stored_ns=2, outcome="posted")
    assert [span.trace_id for span in spans] == [trace_of_intent(identity())]


def test_an_absurd_time_is_no_failure(spans: list[Span]) -> None:
    trace_steps.published(replace(order_event(OrderStatus.FILLED), event_time_ms=2**62), start_ns=1, is_repeat=False)
    assert [span.attributes["event_time"] for span in spans] == [str(2**62)]


def test_events_that_no_intent_caused_have_no_span(spans: list[Span]) -> None:
    funding = replace(fill(), order_link_id="", kind=FillKind.FUNDING)
    by_hand = replace(fill(), order_link_id="made-by-hand")
    for event in (funding, by_hand, replace(ALERT, facts={}), object()):
        trace_steps.published(event, start_ns=1, is_repeat=False)
        trace_steps.told(event, identity="notice", stored_ns=2, outcome="posted")
    with trace_steps.commit(funding, delivery=1), trace_steps.commit(by_hand, delivery=1):
        pass
    assert spans == []
