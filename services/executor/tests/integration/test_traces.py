"""Spans of both roles against a real bus and a paper exchange: every order and fill of an intent in its trace."""

import json
from collections import defaultdict
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from breakwater_core.events import Fill, Leg, OrderEvent
from breakwater_runtime import tracing
from breakwater_runtime.trace_ids import span_of, trace_of_intent
from breakwater_runtime.tracing import Span, Tracer
from executor_service.settings import BudgetMode
from executor_service.venue_clock import wall_clock_ms
from paper_exchange_service.fault_rules import parse_rules
from paper_exchange_service.server import PaperExchange


@pytest.fixture
def spans() -> Iterator[list[Span]]:
    made: list[Span] = []
    with tracing.installed(Tracer(made.append)):
        yield made


def closing(log: Any) -> list[OrderEvent]:
    return [event for event in log.of(OrderEvent) if event.intent_closed]


async def test_fills_of_later_orders_of_an_exit_are_found_in_its_trace_each_below_its_order(
    roles: SimpleNamespace, exchange: PaperExchange, desk: Any, log: Any, kit: SimpleNamespace, spans: list[Span]
) -> None:
    async with roles.account(), roles.order(budget=BudgetMode.SHARED):
        await desk.open_day(roles.DAY, 0)
        await desk.decide(entry := kit.intent(valid_until_ms=kit.TRIGGER_MS + 60_000))
        await log.until(lambda log: len(closing(log)) == 1)
        rule = {"kind": "partial_fill", "probability": 1, "share": 0.5, "limit": 2}
        exchange.faults.set_rules(parse_rules(json.dumps({"seed": 1, "rules": [rule]}), wall_clock_ms()))
        await desk.decide(exit_ := kit.intent(Leg.EXIT))
        await log.until(lambda log: len(closing(log)) == 2)
        await log.until(lambda log: len(log.of(Fill)) == len(exchange.engine.accounts["main"].executions))
    by_trace: dict[int, list[Span]] = defaultdict(list)
    for span in spans:
        by_trace[span.trace_id].append(span)
    assert set(by_trace) == {trace_of_intent(intent.intent_id) for intent in (entry, exit_)}
    of_exit = by_trace[trace_of_intent(exit_.intent_id)]
    orders = {span.span_id: span for span in of_exit if span.name == "order"}
    fills = [span for span in of_exit if span.name == "fill"]
    assert len(orders) == len(fills) == 3
    assert {span.parent_id for span in fills} == set(orders)
    for fill in fills:
        assert fill.parent_id is not None
        order = orders[fill.parent_id]
        assert order.attributes["order_link_id"] == fill.attributes["order_link_id"]
        inside = {span.name for span in of_exit if span.parent_id == order.span_id}
        assert {"wait for budget", "order/create", "follow order", "publish order event", "fill"} <= inside
    assert sorted(span.attributes["child"] for span in orders.values()) == [0, 1, 2]
    assert [span.attributes["outcome"] for span in orders.values()] == ["cancelled", "cancelled", "filled"]
    known = {span.span_id for span in of_exit} | {span_of("tick", exit_.intent_id)}
    assert {span.parent_id for span in of_exit} <= known


async def test_a_second_account_role_adds_no_span_of_a_fill(
    roles: SimpleNamespace, exchange: PaperExchange, desk: Any, log: Any, kit: SimpleNamespace, spans: list[Span]
) -> None:
    async with roles.account(instance="a"), roles.account(instance="b"), roles.order():
        await desk.open_day(roles.DAY, 0)
        await desk.decide(kit.intent(valid_until_ms=kit.TRIGGER_MS + 60_000))
        await log.until(lambda log: len(closing(log)) == 1 and bool(log.of(Fill)))
    assert [span.name for span in spans].count("fill") == len(log.of(Fill)) == 1
