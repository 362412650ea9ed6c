"""Fixtures for every test of the workspace: a real NATS server and a bus on it, and the shared recorded data."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

from breakwater_cli.nats_process import PORTS_VARIABLE, NatsProcess, port_range
from breakwater_runtime.bus import Bus, connect
from breakwater_runtime.settings import ServiceSettings

hypothesis.settings.register_profile("breakwater", deadline=None)  # no test asserts on wall time
hypothesis.settings.load_profile("breakwater")


def pytest_configure() -> None:
    """Give each test process ports of its own: one whose server is down for a moment keeps the port."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1:
        ports = port_range()
        number, share = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")), len(ports) // workers
        os.environ[PORTS_VARIABLE] = f"{ports[number * share]}-{ports[(number + 1) * share - 1]}"


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests that take all of a machine in one of the test processes, so that no two of them run at once.

    Modules that belong elsewhere say so: those with Docker mostly wait for it, and share images and ports.
    """
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group("whole-system"))


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


@dataclass(frozen=True)
class SmallDisk:
    """A file system of a few megabytes that a test may fill."""

    path: Path

    def fill(self) -> None:
        """Leave not a byte free."""
        with (self.path / "filler").open("wb", buffering=0) as filler:
            try:
                while filler.write(b"\0" * 4096):
                    pass
            except OSError:
                return

    def make_room(self) -> None:
        """Take away what `fill` wrote."""
        (self.path / "filler").unlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 16 MiB in memory; skipped where this process may not mount one."""
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    if os.geteuid() != 0 or mount is None or unmount is None:
        pytest.skip("only root can mount a disk that is small enough to be filled")
    path = tmp_path / "small-disk"
    path.mkdir()
    command = [mount, "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(path)]
    mounted = subprocess.run(command, check=False, capture_output=True)  # noqa: S603  # our own arguments
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    yield SmallDisk(path)
    subprocess.run([unmount, "--lazy", str(path)], check=True)  # noqa: S603  # as above


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recorded data beside the repository; tests that need it are skipped where it is not."""
    folder = Path(os.environ.get("BREAKWATER_SHARED", Path(__file__).parent.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no recorded data at {folder}; set BREAKWATER_SHARED to have this test run")
    return folder
