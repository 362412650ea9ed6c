"""The daily parity report: each closed day is compared with the backtest of its recording, in a process of its own.

The consumers never wait for it: the database is read in a thread, the backtest runs elsewhere at the lowest priority,
and its result is one row. The row is written first, then its message is published until the bus acknowledges, then the
row is marked: a death in between publishes again, under the same message id.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from sqlalchemy.orm import Session

from breakwater_core.decimals import to_text
from breakwater_core.errors import InvariantError, PermanentError, TransientError
from breakwater_core.events import DayParity
from breakwater_core.report import Report
from breakwater_runtime.logs import get_logger
from reporter_service import metrics
from reporter_service.database import Database
from reporter_service.group_writer import GroupWriter
from reporter_service.parity_job import ParityJob
from reporter_service.parity_store import (
    ClosedDay,
    actual_report,
    due_days,
    mark_told,
    record_parity,
    untold_parities,
)
from reporter_service.settings import ReporterSettings

Compare = Callable[[ParityJob], Awaitable[dict[str, Any]]]
"""Returns what `parity_day.compare_day` does; raises `ComparisonFailed`."""

LONGEST_COMPARISON_S = 3600.0
ATTEMPTS = 3
_OWN_SETTINGS = "REPORTER_"


class ComparisonFailed(TransientError):
    """The process that compares a day ended without a result."""


class Publisher(Protocol):
    """What the reports are published with; the bus offers it."""

    async def publish_persistently(self, event: DayParity) -> int:
        """Publish until the bus acknowledges."""
        ...


class ParityReports:
    """Compares closed days with their backtests, one after the other, and announces what was found."""

    def __init__(
        self,
        settings: ReporterSettings,
        database: Database,
        writer: GroupWriter,
        publisher: Publisher,
        *,
        compare: Compare | None = None,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Work for the settings' run.

        Args:
            settings: `recordings` must be set.
            database: Where days are read.
            writer: Commits the rows.
            publisher: Takes the messages.
            compare: Compares one day; None: `compare_in_process`.
            wall_ms: The wall clock, milliseconds UTC: how long ago a day ended.
        """
        self._settings = settings
        self._database = database
        self._writer = writer
        self._publisher = publisher
        self._compare = compare or compare_in_process
        self._wall_ms = wall_ms
        self._failures: dict[ClosedDay, int] = {}

    async def run(self) -> None:
        """Look for closed days and compare them until cancelled."""
        while True:
            try:
                await self.turn()
            except TransientError as error:
                get_logger().warning("parity_waiting", reason=str(error))
            await asyncio.sleep(self._settings.parity_interval_s)

    async def turn(self) -> None:
        """Tell what is untold, compare what is due, and tell of it.

        Raises:
            TransientError: If the database is away.
        """
        await self._tell()
        run_id = self._settings.run_id
        for closed in await asyncio.to_thread(self._read, lambda session: due_days(session, run_id)):
            if self._wall_ms() < closed.recorded_ms:
                continue
            found = await self._found(closed)
            if found is not None:
                await self._writer.apply(lambda session: record_parity(session, run_id, closed, found))  # noqa: B023
                await self._tell()

    async def _found(self, closed: ClosedDay) -> dict[str, Any] | None:
        """Return the comparison of a day; None: it is to be tried again later."""
        settings = self._settings
        try:
            actual, equity = await asyncio.to_thread(
                self._read, lambda session: actual_report(session, settings.run_id, closed)
            )
            found = await self._compare(self._job(closed, actual, to_text(equity)))
        except ComparisonFailed as error:
            count = self._failures[closed] = self._failures.get(closed, 0) + 1
            get_logger().error("parity_failed", account=closed.account, day=closed.day.isoformat(), reason=str(error))
            return {"reason": str(error)} if count >= ATTEMPTS else None
        except (PermanentError, InvariantError) as error:
            return {"reason": str(error)}
        waited_s = (self._wall_ms() - closed.recorded_ms) / 1000
        if "reason" in found and waited_s < settings.parity_wait_s:
            return None  # a recorder finishes a day's files some minutes after the day
        return found

    def _job(self, closed: ClosedDay, actual: Report, equity: str) -> ParityJob:
        return ParityJob(
            directory=str(self._settings.recordings),
            account=closed.account,
            day=closed.day.isoformat(),
            equity=equity,
            config=actual["config"],
            actual=actual,
            tolerance_bps=to_text(self._settings.parity_tolerance_bps),
            tolerance_ms=self._settings.parity_tolerance_ms,
        )

    async def _tell(self) -> None:
        run_id = self._settings.run_id
        for parity in await asyncio.to_thread(self._read, lambda session: untold_parities(session, run_id)):
            await self._publisher.publish_persistently(parity)
            await self._writer.apply(lambda session: mark_told(session, parity))  # noqa: B023
            metrics.show_parity(parity)
            get_logger().info(
                "day_compared",
                account=parity.account,
                day=parity.day.isoformat(),
                comparable=parity.comparable,
                reason=parity.reason,
                orders_equal=parity.orders_equal,
                orders_different=parity.orders_different,
                total_bps=to_text(parity.total_bps),
            )

    def _read[T](self, work: Callable[[Session], T]) -> T:
        with self._database.reading() as session:
            return work(session)


async def compare_in_process(job: ParityJob, *, module: str = "reporter_service.parity_worker") -> dict[str, Any]:
    """Return what a process of its own makes of the job; it is killed if the caller is cancelled.

    Raises:
        ComparisonFailed: If the process ends without a result, or does not end within an hour.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_OWN_SETTINGS)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment,
        start_new_session=True,  # a ctrl-C in the terminal is the reporter's to act on
    )
    try:
        async with asyncio.timeout(LONGEST_COMPARISON_S):
            output, _ = await process.communicate(json.dumps(job.as_values()).encode())
    except TimeoutError as error:
        raise ComparisonFailed(f"the comparison took longer than {LONGEST_COMPARISON_S:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise ComparisonFailed(f"the comparison ended with exit code {process.returncode}; its log says why")
    try:
        found: dict[str, Any] = json.loads(output)
    except ValueError as error:
        raise ComparisonFailed(f"the comparison answered with no JSON ({error})") from error
    return found
