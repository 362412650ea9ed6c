"""The whole system twice, scraped by a real Prometheus: live against the paper exchange, and replaying a recording.

Both together show every metric: the live one those of the exchange's feed, the request budget, the clock and the
egress address; the replay those of days that are closed, exits, fills and the lock-step. They share nothing, since the
queues of intents are one for all runs of a bus.
"""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from subprocess import STDOUT, Popen
from typing import Any

import httpx
import numpy as np
import yaml

from breakwater_cli.nats_process import NatsProcess, free_port
from breakwater_cli.processes import ProcessSpecification
from breakwater_cli.replay import running
from breakwater_cli.system import SystemPlan
from breakwater_core.config import BreakwaterConfig
from breakwater_core.market import LIVE_RUN_ID, TradeBatch
from breakwater_core.session import Session
from breakwater_recordings.parquet_file import write_trade_file
from breakwater_recordings.selection import first_prices, played_days
from breakwater_recordings.sources import open_recording
from breakwater_recordings.synthetic import write_synthetic
from breakwater_runtime.config_file import write_config
from tests.deploy.observability.catalogue import RULES

REPLAY_RUN_ID = "replay-observed"
UTC_DAYS = Session()
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
_FIRST_DAY = date(2024, 1, 1)
_REPLAY_SPEED = 12_000
"""Two days in about fifteen seconds, so that a scrape a second sees them pass."""
_WAVE_MS = 12_000
_SERVICES = {"executor-1": "executor-order"}


@dataclass
class Observer:
    """A Prometheus that scrapes every second, and the targets that it was given."""

    url: str
    targets_path: Path
    targets: list[dict[str, Any]] = field(default_factory=list)
    started: datetime = field(default_factory=lambda: datetime.now(tz=UTC))

    def add(self, specifications: Sequence[ProcessSpecification]) -> None:
        """Have processes scraped under the names that compose and the chart give them."""
        for process in specifications:
            service = _SERVICES.get(process.name, process.name)
            target = f"127.0.0.1:{process.http_port}"
            self.targets.append({"targets": [target], "labels": {"service": service}})
        staged = self.targets_path.with_suffix(".new")
        staged.write_text(json.dumps(self.targets), encoding="utf-8")
        staged.rename(self.targets_path)

    async def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer of the HTTP API."""
        async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
            answer = await client.get(f"{self.url}/api/v1/{path}", params=parameters)
        content = answer.json()
        assert content["status"] == "success", (parameters, content)
        return content["data"]

    async def values(self, expression: str, *, instant: bool) -> list[float]:
        """Return the finite values of an expression: now, or at every second since the observer was started."""
        if instant:
            result = (await self.ask("query", query=expression))["result"]
            samples = [series["value"] for series in result]
        else:
            end = datetime.now(tz=UTC)
            data = await self.ask(
                "query_range",
                query=expression,
                start=self.started.isoformat(),
                end=end.isoformat(),
                step="1",
            )
            samples = [sample for series in data["result"] for sample in series["values"]]
        return [value for _, text in samples if not math.isnan(value := float(text))]


@contextmanager
def observer(binary: str, folder: Path) -> Any:
    """Run Prometheus with our rules, evaluated every second."""
    folder.mkdir(parents=True)
    rules = folder / "rules"
    rules.mkdir()
    for source in RULES:
        content = yaml.safe_load(source.read_text(encoding="utf-8"))
        for group in content["groups"]:
            group["interval"] = "1s"
        (rules / source.name).write_text(yaml.safe_dump(content), encoding="utf-8")
    targets = folder / "targets.json"
    targets.write_text("[]", encoding="utf-8")
    configuration = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules / "*.yaml")],
        "scrape_configs": [
            {
                "job_name": "breakwater",
                "file_sd_configs": [{"files": [str(targets)], "refresh_interval": "1s"}],
            }
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
    port = free_port()
    with (folder / "prometheus.log").open("wb") as log:
        process = Popen(
            [
                binary,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'store'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=STDOUT,
        )
    try:
        yield Observer(f"http://127.0.0.1:{port}", targets)
    finally:
        process.terminate()
        process.wait(20)


@asynccontextmanager
async def live_system(folder: Path, observed: Observer) -> AsyncIterator[None]:
    """Run the system in real time; its prices swing through their targets every few seconds, so it enters at once."""
    async with echo_service() as echo_url:
        nats = NatsProcess(folder / "bus", with_users=True)
        await asyncio.to_thread(nats.start)
        try:
            await nats.make_streams()
            config, recording = _live_config(), folder / "recording"
            await asyncio.to_thread(write_waves, recording)
            plan = _plan(folder, nats, LIVE_RUN_ID, config)
            exchange = _with_a_bound_key(plan.paper_exchange({"RECORDINGS": json.dumps([str(recording)])}))
            live = {"MODE": "live", "EXCHANGE_URL": plan.exchange_url, "PUBLIC_STREAM_URL": plan.stream_url}
            workers = [
                _with(worker, EXECUTOR_EGRESS_EXPECTED_IPS="127.0.0.1", EXECUTOR_EGRESS_ECHO_URL=echo_url)
                if worker.module == "executor_service"
                else worker
                for worker in _frequent(plan.workers())
            ]
            services = [*workers, plan.market_data(live)]
            async with running(folder / "logs", [exchange]), running(folder / "logs", services, wait=False) as group:
                observed.add([exchange, *services])
                await group.wait_until_ready()
                yield
        finally:
            await asyncio.to_thread(nats.stop)


def _with_a_bound_key(exchange: ProcessSpecification) -> ProcessSpecification:
    """Return the paper exchange with keys that only this machine may use, as the executors expect them."""
    name = "PAPER_EXCHANGE_ACCOUNTS"
    accounts = [account | {"ips": ["127.0.0.1"]} for account in json.loads(exchange.environment[name])]
    return _with(exchange, **{name: json.dumps(accounts)})


@asynccontextmanager
async def replaying_system(folder: Path, observed: Observer) -> AsyncIterator[None]:
    """Replay three days of a synthetic market; the processes stay when it is over."""
    recording = folder / "recording"
    recording.mkdir(parents=True)
    config = BreakwaterConfig()
    await asyncio.to_thread(
        write_synthetic,
        recording,
        seed=5,
        first_day=_FIRST_DAY,
        days=8,
        trades_per_day_total=20_000,
        session=config.session.session(),
        symbols=SYMBOLS,
    )
    opened = open_recording([str(recording)], session=config.session.session(), symbols=SYMBOLS)
    config = config.model_copy(update={"portfolio": config.portfolio.model_copy(update={"symbols": SYMBOLS})})
    _, last_day = played_days(opened, None, None)
    nats = NatsProcess(folder / "bus", with_users=True)
    await asyncio.to_thread(nats.start)
    try:
        await nats.make_streams()
        plan = replace(_plan(folder, nats, REPLAY_RUN_ID, config), recordings=(str(recording),))
        values = plan.replay_values(speed=str(_REPLAY_SPEED), first_day=last_day - timedelta(days=1), last_day=last_day)
        exchange = plan.paper_exchange({"REFERENCE_PRICES": json.dumps(first_prices(opened))})
        early = [*_frequent([*plan.signal_processes(), *plan.book_keepers()])]
        executors = plan.executor_processes()
        market_data = plan.market_data(values)
        logs = folder / "logs"
        async with (
            running(logs, [exchange], wait=False) as group_of_exchange,
            running(logs, [market_data, *early], wait=False) as group,
        ):
            observed.add([exchange, market_data, *early, *executors])
            await group_of_exchange.wait_until_ready()
            group.start(executors)
            await group.wait_until_ready()
            yield
    finally:
        await asyncio.to_thread(nats.stop)


@asynccontextmanager
async def echo_service() -> AsyncIterator[str]:
    """Tell everybody who asks that they come from 127.0.0.1."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\n127.0.0.1")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


