"""What `breakwater doctor` looks at: this machine, and on request an exchange, a key, a database, a NATS server."""

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy
from pydantic import SecretStr

from breakwater_bybit.client import BybitClient
from breakwater_cli.bus_address import BusAddress
from breakwater_cli.nats_process import NatsProcess
from breakwater_core.errors import BreakwaterError, InvalidInputError
from breakwater_runtime.bus import connect
from breakwater_runtime.config_file import read_config
from breakwater_runtime.errors import explain
from breakwater_runtime.redaction import blank, keep_secret
from breakwater_runtime.settings import ServiceSettings
from executor_service.account_keys import AccountKey, keys_of_file
from executor_service.egress import check_networks
from executor_service.preflight import Check, Egress, Preflight, Status
from reporter_service.database import check_url

LEAST_FREE_BYTES = 2 << 30
LARGEST_CLOCK_SKEW_MS = 500
BYBIT_URL = "https://api.bybit.com"


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check."""

    name: str
    passed: bool
    detail: str
    remedy: str = ""
    account: str = ""
    warns: bool = False

    def row(self) -> tuple[str, str, str]:
        """Return check, result and remedy for a person."""
        mark = "warn" if self.warns else "ok" if self.passed else "FAIL"
        is_fine = self.passed and not self.warns
        return f"{self.account} {self.name}".strip(), f"{mark}: {self.detail}", "" if is_fine else self.remedy

    def as_values(self) -> dict[str, Any]:
        """Return the finding for a machine."""
        return {
            "account": self.account,
            "name": self.name,
            "passed": self.passed,
            "warning": self.warns,
            "detail": self.detail,
            "remedy": self.remedy,
        }


@dataclass(frozen=True)
class DoctorRequest:
    """What to look at besides this machine.

    Attributes:
        exchange_url: REST base; None: Bybit's, if there are keys.
        keys: Accounts to examine.
        symbols: What they are to trade.
        leverage: What each symbol's leverage should be.
        echo_url: Tells from which address requests leave; None: not asked.
        expected_addresses: Addresses or networks that requests may leave from.
    """

    exchange_url: str | None = None
    keys: tuple[AccountKey, ...] = ()
    symbols: tuple[str, ...] = ()
    leverage: Decimal | None = None
    echo_url: str | None = None
    expected_addresses: tuple[str, ...] = ()
    database_url: str | None = None
    nats_url: str | None = None


async def examine(request: DoctorRequest) -> list[Finding]:
    """Return the findings of all checks that the request calls for; a check that fails never stops the others."""
    findings = [_python(), _disk(), await _guarded("NATS", lambda: _nats(request.nats_url))]
    if request.database_url is not None:
        url = request.database_url
        findings.append(await _guarded("database", lambda: asyncio.to_thread(_database, url)))
    if request.exchange_url is not None or request.keys:
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
        user = os.environ.get("BREAKWATER_NATS_USER") or None
        async with connect(BusAddress.of(url, user).settings(), name="doctor"):
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
    engine = sqlalchemy.create_engine(check_url(url))
    try:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("select 1"))
    finally:
        engine.dispose()
    return Finding("database", passed=True, detail=f"{engine.dialect.name} answers")


async def _exchange(request: DoctorRequest) -> list[Finding]:
    """Return the checks that the executor makes when it starts, for each account; nothing is changed."""
    findings = []
    if not request.keys:
        client = BybitClient(request.exchange_url or BYBIT_URL)
        findings.append(await _guarded("exchange clock", lambda: _clock(client)))
        await client.close()
    for key in request.keys:
        preflight = Preflight(
            account=key.name,
            symbols=request.symbols,
            leverage=request.leverage,
            max_clock_skew_ms=LARGEST_CLOCK_SKEW_MS,
            egress=Egress(request.echo_url, request.expected_addresses),
            sets_up=False,
        )
        async with BybitClient(
            request.exchange_url or BYBIT_URL, api_key=key.api_key, api_secret=key.api_secret
        ) as client:
            report = await preflight.examine(client)
        findings += [_finding(key.name, check) for check in report.checks]
    return findings


def _finding(account: str, check: Check) -> Finding:
    return Finding(
        check.name,
        passed=not check.has_failed,
        detail=blank(check.detail),
        remedy=check.remedy,
        account=account,
        warns=check.status is Status.WARNED,
    )


async def _clock(client: BybitClient) -> Finding:
    before = time.time()
    server_ms = await client.server_time_ms()
    middle_ms = (before + time.time()) * 500
    skew_ms = round(middle_ms - server_ms)
    passed = abs(skew_ms) <= LARGEST_CLOCK_SKEW_MS
    return Finding("exchange clock", passed, f"this machine is {skew_ms:+d} ms off", "set the clock by NTP")


def doctor_request(
    *,
    exchange_url: str | None,
    accounts_file: Path | None,
    account: str | None,
    api_key: str | None,
    api_secret: str | None,
    leverage: int,
    echo_url: str | None,
    expected_addresses: tuple[str, ...],
    database_url: str | None,
    nats_url: str | None,
    config_path: Path | None,
) -> DoctorRequest:
    """Return what the options of the command ask for.

    Raises:
        InvalidInputError: If an option, the file of keys or the configuration is wrong.
    """
    for secret in (api_key, api_secret, database_url, nats_url):
        keep_secret(secret)
    if accounts_file is not None:
        keys = keys_of(accounts_file, account)
    elif account is not None:
        raise InvalidInputError("--account chooses from --accounts-file; give both")
    elif bool(api_key) != bool(api_secret):
        raise InvalidInputError("give --api-key and --api-secret together, or --accounts-file")
    else:
        keys = (AccountKey("", SecretStr(api_key), SecretStr(api_secret)),) if api_key and api_secret else ()
    for url in (exchange_url, echo_url):
        if url is not None and not url.startswith(("http://", "https://")):
            raise InvalidInputError(f"an address must start with http:// or https://, was {url!r}")
    return DoctorRequest(
        exchange_url=exchange_url,
        keys=keys,
        symbols=read_config(config_path).portfolio.symbols,
        leverage=Decimal(leverage),
        echo_url=echo_url,
        expected_addresses=check_networks(expected_addresses),
        database_url=database_url,
        nats_url=nats_url,
    )


def keys_of(accounts_file: Path, account: str | None) -> tuple[AccountKey, ...]:
    keys = keys_of_file(accounts_file)
    chosen = tuple(key for key in keys if account in {None, key.name})
    if not chosen:
        names = ", ".join(key.name for key in keys)
        raise InvalidInputError(f"{accounts_file} has no account {account!r}; it has {names}")
    return chosen


def table(findings: list[Finding]) -> str:
    """Return the findings as a table of check, result and remedy."""
    rows = [("check", "result", "remedy"), *(finding.row() for finding in findings)]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = [f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}".rstrip() for row in rows]
    return "\n".join(lines)
