"""The processes of a benchmark: a NATS server, services as in production, and helpers of our own; all ended with it."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from bench.errors import BenchmarkError
from breakwater_cli.nats_process import NatsProcess
from breakwater_cli.processes import ProcessGroup, ProcessSpecification, child_environment

REPOSITORY = Path(__file__).resolve().parent.parent
_ANSWER_TIMEOUT_S = 120.0
_LOOK_INTERVAL_S = 0.02
_LINE_LIMIT = 32 << 20


@contextmanager
def nats_server(folder: Path) -> Iterator[NatsProcess]:
    """Run a NATS server with the settings of production while the context is open, and remove its store."""
    server = NatsProcess(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def services(
    logs: Path, specifications: Sequence[ProcessSpecification], *, until_ready: bool = True
) -> AsyncIterator[ProcessGroup]:
    """Run service processes while the context is open; one that ends is not started again."""
    group = ProcessGroup(logs)
    try:
        group.start(specifications)
        if until_ready:
            await group.wait_until_ready()
        yield group
    finally:
        await group.stop()


def with_settings(specification: ProcessSpecification, settings: Mapping[str, str]) -> ProcessSpecification:
    """Return the specification with further names and values in its environment."""
    return replace(specification, environment=dict(specification.environment) | dict(settings))


async def only_waits_for(specification: ProcessSpecification, condition: str) -> None:
    """Return once the service is up but for one condition of its readiness.

    Raises:
        BenchmarkError: If that takes too long.
    """
    async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                while True:
                    with suppress(httpx.HTTPError):
                        answer = await client.get(f"http://127.0.0.1:{specification.http_port}/ready")
                        if set(answer.json()["faults"]) <= {condition}:
                            return
                    await asyncio.sleep(_LOOK_INTERVAL_S)
        except TimeoutError as error:
            raise BenchmarkError(f"{specification.name} does not come up; see its log") from error


async def while_alive[T](group: ProcessGroup, work: Awaitable[T], *, timeout_s: float = 300.0) -> T:
    """Await the work as long as the services live.

    Raises:
        BenchmarkError: If one of them ends meanwhile, or the time is up.
    """
    task = asyncio.ensure_future(work)
    try:
        async with asyncio.timeout(timeout_s):
            while not task.done():
                await asyncio.wait({task}, timeout=0.2)
                for child in group.children.values():
                    if child.process.poll() is not None:
                        raise BenchmarkError(f"{child.name} ended: {child.last_words()}")
        return task.result()
    except TimeoutError as error:
        words = "; ".join(f"{child.name}: {child.last_words()}" for child in group.children.values())
        raise BenchmarkError(f"not finished after {timeout_s:.0f} s: {words}") from error
    finally:
        task.cancel()


class Helper:
    """A process of `bench` that is told words on standard input and answers with lines of JSON."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        """Hold a running process."""
        self._name = name
        self._process = process

    async def tell(self, word: str) -> None:
        """Give the process a word."""
        if self._process.stdin is None:
            raise BenchmarkError(f"{self._name} takes no words")
        self._process.stdin.write(f"{word}\n".encode())
        await self._process.stdin.drain()

    async def answer(self, timeout_s: float = _ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """Return the next line of the process.

        Raises:
            BenchmarkError: If it ends, or says nothing in time.
        """
        if self._process.stdout is None:
            raise BenchmarkError(f"{self._name} gives no answers")
        try:
            async with asyncio.timeout(timeout_s):
                line = await self._process.stdout.readline()
        except TimeoutError as error:
            raise BenchmarkError(f"{self._name} gave no answer within {timeout_s:.0f} s") from error
        if not line:
            raise BenchmarkError(f"{self._name} ended with exit code {await self._process.wait()}")
        values: dict[str, Any] = json.loads(line)
        return values

    async def ask(self, word: str) -> dict[str, Any]:
        """Give a word and return the answer."""
        await self.tell(word)
        return await self.answer()


@asynccontextmanager
async def helper(module: str, request: Mapping[str, Any]) -> AsyncIterator[Helper]:
    """Run `bench.<module>` while the context is open; the request is its argument, as JSON."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"bench.{module}",
        json.dumps(request),
        cwd=REPOSITORY,
        env=child_environment({}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_LIMIT,
        start_new_session=True,
    )
    try:
        yield Helper(module, process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def resident_mb(pid: int, *, highest: bool = False) -> float:
    """Return the resident memory of a process in MB (1e6 bytes), now or at its highest so far."""
    name = "VmHWM:" if highest else "VmRSS:"
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024 / 1e6
    raise BenchmarkError(f"process {pid} states no resident memory; did it end?")


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
