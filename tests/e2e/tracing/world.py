"""One replay of a short recording through all services as processes, traced or not, with a Slack to post to."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import httpx

from breakwater_cli.completion import ProgressWatch, wait_for_end, wait_until_settled
from breakwater_cli.nats_process import NatsProcess
from breakwater_cli.processes import ProcessGroup, ProcessSpecification
from breakwater_cli.replay import ReplayRequest, prepare
from breakwater_cli.system import SystemPlan
from breakwater_core.config import BreakwaterConfig
from breakwater_recordings.synthetic import write_synthetic
from breakwater_runtime.bus import connect
from breakwater_runtime.config_file import write_config
from breakwater_runtime.settings import ServiceSettings
from reporter_service.reading import load_report
from tests.e2e.chaos.slack import CHANNEL, TOKEN, SlackStandIn

FIRST_DAY = date(2024, 1, 1)
SYMBOLS = ("BTCUSDT", "ETHUSDT", "XRPUSDT")
CONFIG = BreakwaterConfig.parse(
    {
        "strategy": {"k_long": 0.2, "k_short": 0.2, "ma_window": 2, "filter": "none"},
        "portfolio": {"symbols": list(SYMBOLS)},
    }
)
RUN_TIMEOUT_S = 100
EnvironmentOf = Callable[[str], Mapping[str, str]]
"""From the name of a process to names (without the service's prefix) and values."""


@dataclass(frozen=True)
class Run:
    """What a replay left behind.

    Attributes:
        report: The reporter's report.
        logs: Lines of each process.
        exit_codes: How each process ended.
        metrics: What each service's `/metrics` said before the end.
        told: How often each execution was told in Slack.
    """

    report: dict[str, Any]
    logs: dict[str, list[dict[str, Any]]]
    exit_codes: dict[str, int | None]
    metrics: dict[str, str]
    told: Counter[str]


def recording(folder: Path) -> Path:
    """Write a synthetic recording of a few days."""
    write_synthetic(
        folder,
        seed=7,
        first_day=FIRST_DAY,
        days=5,
        trades_per_day_total=4_000,
        session=CONFIG.session.session(),
    )
    return folder


async def replay(source: Path, folder: Path, *, environment_of: EnvironmentOf, executors: int = 1) -> Run:
    """Play the recording, with what `environment_of` returns for a process added to its environment."""
    folder.mkdir(parents=True)
    request = ReplayRequest(sources=(str(source),), config=CONFIG, output=folder)
    prepared = await asyncio.to_thread(prepare, request)
    write_config(prepared.config, folder / "config.json")
    nats = NatsProcess(folder / "bus")
    nats.start()
    slack = SlackStandIn()
    await slack.start()
    try:
        plan = SystemPlan(
            run_id=prepared.run_id,
            nats_url=nats.url,
            config_path=folder / "config.json",
            config=prepared.config,
            database_url=f"sqlite:///{folder / 'breakwater.db'}",
            directory=folder,
            recordings=request.sources,
            executors=executors,
        )
        values = plan.replay_values(speed="max", first_day=prepared.first_day, last_day=prepared.last_day)
        prices = {"REFERENCE_PRICES": json.dumps(prepared.first_prices)}
        early = [plan.market_data(values), *plan.signal_processes(), *_book_keepers(plan, slack)]
        async with _running(folder / "logs") as group:
            group.start(_with(environment_of, [plan.paper_exchange(prices), *early]))
            async with (
                connect(ServiceSettings(nats_url=nats.url, run_id=plan.run_id), name="tests") as bus,
                asyncio.timeout(RUN_TIMEOUT_S),
            ):
                await group.wait_until_ready(["paper-exchange"])
                group.start(_with(environment_of, plan.executor_processes()))
                await group.wait_until_ready()
                await wait_for_end(bus, ProgressWatch())
                await wait_until_settled(bus)
            metrics = {name: await _metrics_of(child.specification.http_port) for name, child in group.children.items()}
            children = dict(group.children)
        report = await asyncio.to_thread(load_report, plan.database_url, plan.run_id)
    finally:
        await slack.stop()
        nats.stop()
    return Run(
        report=report,
        logs={name: _lines(child.log_path) for name, child in children.items()},
        exit_codes={name: child.process.poll() for name, child in children.items()},
        metrics=metrics,
        told=slack.executions(),
    )


def _with(environment_of: EnvironmentOf, processes: Iterable[ProcessSpecification]) -> list[ProcessSpecification]:
    prefixed = []
    for process in processes:
        prefix = process.module.removesuffix("_service").upper()
        added = {f"{prefix}_{name}": value for name, value in environment_of(process.name).items()}
        prefixed.append(replace(process, environment={**process.environment, **added}))
    return prefixed


def _book_keepers(plan: SystemPlan, slack: SlackStandIn) -> list[ProcessSpecification]:
    reporter, notifier = plan.book_keepers()
    told = {
        "NOTIFIER_SLACK_TOKEN": TOKEN,
        "NOTIFIER_SLACK_CHANNEL": CHANNEL,
        "NOTIFIER_SLACK_BASE_URL": slack.url,
        "NOTIFIER_MESSAGE_INTERVAL_S": "0",
        "NOTIFIER_GROUP_AFTER": "1000",
        "NOTIFIER_GROUP_WINDOW_S": "0",
    }
    return [reporter, replace(notifier, environment={**notifier.environment, **told})]


@asynccontextmanager
async def _running(logs: Path) -> AsyncIterator[ProcessGroup]:
    group = ProcessGroup(logs)
    try:
        yield group
    finally:
        await group.stop()  # kills what has not drained in time


async def _metrics_of(port: int) -> str:
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        return (await client.get(f"http://127.0.0.1:{port}/metrics")).text


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]
