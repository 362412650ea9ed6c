"""Spans of orders where things go wrong: each end has one, under an id that says whose it is."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from types import SimpleNamespace

import pytest

from breakwater_bybit import errors
from breakwater_bybit.caller import CallReport, Endpoint
from breakwater_bybit.client import CREATE_ORDER
from breakwater_core.events import Intent, Leg
from breakwater_core.identities import order_link_id
from breakwater_runtime import trace_steps, tracing
from breakwater_runtime.consumers import Received
from breakwater_runtime.trace_ids import span_of, trace_of_intent
from breakwater_runtime.tracing import Span, Tracer
from executor_service.call_trace import observe
from executor_service.drain import Drain, Draining
from executor_service.order_life import Patience

NO_FUNDS = errors.Rejected("ab not enough", reason=errors.RejectReason.INSUFFICIENT_MARGIN, ret_code=110007)


@pytest.fixture
def spans() -> Iterator[list[Span]]:
    made: list[Span] = []
    with tracing.installed(Tracer(made.append)):
        yield made


def delivered(intent: Intent, deliveries: int = 1) -> Received:
    return Received(intent, "intent.0.main.BTCUSDT", 1, deliveries)


def named(spans: list[Span], name: str) -> list[Span]:
    return [span for span in spans if span.name == name]


async def test_an_order_left_at_a_drain_keeps_its_id_for_the_process_that_brings_it_to_its_end(
    kit: SimpleNamespace, spans: list[Span]
) -> None:
    world = kit.World(patience=Patience(look_ups_s=(0.01,), polls_s=(0.01,), settle_s=60.0))
    world.exchange.script = [kit.Placement(error=kit.lost_answer())]
    world.exchange.hidden_look_ups = 1_000_000
    intent = kit.intent()
    first = asyncio.create_task(world.process().receive(delivered(intent)))
    while not world.exchange.requests:
        await asyncio.sleep(0)
    world.drain.due.set()
    with pytest.raises(Draining):
        await first
    world.drain = Drain()
    world.exchange.hidden_look_ups = 0
    await world.process().receive(delivered(intent, 2))

    left, ended = named(spans, "order")
    assert (left.failure, ended.failure) == ("Draining", "")
    assert ended.span_id == span_of("order", order_link_id(intent.intent_id, 0)) != left.span_id
    assert ended.attributes["outcome"] == "filled"
    assert [span.attributes["delivery"] for span in named(spans, "handle intent")] == [1, 2]
    assert len({span.span_id for span in spans}) == len(spans)
    assert {span.trace_id for span in spans} == {trace_of_intent(intent.intent_id)}


async def test_an_order_that_is_refused_and_sent_again_under_its_id_has_a_span_for_each_try(
    kit: SimpleNamespace, spans: list[Span]
) -> None:
    world = kit.World()
    world.exchange.positions["BTCUSDT"] = Decimal(2)
    world.exchange.script = [kit.Placement(error=NO_FUNDS, arrives=False)]
    await world.process().receive(delivered(kit.intent(Leg.EXIT)))
    refused, filled = named(spans, "order")
    assert (refused.attributes["outcome"], refused.attributes["ret_code"]) == ("rejected", 110007)
    assert filled.attributes["outcome"] == "filled"
    assert refused.attributes["order_link_id"] == filled.attributes["order_link_id"]
    assert refused.span_id != filled.span_id


async def test_an_entry_that_a_rule_refuses_ends_at_the_check(kit: SimpleNamespace, spans: list[Span]) -> None:
    world = kit.World()
    world.control.state = world.control.state.halt()
    await world.process().receive(delivered(kit.intent()))
    check, handling = spans
    assert (check.name, check.attributes["outcome"]) == ("check entry", "refused")
    assert (handling.attributes["outcome"], handling.attributes["reason"]) == ("refused", "halted")
    assert check.parent_id == handling.span_id
    assert handling.parent_id == span_of("publish intent", kit.intent().intent_id)


async def test_a_flatten_begins_its_own_trace(kit: SimpleNamespace, spans: list[Span]) -> None:
    world = kit.World()
    world.exchange.positions["BTCUSDT"] = Decimal(2)
    intent = kit.intent(Leg.FLATTEN)
    with trace_steps.flatten(intent, place="a.1"):
        await world.process().handle(intent)
    (handling,) = named(spans, "handle intent")
    assert handling.parent_id is None
    assert {span.trace_id for span in spans} == {trace_of_intent(intent.intent_id)}
    assert handling.attributes["outcome"] == "filled"


async def test_spans_hold_no_quantity_and_no_equity(kit: SimpleNamespace, spans: list[Span]) -> None:
    world = kit.World()
    await world.process().receive(delivered(kit.intent()))
    names = {name for span in spans for name in span.attributes}
    assert names <= {
        *("intent_id", "run_id", "account", "strategy_version", "symbol", "day", "leg", "side", "event_time"),
        *("delivery", "outcome", "reason", "order_link_id", "child", "exchange_status", "look_ups"),
    }


def test_look_ups_of_an_order_are_counted_and_other_requests_have_spans(spans: list[Span]) -> None:
    look_up = CallReport(Endpoint("order/realtime", "get_open_orders"), None, 1, 2, 0, 200)
    refused = CallReport(CREATE_ORDER, 10, 20, 30, 110007, 200)
    with tracing.opened("order", trace_id=1, key="k", parent_id=None) as order:
        for report in (look_up, refused, look_up):
            observe(report)
    wait, request, _ = spans
    assert order.attributes["look_ups"] == 2
    assert (wait.name, wait.start_ns, wait.end_ns) == ("wait for budget", 10, 20)
    assert (request.name, request.start_ns, request.end_ns) == ("order/create", 20, 30)
    assert request.attributes == {"http_status": 200, "outcome": "answered", "ret_code": 110007}
    observe(refused)
    assert len(spans) == 3, "a request that no intent asked for has no span"
