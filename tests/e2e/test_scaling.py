"""Executors are added and drained in the middle of the work, again and again: the result does not tell."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path

import pytest

from bench.burst_run import run_burst
from breakwater_cli.processes import ProcessGroup
from breakwater_core.events import OrderStatus
from breakwater_core.session import Session
from breakwater_recordings.synthetic import write_synthetic
from tests.e2e.command import backtest_report
from tests.e2e.scaled_executors import ScaledExecutors
from tests.e2e.test_demo import process_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ADDED = 3
ROUNDS = 3
DAYS = 16
OFTEN = ("strategy.k_long=0.2", "strategy.k_short=0.2", "strategy.ma_window=2", "strategy.stop_loss=0.01")


def without_wall_clock(report: Path) -> bytes:
    """Return the report without how long it took."""
    text, count = re.subn(rb'"(wall_seconds|trades_per_second)": [-+.0-9e]+', b"", report.read_bytes())
    assert count == 2
    return text


def settings_of(process_id: int) -> dict[str, str]:
    """Return the settings that an executor was started with."""
    entries = Path(f"/proc/{process_id}/environ").read_bytes().split(b"\0")
    values = dict(entry.decode().split("=", 1) for entry in entries if b"=" in entry)
    return {name: value for name, value in values.items() if name.startswith("EXECUTOR_")}


async def started(name: str, output: Path, is_over: Callable[[], bool]) -> int:
    """Return the process id of a service of the run as soon as there is one."""
    while (found := await asyncio.to_thread(process_of, name, output)) is None:
        assert not is_over(), f"the run has ended before {name} has begun"
        await asyncio.sleep(0.05)
    return found


async def test_a_replay_with_executors_that_come_and_go_gives_the_report_of_the_backtest(tmp_path: Path) -> None:
    recording, output = tmp_path / "recording", tmp_path / "replay"
    write_synthetic(
        recording, seed=11, first_day=date(2024, 3, 1), days=DAYS, trades_per_day_total=2_000, session=Session()
    )
    settings = [argument for setting in OFTEN for argument in ("--set", setting)]
    backtest = await asyncio.to_thread(backtest_report, tmp_path / "backtest", recording, *settings)
    running = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "breakwater"),
        *("replay", str(recording), "--out", str(output), "--json", *settings),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    talk = asyncio.create_task(running.communicate())
    try:
        first, feed = [await started(name, output, talk.done) for name in ("executor-1", "market-data")]
        scaled = ScaledExecutors(settings_of(first), output / "logs", is_over=talk.done)
        for _ in range(ROUNDS):
            os.kill(feed, signal.SIGSTOP)  # else a fast machine would be done before the others have started
            async with scaled.added(ADDED):
                os.kill(feed, signal.SIGCONT)
        assert not talk.done(), "the run goes on with one executor"
        await asyncio.wait({talk})
    finally:
        if not talk.done():
            running.kill()
        _, errors = await talk
    assert running.returncode == 0, errors[-2000:]
    assert scaled.rounds == ROUNDS
    assert set(scaled.exit_codes) == {0}
    assert len(backtest["orders"]) > 10 * DAYS
    assert without_wall_clock(output / "report.json") == without_wall_clock(tmp_path / "backtest" / "report.json")


async def test_a_burst_in_real_time_on_executors_that_come_and_go_is_one_order_for_each_intent(tmp_path: Path) -> None:
    entries, exits = 300, 12
    scaled: list[ScaledExecutors] = []

    @asynccontextmanager
    async def more(group: ProcessGroup) -> AsyncIterator[None]:
        if not scaled:
            values = group.children["executor-1"].specification.environment
            scaled.append(ScaledExecutors(values, group.log_directory))
        async with scaled[0].added(ADDED):
            yield

    burst = await run_burst(
        tmp_path,
        entries=entries,
        exits=exits,
        accounts=6,
        executors=1,
        address_limit=300,
        waves=ROUNDS,
        around=more,
        timeout_s=240,
    )
    assert burst.outcomes == {OrderStatus.FILLED: entries + exits}
    assert burst.duplicates == 0
    assert burst.breaches == 0, "also the checks of many executors that start at once keep to the exchange's limits"
    assert scaled[0].rounds == ROUNDS
    assert set(scaled[0].exit_codes) == {0}
