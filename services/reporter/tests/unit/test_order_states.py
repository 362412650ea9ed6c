"""Merging order events: the same events give the same state, and no event takes an order back."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.events import Leg, OrderEvent, OrderStatus
from reporter_service.order_states import is_final, merge_intent, merge_order

DAY = date(2023, 7, 4)


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """Draw what tells one event of an order from another."""
    filled = draw(st.sampled_from(["0", "0.1", "0.3"]))
    return {
        "status": draw(st.sampled_from(OrderStatus)),
        "filled_quantity": Decimal(filled),
        "average_price": None if filled == "0" else draw(st.sampled_from([Decimal(1), Decimal(2)])),
        "event_time_ms": draw(st.integers(0, 3)),
        "event_id": draw(st.sampled_from("abc")),
        "child": draw(st.integers(0, 2)),
        "intent_closed": draw(st.booleans()),
    }


def base(story: Any) -> OrderEvent:
    order: OrderEvent = story().order("main", DAY, Leg.ENTRY, OrderStatus.SUBMITTED)
    return order


def state_of(order: OrderEvent) -> tuple[Any, ...]:
    return (order.status, order.filled_quantity, order.average_price, order.event_time_ms, order.intent_closed)


def intent_state(order: OrderEvent) -> tuple[Any, ...]:
    return (order.intent_closed, order.child, order.status, order.event_time_ms, order.event_id)


@given(first=events(), second=events(), third=events())
def test_merging_does_not_depend_on_order_or_repetition(
    story: Any, first: dict[str, Any], second: dict[str, Any], third: dict[str, Any]
) -> None:
    one, two, three = (replace(base(story), **changes) for changes in (first, second, third))
    for merge, seen in ((merge_order, state_of), (merge_intent, intent_state)):
        forward = merge(merge(merge(None, one), two), three)
        backward = merge(merge(merge(None, three), two), one)
        nested = merge(one, merge(two, three))
        repeated = merge(merge(forward, one), two)
        assert seen(forward) == seen(backward) == seen(nested) == seen(repeated)


@given(first=events(), second=events())
def test_filled_quantity_never_shrinks_and_a_final_state_is_never_left(
    story: Any, first: dict[str, Any], second: dict[str, Any]
) -> None:
    before = replace(base(story), **first)
    after = merge_order(before, replace(base(story), **second))
    assert after.filled_quantity >= before.filled_quantity
    assert is_final(after.status) or not is_final(before.status)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (OrderStatus.UNKNOWN, OrderStatus.SUBMITTED),
        (OrderStatus.SUBMITTED, OrderStatus.PARTIALLY_FILLED),
        (OrderStatus.PARTIALLY_FILLED, OrderStatus.CANCELLED),
        (OrderStatus.PARTIALLY_FILLED, OrderStatus.FILLED),
        (OrderStatus.UNKNOWN, OrderStatus.REJECTED),
    ],
)
def test_a_later_state_is_not_replaced_by_an_earlier_one_that_comes_late(
    story: Any, earlier: OrderStatus, later: OrderStatus
) -> None:
    told = story()
    late = told.order("main", DAY, Leg.ENTRY, earlier, event_time_ms=9)
    known = told.order("main", DAY, Leg.ENTRY, later, event_time_ms=5)
    assert merge_order(known, late).status is later


def test_the_event_that_closed_an_intent_outranks_those_of_later_orders(story: Any) -> None:
    told = story()
    closed = told.order("main", DAY, Leg.EXIT, OrderStatus.FILLED, child=0, closed=True)
    stray = told.order("main", DAY, Leg.EXIT, OrderStatus.FILLED, child=1, event_time_ms=closed.event_time_ms + 5)
    assert merge_intent(closed, stray) is closed
    assert merge_intent(stray, closed) is closed
