"""Executors that come and go beside those of a run, as an autoscaler has them come and go."""

import asyncio
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx

from breakwater_cli.nats_process import free_port
from breakwater_cli.processes import child_environment

_LOOK_S = 0.05


@dataclass
class ScaledExecutors:
    """Copies of one executor, started and drained together.

    Attributes:
        environment: What the executor that is copied was started with.
        logs: Folder of their logs.
        is_over: Whether the run has ended.
        rounds: How often all of them have worked and were drained again while the run went on.
        exit_codes: Of all that have ended.
    """

    environment: Mapping[str, str]
    logs: Path
    is_over: Callable[[], bool] = lambda: False
    rounds: int = 0
    exit_codes: list[int] = field(default_factory=list)
    _started: int = 0

    @asynccontextmanager
    async def added(self, count: int) -> AsyncIterator[None]:
        """Have so many more executors, ready, while the context is open; then drain them once each has worked."""
        processes = [await self._start() for _ in range(count)]
        try:
            for _, port, _ in processes:
                await self._until(partial(self._is_ready, port))
            yield
            for _, _, log in processes:
                await self._until(partial(self._has_worked, log))
            self.rounds += not self.is_over()
            for process, _, _ in processes:
                process.send_signal(signal.SIGTERM)
            self.exit_codes += [await asyncio.wait_for(process.wait(), 30) for process, _, _ in processes]
        finally:
            for process, _, _ in processes:
                if process.returncode is None:
                    process.kill()

    @staticmethod
    def _has_worked(log: Path) -> bool:
        """Return whether the executor has brought an intent to its outcome."""
        return "intent_closed" in log.read_text(encoding="utf-8", errors="replace")

    async def _start(self) -> tuple[Process, int, Path]:
        self._started += 1
        port, name = free_port(), f"scaled-{self._started}"
        values = dict(self.environment) | {"EXECUTOR_HTTP_PORT": str(port), "EXECUTOR_INSTANCE": name}
        log = self.logs / f"{name}.log"
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "executor_service", env=child_environment(values), stdout=file, stderr=file
            )
        return process, port, log

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not self.is_over() and not await asyncio.to_thread(holds):
            await asyncio.sleep(_LOOK_S)

    @staticmethod
    def _is_ready(port: int) -> bool:
        try:
            answer = httpx.get(f"http://127.0.0.1:{port}/ready", trust_env=False)
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK
