"""Service processes that start fast: forked from a server that has imported every service already.

A run of chaos starts some thirty processes, and nearly all of a start is imports. The forked process is the service's
own `__main__` with its own environment, session and log, and dies of signals like any other. `CHAOS_START=exec` starts
new interpreters instead.
"""

import multiprocessing
import os
import runpy
import signal
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from breakwater_cli.processes import Process, ProcessSpecification, child_environment, spawn

_PRELOADED = [
    "market_data_service.main",
    "signal_service.main",
    "executor_service.main",
    "reporter_service.main",
    "notifier_service.main",
    "paper_exchange_service.main",
    "tests.e2e.chaos.forked",
]


class ForkedProcess:
    """A forked service with the interface of `subprocess.Popen`."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int, /) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self) -> int:
        self._process.join()
        return self._process.exitcode or 0


def start(specification: ProcessSpecification, log_path: Path) -> Process:
    """Start a service process."""
    if os.environ.get("CHAOS_START") == "exec":
        return spawn(specification, log_path)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    environment = child_environment(specification.environment)
    process = context.Process(target=run, args=(specification.module, environment, str(log_path)))
    process.start()
    return ForkedProcess(process)


def run(module: str, environment: dict[str, str], log_path: str) -> None:
    """Be the service, in a process of its own."""
    os.setsid()
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__")
