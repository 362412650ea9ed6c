"""Wiring: settings -> database, writer, bus, consumers, HTTP."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from breakwater_runtime.bus import Bus, connect
from breakwater_runtime.config_versions import ConfigStore, follow_config, read_config_state
from breakwater_runtime.consumers import ConsumerSpecification, Handle, PullConsumer
from breakwater_runtime.health import Health, bind_socket, serve_application
from breakwater_runtime.logs import get_logger
from breakwater_runtime.outages import OutageAlarm
from breakwater_runtime.service import until_stopped
from reporter_service import consumers, metrics, reading
from reporter_service.api import reporter_application
from reporter_service.bus_watch import BusWatch
from reporter_service.conversions import snapshot_of
from reporter_service.database import Database
from reporter_service.day_configs import keep_day_configs
from reporter_service.group_writer import CONDITION, GroupWriter, open_writer
from reporter_service.handler import SERVICE, ReporterHandler
from reporter_service.migrate import check_migrated, migrate
from reporter_service.parity_reports import ParityReports
from reporter_service.periodic_metrics import PeriodicMetrics
from reporter_service.recording import record_run
from reporter_service.settings import ReporterSettings


async def run(
    settings: ReporterSettings, stop: asyncio.Event, *, listening: Callable[[int], None] = lambda _port: None
) -> None:
    """Work until `stop` is set, then drain; `listening` is told the port once it is served.

    Raises:
        DependencyError: If the database, NATS or the port cannot be used.
        InvalidInputError: If the configuration file is absent or wrong.
    """
    configuration = settings.configuration()
    database = Database(settings.database_url.get_secret_value())
    await asyncio.to_thread(migrate if settings.migrate else check_migrated, database)
    _follow_url(settings, database)
    health = Health("bus", CONDITION)
    bound = bind_socket(settings.http_host, settings.http_port)
    try:
        async with (
            serve_application(reporter_application(database, health), bound) as port,
            connect(settings, name=SERVICE, health=health, stop=stop) as bus,
            open_writer(database, health, stop, _alarm(bus, settings)) as writer,
            AsyncExitStack() as stack,
            asyncio.timeout(None) as deadline,
            asyncio.TaskGroup() as tasks,
        ):
            health.hold("bus")
            wall_ms = time.time_ns() // 1_000_000
            await writer.apply(
                lambda session: record_run(
                    session,
                    run_id=settings.run_id,
                    strategy_version=configuration.version,
                    config=configuration.as_values(),
                    wall_ms=wall_ms,
                )
            )
            versions = await read_config_state(bus, configuration)
            await stack.enter_async_context(follow_config(bus, versions, name=SERVICE))
            keeping = keep_day_configs(ConfigStore(bus), versions, writer, settings.run_id)
            tasks.create_task(until_stopped(stop, keeping), name="day-configs")
            metrics.begin_accounts(configuration.portfolio.accounts)
            gauges = metrics.AccountGauges(configuration.portfolio.accounts, configuration.portfolio.symbols)
            await _restore_gauges(writer, settings.run_id, gauges)
            periodic = PeriodicMetrics(database, BusWatch(bus, settings.run_id), settings.run_id)
            tasks.create_task(until_stopped(stop, periodic.run(settings.metrics_interval_s)), name="periodic-metrics")
            handler = ReporterHandler(
                run_id=settings.run_id,
                writer=writer,
                publisher=bus,
                conditions=health,
                fills_wait_s=settings.fills_wait_s,
                ledger_tolerance=settings.ledger_tolerance,
                gauges=gauges,
            )
            for number, (specification, handle) in enumerate(_work(settings, handler)):
                consumer = PullConsumer(bus, specification, handle, service=SERVICE)
                tasks.create_task(consumer.run(stop), name=f"{specification.durable}-{number}")
            if settings.recordings is not None:
                reports = ParityReports(settings, database, writer, bus)
                tasks.create_task(until_stopped(stop, reports.run()), name="parity")
            get_logger().info("reporter_ready", port=port, database=database.place)
            listening(port)
            await stop.wait()
            deadline.reschedule(asyncio.get_running_loop().time() + settings.drain_timeout_s)
    finally:
        database.close()


def _follow_url(settings: ReporterSettings, database: Database) -> None:
    """Have the database log in with each new user and password."""
    rotating = settings.rotating_secret("database_url")
    if rotating is not None:

        async def take(url: str) -> None:
            await asyncio.to_thread(database.take_url, url)

        rotating.follow(take)


def _alarm(bus: Bus, settings: ReporterSettings) -> OutageAlarm:
    return OutageAlarm(
        bus.alert,
        name="database_away",
        service=SERVICE,
        run_id=settings.run_id,
        after_s=settings.database_alert_s,
    )


def _work(settings: ReporterSettings, handler: ReporterHandler) -> Sequence[tuple[ConsumerSpecification, Handle]]:
    run_id = settings.run_id
    return [
        *[(consumers.order_consumer(run_id), handler.on_order)] * settings.workers,
        *[(consumers.fill_consumer(run_id), handler.on_fill)] * settings.workers,
        (consumers.account_consumer(run_id), handler.on_account),
        (consumers.alert_consumer(run_id), handler.on_alert),
        (consumers.clock_consumer(run_id), handler.on_clock),
    ]


async def _restore_gauges(writer: GroupWriter, run_id: str, gauges: metrics.AccountGauges) -> None:
    """Show what the database knows of each account until the next message does."""
    days = await writer.apply(lambda session: reading.latest_days(session, run_id))
    metrics.show_days(days)
    snapshots = await writer.apply(
        lambda session: [snapshot_of(row) for row in reading.latest_snapshots(session, run_id).values()]
    )
    for snapshot in snapshots:
        gauges.show(snapshot)
