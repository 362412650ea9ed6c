"""Prices and time of a replay, from the bus: the run's trades and clock, in the order in which they were published."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from breakwater_core.market import Clock, ClockKind, TradeBatch
from breakwater_runtime import subjects
from breakwater_runtime.bus import Bus
from breakwater_runtime.codec import decode
from breakwater_runtime.readers import Delivery, read_stream

FIRST_SEQUENCE = 1


class PriceSink(Protocol):
    """What a replay is fed through."""

    def feed_trades(self, batch: TradeBatch) -> None:
        """Take in trades that follow those fed before."""

    def feed_clock(self, trades_through_ms: int, now_ms: int) -> None:
        """State how far the trades reach and where the run's clock stands."""

    def end(self) -> None:
        """State that no more trades come."""


def feed_from(run_id: str, sink: PriceSink) -> Callable[[Delivery], None]:
    """Return the handler that feeds the sink with one run's messages; those of other runs are passed over.

    A message that comes a second time (market-data or the bus was started again) is recognised by its window and first
    trade: a window may hold several messages of a symbol, each beginning later than the one before.
    """
    newest: dict[str, tuple[int, int]] = {}

    def handle(delivery: Delivery) -> None:
        decoded = decode(delivery.subject, delivery.payload)
        event = decoded.value
        if decoded.run_id != run_id:
            return
        if isinstance(event, TradeBatch):
            place = (event.window, int(event.times_ms[0]) if len(event) else 0)
            if place > newest.get(event.symbol, (0, 0)):
                newest[event.symbol] = place
                sink.feed_trades(event)
        elif isinstance(event, Clock):
            sink.feed_clock(event.trades_through_ms, event.now_ms)
            if event.kind is ClockKind.ENDED:
                sink.end()

    return handle


@asynccontextmanager
async def bus_prices(bus: Bus, sink: PriceSink) -> AsyncIterator[None]:
    """Feed the sink with the bus's run while the context is open, from the run's first message on."""
    async with read_stream(
        bus,
        name="paper-exchange",
        stream=subjects.MARKET_STREAM.name,
        filters=[subjects.trades("*"), subjects.clock()],
        start=FIRST_SEQUENCE,
        handle=feed_from(bus.run_id, sink),
    ):
        yield
