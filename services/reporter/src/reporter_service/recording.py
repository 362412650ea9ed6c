"""Messages into the database: each function applies one message inside the caller's transaction.

Applying a message again changes nothing, and the order in which messages are applied does not show in the rows.
The caller holds the writers' lock, so a row that is absent stays absent until the transaction ends.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from breakwater_core.decimals import MONEY
from breakwater_core.errors import PermanentError
from breakwater_core.events import AccountSnapshot, Alert, Fill, FillKind, OrderEvent, OrderStatus, Side, SnapshotKind
from breakwater_core.market import Clock, ClockKind
from reporter_service import conversions
from reporter_service.order_states import is_final, merge_intent, merge_order
from reporter_service.tables import (
    AlertRow,
    DayConfigRow,
    FillRow,
    IntentRow,
    OrderRow,
    PositionRow,
    RunRow,
    SnapshotRow,
    Table,
)

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class OrderChange:
    """What an order event changed.

    Attributes:
        status: State that the order or intent has entered by it; none if it was there already.
        ended_with_fills: The order's state, if this event ended it and it has fills.
    """

    status: OrderStatus | None
    ended_with_fills: OrderEvent | None


def record_run(
    session: Session, *, run_id: str, strategy_version: str, config: Mapping[str, Any], wall_ms: int
) -> None:
    """Note that a reporter works for the run; the first start counts.

    The configuration is that of the newest day, where one is known, else that of the last start.
    """
    row = session.get(RunRow, run_id)
    days = select(DayConfigRow).where(DayConfigRow.run_id == run_id).order_by(DayConfigRow.day.desc()).limit(1)
    newest = session.scalars(days).one_or_none()
    if newest is not None:
        strategy_version, config = newest.strategy_version, newest.config
    if row is None:
        session.add(
            RunRow(
                run_id=run_id,
                strategy_version=strategy_version,
                config=dict(config),
                started_at_ms=wall_ms,
                ended_at_ms=None,
                day=None,
                now_ms=0,
                trades_total=0,
            )
        )
    elif row.strategy_version != strategy_version:
        row.strategy_version, row.config = strategy_version, dict(config)


def record_day_config(
    session: Session, *, run_id: str, day: date, strategy_version: str, config: Mapping[str, Any]
) -> None:
    """Note what a day runs under, the first time; the run's configuration is that of its newest day."""
    if session.get(DayConfigRow, (run_id, day)) is not None:
        return
    newest = session.scalar(select(func.max(DayConfigRow.day)).where(DayConfigRow.run_id == run_id))
    session.add(DayConfigRow(run_id=run_id, day=day, strategy_version=strategy_version, config=dict(config)))
    run = session.get(RunRow, run_id)
    if run is not None and (newest is None or newest < day) and run.strategy_version != strategy_version:
        run.strategy_version, run.config = strategy_version, dict(config)


def record_clock(session: Session, run_id: str, clock: Clock, *, wall_ms: int) -> bool:
    """Note the day, the time and the trades so far; True if this is the first word of the recording's end."""
    row = session.get(RunRow, run_id)
    if row is None or clock.kind is ClockKind.ADVANCED:
        return False
    row.now_ms = max(row.now_ms, clock.now_ms)
    row.trades_total = max(row.trades_total, clock.trades_total)
    if clock.kind is ClockKind.DAY_OPENED:
        row.day = clock.day if row.day is None else max(row.day, clock.day)
        return False
    ended_now = row.ended_at_ms is None
    if ended_now:
        row.ended_at_ms = wall_ms
    return ended_now


