"""The replay of a recording through all services as processes, from start to report."""

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from breakwater_cli.completion import ProgressWatch, wait_for_end, wait_until_settled
from breakwater_cli.display import ReplayDisplay
from breakwater_cli.nats_process import NatsProcess
from breakwater_cli.processes import ProcessGroup, ProcessSpecification
from breakwater_cli.summary import finish_report
from breakwater_cli.system import SystemPlan
from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError
from breakwater_core.identities import replay_run_id
from breakwater_recordings.selection import first_prices, played_days
from breakwater_recordings.sources import open_recording
from breakwater_research.report_files import write_report
from breakwater_research.tearsheet import render_html
from breakwater_runtime.bus import connect
from breakwater_runtime.config_file import write_config
from breakwater_runtime.permissions import OPERATOR
from breakwater_runtime.settings import ServiceSettings
from reporter_service.reading import load_report


@dataclass(frozen=True)
class ReplayRequest:
    """What a replay is asked to do; see `breakwater replay --help`."""

    sources: tuple[str, ...]
    config: BreakwaterConfig
    output: Path
    speed: str = "max"
    executors: int = 1
    signals: int = 1
    start: date | None = None
    end: date | None = None
    database_url: str | None = None
    run_id: str | None = None
    keep_bus: bool = False
    quiet: bool = False
    show_positions: bool = False
    log_level: str = "info"


@dataclass(frozen=True)
class PreparedReplay:
    """A request checked against its recording."""

    request: ReplayRequest
    config: BreakwaterConfig
    run_id: str
    first_day: date
    last_day: date
    first_prices: dict[str, float]


def prepare(request: ReplayRequest) -> PreparedReplay:
    """Open the recording, settle symbols and days, and derive the run's id.

    Raises:
        InvalidInputError: If the recording is bad, or has no complete day in the range.
    """
    check_speed(request.speed)
    session = request.config.session.session()
    wanted = request.config.portfolio.symbols
    recording = open_recording(list(request.sources), session=session, symbols=wanted or None)
    config = request.config
    if not wanted:
        portfolio = config.portfolio.model_copy(update={"symbols": recording.symbols})
        config = config.model_copy(update={"portfolio": portfolio})
    first_day, last_day = played_days(recording, request.start, request.end)
    run_id = request.run_id or replay_run_id(
        fingerprint=recording.fingerprint, strategy_version=config.version, first_day=first_day, last_day=last_day
    )
    return PreparedReplay(request, config, run_id, first_day, last_day, first_prices(recording))


def check_speed(speed: str) -> None:
    """Check the speed: `max`, or a positive number of times real time.

    Raises:
        InvalidInputError: If it is neither.
    """
    try:
        if speed != "max" and not 0 < float(speed) < float("inf"):
            raise ValueError(speed)
    except ValueError as error:
        raise InvalidInputError(f"--speed takes 'max' or a positive number, was {speed!r}") from error


async def replay(request: ReplayRequest) -> dict[str, Any]:
    """Run the replay and return its report, which is also in the output folder as JSON and HTML.

    Raises:
        BreakwaterError: If anything goes wrong; no report is left then.
    """
    prepared = await asyncio.to_thread(prepare, request)
    output = request.output
    _clear(output, database=request.database_url is None)
    config_path = output / "config.json"
    write_config(prepared.config, config_path)
    nats = NatsProcess(output / "bus", with_users=True)
    database_url = request.database_url or f"sqlite:///{(output / 'breakwater.db').resolve()}"
    started = time.perf_counter()
    nats.start()
    try:
        plan = SystemPlan(
            run_id=prepared.run_id,
            nats_url=nats.url,
            config_path=config_path,
            config=prepared.config,
            database_url=database_url,
            directory=output,
            recordings=request.sources,
            executors=request.executors,
            signals=request.signals,
            log_level=request.log_level,
            passwords=nats.passwords,
        )
        await nats.make_streams()
        trades, wall_seconds = await _run(plan, prepared, nats.settings(OPERATOR, plan.run_id), started)
    finally:
        nats.stop()
        if not request.keep_bus:
            shutil.rmtree(output / "bus", ignore_errors=True)
    report = await asyncio.to_thread(load_report, database_url, prepared.run_id)
    finish_report(report, trades=trades, wall_seconds=wall_seconds)
    write_report(report, output / "report.json")
    (output / "report.html").write_text(render_html(report), encoding="utf-8")
    return report


async def _run(
    plan: SystemPlan, prepared: PreparedReplay, settings: ServiceSettings, started: float
) -> tuple[int, float]:
    request = prepared.request
    values = plan.replay_values(speed=request.speed, first_day=prepared.first_day, last_day=prepared.last_day)
    early = [plan.market_data(values), *plan.signal_processes(), *plan.book_keepers()]
    prices = {"REFERENCE_PRICES": json.dumps(prepared.first_prices)}
    logs = plan.directory / "logs"
    watch = ProgressWatch()
    async with (
        running(logs, [plan.paper_exchange(prices)], wait=False) as exchange,
        running(logs, early, wait=False) as group,
        connect(settings, name="cli") as bus,
    ):
        await exchange.wait_until_ready()
        group.start(plan.executor_processes())  # they look at their accounts first of all
        await group.wait_until_ready()
        reporter_port = group.children["reporter"].specification.http_port
        display = ReplayDisplay(
            watch=watch,
            reporter_url=f"http://127.0.0.1:{reporter_port}",
            run_id=plan.run_id,
            quiet=request.quiet,
            positions=request.show_positions,
        )
        async with display.shown():
            progress = await wait_for_end(bus, watch)
            await wait_until_settled(bus)
        return progress.trades_total, time.perf_counter() - started


@asynccontextmanager
async def running(
    logs: Path, specifications: Sequence[ProcessSpecification], *, wait: bool = True
) -> AsyncIterator[ProcessGroup]:
    """Run processes while the context is open; a process that cannot be kept up ends the context with its reason.

    Args:
        logs: Folder of their logs.
        specifications: What to start.
        wait: Enter the context only when all are ready.
    """
    group = ProcessGroup(logs)
    owner = asyncio.current_task()
    failure: list[BaseException] = []

    async def watched() -> None:
        try:
            await group.watch()
        except Exception as error:  # noqa: BLE001  # handed to the owner, which is cancelled to hear it
            failure.append(error)
            if owner is not None:
                owner.cancel()

    watcher = asyncio.create_task(watched())
    try:
        group.start(specifications)
        if wait:
            await group.wait_until_ready()
        yield group
    except asyncio.CancelledError:
        if failure:
            raise failure[0] from None
        raise
    finally:
        watcher.cancel()
        await group.stop()


def _clear(output: Path, *, database: bool) -> None:
    """Remove what an earlier run left in the folder, so that nothing old can pass for a result of this one."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name in ("report.json", "report.html", *(("breakwater.db",) if database else ())):
            (output / name).unlink(missing_ok=True)
        for suffix in ("-wal", "-shm", "-journal"):
            (output / f"breakwater.db{suffix}").unlink(missing_ok=True)
        for name in ("logs", "bus"):
            shutil.rmtree(output / name, ignore_errors=True)
    except OSError as error:
        raise InvalidInputError(f"--out {output}: cannot be written ({error.strerror})") from error
