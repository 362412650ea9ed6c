"""Group commit: work of many messages in one transaction, so that a slow disk is waited for once for all of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy.orm import Session

from breakwater_runtime.health import Health
from breakwater_runtime.logs import get_logger
from breakwater_runtime.outages import OutageAlarm
from reporter_service.database import Database, DatabaseAwayError
from reporter_service.metrics import COMMIT_SIZE, COMMIT_TIME

LARGEST_GROUP = 128
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
SLOW_AFTER_S = 10.0
"""A transaction that takes longer counts as a database that is away, though its end is awaited."""
CONDITION = "database"

Work = Callable[[Session], Any]
_Item = tuple[Work, "asyncio.Future[Any]"]


class GroupWriter:
    """Runs work in transactions, one after the other, many pieces of work in each.

    While the database is away the work waits, `health` says why, and it is tried again until the database is back or
    the service stops. Work must be a pure function of the database: it may run more than once before it is committed.
    """

    def __init__(
        self, database: Database, health: Health, stop: asyncio.Event, alarm: OutageAlarm | None = None
    ) -> None:
        """Write to the database until the owner closes the writer; `stop` ends the waiting for an absent database."""
        self._database = database
        self._health = health
        self._stop = stop
        self._alarm = alarm
        self._queue: asyncio.Queue[_Item | None] = asyncio.Queue()
        self._closing = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="database-writer")

    async def apply[T](self, work: Callable[[Session], T]) -> T:
        """Return what the work returned, once its effects are committed; what it raised is raised here.

        Raises:
            DatabaseAwayError: If the service stopped while the database was away; nothing was written.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((work, future))
        return await future

    async def run(self) -> None:
        """Commit groups until `close` was called and all work is done."""
        try:
            while (item := await self._queue.get()) is not None:
                group = [item]
                while len(group) < LARGEST_GROUP and not self._queue.empty():
                    following = self._queue.get_nowait()
                    if following is None:
                        self.close()
                        break
                    group.append(following)
                await self._settle(group)
        finally:
            self._thread.shutdown(wait=False)

    def close(self) -> None:
        """Let `run` end after the work handed over so far, or without it if the database is away."""
        self._closing = True
        self._queue.put_nowait(None)

    async def _settle(self, group: list[_Item]) -> None:
        outcomes = await self._committed([work for work, _ in group])
        for (_, future), outcome in zip(group, outcomes, strict=True):
            if future.done():  # its owner was cancelled
                continue
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    async def _committed(self, works: list[Work]) -> list[Any]:
        loop = asyncio.get_running_loop()
        pause_s = FIRST_PAUSE_S
        away = False
        while True:
            try:
                outcomes = await self._patiently(loop.run_in_executor(self._thread, self._commit, works))
            except DatabaseAwayError as error:
                self._health.fail(CONDITION, str(error))
                if not away:
                    get_logger().warning("database_lost", reason=str(error))
                if self._stop.is_set() or self._closing:
                    return [error] * len(works)
                away = True
                if self._alarm is not None:
                    await self._alarm.failed(str(error))
                await self._pause(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                self._health.hold(CONDITION)
                if self._alarm is not None:
                    self._alarm.recovered()
                if away:
                    get_logger().info("database_returned")
                return outcomes

    async def _patiently(self, outcomes: "asyncio.Future[list[Any]]") -> list[Any]:
        """Await a transaction, and say so while it takes suspiciously long: the server may hang."""
        while True:
            done, _ = await asyncio.wait({outcomes}, timeout=SLOW_AFTER_S)
            if done:
                return outcomes.result()
            reason = f"the database has not answered for {SLOW_AFTER_S:.0f} s or more"
            self._health.fail(CONDITION, reason)
            get_logger().warning("database_slow", reason=reason)
            if self._alarm is not None:
                await self._alarm.failed(reason)

    async def _pause(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._stop.wait()
        except TimeoutError:
            return

    def _commit(self, works: list[Work]) -> list[Any]:
        """Commit all work together; if one piece fails, each in its own transaction."""
        try:
            return self._commit_together(works)
        except DatabaseAwayError:
            raise
        except Exception as error:  # noqa: BLE001  # handed to whoever asked for that piece of work
            if len(works) == 1:
                return [error]
        outcomes: list[Any] = []
        for work in works:
            try:
                outcomes.extend(self._commit_together([work]))
            except DatabaseAwayError:
                raise
            except Exception as error:  # noqa: BLE001  # as above
                outcomes.append(error)
        return outcomes

    def _commit_together(self, works: list[Work]) -> list[Any]:
        with COMMIT_TIME.time(), self._database.writing() as session:
            outcomes = [work(session) for work in works]
        COMMIT_SIZE.observe(len(works))
        return outcomes


@asynccontextmanager
async def open_writer(
    database: Database, health: Health, stop: asyncio.Event, alarm: OutageAlarm | None = None
) -> AsyncIterator[GroupWriter]:
    """Run a writer while the context is open; at the end it finishes the work that was handed over."""
    writer = GroupWriter(database, health, stop, alarm)
    task = asyncio.create_task(writer.run(), name="database-writer")
    try:
        yield writer
    finally:
        writer.close()
        await task
