"""Wiring of signal: settings -> readers of market data and order events -> handler."""

import asyncio
import base64
import time
from contextlib import suppress
from functools import partial

from breakwater_core.config import BreakwaterConfig
from breakwater_core.market import LIVE_RUN_ID, Clock
from breakwater_runtime import codec, subjects
from breakwater_runtime.bus import Bus, BusError
from breakwater_runtime.control import watch_control
from breakwater_runtime.errors import SettingsError
from breakwater_runtime.logs import get_logger
from breakwater_runtime.metrics import DEAD_LETTERS, begin_at_zero
from breakwater_runtime.pulling import dead_letter_alert
from breakwater_runtime.readers import LAST_PER_SUBJECT, After, Delivery, Since, nanoseconds_of, read_stream
from breakwater_runtime.service import Service, open_service
from signal_service.checkpoint import Checkpoint
from signal_service.handler import MarketMessage, SignalHandler, Unreadable
from signal_service.scaling import Scaling
from signal_service.settings import SignalSettings

SERVICE = "signal"
MARKET_READER = "signal-market"
ORDER_READER = "signal-orders"
MARKET_FILTERS = (subjects.trades("*"), subjects.daily_bars("*"), subjects.clock())
"""All symbols that are published: which of them are traded may change from one day to the next."""
_DAY_START_MARGIN_MS = 60_000
_DRAIN_SHARE = 0.75
_RETRY_S = 0.25


class Inbox:
    """Decodes what the readers deliver: market data into a queue, order events straight to the handler."""

    def __init__(self, service: Service, tasks: asyncio.TaskGroup, limit: int) -> None:
        """Have the bus wait while `limit` messages of market data are not handled."""
        self._service = service
        self._tasks = tasks
        self._limit = limit
        self._queue: asyncio.Queue[MarketMessage] = asyncio.Queue()
        self.room = asyncio.Event()
        """Set while more market data may come."""
        self.room.set()

    def market_data(self, delivery: Delivery) -> None:
        """Queue a message; one that cannot be read keeps its place, so that what it hides is missed just there."""
        try:
            decoded = codec.decode(delivery.subject, delivery.payload)
        except codec.DecodeError as error:
            self._put(MarketMessage(Unreadable(str(error)), delivery, time.monotonic()))
            return
        if decoded.run_id == self._service.bus.run_id:
            self._put(MarketMessage(decoded.value, delivery, time.monotonic()))
            self._service.health.hold("market_data")

    def _put(self, message: MarketMessage) -> None:
        self._queue.put_nowait(message)
        if self._queue.qsize() >= self._limit:
            self.room.clear()

    async def work(self, handler: SignalHandler) -> None:
        """Handle the queued messages, one after the other."""
        while True:
            message = await self._queue.get()
            await handler.market_message(message)
            if not self.room.is_set() and self._queue.qsize() <= self._limit // 2:
                self.room.set()

    def order_event(self, handler: SignalHandler, delivery: Delivery) -> None:
        """Hand an order event of this run on; one that cannot be read is put aside."""
        try:
            decoded = codec.decode(delivery.subject, delivery.payload)
        except codec.DecodeError as error:
            keeping = self.put_aside(delivery, str(error), stream="ORDER", consumer=ORDER_READER)
            self._tasks.create_task(keeping, name="put-aside")
            return
        if decoded.run_id == self._service.bus.run_id:
            handler.order_event(decoded.value)

    async def put_aside(self, delivery: Delivery, reason: str, *, stream: str = "MD", consumer: str = SERVICE) -> None:
        """Keep a message that cannot be used as a dead letter, with an alert, however long that takes."""
        bus = self._service.bus
        letter = {"stream": stream, "consumer": consumer, "subject": delivery.subject, "reason": reason}
        while True:
            try:
                await bus.dead_letter(**letter, payload=delivery.payload, sequence=delivery.sequence)
            except BusError as error:
                get_logger().warning("dead_letter_retried", reason=str(error))
                await asyncio.sleep(_RETRY_S)
            else:
                break
        await bus.alert(dead_letter_alert(**letter, run_id=bus.run_id, service=SERVICE, sequence=delivery.sequence))


