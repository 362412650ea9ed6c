"""What `breakwater doctor` looks at: this machine, and on request an exchange, a key, a database, a NATS server."""

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy

from breakwater_bybit.client import BybitClient
from breakwater_cli.nats_process import NatsProcess
from breakwater_core.errors import BreakwaterError
from breakwater_runtime.bus import connect
from breakwater_runtime.errors import explain
from breakwater_runtime.settings import ServiceSettings

LEAST_FREE_BYTES = 2 << 30
LARGEST_CLOCK_SKEW_MS = 500
FEW_DAYS_LEFT = 14


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check."""

    name: str
    passed: bool
    detail: str
    remedy: str = ""

    def line(self) -> str:
        """Return the finding for a person."""
        mark = "ok  " if self.passed else "FAIL"
        return f"{mark} {self.name}: {self.detail}" + (f"; {self.remedy}" if self.remedy and not self.passed else "")

    def as_values(self) -> dict[str, Any]:
        """Return the finding for a machine."""
        return {"name": self.name, "passed": self.passed, "detail": self.detail, "remedy": self.remedy}


@dataclass(frozen=True)
class DoctorRequest:
    """What to look at besides this machine."""

    exchange_url: str | None = None
    api_key: str | None = None
    api_secret: str | None = None
    database_url: str | None = None
    nats_url: str | None = None


async def examine(request: DoctorRequest) -> list[Finding]:
    """Return the findings of all checks that the request calls for; a check that fails never stops the others."""
    findings = [_python(), _disk(), await _guarded("NATS", lambda: _nats(request.nats_url))]
    if request.database_url is not None:
        url = request.database_url
        findings.append(await _guarded("database", lambda: asyncio.to_thread(_database, url)))
    if request.exchange_url is not None:
        findings += await _exchange(request)
    return findings


async def _guarded(name: str, check: Callable[[], Awaitable[Finding]]) -> Finding:
    try:
        return await check()
    except (BreakwaterError, OSError, sqlalchemy.exc.SQLAlchemyError) as error:
        return Finding(name, passed=False, detail=explain(error))


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding("Python", sys.version_info >= (3, 12), version, "install Python 3.12 or newer")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    return Finding(
        "disk", free >= LEAST_FREE_BYTES, f"{free / (1 << 30):.1f} GiB free", "make room for the bus's streams"
    )


async def _nats(url: str | None) -> Finding:
    if url is not None:
        async with connect(ServiceSettings(nats_url=url), name="doctor"):
            return Finding("NATS", passed=True, detail="reachable, JetStream on")
    with tempfile.TemporaryDirectory() as folder:
        server = NatsProcess(Path(folder))
        await asyncio.to_thread(server.start)
        try:
            async with connect(ServiceSettings(nats_url=server.url), name="doctor"):
                return Finding("NATS", passed=True, detail="the embedded server starts, JetStream on")
        finally:
            server.stop()


def _database(url: str) -> Finding:
    engine = sqlalchemy.create_engine(url)
    try:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("select 1"))
    finally:
        engine.dispose()
    return Finding("database", passed=True, detail=f"{engine.dialect.name} answers")


async def _exchange(request: DoctorRequest) -> list[Finding]:
    client = BybitClient(request.exchange_url or "", api_key=request.api_key, api_secret=request.api_secret)
    try:
        findings = [await _guarded("exchange clock", lambda: _clock(client))]
        if request.api_key:
            findings.append(await _guarded("key permissions", lambda: _permissions(client)))
            findings.append(await _guarded("key expiry", lambda: _expiry(client)))
            findings.append(await _guarded("key address list", lambda: _addresses(client)))
        return findings
    finally:
        await client.close()


async def _clock(client: BybitClient) -> Finding:
    before = time.time()
    server_ms = await client.server_time_ms()
    middle_ms = (before + time.time()) * 500
    skew_ms = round(middle_ms - server_ms)
    passed = abs(skew_ms) <= LARGEST_CLOCK_SKEW_MS
    return Finding("exchange clock", passed, f"this machine is {skew_ms:+d} ms off", "set the clock by NTP")


async def _permissions(client: BybitClient) -> Finding:
    information = await client.key_information()
    granted = {permission for names in information.permissions.values() for permission in names}
    if "Withdraw" in granted:
        return Finding(
            "key permissions", passed=False, detail="the key may withdraw", remedy="make a key without Withdraw"
        )
    trades = "Order" in granted and not information.read_only
    return Finding(
        "key permissions", trades, f"{', '.join(sorted(granted)) or 'none'}", "grant Contract Trade: Order and Position"
    )


async def _expiry(client: BybitClient) -> Finding:
    information = await client.key_information()
    if information.expires_at_ms is None:
        return Finding("key expiry", passed=True, detail="does not expire")
    days = (datetime.fromtimestamp(information.expires_at_ms / 1000, tz=UTC) - datetime.now(UTC)).days
    return Finding("key expiry", days >= FEW_DAYS_LEFT, f"{days} days left", "renew the key or bind it to an address")


async def _addresses(client: BybitClient) -> Finding:
    information = await client.key_information()
    bound = bool(information.ips) and "*" not in information.ips
    detail = ", ".join(information.ips) if bound else "not bound to an address"
    return Finding("key address list", bound, detail, "bind the key to the fixed egress address")
