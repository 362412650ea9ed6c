"""The images: their size, how long a service takes from container start to ready, and its memory at rest.

The system of docker-compose.yml runs in real time against the paper exchange, in a project of its own; each service in
turn is stopped and started while the others run. Needs Docker.
"""

import asyncio
import http.client
import json
import os
import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

from bench.effort import Effort
from bench.errors import BenchmarkError
from bench.figures import Figure, Section, Target
from bench.processes import REPOSITORY

SERVICES = ("signal", "executor", "executor-account", "market-data", "notifier", "reporter", "paper-exchange")
IMAGES = ("signal", "executor", "market-data", "notifier", "reporter", "paper-exchange", "cli")
BASE = "python:3.12-slim"
_MEMORY = Target(must=90, at_most=True)
_READY = Target(must=2.0, at_most=True)
_READY_TIMEOUT_S = 60.0
_REST_S = 10.0
_MEGABYTE = 1_000_000
_TITLE = "size, start and memory of the images"


async def measure(effort: Effort) -> Section:
    """Build the images, run the system, and restart each service of it; measures nothing where Docker is not."""
    if shutil.which("docker") is None or _docker("info", check=False) == "":
        return Section(_TITLE, (), ("Not measured: Docker is not here, or its daemon does not answer.",))
    return await asyncio.to_thread(_measure, effort)


def _measure(effort: Effort) -> Section:
    ready: dict[str, list[float]] = defaultdict(list)
    memory: dict[str, list[float]] = defaultdict(list)
    with _project() as project:
        effort.tell("building images")
        project.run("--profile", "tools", "build", "--quiet")
        sizes = {name: _own_mb(f"breakwater-bench/{name}:bench") for name in IMAGES}
        shared = _shared_mb()
        effort.tell("starting the system")
        project.run("up", "-d", "--no-build", "--wait")
        for number in range(effort.repetitions):
            effort.tell(f"restarting each service, {number + 1} of {effort.repetitions}")
            for service in SERVICES:
                project.run("stop", service)
                ready[service].append(_start_to_ready_s(project, service))
            time.sleep(effort.pick(_REST_S, 1.0))
            for service in SERVICES:
                memory[service].append(_resident_mb(project.container(service)))
    figures = [Figure(f"{name}, on top of {BASE}", "MB", (size,)) for name, size in sizes.items()]
    figures += [
        Figure(f"{name}, start to ready", "s", tuple(values), None if name == "paper-exchange" else _READY)
        for name, values in ready.items()
    ]
    figures += [
        Figure(f"{name}, at rest", "MB", tuple(values), None if name == "paper-exchange" else _MEMORY)
        for name, values in memory.items()
    ]
    notes = (
        "Real time, ten symbols, against the paper exchange; a service is stopped and started while the others run.",
        "Start is when Docker started the process; ready is the first 200 of /ready. Memory is resident; MB = 1e6.",
        f"All images share the layers of {BASE} and {shared:.0f} MB of their own with each other.",
        "The paper exchange makes a month of prices before it is ready; it is no service that trades.",
    )
    return Section(_TITLE, tuple(figures), notes)


class _Project:
    """The compose project of the benchmark."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.environment = {
            "BREAKWATER_IMAGE_PREFIX": "breakwater-bench",
            "BREAKWATER_IMAGE_TAG": "bench",
            "BREAKWATER_MODE": "paper",
            "BREAKWATER_API_PORT": "0",
            "BREAKWATER_PROMETHEUS_PORT": "0",
            "BREAKWATER_DAYS": "1",
        }

    def run(self, *arguments: str) -> str:
        """Run a compose command.

        Raises:
            BenchmarkError: If it fails.
        """
        file = str(REPOSITORY / "docker-compose.yml")
        return _docker("compose", "-f", file, "-p", self.name, *arguments, environment=self.environment)

    def container(self, service: str) -> str:
        """Return the id of a service's only container."""
        return self.run("ps", "-aq", service).strip()


@contextmanager
def _project() -> Iterator[_Project]:
    project = _Project(f"breakwater-bench-{os.getpid()}")
    try:
        yield project
    finally:
        with suppress(BenchmarkError):
            project.run("down", "--volumes", "--timeout", "2")
        for name in IMAGES:
            _docker("image", "rm", "--no-prune", f"breakwater-bench/{name}:bench", check=False)


def _start_to_ready_s(project: _Project, service: str) -> float:
    """Start a stopped service; return the seconds from the process's start to its first answer that it is ready.

    Raises:
        BenchmarkError: If it does not become ready.
    """
    container = project.container(service)
    _docker("start", container)
    state = json.loads(_docker("inspect", container))[0]
    started = datetime.fromisoformat(state["State"]["StartedAt"][:26] + "+00:00").timestamp()
    network = f"{project.name}_bus"
    address = state["NetworkSettings"]["Networks"][network]["IPAddress"]
    while time.time() < started + _READY_TIMEOUT_S:
        connection = http.client.HTTPConnection(address, 8080, timeout=2)
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/ready")
            if connection.getresponse().status == http.client.OK:
                return time.time() - started
        connection.close()
        time.sleep(0.02)
    raise BenchmarkError(f"{service} is not ready after {_READY_TIMEOUT_S:.0f} s")


def _resident_mb(container: str) -> float:
    """Return the resident memory of a container's processes, as its own /proc tells it."""
    code = (
        "import pathlib; print(sum(int(line.split()[1]) for p in pathlib.Path('/proc').glob('[0-9]*/status')"
        " for line in p.read_text().splitlines() if line.startswith('VmRSS')"
        " and p.parent.name != str(__import__('os').getpid())))"
    )
    kilobytes = _docker("exec", container, "/app/.venv/bin/python", "-I", "-S", "-c", code)
    return int(kilobytes) * 1024 / _MEGABYTE


def _own_mb(image: str) -> float:
    """Return what an image adds to the base image."""
    return (_bytes_of(image) - _bytes_of(BASE)) / _MEGABYTE


def _shared_mb() -> float:
    """Return what the images of ours have in common on top of the base image."""
    layers = [json.loads(_docker("image", "inspect", f"breakwater-bench/{name}:bench"))[0] for name in IMAGES]
    common = set.intersection(*(set(found["RootFS"]["Layers"]) for found in layers))
    base = json.loads(_docker("image", "inspect", BASE))[0]["RootFS"]["Layers"]
    sizes = _docker("history", "--format", "{{.Size}}", "--human=false", "breakwater-bench/signal:bench").split()
    added = [int(size) for size in reversed(sizes) if int(size)][len(base) :]
    return sum(added[: len(common) - len(base)]) / _MEGABYTE


def _bytes_of(image: str) -> int:
    return int(_docker("image", "inspect", "--format", "{{.Size}}", image))


def _docker(*arguments: str, environment: dict[str, str] | None = None, check: bool = True) -> str:
    finished = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, check=False, env=os.environ | (environment or {})
    )
    if finished.returncode and check:
        last = finished.stderr.strip().splitlines()
        raise BenchmarkError(f"docker {' '.join(arguments[:6])}: {last[-1] if last else finished.returncode}")
    return "" if finished.returncode else finished.stdout
