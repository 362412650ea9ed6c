"""Ids of traces and spans."""

from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.identities import order_link_id
from breakwater_runtime.trace_ids import (
    CHILDREN_KNOWN,
    INTENTS_KNOWN,
    OrderTraces,
    is_sampled,
    span_of,
    trace_of_intent,
    trace_text,
)

INTENT = "live/main/0123456789abcdef/BTCUSDT/2024-01-01/exit/1"
traces = st.integers(min_value=1, max_value=2**128 - 1)


def test_a_trace_is_named_as_the_first_order_of_its_intent() -> None:
    assert trace_text(trace_of_intent(INTENT)) == order_link_id(INTENT, 0).removeprefix("bw-")


@given(st.text(max_size=80))
def test_ids_are_never_zero_fit_and_do_not_change(text: str) -> None:
    assert 0 < trace_of_intent(text) < 2**128
    assert 0 < span_of("order", text) < 2**64
    assert span_of("order", text) == span_of("order", text) != span_of("fill", text)


def test_the_first_order_is_found_without_its_intent_and_the_others_with_it() -> None:
    orders = OrderTraces()
    trace = trace_of_intent(INTENT)
    assert orders.trace_of(order_link_id(INTENT, 0)) == trace
    assert orders.trace_of(order_link_id(INTENT, 3)) != trace
    orders.learn(INTENT)
    assert {orders.trace_of(order_link_id(INTENT, child)) for child in range(CHILDREN_KNOWN)} == {trace}
    orders.learn(INTENT, 40)
    assert orders.trace_of(order_link_id(INTENT, 40)) == trace


def test_an_order_of_somebody_else_has_no_trace() -> None:
    assert OrderTraces().trace_of("made-by-hand") is None
    assert OrderTraces().trace_of("") is None


def test_what_is_known_stays_bounded() -> None:
    orders = OrderTraces()
    intents = [f"{INTENT}{number}" for number in range(INTENTS_KNOWN + 10)]
    for intent in intents:
        orders.learn(intent)
    assert orders.trace_of(order_link_id(intents[0], 1)) != trace_of_intent(intents[0])
    assert orders.trace_of(order_link_id(intents[-1], 1)) == trace_of_intent(intents[-1])
    assert len(orders) == INTENTS_KNOWN * CHILDREN_KNOWN


@given(traces, st.floats(0, 1), st.floats(0, 1))
def test_a_smaller_share_keeps_a_part_of_what_a_larger_one_keeps(trace: int, one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert is_sampled(trace, large) or not is_sampled(trace, small)
    assert is_sampled(trace, 1.0)
    assert not is_sampled(trace, 0.0)


def test_the_share_is_that_of_the_traces() -> None:
    kept = sum(is_sampled(trace_of_intent(f"{INTENT}{number}"), 0.25) for number in range(4000))
    assert 850 < kept < 1150
