"""Signal and executors as live processes on a bus of their own, with the stub in place of the exchange."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.live_market import LiveMarket
from bench.processes import Helper, helper, nats_server, services, with_settings
from breakwater_cli.processes import ProcessGroup, ProcessSpecification
from breakwater_cli.system import SystemPlan
from breakwater_core.market import LIVE_RUN_ID
from breakwater_runtime.bus import Bus, connect
from breakwater_runtime.config_file import write_config
from breakwater_runtime.settings import ServiceSettings
from executor_service.day_open_store import DayOpenStore
from executor_service.drain import Drain


@dataclass(frozen=True)
class LiveSystem:
    """What runs.

    Attributes:
        bus: A connection of the benchmark's own.
        nats_url: For helpers.
        exchange: The stub.
        exchange_port: Where it listens.
        group: Signal, if asked for, and the executors.
    """

    bus: Bus
    nats_url: str
    exchange: Helper
    exchange_port: int
    group: ProcessGroup


@asynccontextmanager
async def bus_and_exchange(folder: Path, market: LiveMarket, order_delay_s: float) -> AsyncIterator[LiveSystem]:
    """Run the bus, with the days of all accounts opened and the bars published, and the stub exchange; no service."""
    async with AsyncExitStack() as stack:
        nats = stack.enter_context(nats_server(folder / "bus"))
        bus = await stack.enter_async_context(connect(ServiceSettings(nats_url=nats.url), name="bench"))
        store = DayOpenStore(bus, Drain())
        for account in market.config.portfolio.accounts:
            await store.create(account, market.day_open())
        await bus.publish_all(market.bars())
        symbols = list(market.config.portfolio.symbols)
        exchange = await stack.enter_async_context(
            helper("stub_exchange", {"symbols": symbols, "order_delay_s": order_delay_s})
        )
        port = (await exchange.answer())["port"]
        yield LiveSystem(bus, nats.url, exchange, port, ProcessGroup(folder / "logs"))


@asynccontextmanager
async def live_system(
    folder: Path, market: LiveMarket, *, executors: int, with_signal: bool, order_delay_s: float = 0.0
) -> AsyncIterator[LiveSystem]:
    """Run the system until the context is closed; all services are ready when it opens."""
    config_path = folder / "config.json"
    write_config(market.config, config_path)
    async with bus_and_exchange(folder, market, order_delay_s) as system:
        plan = SystemPlan(
            run_id=LIVE_RUN_ID,
            nats_url=system.nats_url,
            config_path=config_path,
            config=market.config,
            database_url="",
            directory=folder,
            executors=executors,
            exchange_port=system.exchange_port,
        )
        wanted = {f"executor-{number}" for number in range(1, executors + 1)} | ({"signal"} if with_signal else set())
        workers = [_without_budget(worker) for worker in plan.workers() if worker.name in wanted]
        async with services(folder / "logs", workers) as group:
            yield LiveSystem(system.bus, system.nats_url, system.exchange, system.exchange_port, group)


def _without_budget(worker: ProcessSpecification) -> ProcessSpecification:
    """Return an executor that does not hold itself within the exchange's limits: they would be what is measured."""
    if worker.module != "executor_service":
        return worker
    return with_settings(worker, {"EXECUTOR_BUDGET": "off"})
