"""Rows of the tables to domain values and back."""

from typing import Any

from breakwater_core.decimals import from_text, to_text
from breakwater_core.events import (
    AccountSnapshot,
    Alert,
    DailyPerformance,
    Fill,
    FillKind,
    Leg,
    OrderEvent,
    OrderStatus,
    Position,
    Side,
    SnapshotKind,
)
from breakwater_core.report import order_slippage_bps
from reporter_service.tables import (
    AlertRow,
    DailyPerformanceRow,
    FillRow,
    IntentRow,
    OrderRow,
    SnapshotRow,
)


def order_values(order: OrderEvent) -> dict[str, Any]:
    """Return the columns of an order's row."""
    return {
        "run_id": order.run_id,
        "order_link_id": order.order_link_id,
        "intent_id": order.intent_id,
        "account": order.account,
        "symbol": order.symbol,
        "day": order.day,
        "strategy_version": order.strategy_version,
        "child": order.child,
        "leg": order.leg.value,
        "side": order.side.value,
        "reduce_only": order.reduce_only,
        "status": order.status.value,
        "quantity": order.quantity,
        "filled_quantity": order.filled_quantity,
        "average_price": order.average_price,
        "target_price": order.target_price,
        "trigger_price": order.trigger_price,
        "trigger_time_ms": order.trigger_time_ms,
        "slippage_bps": order_slippage_bps(order),
        "reason": order.reason,
        "detail": order.detail,
        "intent_closed": order.intent_closed,
        "event_id": order.event_id,
        "event_time_ms": order.event_time_ms,
    }


def order_of(row: OrderRow) -> OrderEvent:
    """Return the order's state that the row holds."""
    return OrderEvent(
        event_id=row.event_id,
        run_id=row.run_id,
        account=row.account,
        symbol=row.symbol,
        day=row.day,
        strategy_version=row.strategy_version,
        intent_id=row.intent_id,
        order_link_id=row.order_link_id,
        child=row.child,
        status=OrderStatus(row.status),
        leg=Leg(row.leg),
        side=Side(row.side),
        reduce_only=row.reduce_only,
        quantity=row.quantity,
        filled_quantity=row.filled_quantity,
        average_price=row.average_price,
        target_price=row.target_price,
        trigger_price=row.trigger_price,
        trigger_time_ms=row.trigger_time_ms,
        intent_closed=row.intent_closed,
        event_time_ms=row.event_time_ms,
        reason=row.reason,
        detail=row.detail,
    )


def intent_values(event: OrderEvent) -> dict[str, Any]:
    """Return the columns of an intent's row."""
    return {
        "run_id": event.run_id,
        "intent_id": event.intent_id,
        "account": event.account,
        "symbol": event.symbol,
        "day": event.day,
        "strategy_version": event.strategy_version,
        "leg": event.leg.value,
        "side": event.side.value,
        "reduce_only": event.reduce_only,
        "target_price": event.target_price,
        "trigger_price": event.trigger_price,
        "trigger_time_ms": event.trigger_time_ms,
        "status": event.status.value,
        "reason": event.reason,
        "detail": event.detail,
        "child": event.child,
        "closed": event.intent_closed,
        "event_id": event.event_id,
        "event_time_ms": event.event_time_ms,
    }


def intent_of(row: IntentRow) -> OrderEvent:
    """Return the intent's outcome as an event without an order and without quantities."""
    return OrderEvent(
        event_id=row.event_id,
        run_id=row.run_id,
        account=row.account,
        symbol=row.symbol,
        day=row.day,
        strategy_version=row.strategy_version,
        intent_id=row.intent_id,
        order_link_id="",
        child=row.child,
        status=OrderStatus(row.status),
        leg=Leg(row.leg),
        side=Side(row.side),
        reduce_only=row.reduce_only,
        quantity=from_text("0"),
        filled_quantity=from_text("0"),
        average_price=None,
        target_price=row.target_price,
        trigger_price=row.trigger_price,
        trigger_time_ms=row.trigger_time_ms,
        intent_closed=row.closed,
        event_time_ms=row.event_time_ms,
        reason=row.reason,
        detail=row.detail,
    )


