"""The report of a run: what was ordered, filled and refused, and what each day brought, in one fixed order.

A replay's report is built from the database and a backtest's from memory, both here, so that two runs of the same
decisions give the same text apart from `run_id` and the wall-clock figures. Decimals are plain text, times milliseconds
since 1970-01-01T00:00Z (venue time), slippage basis points.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from breakwater_core.decimals import to_text
from breakwater_core.errors import InvalidInputError
from breakwater_core.events import DailyPerformance, Fill, OrderEvent, OrderStatus
from breakwater_core.performance import slippage_bps

Report = dict[str, Any]
"""Keys in this order: run_id, config, orders, fills, refused, days, counters; plain values only, fit for JSON."""

REFUSALS = frozenset({OrderStatus.REFUSED, OrderStatus.EXPIRED, OrderStatus.REJECTED})
"""States in which a decision left no order at the exchange although one was wanted."""


def build_report(
    *,
    run_id: str,
    config: Mapping[str, Any],
    outcomes: Iterable[OrderEvent],
    fills: Iterable[Fill],
    days: Iterable[DailyPerformance],
    trades: int,
    wall_seconds: float,
) -> Report:
    """Return the report of a run.

    An order stands in `orders` unless the exchange rejected it: then there is none, and its intent stands in `refused`,
    like the intents that a rule refused and the entries that expired. An exit that found nothing to close (FLAT)
    stands in neither, and counts as an intent.

    Args:
        run_id: Id of the run.
        config: Nested plain values, as `BreakwaterConfig.as_values` gives them.
        outcomes: The last state of each order, and the end of each intent without one; in any order.
        fills: Each execution once; in any order.
        days: Closed days of all accounts; in any order.
        trades: Trades of the market that the run saw.
        wall_seconds: How long the run took, seconds, not negative.

    Raises:
        InvalidInputError: If an order or an execution stands twice, or a count or duration is negative.
    """
    if trades < 0 or wall_seconds < 0:
        raise InvalidInputError(f"trades and wall_seconds must not be negative, were {trades} and {wall_seconds}")
    events = list(outcomes)
    executions = sorted(fills, key=lambda fill: (fill.exec_time_ms, fill.order_link_id, fill.exec_id))
    orders = sorted(
        (event for event in events if event.order_link_id and event.status is not OrderStatus.REJECTED),
        key=lambda order: (
            order.trigger_time_ms,
            order.account,
            order.symbol,
            order.leg.value,
            order.child,
            order.order_link_id,
        ),
    )
    _check_unique("order", [order.order_link_id for order in orders])
    _check_unique("execution", [fill.exec_id for fill in executions])
    refused = _refusals(events)
    return {
        "run_id": run_id,
        "config": dict(config),
        "orders": [_order(order) for order in orders],
        "fills": [_fill(fill) for fill in executions],
        "refused": [{"intent_id": intent, "reason": refused[intent]} for intent in sorted(refused)],
        "days": [_day(day) for day in sorted(days, key=lambda day: (day.day, day.account))],
        "counters": {
            "trades": trades,
            "intents": len({event.intent_id for event in events}),
            "orders": len(orders),
            "fills": len(executions),
            "wall_seconds": round(wall_seconds, 3),
            "trades_per_second": round(trades / wall_seconds, 1) if wall_seconds > 0 else 0.0,
        },
    }


def order_slippage_bps(order: OrderEvent) -> Decimal | None:
    """Return how much worse than its target the order filled, basis points; None without a fill or a target."""
    if order.average_price is None or not order.target_price > 0:
        return None
    return slippage_bps(order.side, order.average_price, order.target_price)


def _refusals(events: Iterable[OrderEvent]) -> dict[str, str]:
    """Return the reason per refused intent; of several, that of the first child."""
    reasons: dict[str, str] = {}
    for event in sorted(events, key=lambda event: (event.child, event.reason)):
        if event.status in REFUSALS:
            reasons.setdefault(event.intent_id, event.reason)
    return reasons


def _check_unique(kind: str, identities: list[str]) -> None:
    seen: set[str] = set()
    for identity in identities:
        if identity in seen:
            raise InvalidInputError(f"{kind} {identity} stands twice in the report's input; hand over each once")
        seen.add(identity)


def _order(order: OrderEvent) -> dict[str, Any]:
    return {
        "order_link_id": order.order_link_id,
        "intent_id": order.intent_id,
        "account": order.account,
        "symbol": order.symbol,
        "side": order.side.value,
        "leg": order.leg.value,
        "reduce_only": order.reduce_only,
        "qty": to_text(order.quantity),
        "status": order.status.value,
        "target_price": to_text(order.target_price),
        "trigger_price": to_text(order.trigger_price),
        "trigger_time_ms": order.trigger_time_ms,
        "avg_price": _optional(order.average_price),
        "slippage_bps": _optional(order_slippage_bps(order)),
    }


def _fill(fill: Fill) -> dict[str, Any]:
    return {
        "exec_id": fill.exec_id,
        "order_link_id": fill.order_link_id,
        "symbol": fill.symbol,
        "side": fill.side.value,
        "qty": to_text(fill.quantity),
        "price": to_text(fill.price),
        "fee": to_text(fill.fee),
        "exec_time_ms": fill.exec_time_ms,
        "kind": fill.kind.value,
    }


def _day(day: DailyPerformance) -> dict[str, Any]:
    return {
        "day": day.day.isoformat(),
        "account": day.account,
        "equity": to_text(day.equity),
        "net_deposits": to_text(day.net_deposits),
        "ror": to_text(day.ror),
        "cumulative": to_text(day.cumulative),
        "drawdown": to_text(day.drawdown),
        "mdd": to_text(day.mdd),
    }


def _optional(value: Decimal | None) -> str | None:
    return None if value is None else to_text(value)
