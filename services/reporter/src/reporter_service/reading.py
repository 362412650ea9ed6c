"""Reads the database: pages of rows for the HTTP API, and the report of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError
from breakwater_core.events import DailyPerformance, Fill, OrderEvent, OrderStatus
from breakwater_core.report import REFUSALS, Report, build_report
from reporter_service import conversions
from reporter_service.database import Database
from reporter_service.migrate import check_migrated
from reporter_service.tables import (
    AlertRow,
    DailyPerformanceRow,
    DayConfigRow,
    DayParityRow,
    FillRow,
    IntentRow,
    OrderRow,
    PositionRow,
    RunRow,
    SnapshotRow,
)

_ENDED_WITHOUT_ORDER = frozenset({*REFUSALS, OrderStatus.FLAT})


class UnknownRunError(InvalidInputError):
    """The database holds no such run; the message names those that it holds."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows of a run to read, and which page of them; None means all."""

    account: str | None = None
    symbol: str | None = None
    day: date | None = None
    limit: int = 100
    offset: int = 0


_EVERYTHING = Selection()


@dataclass(frozen=True, slots=True)
class Rows[T]:
    """One page of rows, and how many there are on all pages."""

    rows: Sequence[T]
    total: int


def load_report(database_url: str, run_id: str, *, wall_seconds: float | None = None) -> Report:
    """Return the report of a run in a database.

    Args:
        database_url: As in `REPORTER_DATABASE_URL`.
        run_id: Run to report on.
        wall_seconds: How long the run took, if the caller has measured it; else the time between the reporter's
            first start and the end of the recording, 0 while there is none.

    Raises:
        UnknownRunError: If the database does not hold the run.
        DependencyError: If the database is absent or its tables are not those of this program.
        DatabaseAwayError: If it stops answering.
        InvalidInputError: If the address is none of SQLite or Postgres.
    """
    database = Database(database_url)
    try:
        check_migrated(database)
        with database.reading() as session:
            return report_of(session, run_id, wall_seconds=wall_seconds)
    finally:
        database.close()


def list_runs(database_url: str) -> list[str]:
    """Return the ids of the runs in a database, latest start first; errors as of `load_report`."""
    database = Database(database_url)
    try:
        check_migrated(database)
        with database.reading() as session:
            return list(session.scalars(select(RunRow.run_id).order_by(RunRow.started_at_ms.desc(), RunRow.run_id)))
    finally:
        database.close()


def report_of(session: Session, run_id: str, *, wall_seconds: float | None = None) -> Report:
    """Return the report of a run; as `load_report`."""
    run = find_run(session, run_id)
    if wall_seconds is None:
        wall_seconds = 0.0 if run.ended_at_ms is None else max(0, run.ended_at_ms - run.started_at_ms) / 1000
    report = build_report(
        run_id=run_id,
        config=run.config,
        outcomes=outcomes_of(session, run_id),
        fills=_fills(session, run_id),
        days=_days(session, run_id),
        trades=run.trades_total,
        wall_seconds=wall_seconds,
    )
    versions = _versions(session, run_id)
    return report | {"versions": versions} if len(versions) > 1 else report


def find_run(session: Session, run_id: str) -> RunRow:
    """Return a run.

    Raises:
        UnknownRunError: If there is none of this id.
    """
    row = session.get(RunRow, run_id)
    if row is None:
        known = session.scalars(select(RunRow.run_id).order_by(RunRow.started_at_ms.desc()).limit(5)).all()
        raise UnknownRunError(f"no run {run_id!r} in the database; the latest are: {', '.join(known) or 'none yet'}")
    return row


def read_runs(session: Session, selection: Selection) -> Rows[RunRow]:
    """Return the runs, latest start first."""
    return _page(session, select(RunRow).order_by(RunRow.started_at_ms.desc(), RunRow.run_id), selection)


def read_orders(session: Session, run_id: str, selection: Selection) -> Rows[OrderRow]:
    """Return orders by the time of their trigger."""
    query = _narrowed(select(OrderRow).where(OrderRow.run_id == run_id), OrderRow, selection)
    return _page(session, query.order_by(OrderRow.trigger_time_ms, OrderRow.order_link_id), selection)


def read_refusals(session: Session, run_id: str, selection: Selection) -> Rows[IntentRow]:
    """Return refused, expired and rejected intents by the time of their trigger."""
    statuses = sorted(status.value for status in REFUSALS)
    query = select(IntentRow).where(IntentRow.run_id == run_id, IntentRow.status.in_(statuses))
    query = _narrowed(query, IntentRow, selection)
    return _page(session, query.order_by(IntentRow.trigger_time_ms, IntentRow.intent_id), selection)


def read_fills(session: Session, run_id: str, selection: Selection) -> Rows[FillRow]:
    """Return executions by time; a day is the session's, as the run is configured."""
    query = select(FillRow).where(FillRow.run_id == run_id)
    if selection.account is not None:
        query = query.where(FillRow.account == selection.account)
    if selection.symbol is not None:
        query = query.where(FillRow.symbol == selection.symbol)
    if selection.day is not None:
        hours = BreakwaterConfig.parse(find_run(session, run_id).config).session.session()
        query = query.where(
            FillRow.exec_time_ms >= hours.day_start_ms(selection.day),
            FillRow.exec_time_ms < hours.day_end_ms(selection.day),
        )
    return _page(session, query.order_by(FillRow.exec_time_ms, FillRow.order_link_id, FillRow.exec_id), selection)


