"""Wiring of the notifier: settings to inboxes, queue, claims and sink, and these to tasks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial

from breakwater_core.market import LIVE_RUN_ID
from breakwater_runtime.bus import Bus
from breakwater_runtime.health import Health
from breakwater_runtime.logs import get_logger
from breakwater_runtime.outages import OutageAlarm
from breakwater_runtime.pulling import ConsumerSpecification
from breakwater_runtime.service import open_service
from breakwater_runtime.subjects import ALERT_STREAM, FILL_STREAM, ORDER_STREAM, PERFORMANCE_STREAM
from notifier_service.claims import Claims
from notifier_service.console_sink import ConsoleSink
from notifier_service.dispatcher import CONDITION, Dispatcher, Pace
from notifier_service.inbox import Arrival, Inbox
from notifier_service.metrics import PENDING
from notifier_service.notice import NoticeKind
from notifier_service.notice_queue import GroupingRule, NoticeQueue
from notifier_service.settings import NotifierSettings
from notifier_service.sink import Sink
from notifier_service.slack_sink import open_slack
from notifier_service.timing import Timing, WallTiming

NAME = "notifier"
BATCH = 256
SOURCES = (
    (NoticeKind.ALERT, "alert-critical", ALERT_STREAM.name, ("alert.critical.>",)),
    (NoticeKind.ALERT, "alert", ALERT_STREAM.name, ("alert.warning.>", "alert.info.>")),
    (NoticeKind.ORDER, "order", ORDER_STREAM.name, ("order.>",)),
    (NoticeKind.FILL, "fill", FILL_STREAM.name, ("fill.>",)),
    (NoticeKind.PERFORMANCE, "performance", PERFORMANCE_STREAM.name, ("performance.>",)),
)
"""Kind, name, stream and subjects of each consumer; critical alerts have one of their own, ahead of all others."""


async def main(settings: NotifierSettings, stop: asyncio.Event) -> None:
    """Tell people of the run's events until `stop` is set."""
    async with open_sink(settings) as sink, open_service(NAME, settings, stop, CONDITION) as service:
        await notify(service.bus, service.health, settings, sink, stop)


@asynccontextmanager
async def open_sink(settings: NotifierSettings) -> AsyncIterator[Sink]:
    """Offer Slack while the context is open, or the console if there is no token."""
    token = settings.read_token()
    if token is None or settings.slack_channel is None:
        yield ConsoleSink()
        return
    async with open_slack(
        token=token,
        channel=settings.slack_channel,
        base_url=settings.slack_base_url,
        timeout_s=settings.post_timeout_s,
    ) as sink:
        rotating = settings.rotating_secret("slack_token")
        if rotating is not None:
            rotating.follow(sink.take_token)
        yield sink


async def notify(
    bus: Bus,
    health: Health,
    settings: NotifierSettings,
    sink: Sink,
    stop: asyncio.Event,
    *,
    claims: Claims | None = None,
    timing: Timing | None = None,
) -> None:
    """Move events from the bus to the sink until `stop` is set, then finish the message in hand and give back the rest.

    Args:
        bus: Where events come from and claims are kept.
        health: Learns whether posting works.
        settings: What is told, and how fast.
        sink: Where messages go.
        stop: Ends the work.
        claims: Who tells of what; None: those of the bus.
        timing: The clock; None: the machine's.
    """
    to_console = isinstance(sink, ConsoleSink)
    rule = None if to_console else GroupingRule(after=settings.group_after, window_s=settings.group_window_s)
    timing = timing or WallTiming()
    dispatcher = Dispatcher(
        run_id=bus.run_id,
        queue=NoticeQueue(rule),
        claims=claims or Claims(bus),
        sink=sink,
        links=settings.links,
        pace=Pace(
            interval_s=0.0 if to_console else settings.message_interval_s,
            retry_max_s=settings.retry_max_s,
            oldest_s=settings.oldest_h * 3600,
        ),
        timing=timing,
        health=health,
        alarm=OutageAlarm(
            bus.alert,
            name="slack_away",
            service=NAME,
            run_id=bus.run_id,
            after_s=settings.slack_alert_s,
            now_s=timing.now_s,
        ),
    )
    inboxes = tuple(_inboxes(bus, settings, dispatcher.receive))
    try:
        async with asyncio.timeout(None) as deadline, asyncio.TaskGroup() as tasks:
            readers = [tasks.create_task(inbox.run(), name=f"inbox-{number}") for number, inbox in enumerate(inboxes)]
            work = tasks.create_task(dispatcher.run(stop), name="dispatcher")
            await stop.wait()
            deadline.reschedule(asyncio.get_running_loop().time() + settings.drain_timeout_s)
            await asyncio.wait({work})
            for reader in readers:
                reader.cancel()
    except TimeoutError:
        get_logger().warning("drain_cut_off", drain_timeout_s=settings.drain_timeout_s)
    finally:
        for inbox in inboxes:
            await inbox.give_back()


def durable_name(name: str, run_id: str) -> str:
    """Return the name of a consumer: each run has its own, so that a replay takes nothing from the live run."""
    return f"{NAME}-{name}" if run_id == LIVE_RUN_ID else f"{NAME}-{name}-{run_id}"


def _inboxes(bus: Bus, settings: NotifierSettings, receive: Callable[[Arrival], Awaitable[None]]) -> Iterator[Inbox]:
    for kind, name, stream, subjects in SOURCES:
        if kind in settings.kinds:
            specification = ConsumerSpecification(
                stream=stream,
                durable=durable_name(name, bus.run_id),
                filters=subjects,
                batch=BATCH,
                max_in_flight=settings.max_held,
                ack_wait_s=settings.redelivery_s,
            )
            inbox = Inbox(bus, specification, receive)
            PENDING.labels(f"{NAME}-{name}").set_function(partial(_pending, inbox))
            yield inbox


def _pending(inbox: Inbox) -> float:
    return float(inbox.held + inbox.behind)
