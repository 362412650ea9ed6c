"""`breakwater replay` as a person runs it: all services, paper exchange and ledger, on the synthetic recording."""

import asyncio
import json
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.effort import Effort
from bench.errors import BenchmarkError
from bench.figures import Figure, Section, Target
from bench.processes import REPOSITORY
from bench.recordings import BusyRecording, busy_recording

_QUIET_SPEED = Target(must=500_000, goal=2_000_000)
_TIMEOUT_S = 600.0
_NO_INTENTS = ("strategy.k_long=10", "strategy.k_short=10")


@dataclass(frozen=True)
class Replayed:
    """What one replay took.

    Attributes:
        trades: Trades that went through.
        orders: Orders that came of them.
        start_s: From the command's start until the recording began to play.
        play_s: From there to the end of the recording.
        end_s: From there until the report was written and everything had ended.
    """

    trades: int
    orders: int
    start_s: float
    play_s: float
    end_s: float


async def measure(effort: Effort) -> Section:
    """Replay without any intent, and with the default strategy."""
    days = effort.pick(7, 3)
    effort.tell("making the recording, unless it is there")
    recording = await busy_recording(effort.folder, days=days, trades_per_day=effort.pick(2_500_000, 100_000))
    played = effort.pick(3, 2)
    quiet, default = [], []
    for number in range(effort.repetitions):
        effort.tell(f"replay, {number + 1} of {effort.repetitions}")
        quiet.append(await _replay(effort, recording, played, _NO_INTENTS))
        default.append(await _replay(effort, recording, played, ()))
    every = (*quiet, *default)
    figures = (
        Figure("no intent open", "trades/s", tuple(run.trades / run.play_s for run in quiet), _QUIET_SPEED),
        Figure("default strategy", "trades/s", tuple(run.trades / run.play_s for run in default)),
        Figure("orders of the default strategy", "orders/s", tuple(run.orders / run.play_s for run in default)),
        Figure("start until the recording plays", "s", tuple(run.start_s for run in every)),
        Figure("end of the recording until all has ended", "s", tuple(run.end_s for run in every)),
    )
    notes = (
        f"{quiet[0].trades:,} trades of ten symbols in {played} days; one executor for orders, SQLite.",
        f"no intent open: k = 10. Default strategy: {default[0].orders} orders, each awaited in event time.",
    )
    return Section("breakwater replay: all services, speed max", figures, notes)


async def _replay(effort: Effort, recording: BusyRecording, days: int, overrides: tuple[str, ...]) -> Replayed:
    output = effort.scratch("full-replay")
    command = [str(Path(sys.executable).parent / "breakwater"), "replay", str(recording.folder), "--json"]
    command += ["--out", str(output), "--start", str(recording.day(1)), "--end", str(recording.day(days))]
    for override in overrides:
        command += ["--set", override]
    if not os.access(command[0], os.X_OK):
        raise BenchmarkError(f"there is no {command[0]}; run `make setup` first")
    started_s = time.time()
    report = await _run(command)
    ended_s = time.time()
    began_s, finished_s = _times(output / "logs" / "market-data.log")
    return Replayed(
        trades=report["trades"],
        orders=report["orders"],
        start_s=began_s - started_s,
        play_s=finished_s - began_s,
        end_s=ended_s - finished_s,
    )


async def _run(command: list[str]) -> dict[str, Any]:
    """Run the command and return what it prints; SIGTERM lets it end its own processes."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            said, complaint = await process.communicate()
    except TimeoutError as error:
        raise BenchmarkError(f"breakwater replay was not done after {_TIMEOUT_S:.0f} s") from error
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await process.wait()
    if process.returncode:
        raise BenchmarkError(f"breakwater replay ended with {process.returncode}: {complaint.decode()[-500:].strip()}")
    values: dict[str, Any] = json.loads(said)
    return values


def _times(log: Path) -> tuple[float, float]:
    """Return when the recording began to play and when it ended, Unix seconds, from market-data's log."""
    found: dict[str, float] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError, KeyError, TypeError):
            entry = json.loads(line)
            found.setdefault(entry["event"], datetime.fromisoformat(entry["timestamp"]).timestamp())
    try:
        return found["replay_began"], found["replay_ended"]
    except KeyError as error:
        raise BenchmarkError(f"{log} does not tell when {error.args[0]}") from error
