"""Both databases, and a story to tell them: the messages of a run that two accounts leave behind."""

import asyncio
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from sqlalchemy import select
from testcontainers.community.postgres import PostgresContainer

from breakwater_cli.nats_process import free_port
from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import TransientError
from breakwater_core.events import (
    AccountSnapshot,
    Alert,
    DailyPerformance,
    DayParity,
    Fill,
    FillKind,
    Leg,
    OrderEvent,
    OrderStatus,
    Position,
    Severity,
    Side,
    SnapshotKind,
)
from breakwater_core.identities import intent_id, order_event_id, order_link_id
from breakwater_core.ledger import Ledger
from breakwater_core.market import Clock, ClockKind
from breakwater_core.session import Session
from breakwater_runtime.consumers import Received
from breakwater_runtime.health import Health
from reporter_service.database import Database
from reporter_service.group_writer import open_writer
from reporter_service.handler import ReporterHandler
from reporter_service.migrate import migrate
from reporter_service.recording import record_run
from reporter_service.tables import Table

os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")  # its image is not always at hand
POSTGRES_IMAGE = "postgres:16-alpine"

FIRST_DAY = date(2023, 7, 4)
SESSION = Session()
CONFIG = BreakwaterConfig()
VERSION = CONFIG.version


# --- Postgres ---------------------------------------------------------------------------------------------------------


@dataclass
class PostgresServer:
    """A Postgres process of our own that can be stopped and started again."""

    binaries: Path
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    databases: int = 0

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}"

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        options = [
            "-c",
            "fsync=off",
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            f"unix_socket_directories={self.folder}",
        ]
        command = [str(self.binaries / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), *options]
        self.process = subprocess.Popen([*as_postgres(), *command], stdout=log, stderr=log)
        self.wait_until_up()

    def wait_until_up(self) -> None:
        pause = threading.Event()
        for _ in range(1000):
            try:
                psycopg.connect(f"{self.url}/postgres", connect_timeout=2).close()
            except psycopg.OperationalError:
                pause.wait(0.02)
            else:
                return
        raise RuntimeError(f"Postgres did not start on port {self.port}; see {self.folder / 'log'}")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(2)
            except subprocess.TimeoutExpired:  # it waits for its clients; SIGINT disconnects them
                self.process.send_signal(2)
                self.process.wait(10)
            self.process = None

    def interrupt(self) -> None:
        """Stop at once, clients or not."""
        if self.process is not None:
            self.process.send_signal(2)
            self.process.wait(10)
            self.process = None

    def new_database(self, template: str = "template1") -> str:
        self.databases += 1
        name = f"breakwater_{self.databases}"
        statement = SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), Identifier(template))
        with psycopg.connect(f"{self.url}/postgres", autocommit=True) as connection:
            connection.execute(statement)
        return f"{self.url}/{name}"


@dataclass
class PostgresInDocker(PostgresServer):
    """The same in a container, on a port of the loopback address that it keeps when it is started again."""

    container: PostgresContainer | None = None

    @property
    def url(self) -> str:
        return f"postgresql://postgres:postgres@127.0.0.1:{self.port}"

    def start(self) -> None:
        if self.container is None:
            image = PostgresContainer(POSTGRES_IMAGE, username="postgres", password="postgres", dbname="postgres")
            # what is stopped here loses no page, and a recovery that first syncs every database takes very long
            image = image.with_command("postgres -c fsync=off -c recovery_init_sync_method=syncfs")
            self.container = image.with_bind_ports(5432, self.port)
            self.container.start()
        else:
            self.container.get_wrapped_container().start()
        self.wait_until_up()

    def stop(self) -> None:
        self.interrupt()

    def interrupt(self) -> None:
        if self.container is not None:
            container = self.container.get_wrapped_container()
            container.kill("SIGINT")  # a fast shutdown: clients are disconnected, and nothing is to be recovered
            container.wait(timeout=30)

    def remove(self) -> None:
        if self.container is not None:
            self.container.stop()


def docker_has_postgres() -> bool:
    """Whether Docker runs here and holds the image; a pull in the middle of a test would not be a test's business."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    return (
        subprocess.run([docker, "image", "inspect", POSTGRES_IMAGE], capture_output=True, check=False).returncode == 0
    )


def as_postgres() -> list[str]:
    """Postgres refuses to run as root."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []


