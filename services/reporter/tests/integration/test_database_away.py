"""The database goes away and comes back: nothing is lost, and readiness says why it waits."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from breakwater_runtime.health import Health
from reporter_service import database as database_module
from reporter_service.database import Database, DatabaseAwayError
from reporter_service.group_writer import open_writer
from reporter_service.migrate import migrate
from reporter_service.reading import find_run
from reporter_service.tables import FillRow


def count_fills(database: Database) -> int:
    with database.reading() as session:
        return session.query(FillRow).count()


async def interrupted(database: Database, story: Any, open_desk: Any, *, away: Any, back: Any) -> None:
    """Take half a story, lose the database, hand over the other half, get the database back."""
    fills = [event for event in story().tell().events if hasattr(event, "exec_id")]
    half = len(fills) // 2
    async with open_desk(database) as desk:
        await desk.take_all(fills[:half])
        await asyncio.to_thread(away)
        pending = [asyncio.create_task(desk.take(fill)) for fill in fills[half:]]
        async with asyncio.timeout(90):
            while desk.health.ready:
                await asyncio.sleep(0.01)
        assert "database" in desk.health.faults
        assert not any(task.done() for task in pending)
        await asyncio.to_thread(back)
        await asyncio.gather(*pending)
        assert desk.health.ready
    assert count_fills(database) == len(fills)


async def test_messages_wait_for_a_postgres_that_was_stopped(story: Any, open_desk: Any, postgres: Any) -> None:
    database = Database(postgres.new_database())
    migrate(database)
    await interrupted(database, story, open_desk, away=postgres.interrupt, back=postgres.start)
    database.close()


async def test_messages_wait_for_a_sqlite_file_that_somebody_holds(
    story: Any, open_desk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_S", 0.05)
    database = Database(f"sqlite:///{tmp_path}/breakwater.db")
    migrate(database)
    with closing(sqlite3.connect(tmp_path / "breakwater.db", isolation_level=None, check_same_thread=False)) as holder:
        await interrupted(
            database,
            story,
            open_desk,
            away=lambda: holder.execute("BEGIN EXCLUSIVE"),
            back=lambda: holder.execute("ROLLBACK"),
        )
    database.close()


async def test_a_service_that_stops_while_the_database_is_away_gives_its_messages_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_S", 0.05)
    database = Database(f"sqlite:///{tmp_path}/breakwater.db")
    migrate(database)
    stop = asyncio.Event()
    with closing(sqlite3.connect(tmp_path / "breakwater.db", isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        async with asyncio.timeout(90), open_writer(database, Health(), stop) as writer:
            work: Callable[..., Any] = lambda session: find_run(session, "any")  # noqa: E731
            waiting = asyncio.create_task(writer.apply(work))
            await asyncio.sleep(0)
            stop.set()
            with pytest.raises(DatabaseAwayError, match="does not answer"):
                await waiting
    database.close()