async def run(settings: SignalSettings, stop: asyncio.Event) -> None:
    """Read market data and order events, publish intents, until `stop` is set."""
    config = settings.configuration()
    if not config.portfolio.symbols:
        raise SettingsError("portfolio.symbols is empty; name the symbols to trade in the configuration")
    live = settings.run_id == LIVE_RUN_ID
    begin_at_zero(DEAD_LETTERS, (SERVICE, ORDER_READER))
    scaling = Scaling(settings)
    async with (
        open_service(SERVICE, settings, stop, "market_data", pages={"/scaling": scaling.answer}) as service,
        watch_control(service.bus, name=SERVICE) as control,
        asyncio.TaskGroup() as tasks,
    ):
        bus = service.bus
        inbox = Inbox(service, tasks, settings.queue_limit)
        handler = SignalHandler(
            bus,
            config,
            instance=settings.instance,
            tasks=tasks,
            put_aside=inbox.put_aside,
            control=control,
        )
        orders_from = await _day_start(bus, config) if live else 1
        market_from = await _resume(bus, settings, handler) or orders_from
        schedule = ScheduleNews(handler)
        async with (
            read_stream(
                bus,
                name="signal-config",
                stream=f"KV_{subjects.CONFIG_BUCKET}",
                filters=[f"$KV.{subjects.CONFIG_BUCKET}.{subjects.config_schedule_key(bus.run_id)}"],
                start=LAST_PER_SUBJECT,
                handle=schedule.hear,
            ),
            read_stream(
                bus,
                name=ORDER_READER,
                stream="ORDER",
                filters=["order.>"],
                start=orders_from,
                handle=partial(inbox.order_event, handler),
            ),
            read_stream(
                bus,
                name=MARKET_READER,
                stream="MD",
                filters=MARKET_FILTERS,
                start=market_from,
                handle=inbox.market_data,
                room=inbox.room,
            ),
        ):
            working = [
                tasks.create_task(inbox.work(handler), name="work"),
                tasks.create_task(schedule.acknowledge(), name="schedule"),
                tasks.create_task(scaling.run(bus, handler), name="scaling"),
            ]
            if live:
                working.append(tasks.create_task(_checkpoints(handler, settings), name="checkpoints"))
            await stop.wait()
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)
            if live:
                await handler.drain(settings.drain_timeout_s * _DRAIN_SHARE)
                with suppress(BusError):
                    await handler.checkpoint_live()


class ScheduleNews:
    """Acknowledges each change of the schedule of configurations."""

    def __init__(self, handler: SignalHandler) -> None:
        """Have this handler state what it makes of a change."""
        self._handler = handler
        self._changed = asyncio.Event()

    def hear(self, _delivery: Delivery) -> None:
        """Take note that the schedule has changed."""
        self._changed.set()

    async def acknowledge(self) -> None:
        """State what is scheduled after each change, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._handler.schedule_changed()


async def _day_start(bus: Bus, config: BreakwaterConfig) -> Since:
    """Return when the bus stored the first message of the running day, or a little before.

    The newest clock on the bus tells which day it is, and how the server's clock, which stamps what it stores, stands
    to the exchange's. Only without any clock does the time of this machine count.
    """
    session = config.session.session()
    stored_ms = now_ms = time.time_ns() // 1_000_000
    found = await _last_clock(bus)
    if found is not None:
        now_ms, stored_ms = found
    elapsed_ms = now_ms - session.day_start_ms(session.day_of(now_ms))
    return Since(stored_ms - elapsed_ms - _DAY_START_MARGIN_MS)


async def _last_clock(bus: Bus) -> tuple[int, int] | None:
    """Return the exchange's time of the newest clock of the run, and when it was stored, milliseconds; None without."""
    try:
        message = (await bus.api("STREAM.MSG.GET.MD", {"last_by_subj": subjects.clock()}))["message"]
        decoded = codec.decode(subjects.clock(), base64.b64decode(message["data"]))
    except (BusError, codec.DecodeError):
        return None
    if decoded.run_id != bus.run_id or not isinstance(decoded.value, Clock):
        return None
    return decoded.value.now_ms, nanoseconds_of(message["time"]) // 1_000_000


async def _resume(bus: Bus, settings: SignalSettings, handler: SignalHandler) -> int | After | None:
    """Restore the last checkpoint; return where to read market data from, None without a checkpoint."""
    value = await bus.read(subjects.CHECKPOINT_BUCKET, subjects.signal_state_key(settings.run_id, settings.instance))
    if value is None:
        return None
    checkpoint = Checkpoint.decode(value)
    await handler.resume(checkpoint)
    first = int((await bus.api("STREAM.INFO.MD"))["state"]["first_seq"])
    if first > checkpoint.market_sequence:
        handler.mark_gap()
    get_logger().info("resumed", window=checkpoint.window, market_sequence=checkpoint.market_sequence)
    if settings.run_id == LIVE_RUN_ID:
        return After(checkpoint.market_sequence, checkpoint.stored_ns)
    if checkpoint.window:  # the end may have come between the checkpoint and the word that the window is done
        await handler.announce_progress(checkpoint.window)
    return checkpoint.market_sequence


async def _checkpoints(handler: SignalHandler, settings: SignalSettings) -> None:
    while True:
        await asyncio.sleep(settings.checkpoint_interval_s)
        try:
            await handler.checkpoint_live()
        except BusError as error:
            get_logger().warning("checkpoint_not_written", reason=str(error))