def postgres_binaries() -> Path | None:
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "postgres").exists() and (place / "initdb").exists()), None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Postgres in Docker where that runs, from the machine's binaries otherwise."""
    if docker_has_postgres():
        container = PostgresInDocker(Path(), Path(), free_port())
        container.start()
        yield container
        container.remove()
        return
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip(f"neither Docker with {POSTGRES_IMAGE} nor Postgres binaries (initdb, postgres) on this machine")
    folder = Path(tempfile.mkdtemp(prefix="breakwater-postgres-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    server = PostgresServer(binaries, folder, free_port())
    initialise = [str(binaries / "initdb"), "-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "-N"]
    subprocess.run([*as_postgres(), *initialise], check=True, capture_output=True)
    server.start()
    yield server
    server.interrupt()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def new_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    """Give the address of a new, empty database of either kind."""
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path_factory.mktemp('database')}/breakwater.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database


@pytest.fixture(scope="session")
def new_migrated_url(
    request: pytest.FixtureRequest, new_url: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], str]:
    """Give the address of a new database of either kind with its tables: a copy of one that was migrated."""
    url = new_url()
    original = Database(url)
    migrate(original)
    original.close()
    name = original.url.database or ""
    if not original.is_sqlite:
        server: PostgresServer = request.getfixturevalue("postgres")
        return lambda: server.new_database(template=name)

    def copied() -> str:
        path = tmp_path_factory.mktemp("database") / "breakwater.db"
        shutil.copy(name, path)
        return f"sqlite:///{path}"

    return copied


@pytest.fixture
def database_url(new_url: Callable[[], str]) -> str:
    """The address of an empty database."""
    return new_url()


@pytest.fixture
def migrated_url(new_migrated_url: Callable[[], str]) -> str:
    """The address of a database with its tables."""
    return new_migrated_url()


@pytest.fixture
def database(migrated_url: str) -> Iterator[Database]:
    """A database with its tables."""
    opened = Database(migrated_url)
    yield opened
    opened.close()


def dump(database: Database, *, run_id: str | None = None) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table, sorted; of one run with its id blanked, and never the wall clock."""
    rows: dict[str, list[tuple[Any, ...]]] = {}
    with database.reading() as session:
        for table in Table.metadata.sorted_tables:
            columns = [column for column in table.columns if column.name not in {"started_at_ms", "ended_at_ms"}]
            query = select(*columns)
            if run_id is not None:
                query = query.where(table.columns.run_id == run_id)
            found = [tuple(_plain(value, run_id) for value in row) for row in session.execute(query)]
            rows[table.name] = sorted(found, key=repr)
    return rows


def _plain(value: Any, run_id: str | None) -> Any:
    if isinstance(value, str) and run_id is not None:
        return value.replace(run_id, "RUN")
    return str(value) if isinstance(value, (Decimal, dict, list)) else value


# --- The story --------------------------------------------------------------------------------------------------------


@dataclass
class Story:
    """The messages of a run, in the order in which they happened.

    Each day, each account buys in two fills, sells the rest in the evening and states itself at the next opening; one
    decision is refused, one expires, one exit finds nothing, one order is lost from sight and found again. Order ids
    are the same in every run, so that the rows of two runs can be compared.
    """

    run_id: str = "replay-1"
    accounts: tuple[str, ...] = ("main", "second")
    days: int = 3
    equity: Decimal = Decimal(100_000)
    deposit: Decimal = Decimal(0)
    events: list[Any] = field(default_factory=list)

    def tell(self) -> "Story":
        ledgers = {name: Ledger(self.run_id, name, self.equity) for name in self.accounts}
        self._open(FIRST_DAY, ledgers, Decimal(0))
        for number in range(self.days):
            day = FIRST_DAY + timedelta(days=number)
            for account in self.accounts:
                self._trade(account, day, number, ledgers[account])
                self._decide_without_order(account, day)
            self._open(day + timedelta(days=1), ledgers, self.deposit)
        self.events.append(self.alert("day_counted", FIRST_DAY))
        end = SESSION.day_end_ms(FIRST_DAY + timedelta(days=self.days - 1))
        self.events.append(
            Clock(ClockKind.ENDED, end, end, FIRST_DAY + timedelta(days=self.days), self.days, self.days * 1_000)
        )
        return self

    def alert(self, name: str, day: date) -> Alert:
        return Alert(
            alert_id=f"{name}/{day}",
            run_id=self.run_id,
            severity=Severity.INFO,
            service="signal",
            name=name,
            summary="a day was counted",
            event_time_ms=SESSION.day_start_ms(day),
            facts={"b": "2", "a": "1"},
        )

    def order(self, account: str, day: date, leg: Leg, status: OrderStatus, **changes: Any) -> OrderEvent:
        symbol = changes.pop("symbol", "BTCUSDT")
        child = changes.pop("child", 0)
        intent = intent_id(
            run_id=self.run_id,
            account=account,
            strategy_version=VERSION,
            symbol=symbol,
            day=day,
            leg=leg,
            attempt=changes.pop("attempt", 1),
        )
        filled = changes.pop("filled", Decimal(0))
        average = changes.pop("average", None)
        closed = changes.pop("closed", False)
        trigger = SESSION.day_start_ms(day) + (36_000_000 if leg is Leg.ENTRY else 86_370_000)
        event = OrderEvent(
            event_id=order_event_id(
                intent=intent, child=child, status=status, filled_quantity=str(filled), closed=closed
            ),
            run_id=self.run_id,
            account=account,
            symbol=symbol,
            day=day,
            strategy_version=VERSION,
            intent_id=intent,
            order_link_id=order_link_id(intent.removeprefix(self.run_id), child) if status.has_order else "",
            child=child,
            status=status,
            leg=leg,
            side=Side.BUY if leg is Leg.ENTRY else Side.SELL,
            reduce_only=leg.reduces,
            quantity=Decimal("0.3"),
            filled_quantity=filled,
            average_price=average,
            target_price=Decimal(30_000),
            trigger_price=Decimal("30000.5"),
            trigger_time_ms=trigger,
            intent_closed=closed,
            event_time_ms=trigger,
        )
        return replace(event, **changes)

    def fill(self, order: OrderEvent, number: int, quantity: str, price: Decimal) -> Fill:
        value = Decimal(quantity) * price
        return Fill(
            exec_id=f"{order.order_link_id}-{number}",
            run_id=self.run_id,
            account=order.account,
            symbol=order.symbol,
            order_id=f"exchange-{order.order_link_id}",
            order_link_id=order.order_link_id,
            side=order.side,
            quantity=Decimal(quantity),
            price=price,
            fee=value * Decimal("0.00055"),
            fee_rate=Decimal("0.00055"),
            is_maker=False,
            kind=FillKind.TRADE,
            exec_time_ms=order.trigger_time_ms + 50 + number,
        )

    def snapshot(self, account: str, day: date, ledger: Ledger, deposits: Decimal) -> AccountSnapshot:
        return AccountSnapshot(
            run_id=self.run_id,
            account=account,
            kind=SnapshotKind.DAY_OPEN,
            day=day,
            equity=ledger.wallet_balance,
            wallet_balance=ledger.wallet_balance,
            net_deposits=deposits,
            positions=(),
            fills_total=ledger.fills_total,
            event_time_ms=SESSION.day_start_ms(day),
        )

    def _open(self, day: date, ledgers: dict[str, Ledger], deposit: Decimal) -> None:
        opened = SESSION.day_start_ms(day)
        number = (day - FIRST_DAY).days
        self.events.append(Clock(ClockKind.DAY_OPENED, opened, opened, day, number, number * 1_000))
        for account, ledger in ledgers.items():
            ledger.apply_transfer(f"{account}/{day}", deposit)
            self.events.append(self.snapshot(account, day, ledger, deposit))

    def _trade(self, account: str, day: date, number: int, ledger: Ledger) -> None:
        paid, got = Decimal("30001.10"), Decimal(30_100 - 90 * number)
        sent = self.order(account, day, Leg.ENTRY, OrderStatus.SUBMITTED)
        first, second = self.fill(sent, 1, "0.1", paid), self.fill(sent, 2, "0.2", paid)
        self.events += [
            self.order(account, day, Leg.ENTRY, OrderStatus.UNKNOWN),
            sent,
            first,
            self.order(account, day, Leg.ENTRY, OrderStatus.PARTIALLY_FILLED, filled=Decimal("0.1"), average=paid),
            second,
            self.order(account, day, Leg.ENTRY, OrderStatus.FILLED, filled=Decimal("0.3"), average=paid, closed=True),
        ]
        funding = replace(
            first,
            exec_id=f"funding-{account}-{day}",
            order_id="",
            order_link_id="",
            kind=FillKind.FUNDING,
            quantity=Decimal("0.3"),
            fee=Decimal("-0.123456789"),
            exec_time_ms=SESSION.day_start_ms(day) + 57_600_000,
        )
        left = self.order(account, day, Leg.EXIT, OrderStatus.SUBMITTED)
        sold = self.fill(left, 1, "0.3", got)
        self.events += [
            funding,
            replace(
                self.snapshot(account, day, ledger, Decimal(0)),
                kind=SnapshotKind.PERIODIC,
                positions=(Position("BTCUSDT", Decimal("0.3"), paid, got, Decimal("1.5")),),
                event_time_ms=funding.exec_time_ms + 1,
            ),
            left,
            sold,
            self.order(account, day, Leg.EXIT, OrderStatus.FILLED, filled=Decimal("0.3"), average=got, closed=True),
        ]
        for fill in (first, second, funding, sold):
            ledger.apply(fill)

    def _decide_without_order(self, account: str, day: date) -> None:
        self.events += [
            self.order(
                account,
                day,
                Leg.ENTRY,
                OrderStatus.REFUSED,
                symbol="ETHUSDT",
                closed=True,
                reason="below_min_quantity",
                detail="0.0004 is below 0.01",
            ),
            self.order(account, day, Leg.ENTRY, OrderStatus.EXPIRED, symbol="SOLUSDT", closed=True, reason="expired"),
            self.order(account, day, Leg.EXIT, OrderStatus.FLAT, symbol="SOLUSDT", closed=True),
        ]


# --- The reporter without a bus ---------------------------------------------------------------------------------------


@dataclass
class KeptMessages:
    """Takes what would be published."""

    days: list[DailyPerformance] = field(default_factory=list)
    parities: list[DayParity] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)

    async def publish_persistently(self, event: DailyPerformance | DayParity | Alert) -> int:
        kept: list[Any] = self.alerts
        if isinstance(event, DailyPerformance | DayParity):
            kept = self.days if isinstance(event, DailyPerformance) else self.parities
        kept.append(event)
        return len(kept)


@dataclass
class Desk:
    """A handler over a database; hands messages to it one by one, those to be retried again at the end."""

    handler: ReporterHandler
    published: KeptMessages
    health: Health

    async def take(self, event: Any) -> None:
        received = Received(event, "", 0, 1)
        match event:
            case OrderEvent():
                await self.handler.on_order(received)
            case Fill():
                await self.handler.on_fill(received)
            case AccountSnapshot():
                await self.handler.on_account(received)
            case Alert():
                await self.handler.on_alert(received)
            case Clock():
                await self.handler.on_clock(received)

    async def take_all(self, events: Iterable[Any]) -> None:
        waiting = list(events)
        while waiting:
            again = []
            for event in waiting:
                try:
                    await self.take(event)
                except TransientError:
                    again.append(event)
            if len(again) == len(waiting):
                raise AssertionError(f"nothing moves any more: {again}")
            waiting = again


OpenDesk = Callable[..., Any]


@asynccontextmanager
async def desk_over(
    database: Database, run_id: str = "replay-1", *, fills_wait_s: float = 60.0, retry_after_s: float = 0.001
) -> AsyncIterator[Desk]:
    health, published = Health(), KeptMessages()
    async with asyncio.timeout(120), open_writer(database, health, asyncio.Event()) as writer:
        await writer.apply(
            lambda session: record_run(
                session, run_id=run_id, strategy_version=VERSION, config=CONFIG.as_values(), wall_ms=1_000
            )
        )
        handler = ReporterHandler(
            run_id=run_id,
            writer=writer,
            publisher=published,
            conditions=health,
            fills_wait_s=fills_wait_s,
            ledger_tolerance=Decimal(0),
            retry_after_s=retry_after_s,
            wall_ms=lambda: 61_000,
        )
        yield Desk(handler, published, health)


@pytest.fixture(scope="session")
def open_desk() -> OpenDesk:
    return desk_over


@pytest.fixture(scope="session")
def story() -> type[Story]:
    return Story


@pytest.fixture(scope="session")
def dump_of() -> Callable[..., dict[str, list[tuple[Any, ...]]]]:
    return dump


async def eventually(holds: Callable[[], Awaitable[bool]], *, timeout_s: float = 120.0) -> None:
    """Return as soon as the condition holds."""
    async with asyncio.timeout(timeout_s):
        while not await holds():
            await asyncio.sleep(0.01)


@pytest.fixture(scope="session")
def until() -> Callable[..., Awaitable[None]]:
    return eventually
