"""Metrics that no message brings: read now and then from the database and from the bus."""

import asyncio
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.orm import Session

from breakwater_core.events import SnapshotKind
from breakwater_runtime.logs import get_logger
from reporter_service import metrics
from reporter_service.bus_watch import BusWatch
from reporter_service.database import Database, DatabaseAwayError
from reporter_service.tables import PositionRow, SnapshotRow


class PeriodicMetrics:
    """Shows what the accounts have paid so far, their equity at the day's opening, and the state of the bus."""

    def __init__(self, database: Database, watch: BusWatch, run_id: str) -> None:
        """Read this run."""
        self._database = database
        self._watch = watch
        self._run_id = run_id

    async def run(self, interval_s: float) -> None:
        """Read every `interval_s` seconds until cancelled."""
        while True:
            await self.turn()
            await asyncio.sleep(interval_s)

    async def turn(self) -> None:
        """Read everything once; what is away keeps its last values."""
        try:
            await asyncio.to_thread(self._read_database)
        except DatabaseAwayError as error:
            get_logger().warning("totals_not_read", reason=str(error))
        await self._watch.poll()

    def _read_database(self) -> None:
        with self._database.reading() as session:
            self._show_payments(session)
            self._show_openings(session)

    def _show_payments(self, session: Session) -> None:
        paid: dict[str, tuple[Decimal, Decimal]] = {}
        positions = session.scalars(select(PositionRow).where(PositionRow.run_id == self._run_id))
        for position in positions:
            fees, funding = paid.get(position.account, (Decimal(0), Decimal(0)))
            paid[position.account] = (fees + position.fees, funding + position.funding)
        for account, (fees, funding) in paid.items():
            metrics.FEES_PAID.labels(account).set(float(fees))
            metrics.FUNDING_PAID.labels(account).set(float(funding))

    def _show_openings(self, session: Session) -> None:
        openings = session.execute(
            select(SnapshotRow.account, SnapshotRow.day, SnapshotRow.equity)
            .where(SnapshotRow.run_id == self._run_id, SnapshotRow.kind == SnapshotKind.DAY_OPEN.value)
            .order_by(SnapshotRow.day)
        )
        for account, _day, equity in openings:
            metrics.DAY_OPEN_EQUITY.labels(account).set(float(equity))
