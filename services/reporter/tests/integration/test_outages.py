"""The reporter through outages of NATS, of its database's disk and of itself: every fill is in the database once."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from breakwater_cli.nats_process import NatsProcess, free_port
from breakwater_core.events import Fill, FillKind, Side
from breakwater_runtime import codec
from breakwater_runtime.bus import Bus
from breakwater_runtime.readers import read_stream
from reporter_service import database as database_module
from reporter_service.consumers import fill_consumer
from reporter_service.database import Database
from reporter_service.main import run
from reporter_service.migrate import migrate
from reporter_service.settings import ReporterSettings
from reporter_service.tables import FillRow, PositionRow

RUN = "test-run"


def fill(number: int) -> Fill:
    return Fill(
        exec_id=f"exec-{number}",
        run_id=RUN,
        account="main",
        symbol="BTCUSDT",
        order_id="order",
        order_link_id="bw-1",
        side=Side.BUY,
        quantity=Decimal("0.001"),
        price=Decimal(60000),
        fee=Decimal("0.033"),
        fee_rate=Decimal("0.00055"),
        is_maker=False,
        kind=FillKind.TRADE,
        exec_time_ms=number,
    )


def booked(database_url: str) -> tuple[int, int]:
    """Return the number of fills in the database, and how many the position counts: the same if each counts once."""
    database = Database(database_url)
    try:
        with database.reading() as session:
            position = session.query(PositionRow).filter_by(run_id=RUN).one_or_none()
            return session.query(FillRow).filter_by(run_id=RUN).count(), 0 if position is None else position.fills
    finally:
        database.close()


def holds(database_url: str, count: int) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return await asyncio.to_thread(booked, database_url) == (count, count)

    return check


@asynccontextmanager
async def reporter(nats_url: str, database_url: str, **changes: Any) -> AsyncIterator[int]:
    """Run a reporter in this process; yields its port."""
    values = {"nats_url": nats_url, "database_url": SecretStr(database_url), "run_id": RUN, "workers": 4}
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(run(ReporterSettings(**values | changes), stop, listening=ready.set_result))
    try:
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield await ready
    finally:
        stop.set()
        await task


async def faults_of(port: int) -> dict[str, str]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        faults: dict[str, str] = (await client.get("/ready")).json()["faults"]
        return faults


def lacks(port: int, condition: str) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return condition in await faults_of(port)

    return check


async def in_hand(bus: Bus) -> int:
    info = await bus.api(f"CONSUMER.INFO.FILL.{fill_consumer(RUN).durable}")
    return int(info["num_ack_pending"])


async def test_a_killed_server_loses_and_doubles_no_fill(
    nats_server: NatsProcess, bus: Bus, tmp_path: Path, until: Any
) -> None:
    url = f"sqlite:///{tmp_path}/breakwater.db"
    async with reporter(nats_server.url, url):
        for part in range(2):
            await bus.publish_all(fill(number) for number in range(part * 200, part * 200 + 150))
            nats_server.kill()  # while the reporter works on them
            nats_server.start()
            for number in range(part * 200 + 150, part * 200 + 200):
                await bus.publish_persistently(fill(number))
        await until(holds(url, 400))


async def test_a_full_disk_under_the_database_holds_the_messages_back_and_raises_an_alert(
    nats_server: NatsProcess, bus: Bus, small_disk: Any, until: Any
) -> None:
    url = f"sqlite:///{small_disk.path}/breakwater.db"
    migrate(Database(url))
    async with reporter(nats_server.url, url, database_alert_s=0.3) as port:
        await bus.publish_all(fill(number) for number in range(50))
        await until(holds(url, 50))
        small_disk.fill()
        await bus.publish_all(fill(number) for number in range(50, 400))
        await until(lacks(port, "database"))
        assert "full" in (await faults_of(port))["database"]
        raised = asyncio.get_running_loop().create_future()
        async with read_stream(
            bus, name="alerts", stream="ALERT", filters=["alert.>"], start=1, handle=raised.set_result
        ):
            delivery = await asyncio.wait_for(raised, 20)
        alert = codec.decode(delivery.subject, delivery.payload).value
        assert (alert.name, alert.severity.value) == ("database_away", "critical")
        assert await in_hand(bus) <= 4 * fill_consumer(RUN).batch, "the rest waits on the bus, not in memory"
        small_disk.make_room()
        await until(holds(url, 400))
        assert await faults_of(port) == {}


async def test_a_file_that_must_not_be_written_holds_the_messages_back(
    nats_server: NatsProcess, bus: Bus, tmp_path: Path, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_S", 0.05)
    url = f"sqlite:///{tmp_path}/breakwater.db"
    migrate(Database(url))
    async with reporter(nats_server.url, url) as port:
        with closing(sqlite3.connect(tmp_path / "breakwater.db", isolation_level=None)) as holder:
            holder.execute("BEGIN EXCLUSIVE")
            await bus.publish_all(fill(number) for number in range(300))
            await until(lacks(port, "database"))
            assert await in_hand(bus) <= 4 * fill_consumer(RUN).batch
            holder.execute("ROLLBACK")
        await until(holds(url, 300))


async def started(nats_url: str, database_url: str, instance: str) -> asyncio.subprocess.Process:
    environment = {
        "REPORTER_NATS_URL": nats_url,
        "REPORTER_DATABASE_URL": database_url,
        "REPORTER_RUN_ID": RUN,
        "REPORTER_INSTANCE": instance,
        "REPORTER_HTTP_PORT": str(free_port()),
        "REPORTER_WORKERS": "4",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "reporter_service", env={**os.environ, **environment}, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    async for line in process.stderr:
        if b"reporter_ready" in line:
            break
    return process


async def test_a_process_that_was_paused_with_messages_in_hand_comes_back_and_books_nothing_twice(
    nats_server: NatsProcess, bus: Bus, postgres: Any, until: Any
) -> None:
    migrated_url = postgres.new_database()
    migrate(Database(migrated_url))
    first = await started(nats_server.url, migrated_url, "a")
    second = await started(nats_server.url, migrated_url, "b")
    try:
        publishing = asyncio.create_task(bus.publish_all(fill(number) for number in range(400)))
        await until(lambda: _some_booked(migrated_url))
        first.send_signal(signal.SIGSTOP)
        await publishing
        await until(holds(migrated_url, 400))  # the other one gets what the paused one held, also the right to write
        first.send_signal(signal.SIGCONT)
        await bus.publish_all(fill(number) for number in range(400, 500))
        await until(holds(migrated_url, 500))
        await until(lambda: _all_acknowledged(bus))
        assert int((await bus.api("STREAM.INFO.DEAD"))["state"]["messages"]) == 0
        for process in (first, second):
            process.send_signal(signal.SIGTERM)
            _, log = await process.communicate()
            assert process.returncode == 0, log
    finally:
        for process in (first, second):
            if process.returncode is None:
                process.kill()
    assert booked(migrated_url) == (500, 500)


async def _some_booked(database_url: str) -> bool:
    return (await asyncio.to_thread(booked, database_url))[0] > 0


async def _all_acknowledged(bus: Bus) -> bool:
    return await in_hand(bus) == 0
