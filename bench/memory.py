"""What the processes cost before they work: resident memory at rest, seconds from start to ready, cold command line."""

import asyncio
import http.client
import os
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from bench.effort import Effort
from bench.errors import BenchmarkError
from bench.figures import Figure, Section, Target
from bench.processes import nats_server, resident_mb, services, while_alive
from breakwater_cli.processes import ProcessGroup, ProcessSpecification
from breakwater_cli.system import SystemPlan
from breakwater_core.config import BreakwaterConfig
from breakwater_core.market import LIVE_RUN_ID
from breakwater_recordings.synthetic import DEFAULT_SYMBOLS
from breakwater_runtime.config_file import write_config

_MEMORY = Target(must=90, goal=60, at_most=True)
_READY = Target(must=2.0, goal=1.0, at_most=True)
_COMMAND = Target(must=3.0, goal=1.0, at_most=True)
_READY_TIMEOUT_S = 60.0
_REST_S = 2.0
_BARE = "import asyncio, nats, uvloop; print([l.split()[1] for l in open('/proc/self/status') if l[:5] == 'VmRSS'][0])"


async def measure(effort: Effort) -> Section:
    """Start each live service in turn against the paper exchange and let all of them rest."""
    memory: dict[str, list[float]] = defaultdict(list)
    ready: dict[str, list[float]] = defaultdict(list)
    for number in range(effort.repetitions):
        effort.tell(f"system at rest, {number + 1} of {effort.repetitions}")
        await _system_at_rest(effort, memory, ready)
    bare_s, bare_mb = _bare_process(effort.repetitions)
    figures = [
        Figure(f"{name}, at rest", "MB", tuple(values), _MEMORY, "bare nats-py", bare_mb)
        for name, values in memory.items()
    ]
    figures += [
        Figure(f"{name}, start to ready", "s", tuple(values), _READY, "bare nats-py", bare_s)
        for name, values in ready.items()
    ]
    for words in ("--help", "config"):
        seconds = tuple(_command_seconds(words) for _ in range(effort.repetitions))
        figures.append(Figure(f"breakwater {words}", "s", seconds, _COMMAND, "bare nats-py", bare_s))
    notes = (
        "Live services with ten symbols against the paper exchange, each started when those above are ready; MB = 1e6.",
        "signal is ready when the first market data has arrived, up to 0.25 s after it could be.",
        "bare nats-py: a Python process that imports asyncio, nats and uvloop, and ends.",
    )
    return Section("memory at rest, start to ready, cold command line", tuple(figures), notes)


async def _system_at_rest(effort: Effort, memory: dict[str, list[float]], ready: dict[str, list[float]]) -> None:
    folder = effort.scratch("memory")
    portfolio = {"symbols": list(DEFAULT_SYMBOLS)}
    config = BreakwaterConfig.parse({"portfolio": portfolio})
    config_path = folder / "config.json"
    write_config(config, config_path)
    with nats_server(folder / "bus") as nats:
        plan = SystemPlan(
            run_id=LIVE_RUN_ID,
            nats_url=nats.url,
            config_path=config_path,
            config=config,
            database_url=f"sqlite:///{(folder / 'breakwater.db').resolve()}",
            directory=folder,
        )
        live = {"MODE": "live", "EXCHANGE_URL": plan.exchange_url, "PUBLIC_STREAM_URL": plan.stream_url}
        workers = {worker.name: worker for worker in plan.workers()}
        order = ("signal", "executor-account", "executor-1", "reporter", "notifier")
        async with (
            services(folder / "logs", [plan.paper_exchange()]),
            services(folder / "logs", [], until_ready=False) as group,
        ):
            for specification in (plan.market_data(live), *(workers[name] for name in order)):
                ready[specification.name].append(await _seconds_to_ready(group, specification))
            await while_alive(group, asyncio.sleep(_REST_S))
            for name, child in group.children.items():
                memory[name].append(resident_mb(child.process.pid))


async def _seconds_to_ready(group: ProcessGroup, specification: ProcessSpecification) -> float:
    started = time.perf_counter()
    group.start([specification])
    await while_alive(
        group, asyncio.to_thread(_wait_until_ready, specification.http_port), timeout_s=_READY_TIMEOUT_S + 1
    )
    return time.perf_counter() - started


def _wait_until_ready(port: int) -> None:
    until_s = time.monotonic() + _READY_TIMEOUT_S
    while time.monotonic() < until_s:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/ready")
            if connection.getresponse().status == http.client.OK:
                return
        connection.close()
        time.sleep(0.01)


def _bare_process(repetitions: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return seconds and MB of a process that only has the client library."""
    seconds, megabytes = [], []
    for _ in range(repetitions):
        started = time.perf_counter()
        said = subprocess.run([sys.executable, "-c", _BARE], capture_output=True, check=True, timeout=60).stdout
        seconds.append(time.perf_counter() - started)
        megabytes.append(int(said) * 1024 / 1e6)
    return tuple(seconds), tuple(megabytes)


def _command_seconds(words: str) -> float:
    command = Path(sys.executable).parent / "breakwater"
    if not os.access(command, os.X_OK):
        raise BenchmarkError(f"there is no {command}; run `make setup` first")
    started = time.perf_counter()
    ended = subprocess.run([str(command), words], capture_output=True, check=False, timeout=120)
    if ended.returncode:
        raise BenchmarkError(f"breakwater {words} ended with {ended.returncode}: {ended.stderr.decode()[-300:]}")
    return time.perf_counter() - started
