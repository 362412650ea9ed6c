"""The database's password is replaced while the reporter works: every row is written, once, and no secret is told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from breakwater_cli.nats_process import NatsProcess
from breakwater_core.events import Fill
from breakwater_runtime.bus import Bus, connect
from breakwater_runtime.secret_rotation import SecretRefusedError
from breakwater_runtime.settings import ServiceSettings
from reporter_service.database import Database
from reporter_service.main import run
from reporter_service.settings import ReporterSettings
from reporter_service.tables import AlertRow, FillRow

RUN = "replay-1"
FIRST, SECOND, WRONG = "canary-first-pw", "canary-second-pw", "canary-wrong-pw"


@dataclass
class GuardedDatabase:
    """A database that wants its owner's password."""

    admin_url: str
    place: str
    role: str

    def url(self, password: str) -> str:
        return f"postgresql://{self.role}:{password}@{self.place}"

    def execute(self, statement: Any) -> None:
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            connection.execute(statement)

    def replace_password(self, password: str) -> None:
        """As an administrator who is in a hurry: whoever came with the old one is thrown out."""
        self.execute(SQL("ALTER ROLE {} PASSWORD {}").format(Identifier(self.role), Literal(password)))
        self.execute(
            SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = {}").format(Literal(self.role))
        )


@pytest.fixture
def guarded(postgres: Any) -> GuardedDatabase:
    url = postgres.new_database()
    name, role = url.rpartition("/")[2], f"keeper_{postgres.databases}"
    database = GuardedDatabase(f"{postgres.url}/postgres", f"127.0.0.1:{postgres.port}/{name}", role)
    database.execute(SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(Identifier(role), Literal(FIRST)))
    database.execute(SQL("ALTER DATABASE {} OWNER TO {}").format(Identifier(name), Identifier(role)))
    access = postgres.folder / "data" / "pg_hba.conf"
    if access.is_file():  # in a container passwords are wanted anyway
        access.write_text(f"host all {role} 127.0.0.1/32 scram-sha-256\n{access.read_text()}")
        database.execute("SELECT pg_reload_conf()")
    return database


@asynccontextmanager
async def reporter(settings: ReporterSettings) -> AsyncIterator[None]:
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(run(settings, stop, listening=ready.set_result))
    try:
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield
    finally:
        stop.set()
        await task


def settings_from(monkeypatch: pytest.MonkeyPatch, bus: Bus, file: Path) -> ReporterSettings:
    for name, value in {
        "NATS_URL": bus.client.servers[0].geturl(),
        "RUN_ID": RUN,
        "DATABASE_URL_FILE": str(file),
        "SECRETS_REFRESH_S": "0.1",
    }.items():
        monkeypatch.setenv(f"REPORTER_{name}", value)
    return ReporterSettings.load()


@pytest.fixture
async def run_bus(nats_server: NatsProcess) -> AsyncIterator[Bus]:
    async with connect(ServiceSettings(nats_url=nats_server.url, run_id=RUN), name="test") as connected:
        yield connected


async def until_there_are(database: GuardedDatabase, table: type, count: Callable[[int], bool]) -> None:
    reader = Database(f"{database.admin_url.rpartition('/')[0]}/{database.place.rpartition('/')[2]}")

    def counted() -> int:
        with reader.reading() as session:
            return session.query(table).count()

    try:
        async with asyncio.timeout(90):
            while not count(await asyncio.to_thread(counted)):
                await asyncio.sleep(0.05)
    finally:
        reader.close()


async def test_rows_go_on_under_the_new_password(
    guarded: GuardedDatabase, run_bus: Bus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, story: Any
) -> None:
    fills = [event for event in story().tell().events if isinstance(event, Fill)]
    third = len(fills) // 3
    file = tmp_path / "url"
    file.write_text(guarded.url(FIRST))
    settings = settings_from(monkeypatch, run_bus, file)
    async with reporter(settings):
        await run_bus.publish_all(fills[:third])
        await until_there_are(guarded, FillRow, lambda count: count == third)
        file.write_text(guarded.url(WRONG))  # not taken: what works goes on, and an alert tells of it
        await until_there_are(guarded, AlertRow, lambda count: count > 0)
        await run_bus.publish_all(fills[third : 2 * third])
        await until_there_are(guarded, FillRow, lambda count: count == 2 * third)
        await asyncio.to_thread(guarded.replace_password, SECOND)
        await run_bus.publish_all(fills[2 * third :])  # nobody can write them until the new password is known
        file.write_text(guarded.url(SECOND))
        await until_there_are(guarded, FillRow, lambda count: count == len(fills))
        secret = settings.rotating_secret("database_url")
        assert secret is not None
        async with asyncio.timeout(90):
            while SECOND not in secret.current:
                await asyncio.sleep(0.01)


def test_another_database_is_not_taken(guarded: GuardedDatabase, postgres: Any) -> None:
    database = Database(guarded.url(FIRST))
    with pytest.raises(SecretRefusedError, match="another database") as raised:
        database.take_url(postgres.new_database())
    assert "canary" not in str(raised.value)
    with pytest.raises(SecretRefusedError, match="does not take it") as raised:
        database.take_url(guarded.url(WRONG))
    assert "canary" not in str(raised.value)
    database.check_present()
    database.close()
