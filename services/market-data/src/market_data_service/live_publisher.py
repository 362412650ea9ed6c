"""Publishing live data: at once, in order, without waiting for each acknowledgement, and never without one."""

import asyncio
import hashlib
import time
from collections import deque
from dataclasses import dataclass, replace

import nats.errors
import nats.js.errors
from nats.js import api

from breakwater_core.market import TradeBatch
from breakwater_runtime import codec, subjects
from breakwater_runtime.bus import Bus, BusError
from breakwater_runtime.logs import get_logger
from breakwater_runtime.metrics import PUBLISHED
from market_data_service.lockstep import connections_of
from market_data_service.metrics import OUTSTANDING, PUBLISH_LAG

MAX_OUTSTANDING = 50_000
"""Messages waiting or unacknowledged beyond which the process gives up: a restart fills the gap from the exchange."""
MAX_IN_FLIGHT = 2_000
ACK_TIMEOUT_S = 3.0
_LOOK_INTERVAL_S = 0.25
_STREAM = subjects.MARKET_STREAM.name


@dataclass(slots=True)
class _Sent:
    message: codec.Encoded
    received_s: float
    sent_s: float
    acknowledgement: asyncio.Future[api.PubAck]


class LivePublisher:
    """Sends messages in the order in which they were put in.

    When an acknowledgement fails to come, or the connection was renewed, everything not acknowledged is sent again in
    the same order. A batch of trades carries a message id made of what it says, so that within the bus's window for
    repeats it is stored once, also if a second process publishes it; beyond that signal passes over older trades.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: deque[tuple[codec.Encoded, float]] = deque()
        self._in_flight: deque[_Sent] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, event: codec.Event, *, received_s: float | None = None) -> None:
        """Take in an event.

        Args:
            event: To be published behind all that were put in before.
            received_s: `time.perf_counter` at which its cause arrived; None: now.

        Raises:
            BusError: If the bus has been away for too long.
        """
        if len(self._waiting) + len(self._in_flight) >= MAX_OUTSTANDING:
            raise BusError(f"the bus has not acknowledged {MAX_OUTSTANDING} messages; is NATS up?")
        encoded = codec.encode(event, self._bus.run_id)
        if isinstance(event, TradeBatch):
            encoded = replace(encoded, message_id=message_id_of(event))
        self._waiting.append((encoded, time.perf_counter() if received_s is None else received_s))
        self._idle.clear()
        self._wake.set()

    async def flushed(self) -> None:
        """Wait until everything put in so far is acknowledged."""
        await self._idle.wait()

    async def run(self) -> None:
        """Send until cancelled."""
        connections = connections_of(self._bus)
        while True:
            if connections_of(self._bus) != connections or self._is_overdue():
                connections = connections_of(self._bus)
                self._send_again()
            while self._waiting and len(self._in_flight) < MAX_IN_FLIGHT and self._bus.client.is_connected:
                await self._send(*self._waiting.popleft())
            self._take_off()
            self._wake.clear()
            try:
                async with asyncio.timeout(_LOOK_INTERVAL_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _send(self, message: codec.Encoded, received_s: float) -> None:
        headers = {"Nats-Msg-Id": message.message_id} if message.message_id else None
        try:
            acknowledgement = await self._bus.jetstream.publish_async(message.subject, message.payload, headers=headers)
        except (nats.errors.Error, nats.js.errors.Error) as error:
            self._waiting.appendleft((message, received_s))
            get_logger().warning("publish_retried", subject=message.subject, reason=type(error).__name__)
            await asyncio.sleep(_LOOK_INTERVAL_S)
            return
        acknowledgement.add_done_callback(self._acknowledged)
        self._in_flight.append(_Sent(message, received_s, time.perf_counter(), acknowledgement))

    def _acknowledged(self, acknowledgement: "asyncio.Future[api.PubAck]") -> None:
        if not acknowledgement.cancelled():
            self._wake.set()

    def _take_off(self) -> None:
        """Forget what is acknowledged, from the front."""
        now_s = time.perf_counter()
        while self._in_flight and self._in_flight[0].acknowledgement.done():
            sent = self._in_flight[0]
            error = None if sent.acknowledgement.cancelled() else sent.acknowledgement.exception()
            if sent.acknowledgement.cancelled() or error is not None:
                if isinstance(error, Exception):
                    self._bus.note_refused(_STREAM, error)
                get_logger().warning("publish_retried", subject=sent.message.subject, reason=str(error))
                self._send_again()
                break
            self._in_flight.popleft()
            self._bus.watch.stored(sent.acknowledgement.result().stream)
            PUBLISHED.labels(sent.acknowledgement.result().stream).inc()
            PUBLISH_LAG.observe(now_s - sent.received_s)
        OUTSTANDING.set(len(self._in_flight) + len(self._waiting))
        if not self._in_flight and not self._waiting:
            self._idle.set()

    def _is_overdue(self) -> bool:
        overdue = bool(self._in_flight) and time.perf_counter() - self._in_flight[0].sent_s > ACK_TIMEOUT_S
        if overdue:
            self._bus.note_refused(_STREAM, TimeoutError())
        return overdue

    def _send_again(self) -> None:
        """Put everything unacknowledged back to the front, in order."""
        while self._in_flight:
            sent = self._in_flight.pop()
            sent.acknowledgement.cancel()
            self._waiting.appendleft((sent.message, sent.received_s))


def message_id_of(batch: TradeBatch) -> str:
    """Return the message id of live trades: the same for the same trades, whoever publishes them."""
    content = hashlib.sha256()
    for column in (batch.times_ms, batch.prices, batch.sizes, batch.taker_sides):
        content.update(column.tobytes())
    return f"live/trades/{batch.symbol}/{int(batch.times_ms[0])}/{content.hexdigest()[:24]}"