def read_positions(session: Session, run_id: str, selection: Selection) -> Rows[PositionRow]:
    """Return positions by account and symbol."""
    query = select(PositionRow).where(PositionRow.run_id == run_id)
    if selection.account is not None:
        query = query.where(PositionRow.account == selection.account)
    if selection.symbol is not None:
        query = query.where(PositionRow.symbol == selection.symbol)
    return _page(session, query.order_by(PositionRow.account, PositionRow.symbol), selection)


def read_performance(session: Session, run_id: str, selection: Selection) -> Rows[DailyPerformanceRow]:
    """Return closed days by day and account."""
    query = select(DailyPerformanceRow).where(DailyPerformanceRow.run_id == run_id)
    if selection.account is not None:
        query = query.where(DailyPerformanceRow.account == selection.account)
    if selection.day is not None:
        query = query.where(DailyPerformanceRow.day == selection.day)
    return _page(session, query.order_by(DailyPerformanceRow.day, DailyPerformanceRow.account), selection)


def read_parity(session: Session, run_id: str, selection: Selection) -> Rows[DayParityRow]:
    """Return days compared with their backtests, by day and account."""
    query = select(DayParityRow).where(DayParityRow.run_id == run_id)
    if selection.account is not None:
        query = query.where(DayParityRow.account == selection.account)
    if selection.day is not None:
        query = query.where(DayParityRow.day == selection.day)
    return _page(session, query.order_by(DayParityRow.day, DayParityRow.account), selection)


def latest_snapshots(session: Session, run_id: str) -> dict[str, SnapshotRow]:
    """Return the newest snapshot of each account."""
    newest: dict[str, SnapshotRow] = {}
    for account in accounts_of(session, run_id):
        query = select(SnapshotRow).where(SnapshotRow.run_id == run_id, SnapshotRow.account == account)
        row = session.scalars(query.order_by(SnapshotRow.event_time_ms.desc(), SnapshotRow.kind).limit(1)).one()
        newest[account] = row
    return newest


def latest_days(session: Session, run_id: str) -> list[DailyPerformance]:
    """Return the last closed day of each account."""
    days = []
    for account in accounts_of(session, run_id):
        query = select(DailyPerformanceRow).where(
            DailyPerformanceRow.run_id == run_id, DailyPerformanceRow.account == account
        )
        row = session.scalars(query.order_by(DailyPerformanceRow.day.desc()).limit(1)).one_or_none()
        if row is not None:
            days.append(conversions.performance_of(row))
    return days


def accounts_of(session: Session, run_id: str) -> list[str]:
    """Return the accounts of a run that have stated themselves, sorted."""
    query = select(SnapshotRow.account).where(SnapshotRow.run_id == run_id).distinct()
    return sorted(session.scalars(query))


def count_rows(session: Session, run_id: str) -> dict[str, int]:
    """Return how many intents, orders, fills and alerts a run has."""
    tables: dict[str, type[IntentRow | OrderRow | FillRow | AlertRow]] = {
        "intents": IntentRow,
        "orders": OrderRow,
        "fills": FillRow,
        "alerts": AlertRow,
    }
    return {
        name: int(session.scalar(select(func.count()).select_from(table).where(table.run_id == run_id)) or 0)
        for name, table in tables.items()
    }


def outcomes_of(session: Session, run_id: str, selection: Selection = _EVERYTHING) -> list[OrderEvent]:
    """Return the last state of each order, and the end of each intent without one; the page is not kept to."""
    order_rows = _narrowed(select(OrderRow).where(OrderRow.run_id == run_id), OrderRow, selection)
    orders = [conversions.order_of(row) for row in session.scalars(order_rows)]
    with_order = {order.intent_id for order in orders}
    intent_rows = _narrowed(select(IntentRow).where(IntentRow.run_id == run_id), IntentRow, selection)
    intents = [conversions.intent_of(row) for row in session.scalars(intent_rows)]
    return orders + [
        intent for intent in intents if intent.intent_id not in with_order or intent.status in _ENDED_WITHOUT_ORDER
    ]


def _versions(session: Session, run_id: str) -> list[dict[str, Any]]:
    """Return the configurations that the run's days ran under, each stretch of days with one version once."""
    rows = session.scalars(select(DayConfigRow).where(DayConfigRow.run_id == run_id).order_by(DayConfigRow.day))
    stretches = (list(days) for _, days in groupby(rows, key=lambda row: row.strategy_version))
    return [
        {
            "version": days[0].strategy_version,
            "first_day": days[0].day.isoformat(),
            "last_day": days[-1].day.isoformat(),
            "config": days[0].config,
        }
        for days in stretches
    ]


def _fills(session: Session, run_id: str) -> list[Fill]:
    return [conversions.fill_of(row) for row in session.scalars(select(FillRow).where(FillRow.run_id == run_id))]


def _days(session: Session, run_id: str) -> list[DailyPerformance]:
    query = select(DailyPerformanceRow).where(DailyPerformanceRow.run_id == run_id)
    return [conversions.performance_of(row) for row in session.scalars(query)]


def _narrowed[R](query: Select[R], table: type[OrderRow] | type[IntentRow], selection: Selection) -> Select[R]:
    if selection.account is not None:
        query = query.where(table.account == selection.account)
    if selection.symbol is not None:
        query = query.where(table.symbol == selection.symbol)
    if selection.day is not None:
        query = query.where(table.day == selection.day)
    return query


def _page[T](session: Session, query: Select[T], selection: Selection) -> Rows[T]:
    total = session.scalar(select(func.count()).select_from(query.order_by(None).subquery()))
    rows = session.scalars(query.limit(selection.limit).offset(selection.offset)).all()
    return Rows(rows, int(total or 0))