def fill_values(fill: Fill) -> dict[str, Any]:
    """Return the columns of an execution's row."""
    return {
        "run_id": fill.run_id,
        "exec_id": fill.exec_id,
        "account": fill.account,
        "symbol": fill.symbol,
        "order_id": fill.order_id,
        "order_link_id": fill.order_link_id,
        "side": fill.side.value,
        "quantity": fill.quantity,
        "price": fill.price,
        "fee": fill.fee,
        "fee_rate": fill.fee_rate,
        "is_maker": fill.is_maker,
        "kind": fill.kind.value,
        "exec_time_ms": fill.exec_time_ms,
    }


def fill_of(row: FillRow) -> Fill:
    """Return the execution that the row holds."""
    return Fill(
        exec_id=row.exec_id,
        run_id=row.run_id,
        account=row.account,
        symbol=row.symbol,
        order_id=row.order_id,
        order_link_id=row.order_link_id,
        side=Side(row.side),
        quantity=row.quantity,
        price=row.price,
        fee=row.fee,
        fee_rate=row.fee_rate,
        is_maker=row.is_maker,
        kind=FillKind(row.kind),
        exec_time_ms=row.exec_time_ms,
    )


def snapshot_values(snapshot: AccountSnapshot) -> dict[str, Any]:
    """Return the columns of a snapshot's row."""
    return {
        "run_id": snapshot.run_id,
        "account": snapshot.account,
        "kind": snapshot.kind.value,
        "day": snapshot.day,
        "equity": snapshot.equity,
        "wallet_balance": snapshot.wallet_balance,
        "net_deposits": snapshot.net_deposits,
        "positions": [
            {
                "symbol": position.symbol,
                "size": to_text(position.size),
                "average_price": to_text(position.average_price),
                "mark_price": to_text(position.mark_price),
                "unrealised_pnl": to_text(position.unrealised_pnl),
            }
            for position in sorted(snapshot.positions, key=lambda position: position.symbol)
        ],
        "fills_total": snapshot.fills_total,
        "event_time_ms": snapshot.event_time_ms,
    }


def snapshot_of(row: SnapshotRow) -> AccountSnapshot:
    """Return the snapshot that the row holds."""
    return AccountSnapshot(
        run_id=row.run_id,
        account=row.account,
        kind=SnapshotKind(row.kind),
        day=row.day,
        equity=row.equity,
        wallet_balance=row.wallet_balance,
        net_deposits=row.net_deposits,
        positions=tuple(
            Position(
                symbol=position["symbol"],
                size=from_text(position["size"]),
                average_price=from_text(position["average_price"]),
                mark_price=from_text(position["mark_price"]),
                unrealised_pnl=from_text(position["unrealised_pnl"]),
            )
            for position in row.positions
        ),
        fills_total=row.fills_total,
        event_time_ms=row.event_time_ms,
    )


def performance_values(day: DailyPerformance) -> dict[str, Any]:
    """Return the columns of a closed day's row."""
    return {
        "run_id": day.run_id,
        "account": day.account,
        "day": day.day,
        "equity": day.equity,
        "net_deposits": day.net_deposits,
        "ror": day.ror,
        "cumulative": day.cumulative,
        "drawdown": day.drawdown,
        "mdd": day.mdd,
        "orders": day.orders,
        "fills": day.fills,
    }


def performance_of(row: DailyPerformanceRow) -> DailyPerformance:
    """Return the closed day that the row holds."""
    return DailyPerformance(
        run_id=row.run_id,
        account=row.account,
        day=row.day,
        equity=row.equity,
        net_deposits=row.net_deposits,
        ror=row.ror,
        cumulative=row.cumulative,
        drawdown=row.drawdown,
        mdd=row.mdd,
        orders=row.orders,
        fills=row.fills,
    )


def alert_values(alert: Alert) -> dict[str, Any]:
    """Return the columns of an alert's row."""
    return {
        "run_id": alert.run_id,
        "alert_id": alert.alert_id,
        "severity": alert.severity.value,
        "service": alert.service,
        "name": alert.name,
        "summary": alert.summary,
        "facts": dict(sorted(alert.facts.items())),
        "account": alert.account,
        "symbol": alert.symbol,
        "event_time_ms": alert.event_time_ms,
    }


def alert_key(row: AlertRow) -> tuple[int, str]:
    """Return what decides between two alerts of one id: the earlier one counts."""
    return (row.event_time_ms, row.summary)