def record_order(session: Session, event: OrderEvent) -> OrderChange:
    """Merge an order event into its order, if it has one, and into its intent."""
    intent_row = session.get(IntentRow, (event.run_id, event.intent_id))
    known_intent = None if intent_row is None else conversions.intent_of(intent_row)
    intent = merge_intent(known_intent, event)
    if intent is not known_intent:
        _store(session, IntentRow, intent_row, conversions.intent_values(intent))
    if not event.order_link_id:
        entered = known_intent is None or known_intent.status is not intent.status
        return OrderChange(intent.status if entered else None, None)
    row = session.get(OrderRow, (event.run_id, event.order_link_id))
    known = None if row is None else conversions.order_of(row)
    order = merge_order(known, event)
    if order == known:
        return OrderChange(None, None)
    _store(session, OrderRow, row, conversions.order_values(order))
    ends = is_final(order.status) and not (known is not None and is_final(known.status))
    return OrderChange(
        order.status if known is None or known.status is not order.status else None,
        order if ends and order.average_price is not None else None,
    )


def record_fill(session: Session, fill: Fill) -> bool:
    """Apply an execution once, to its own row and to the position; False if it was applied before.

    Raises:
        PermanentError: If its quantity or price is not above 0, or it is known with other content.
    """
    row = session.get(FillRow, (fill.run_id, fill.exec_id))
    if row is not None:
        known = conversions.fill_of(row)
        if known != fill:
            raise PermanentError(
                f"execution {fill.exec_id} is in the database as {known} and came again as {fill}; "
                "compare both with the exchange's execution list"
            )
        return False
    if not (fill.quantity > 0 and fill.price > 0):
        raise PermanentError(
            f"execution {fill.exec_id}: quantity and price must be above 0, were {fill.quantity} and {fill.price}"
        )
    session.add(FillRow(**conversions.fill_values(fill)))
    _book(session, fill)
    return True


def record_snapshot(session: Session, snapshot: AccountSnapshot) -> bool:
    """Keep the first snapshot of a day's opening and the last of a day's others; True if this one counts."""
    key = (snapshot.run_id, snapshot.account, snapshot.kind.value, snapshot.day)
    row = session.get(SnapshotRow, key)
    if row is not None:
        if row.event_time_ms == snapshot.event_time_ms:
            return conversions.snapshot_of(row) == snapshot
        earlier = snapshot.event_time_ms < row.event_time_ms
        if earlier != (snapshot.kind is SnapshotKind.DAY_OPEN):
            return False
    _store(session, SnapshotRow, row, conversions.snapshot_values(snapshot))
    return True


def record_alert(session: Session, alert: Alert) -> bool:
    """Keep an alert; of several with one id the earliest. True if it changed anything."""
    row = session.get(AlertRow, (alert.run_id, alert.alert_id))
    if row is not None and (alert.event_time_ms, alert.summary) >= conversions.alert_key(row):
        return False
    _store(session, AlertRow, row, conversions.alert_values(alert))
    return True


def _book(session: Session, fill: Fill) -> None:
    position = session.get(PositionRow, (fill.run_id, fill.account, fill.symbol))
    if position is None:
        position = PositionRow(
            run_id=fill.run_id,
            account=fill.account,
            symbol=fill.symbol,
            size=_ZERO,
            bought_quantity=_ZERO,
            sold_quantity=_ZERO,
            cash_flow=_ZERO,
            fees=_ZERO,
            funding=_ZERO,
            fills=0,
            last_exec_time_ms=0,
        )
        session.add(position)
    position.fills += 1
    position.last_exec_time_ms = max(position.last_exec_time_ms, fill.exec_time_ms)
    if fill.kind is FillKind.FUNDING:
        position.funding = MONEY.add(position.funding, fill.fee)
        return
    value = MONEY.multiply(fill.quantity, fill.price)
    position.fees = MONEY.add(position.fees, fill.fee)
    if fill.side is Side.BUY:
        position.bought_quantity = MONEY.add(position.bought_quantity, fill.quantity)
        position.cash_flow = MONEY.subtract(position.cash_flow, value)
    else:
        position.sold_quantity = MONEY.add(position.sold_quantity, fill.quantity)
        position.cash_flow = MONEY.add(position.cash_flow, value)
    position.size = MONEY.subtract(position.bought_quantity, position.sold_quantity)


def _store(session: Session, table: type[Table], row: Table | None, values: Mapping[str, Any]) -> None:
    if row is None:
        session.add(table(**values))
        return
    for name, value in values.items():
        setattr(row, name, value)
