"""Wiring of signal: settings -> readers of market data and order events -> handler."""

import asyncio
import time
from contextlib import suppress

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import TransientError
from breakwater_core.market import LIVE_RUN_ID
from breakwater_runtime import codec, subjects
from breakwater_runtime.bus import Bus, BusError
from breakwater_runtime.control import watch_control
from breakwater_runtime.errors import SettingsError
from breakwater_runtime.logs import get_logger
from breakwater_runtime.readers import After, Delivery, Since, read_stream
from breakwater_runtime.service import Service, open_service
from signal_service.checkpoint import Checkpoint
from signal_service.handler import MarketMessage, SignalHandler
from signal_service.settings import SignalSettings

_DAY_START_MARGIN_MS = 60_000


class OverloadedError(TransientError):
    """More market data waits than the process may hold; a restart goes on from the checkpoint."""


class Inbox:
    """Decodes what the readers deliver: market data into a queue, order events straight to the handler."""

    def __init__(self, service: Service, handler: SignalHandler, tasks: asyncio.TaskGroup, limit: int) -> None:
        """Hold at most `limit` messages of market data."""
        self._service = service
        self._handler = handler
        self._tasks = tasks
        self._limit = limit
        self.queue: asyncio.Queue[MarketMessage] = asyncio.Queue()

    def market_data(self, delivery: Delivery) -> None:
        """Queue a message; one that cannot be read is put aside and counts as missing data."""
        try:
            decoded = codec.decode(delivery.subject, delivery.payload)
        except codec.DecodeError as error:
            self._tasks.create_task(self._put_aside(delivery, str(error)), name="put-aside")
            return
        if decoded.run_id != self._service.bus.run_id:
            return
        if self.queue.qsize() >= self._limit:
            raise OverloadedError(f"{self.queue.qsize()} messages of market data wait; signal is too slow")
        self.queue.put_nowait(
            MarketMessage(decoded.value, After(delivery.sequence, delivery.stored_ns), time.monotonic())
        )
        self._service.health.hold("market_data")

    def order_event(self, delivery: Delivery) -> None:
        """Hand an order event of this run on."""
        decoded = codec.decode(delivery.subject, delivery.payload)
        if decoded.run_id == self._service.bus.run_id:
            self._handler.order_event(decoded.value)

    async def work(self) -> None:
        """Handle the queued messages, one after the other."""
        while True:
            await self._handler.market_message(await self.queue.get())

    async def _put_aside(self, delivery: Delivery, reason: str) -> None:
        symbol = delivery.subject.rpartition(".")[2]
        self._handler.mark_gap(symbol if delivery.subject == subjects.trades(symbol) else None)
        await self._service.bus.dead_letter(
            stream="MD",
            consumer="signal",
            subject=delivery.subject,
            payload=delivery.payload,
            sequence=delivery.sequence,
            reason=reason,
        )


async def run(settings: SignalSettings, stop: asyncio.Event) -> None:
    """Read market data and order events, publish intents, until `stop` is set."""
    config = settings.configuration()
    if not config.portfolio.symbols:
        raise SettingsError("portfolio.symbols is empty; name the symbols to trade in the configuration")
    live = settings.run_id == LIVE_RUN_ID
    async with (
        open_service("signal", settings, stop, "market_data") as service,
        watch_control(service.bus, name="signal") as control,
        asyncio.TaskGroup() as tasks,
    ):
        bus = service.bus
        handler = SignalHandler(bus, config, instance=settings.instance, tasks=tasks, control=control)
        inbox = Inbox(service, handler, tasks, settings.queue_limit)
        orders_from = _day_start(config) if live else 1
        market_from = await _resume(bus, settings, config, handler) or orders_from
        async with (
            read_stream(
                bus,
                name="signal-orders",
                stream="ORDER",
                filters=["order.>"],
                start=orders_from,
                handle=inbox.order_event,
            ),
            read_stream(
                bus,
                name="signal-market",
                stream="MD",
                filters=_filters(config),
                start=market_from,
                handle=inbox.market_data,
            ),
        ):
            working = [
                tasks.create_task(inbox.work(), name="work"),
            ]
            if live:
                working.append(tasks.create_task(_checkpoints(handler, settings), name="checkpoints"))
            await stop.wait()
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)
            if live:
                with suppress(BusError):
                    await handler.checkpoint_live()


def _filters(config: BreakwaterConfig) -> list[str]:
    per_symbol = [f(symbol) for symbol in config.portfolio.symbols for f in (subjects.trades, subjects.daily_bars)]
    return [*per_symbol, subjects.clock()]


def _day_start(config: BreakwaterConfig) -> Since:
    session = config.session.session()
    now_ms = time.time_ns() // 1_000_000
    return Since(session.day_start_ms(session.day_of(now_ms)) - _DAY_START_MARGIN_MS)


async def _resume(
    bus: Bus, settings: SignalSettings, config: BreakwaterConfig, handler: SignalHandler
) -> int | After | None:
    """Restore the last checkpoint; return where to read market data from, None without a checkpoint."""
    value = await bus.read(subjects.CHECKPOINT_BUCKET, subjects.signal_state_key(settings.run_id, settings.instance))
    if value is None:
        return None
    checkpoint = Checkpoint.decode(value)
    if checkpoint.strategy_version != config.version:
        get_logger().info("configuration_changed", before=checkpoint.strategy_version, now=config.version)
    handler.resume(checkpoint)
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
