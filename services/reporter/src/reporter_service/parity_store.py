"""Days and their parity in the database: which are due, what the account did on them, what came out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from breakwater_core.config import BreakwaterConfig
from breakwater_core.decimals import from_text
from breakwater_core.errors import InvalidInputError
from breakwater_core.events import DailyPerformance, DayDifference, DayParity, SnapshotKind
from breakwater_core.performance import PerformanceSeries
from breakwater_core.report import Report, build_report
from reporter_service import conversions
from reporter_service.reading import Selection, find_run, outcomes_of
from reporter_service.tables import DailyPerformanceRow, DayConfigRow, DayParityRow, FillRow, OrderRow, SnapshotRow

LOOK_BACK_DAYS = 31
"""Days before the newest closed one that are still compared, e.g. after the comparison was first switched on."""
UTC_DAY_MS = 86_400_000
DIFFERENCES_TOLD = 50
"""Differences that a message names; the row has all."""


@dataclass(frozen=True, slots=True)
class ClosedDay:
    """A closed day of an account that has not been compared.

    Attributes:
        account: The account.
        day: The session's day.
        recorded_ms: End of the UTC day in which it ended, milliseconds since 1970-01-01T00:00Z: a recorder makes its
            files by UTC days, so there is nothing to read before.
    """

    account: str
    day: date
    recorded_ms: int


def due_days(session: Session, run_id: str) -> list[ClosedDay]:
    """Return the closed days of a run that have no parity, oldest first."""
    hours = BreakwaterConfig.parse(find_run(session, run_id).config).session.session()
    closed, compared = DailyPerformanceRow, DayParityRow
    newest = session.scalar(select(func.max(closed.day)).where(closed.run_id == run_id))
    if newest is None:
        return []
    known = select(compared.day).where(
        compared.run_id == run_id, compared.account == closed.account, compared.day == closed.day
    )
    query = select(closed.account, closed.day).where(
        closed.run_id == run_id, closed.day >= newest - timedelta(days=LOOK_BACK_DAYS), ~known.exists()
    )
    found = session.execute(query.order_by(closed.day, closed.account)).all()
    return [ClosedDay(account, day, -(-hours.day_end_ms(day) // UTC_DAY_MS) * UTC_DAY_MS) for account, day in found]


def actual_report(session: Session, run_id: str, closed: ClosedDay) -> tuple[Report, Decimal]:
    """Return what an account did on a closed day, as a report of that day alone, and the equity that it opened with.

    The day's row is that of a series which begins with the day, and deposits are taken out of its equity: a backtest
    of the day knows nothing of either.

    Raises:
        InvalidInputError: If decisions of the day were made under another configuration than the day's.
    """
    run = find_run(session, run_id)
    hours = BreakwaterConfig.parse(run.config).session.session()
    start_ms, end_ms = hours.day_start_ms(closed.day), hours.day_end_ms(closed.day)
    account = closed.account
    outcomes = outcomes_of(session, run_id, Selection(account=account, day=closed.day))
    of_day = session.get(DayConfigRow, (run_id, closed.day))
    version, config = (run.strategy_version, run.config) if of_day is None else (of_day.strategy_version, of_day.config)
    others = sorted({event.strategy_version for event in outcomes} - {version})
    if others:
        raise InvalidInputError(f"decided under configuration {', '.join(others)}, the day's is {version}")
    links = select(OrderRow.order_link_id).where(
        OrderRow.run_id == run_id, OrderRow.account == account, OrderRow.day == closed.day
    )
    in_day = (FillRow.exec_time_ms >= start_ms) & (FillRow.exec_time_ms < end_ms)
    fills = session.scalars(
        select(FillRow).where(
            FillRow.run_id == run_id,
            FillRow.account == account,
            FillRow.order_link_id.in_(links) | ((FillRow.order_link_id == "") & in_day),
        )
    )
    opened = session.get_one(SnapshotRow, (run_id, account, SnapshotKind.DAY_OPEN.value, closed.day))
    row = session.get_one(DailyPerformanceRow, (run_id, account, closed.day))
    days: list[DailyPerformance] = []
    if opened.equity > 0:
        series = PerformanceSeries(run_id=run_id, account=account, initial_equity=opened.equity)
        days = [series.close_day(closed.day, row.equity - row.net_deposits, Decimal(0))]
    report = build_report(
        run_id=run_id,
        config=config,
        outcomes=outcomes,
        fills=[conversions.fill_of(fill) for fill in fills],
        days=days,
        trades=0,
        wall_seconds=0.0,
    )
    return report, opened.equity


def record_parity(session: Session, run_id: str, closed: ClosedDay, found: Mapping[str, Any]) -> bool:
    """Keep the first comparison of a day; True if this is it.

    Args:
        session: Holds the right to write.
        run_id: The run.
        closed: The day.
        found: As `parity_day.compare_day` returns it.
    """
    if session.get(DayParityRow, (run_id, closed.account, closed.day)) is not None:
        return False
    session.add(
        DayParityRow(
            run_id=run_id,
            account=closed.account,
            day=closed.day,
            comparable="reason" not in found,
            reason=str(found.get("reason", "")),
            orders_equal=int(found.get("orders_equal", 0)),
            orders_different=int(found.get("orders_different", 0)),
            cost=from_text(found.get("cost", "0")),
            total_bps=from_text(found.get("total_bps", "0")),
            differences=list(found.get("differences", ())),
            announced=False,
        )
    )
    return True


def untold_parities(session: Session, run_id: str) -> list[DayParity]:
    """Return the comparisons whose message was not acknowledged, oldest day first."""
    rows = session.scalars(
        select(DayParityRow)
        .where(DayParityRow.run_id == run_id, ~DayParityRow.announced)
        .order_by(DayParityRow.day, DayParityRow.account)
    )
    return [_parity_of(row) for row in rows]


def mark_told(session: Session, parity: DayParity) -> None:
    """Note that the message of a comparison was acknowledged."""
    row = session.get(DayParityRow, (parity.run_id, parity.account, parity.day))
    if row is not None:
        row.announced = True


def _parity_of(row: DayParityRow) -> DayParity:
    return DayParity(
        run_id=row.run_id,
        account=row.account,
        day=row.day,
        comparable=row.comparable,
        reason=row.reason,
        orders_equal=row.orders_equal,
        orders_different=row.orders_different,
        total_bps=row.total_bps,
        differences=tuple(_difference_of(values) for values in row.differences[:DIFFERENCES_TOLD]),
        differences_total=len(row.differences),
    )


def _difference_of(values: Mapping[str, Any]) -> DayDifference:
    return DayDifference(
        subject=values["subject"],
        cause=values["cause"],
        field=values["field"],
        expected=values["a"],
        actual=values["b"],
        cost_bps=None if values["cost_bps"] is None else from_text(values["cost_bps"]),
    )