def write_waves(folder: Path) -> None:
    """Write three UTC days in which each price swings around one level, a trade every two seconds."""
    for symbol, level in zip(SYMBOLS, (50_000.0, 2_500.0, 100.0), strict=True):
        for number in range(3):
            day = _FIRST_DAY + timedelta(days=number)
            begin_ms = UTC_DAYS.day_start_ms(day)
            times_ms = np.arange(begin_ms, UTC_DAYS.day_end_ms(day), 2000, dtype=np.int64)
            swing = np.sin(2 * np.pi * (times_ms - begin_ms) / _WAVE_MS)
            batch = TradeBatch(
                symbol=symbol,
                times_ms=times_ms,
                prices=np.round(level * (1 + 0.004 * swing), 1),
                sizes=np.full(times_ms.size, 10.0),
                taker_sides=np.ones(times_ms.size, dtype=np.int8),
            )
            span = (begin_ms, UTC_DAYS.day_end_ms(day))
            write_trade_file(
                folder / symbol / day.isoformat() / f"trades-{begin_ms}.parquet",
                [batch],
                symbol=symbol,
                venue="waves",
                day=day,
                coverage=partial(list, [span]),
            )


def _live_config() -> BreakwaterConfig:
    """Return a configuration of a day that began within the last hour, with targets within the swing of the prices."""
    now = datetime.now(tz=UTC)
    return BreakwaterConfig.parse(
        {
            "portfolio": {"symbols": list(SYMBOLS)},
            "session": {"start": f"{now:%H}:00"},
            "strategy": {"k_long": 0.2, "k_short": 0.2, "ma_window": 1, "filter": "none"},
        }
    )


def _plan(folder: Path, nats: NatsProcess, run_id: str, config: BreakwaterConfig) -> SystemPlan:
    path = folder / "config.json"
    write_config(config, path)
    return SystemPlan(
        run_id=run_id,
        nats_url=nats.url,
        passwords=nats.passwords,
        config_path=path,
        config=config,
        database_url=f"sqlite:///{(folder / 'breakwater.db').resolve()}",
        directory=folder,
        drain_timeout_s=3.0,
    )


def _frequent(specifications: Sequence[ProcessSpecification]) -> list[ProcessSpecification]:
    return [
        _with(process, REPORTER_METRICS_INTERVAL_S="1") if process.name == "reporter" else process
        for process in specifications
    ]


def _with(process: ProcessSpecification, **values: str) -> ProcessSpecification:
    environment: Mapping[str, str] = dict(process.environment) | values
    return replace(process, environment=environment)
