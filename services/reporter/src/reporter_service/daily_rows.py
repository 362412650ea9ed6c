"""Closing days: each snapshot of a day's opening closes the day that the snapshot before it opened.

The rows are a function of the snapshots in the database alone. In the usual case, a day after the last one, only that
day is computed; a snapshot that comes late makes the account's rows be computed anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

from sqlalchemy import Select, exists, func, select
from sqlalchemy.orm import Session

from breakwater_core.errors import InvalidInputError
from breakwater_core.events import AccountSnapshot, DailyPerformance, SnapshotKind
from breakwater_core.performance import PerformanceSeries
from reporter_service import conversions
from reporter_service.account_books import ordered_fills
from reporter_service.tables import DailyPerformanceRow, FillRow, SnapshotRow


@dataclass(frozen=True, slots=True)
class DayClosing:
    """What a snapshot of a day's opening led to.

    Attributes:
        rows: Closed days to announce, oldest first; a repeat announces the same again.
        fault: Why a day could not be closed; empty if nothing went wrong.
    """

    rows: tuple[DailyPerformance, ...] = ()
    fault: str = ""


@dataclass(slots=True)
class _Progress:
    series: PerformanceSeries
    through: date
    """Day of the last opening that the series knows."""


class DailyRows:
    """Closes the days of a run, account by account."""

    def __init__(self, run_id: str) -> None:
        """Close days of this run."""
        self._run_id = run_id
        self._progress: dict[str, _Progress] = {}

    def close(self, session: Session, snapshot: AccountSnapshot) -> DayClosing:
        """Write the rows that follow from a snapshot of a day's opening, which is in the database already."""
        before = self._opening_before(session, snapshot)
        later = self._has_later_opening(session, snapshot)
        if before is None:
            return self._close_all(session, snapshot.account) if later else DayClosing()
        known = self._known(session, before.day, snapshot)
        if known is not None and (not later or self._is_closed(session, snapshot)):
            return DayClosing((known,))
        if not later and self._follows(session, before, snapshot):
            return self._close_next(session, before, snapshot)
        return self._close_all(session, snapshot.account)

    def _known(self, session: Session, day: date, snapshot: AccountSnapshot) -> DailyPerformance | None:
        """Return the day's row if it has the figures of the snapshot."""
        row = session.get(DailyPerformanceRow, (self._run_id, snapshot.account, day))
        if row is None or (row.equity, row.net_deposits) != (snapshot.equity, snapshot.net_deposits):
            return None
        return conversions.performance_of(row)

    def _is_closed(self, session: Session, snapshot: AccountSnapshot) -> bool:
        """Whether the day that the snapshot opened is closed, too."""
        return session.get(DailyPerformanceRow, (self._run_id, snapshot.account, snapshot.day)) is not None

    def _follows(self, session: Session, before: SnapshotRow, snapshot: AccountSnapshot) -> bool:
        """Whether the series in memory ends where this snapshot goes on, and the database says the same."""
        progress = self._progress.get(snapshot.account)
        if progress is None or progress.through != before.day:
            return False
        last = session.scalars(
            select(DailyPerformanceRow)
            .where(DailyPerformanceRow.run_id == self._run_id, DailyPerformanceRow.account == snapshot.account)
            .order_by(DailyPerformanceRow.day.desc())
            .limit(1)
        ).one_or_none()
        return (None if last is None else conversions.performance_of(last)) == progress.series.last

    def _close_next(self, session: Session, before: SnapshotRow, snapshot: AccountSnapshot) -> DayClosing:
        progress = self._progress[snapshot.account]
        progress.through = snapshot.day
        orders, fills = self._counts(session, snapshot.account, before.fills_total, snapshot.fills_total)
        try:
            row = progress.series.close_day(
                before.day, snapshot.equity, snapshot.net_deposits, orders=orders, fills=fills
            )
        except InvalidInputError as error:
            return DayClosing(fault=str(error))
        session.merge(DailyPerformanceRow(**conversions.performance_values(row)))
        return DayClosing((row,))

    def _close_all(self, session: Session, account: str) -> DayClosing:
        """Compute every row of the account from all its openings; the changed ones are written and returned."""
        openings = session.scalars(self._openings(account).order_by(SnapshotRow.day)).all()
        while openings and openings[0].equity <= 0:
            openings = openings[1:]
        if not openings:
            return DayClosing(fault=f"account {account} has no equity; its days are counted once it has")
        series = PerformanceSeries(run_id=self._run_id, account=account, initial_equity=openings[0].equity)
        self._progress[account] = _Progress(series, openings[-1].day)
        return self._close_series(session, series, openings)

    def _close_series(self, session: Session, series: PerformanceSeries, openings: Sequence[SnapshotRow]) -> DayClosing:
        account = openings[0].account
        changed: list[DailyPerformance] = []
        for before, after in pairwise(openings):
            orders, fills = self._counts(session, account, before.fills_total, after.fills_total)
            try:
                row = series.close_day(before.day, after.equity, after.net_deposits, orders=orders, fills=fills)
            except InvalidInputError as error:
                return DayClosing(tuple(changed), str(error))
            stored = session.get(DailyPerformanceRow, (self._run_id, account, before.day))
            if stored is None or conversions.performance_of(stored) != row:
                session.merge(DailyPerformanceRow(**conversions.performance_values(row)))
                changed.append(row)
        return DayClosing(tuple(changed))

    def _openings(self, account: str) -> Select[SnapshotRow]:
        return select(SnapshotRow).where(
            SnapshotRow.run_id == self._run_id,
            SnapshotRow.account == account,
            SnapshotRow.kind == SnapshotKind.DAY_OPEN.value,
        )

    def _opening_before(self, session: Session, snapshot: AccountSnapshot) -> SnapshotRow | None:
        earlier = self._openings(snapshot.account).where(SnapshotRow.day < snapshot.day)
        return session.scalars(earlier.order_by(SnapshotRow.day.desc()).limit(1)).one_or_none()

    def _has_later_opening(self, session: Session, snapshot: AccountSnapshot) -> bool:
        later = self._openings(snapshot.account).where(SnapshotRow.day > snapshot.day)
        return bool(session.scalar(select(exists(later))))

    def _counts(self, session: Session, account: str, first: int, last: int) -> tuple[int, int]:
        """Return how many orders had executions among the account's executions `first` to `last`, and how many."""
        among = (
            ordered_fills(self._run_id, account)
            .with_only_columns(FillRow.order_link_id)
            .offset(first)
            .limit(max(0, last - first))
            .subquery()
        )
        orders = func.count(func.distinct(func.nullif(among.c.order_link_id, "")))
        counted = session.execute(select(orders, func.count()).select_from(among)).one()
        return int(counted[0]), int(counted[1])
