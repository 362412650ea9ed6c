"""The system in real time against the paper exchange: the same processes as in production, on one machine."""

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from breakwater_cli.nats_process import NatsProcess
from breakwater_cli.processes import ProcessSpecification
from breakwater_cli.replay import running
from breakwater_cli.system import SystemPlan
from breakwater_core.config import BreakwaterConfig
from breakwater_core.market import LIVE_RUN_ID
from breakwater_recordings.sources import open_recording
from breakwater_recordings.synthetic import DEFAULT_SYMBOLS
from breakwater_runtime.config_file import write_config
from breakwater_runtime.permissions import OPERATOR


@dataclass(frozen=True)
class UpRequest:
    """What `breakwater up` is asked to do; see its help."""

    output: Path
    recordings: tuple[str, ...]
    config: BreakwaterConfig
    executors: int
    database_url: str | None
    reporter_port: int
    as_json: bool


async def up(request: UpRequest) -> None:
    """Run everything until cancelled; then drain it all.

    Raises:
        BreakwaterError: If a service does not come up or cannot be kept up.
    """
    config = with_symbols(request.config, request.recordings)
    output = request.output
    config_path = output / "config.json"
    write_config(config, config_path)
    nats = NatsProcess(output / "bus", with_users=True)
    await asyncio.to_thread(nats.start)
    try:
        plan = SystemPlan(
            run_id=LIVE_RUN_ID,
            nats_url=nats.url,
            config_path=config_path,
            config=config,
            database_url=request.database_url or f"sqlite:///{(output / 'breakwater.db').resolve()}",
            directory=output,
            recordings=request.recordings,
            executors=request.executors,
            drain_timeout_s=6.0,
            passwords=nats.passwords,
        )
        await nats.make_streams()
        async with (
            running(output / "logs", [plan.paper_exchange(_feed(request.recordings))]) as exchange,
            running(output / "logs", _services(plan, request.reporter_port)) as services,
        ):
            children = exchange.children | services.children
            ports = {name: child.specification.http_port for name, child in children.items()}
            _announce(plan, ports, as_json=request.as_json)
            await asyncio.Event().wait()
    finally:
        nats.stop()


def with_symbols(config: BreakwaterConfig, recordings: tuple[str, ...]) -> BreakwaterConfig:
    """Return the configuration with symbols filled in from the recording or the synthetic market."""
    if config.portfolio.symbols:
        return config
    symbols = DEFAULT_SYMBOLS
    if recordings:
        symbols = open_recording(list(recordings), session=config.session.session()).symbols
    portfolio = config.portfolio.model_copy(update={"symbols": tuple(symbols)})
    return config.model_copy(update={"portfolio": portfolio})


def _feed(recordings: tuple[str, ...]) -> dict[str, str]:
    return {"RECORDINGS": json.dumps(list(recordings))} if recordings else {}


def _services(plan: SystemPlan, reporter_port: int) -> list[ProcessSpecification]:
    live = {"MODE": "live", "EXCHANGE_URL": plan.exchange_url, "PUBLIC_STREAM_URL": plan.stream_url}
    services = [*plan.workers(), plan.market_data(live)]
    if not reporter_port:
        return services
    return [
        ProcessSpecification(
            service.name,
            service.module,
            dict(service.environment) | {"REPORTER_HTTP_PORT": str(reporter_port)},
            reporter_port,
        )
        if service.name == "reporter"
        else service
        for service in services
    ]


def _announce(plan: SystemPlan, ports: dict[str, int], *, as_json: bool) -> None:
    passwords = None if plan.passwords is None else plan.passwords.resolve()
    addresses = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    if as_json:
        sys.stdout.write(
            json.dumps(
                {"nats": plan.nats_url, "passwords": str(passwords), "exchange": plan.exchange_url}
                | {"services": addresses}
            )
            + "\n"
        )
    else:
        sys.stdout.write(f"up: {len(plan.config.portfolio.symbols)} symbols; ctrl-C drains everything\n")
        for name, address in addresses.items():
            path = "/docs" if name == "reporter" else "/metrics"
            sys.stdout.write(f"  {name:<18} {address}{path}\n")
        if passwords is not None:
            sys.stdout.write("for halt, flatten, status, config and dead in another terminal:\n")
            sys.stdout.write(f"  export BREAKWATER_NATS_URL={plan.nats_url} BREAKWATER_NATS_USER={OPERATOR}\n")
            sys.stdout.write(f"  export BREAKWATER_NATS_PASSWORD_FILE={passwords / OPERATOR}\n")
    sys.stdout.flush()
