"""Start, work, drain: what every service's `__main__` runs."""

import asyncio
import gc
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
import uvloop

from breakwater_core.errors import BreakwaterError
from breakwater_runtime.bus import Bus, connect
from breakwater_runtime.errors import EXIT_DRAINED, EXIT_FAILED, StoppedError, exit_code_of, explain
from breakwater_runtime.health import Health, Page, bind_socket, health_application, serve_application
from breakwater_runtime.logs import configure_logs, get_logger
from breakwater_runtime.loop_lag import measured_loop
from breakwater_runtime.metrics import describe_process
from breakwater_runtime.settings import ServiceSettings
from breakwater_runtime.span_export import DrainTime, exporting

_STOPS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class Service:
    """What a running service holds: its name, the bus, its health, and the event that tells it to stop."""

    name: str
    bus: Bus
    health: Health
    stop: asyncio.Event


def run_service[S: ServiceSettings](
    name: str, settings_type: type[S], main: Callable[[S, asyncio.Event], Awaitable[None]]
) -> int:
    """Load the settings, run `main` until it returns or SIGTERM or SIGINT sets the event; return the exit code.

    `main` is expected to open its resources, work until the event is set, and drain within `drain_timeout_s`.
    """
    try:
        settings = settings_type.load()
    except BreakwaterError as error:
        sys.stderr.write(f"{name}: {explain(error)}\n")
        return exit_code_of(error)
    configure_logs(service=name, run_id=settings.run_id, instance=settings.instance, level=settings.log_level)
    describe_process(run_id=settings.run_id)
    log = get_logger()
    drain_time = DrainTime(settings.drain_timeout_s)

    async def supervised() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def ask_to_stop() -> None:
            drain_time.begin()
            stop.set()

        for number in _STOPS:
            loop.add_signal_handler(number, ask_to_stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)  # a main module may have held them back until now
        log.info("service_started")
        async with measured_loop():
            await main(settings, stop)

    gc.freeze()
    try:
        with exporting(settings, service=settings.traced_as(name), left_s=drain_time.left_s):
            uvloop.run(supervised())
    except StoppedError as error:
        log.info("service_stopped_early", reason=explain(error))
        return EXIT_DRAINED
    except BaseExceptionGroup as group:
        cause = first_cause(group)
        log.error("service_failed", reason=explain(cause), exc_info=cause)
        return exit_code_of(cause)
    except BreakwaterError as error:
        log.error("service_failed", reason=explain(error))
        return exit_code_of(error)
    except Exception as error:  # the last line of defence: logged, and the process ends
        log.error("service_failed", reason=explain(error), exc_info=error)
        return EXIT_FAILED
    log.info("service_drained")
    return EXIT_DRAINED


def first_cause(error: BaseException) -> BaseException:
    """Return the first plain exception inside nested groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@asynccontextmanager
async def open_service(
    name: str,
    settings: ServiceSettings,
    stop: asyncio.Event,
    *conditions: str,
    pages: Mapping[str, Page] | None = None,
) -> AsyncIterator[Service]:
    """Connect to the bus and serve health, metrics and the pages, by their paths, while the context is open.

    The service is not ready until each of `conditions` was stated to hold, and not any more once `stop` is set.
    """
    structlog.contextvars.bind_contextvars(service=name)
    health = Health("bus", *conditions)
    bound = bind_socket(settings.http_host, settings.http_port)
    async with (
        serve_application(health_application(health, pages), bound),
        connect(settings, name=name, health=health, stop=stop) as bus,
    ):
        health.hold("bus")
        telling = asyncio.create_task(_tell_of_stop(stop, health), name="stopping")
        try:
            yield Service(name=name, bus=bus, health=health, stop=stop)
        finally:
            telling.cancel()


async def _tell_of_stop(stop: asyncio.Event, health: Health) -> None:
    await stop.wait()
    health.fail("stopping", "asked to stop; work in hand is brought to its end")


async def until_stopped[T](stop: asyncio.Event, work: Awaitable[T]) -> T | None:
    """Await the work, but no longer than until `stop` is set; returns None if it was cut short."""
    task = asyncio.ensure_future(work)
    waiter = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        waiter.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
