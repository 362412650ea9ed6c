"""Service processes as children: started with their environment, watched, started again when they die, drained.

This does on one machine what Kubernetes does on several. A child that ends with the exit code for bad input (2) is not
started again: its last log line says what to mend, and the whole run ends.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import httpx

from breakwater_core.errors import BreakwaterError, InvalidInputError
from breakwater_runtime.errors import EXIT_BAD_SETTINGS, EXIT_DEPENDENCY, DependencyError

SERVICE_PREFIXES = ("MARKET_DATA_", "SIGNAL_", "EXECUTOR_", "REPORTER_", "NOTIFIER_", "PAPER_EXCHANGE_")
READY_TIMEOUT_S = 40.0
MAX_RESTARTS = 50


class ServiceFailedError(BreakwaterError):
    """A service ended and cannot be brought back; the message carries its last words."""


@dataclass(frozen=True)
class ProcessSpecification:
    """How to start one service process.

    Attributes:
        name: Unique among the processes, also the name of its log file.
        module: Module that is run with `python -m`.
        environment: Names and values on top of the inherited environment.
        http_port: Where its `/ready` answers.
    """

    name: str
    module: str
    environment: Mapping[str, str]
    http_port: int


class Process(Protocol):
    """What is asked of an operating system process; `subprocess.Popen` is one."""

    @property
    def pid(self) -> int:
        """Process id."""

    def poll(self) -> int | None:
        """Return the exit code, negative for the signal that ended it; None while it runs."""

    def send_signal(self, number: int, /) -> None:
        """Send a signal."""

    def kill(self) -> None:
        """End it at once."""

    def wait(self) -> int:
        """Return the exit code once it has ended."""


@dataclass
class Child:
    """A running service process."""

    specification: ProcessSpecification
    log_path: Path
    process: Process
    restarts: int = 0

    @property
    def name(self) -> str:
        """Name of the process."""
        return self.specification.name

    def last_words(self) -> str:
        """Return the reason that the log gives for the end, or the log's last line."""
        lines = (
            self.log_path.read_text(encoding="utf-8", errors="replace").splitlines() if self.log_path.exists() else []
        )
        for line in reversed(lines[-40:]):
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and (reason := entry.get("reason")) and entry.get("level") == "error":
                return str(reason)
        return lines[-1] if lines else "no output"


@dataclass
class ProcessGroup:
    """The service processes of one run, and their logs in one folder.

    Attributes:
        log_directory: Folder of the logs.
        children: The processes, by name.
        stopping: Nothing is started again any more.
        spawn: Starts a process.
        restarts_without_dependency: A process that ended because bus, database or exchange were away is started again,
            as Kubernetes does; otherwise that ends the run.
    """

    log_directory: Path
    children: dict[str, Child] = field(default_factory=dict)
    stopping: bool = False
    spawn: Callable[[ProcessSpecification, Path], Process] = field(default_factory=lambda: spawn)
    restarts_without_dependency: bool = False

    def start(self, specifications: Sequence[ProcessSpecification]) -> None:
        """Start processes; does not wait for them to be ready."""
        self.log_directory.mkdir(parents=True, exist_ok=True)
        for specification in specifications:
            log_path = self.log_directory / f"{specification.name}.log"
            self.children[specification.name] = Child(specification, log_path, self.spawn(specification, log_path))

    async def wait_until_ready(self, names: Sequence[str] | None = None) -> None:
        """Return once the named processes (all by default) answer that they are ready.

        `watch` must run meanwhile: it hears of a process that ends.

        Raises:
            ServiceFailedError: If one is not ready in time.
        """
        deadline = time.monotonic() + READY_TIMEOUT_S
        async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
            for name in names if names is not None else list(self.children):
                child = self.children[name]
                reason = "no answer"
                while True:
                    try:
                        answer = await client.get(f"http://127.0.0.1:{child.specification.http_port}/ready")
                        if answer.status_code == httpx.codes.OK:
                            break
                        reason = answer.text
                    except httpx.HTTPError:
                        pass
                    if time.monotonic() > deadline:
                        raise ServiceFailedError(f"{name} is not ready after {READY_TIMEOUT_S:.0f} s: {reason}")
                    await asyncio.sleep(0.03)

    async def watch(self) -> None:
        """Start processes again that die, until cancelled.

        Raises:
            InvalidInputError, ServiceFailedError: If one ends for a reason that a restart cannot mend.
        """
        while True:
            await asyncio.sleep(0.1)
            for child in self.children.values():
                if not self.stopping and child.process.poll() is not None:
                    self._revive(child)

    def _revive(self, child: Child) -> None:
        self._raise_if_hopeless(child)
        if child.restarts >= MAX_RESTARTS:
            raise ServiceFailedError(f"{child.name} ended {child.restarts} times: {child.last_words()}")
        child.restarts += 1
        child.process = self.spawn(child.specification, child.log_path)

    def _raise_if_hopeless(self, child: Child) -> None:
        """Raise if the process has ended for a reason that starting it again does not mend."""
        code = child.process.poll()
        if code == EXIT_BAD_SETTINGS:
            raise InvalidInputError(f"{child.name}: {child.last_words()}")
        if code == EXIT_DEPENDENCY and not self.restarts_without_dependency:
            raise DependencyError(f"{child.name}: {child.last_words()}")

    async def stop(self, timeout_s: float = 9.5) -> None:
        """Ask all processes to drain, last started first, and end those that do not within the time."""
        self.stopping = True
        running = [child for child in reversed(self.children.values()) if child.process.poll() is None]
        for child in running:
            child.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + timeout_s
        for child in running:
            while child.process.poll() is None and time.monotonic() < deadline:  # noqa: ASYNC110  # no event to await
                await asyncio.sleep(0.02)
        for child in running:
            if child.process.poll() is None:
                child.process.kill()
            child.process.wait()


def child_environment(additions: Mapping[str, str]) -> dict[str, str]:
    """Return the inherited environment without settings of services, plus the additions."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(SERVICE_PREFIXES)}
    return inherited | dict(additions)


def spawn(specification: ProcessSpecification, log_path: Path) -> Process:
    """Start a process in a session of its own, its output appended to the log."""
    with log_path.open("ab") as log:
        return subprocess.Popen(  # noqa: S603  # our own modules
            [sys.executable, "-m", specification.module],
            env=child_environment(specification.environment),
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
