"""Fixtures for every test of the workspace: a real NATS server and a bus on it, and the shared recorded data."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from breakwater_cli.nats_process import NatsProcess
from breakwater_runtime.bus import Bus, connect
from breakwater_runtime.settings import ServiceSettings


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsProcess]:
    """A nats-server process; `kill` and `start` keep its store."""
    server = NatsProcess(tmp_path / "nats")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def bus(nats_server: NatsProcess) -> AsyncIterator[Bus]:
    """A bus of the run `test-run` on a server of its own."""
    settings = ServiceSettings(nats_url=nats_server.url, run_id="test-run")
    async with asyncio.timeout(120), connect(settings, name="test") as connected:
        yield connected


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recorded data beside the repository; tests that need it are skipped where it is not."""
    folder = Path(os.environ.get("BREAKWATER_SHARED", Path(__file__).parent.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no recorded data at {folder}; set BREAKWATER_SHARED to have this test run")
    return folder
