"""Reading a stream in order, from any sequence on, without acknowledgements: for trades and for key-value entries.

The server pushes; a watchdog sees a gap, a lost consumer or a silent server, and sets the reader up anew behind the
last message that it delivered. So the handler sees each message once and in order, whatever happens to the server.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from breakwater_runtime.bus import NANOSECONDS, Bus, BusError
from breakwater_runtime.logs import get_logger
from breakwater_runtime.metrics import READER_RESETS

HEARTBEAT_S = 1.0
NEW_ONLY = -1
"""Start sequence: only messages that are stored from now on."""
LAST_PER_SUBJECT = -2
"""Start sequence: the newest message of each subject, then all that follow."""


@dataclass(frozen=True, slots=True)
class Since:
    """Start: the first message stored at or after this wall-clock time, milliseconds since 1970-01-01T00:00Z."""

    time_ms: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message of a stream."""

    subject: str
    payload: bytes
    sequence: int


class StreamReader:
    """Delivers the messages of a stream to a plain callback, in order, each once."""

    def __init__(
        self,
        bus: Bus,
        *,
        name: str,
        stream: str,
        filters: Sequence[str],
        start: int | Since,
        handle: Callable[[Delivery], None],
    ) -> None:
        """Read `filters` of `stream` from sequence `start` (or a constant above); `handle` must not block."""
        self._bus = bus
        self._name = name
        self._stream = stream
        self._filters = list(filters)
        self._start = start
        self._handle = handle
        self._delivered = 0
        self._consumer = ""
        self._expected = 1
        self._last_sign = 0.0
        self._subscription: Subscription | None = None
        self._failure: Exception | None = None

    @property
    def sequence(self) -> int:
        """Stream sequence of the last message handed over; 0 before the first."""
        return self._delivered

    async def run(self) -> None:
        """Keep the reader alive until cancelled; raises what the handler raised."""
        try:
            await self._attach("start")
            while True:
                await asyncio.sleep(HEARTBEAT_S / 2)
                if self._failure is not None:
                    raise self._failure
                if asyncio.get_running_loop().time() - self._last_sign > 3 * HEARTBEAT_S:
                    await self._attach("silence")
        finally:
            await self._detach()

    async def _attach(self, cause: str) -> None:
        if cause != "start":
            READER_RESETS.labels(self._name, cause).inc()
            get_logger().warning("reader_reset", reader=self._name, cause=cause, behind_sequence=self._delivered)
        delay_s = 0.1
        while True:
            await self._detach()
            try:
                await self._create()
            except (BusError, nats.errors.Error, TimeoutError) as error:
                get_logger().warning("reader_waiting", reader=self._name, reason=str(error))
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, 2.0)
            else:
                return

    async def _create(self) -> None:
        self._consumer = f"reader-{self._name}-{uuid.uuid4().hex[:12]}"
        self._expected = 1
        inbox = self._bus.client.new_inbox()
        self._subscription = await self._bus.client.subscribe(inbox, cb=self._received)
        config: dict[str, Any] = {
            "name": self._consumer,
            "deliver_subject": inbox,
            "ack_policy": "none",
            "max_deliver": 1,
            "mem_storage": True,
            "num_replicas": 1,
            "flow_control": True,
            "idle_heartbeat": round(HEARTBEAT_S * NANOSECONDS),
            "inactive_threshold": 30 * NANOSECONDS,
            "filter_subjects": self._filters,
            **self._policy(),
        }
        await self._bus.api(
            f"CONSUMER.CREATE.{self._stream}.{self._consumer}",
            {"stream_name": self._stream, "config": config},
        )
        self._last_sign = asyncio.get_running_loop().time()

    def _policy(self) -> dict[str, Any]:
        if self._delivered:
            return {"deliver_policy": "by_start_sequence", "opt_start_seq": self._delivered + 1}
        if isinstance(self._start, Since):
            moment = datetime.fromtimestamp(self._start.time_ms / 1000, tz=UTC)
            return {"deliver_policy": "by_start_time", "opt_start_time": moment.isoformat().replace("+00:00", "Z")}
        if self._start == NEW_ONLY:
            return {"deliver_policy": "new"}
        if self._start == LAST_PER_SUBJECT:
            return {"deliver_policy": "last_per_subject"}
        return {"deliver_policy": "by_start_sequence", "opt_start_seq": max(1, self._start)}

    async def _detach(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with suppress(nats.errors.Error):
                await subscription.unsubscribe()
            with suppress(BusError, TimeoutError):
                await asyncio.wait_for(self._bus.api(f"CONSUMER.DELETE.{self._stream}.{self._consumer}"), 1)

    async def _received(self, message: Msg) -> None:
        self._last_sign = asyncio.get_running_loop().time()
        headers = message.headers
        if headers is not None and headers.get("Status") == "100":
            await self._controlled(message, headers)
            return
        # $JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<time>.<pending>
        parts = message.reply.split(".")
        sequence, count = int(parts[-4]), int(parts[-3])
        if parts[-6] != self._consumer or self._failure is not None:
            return
        if count != self._expected:
            self._last_sign = float("-inf")  # a message was lost on the way: the watchdog sets up anew
            return
        self._expected += 1
        try:
            self._handle(Delivery(message.subject, message.data, sequence))
        except Exception as error:  # noqa: BLE001  # handed to run(), which raises it in the owner's task
            self._failure = error
            return
        self._delivered = sequence

    async def _controlled(self, message: Msg, headers: dict[str, str]) -> None:
        if message.reply:  # flow control: the server waits for this answer
            await self._bus.client.publish(message.reply)
        elif stalled := headers.get("Nats-Consumer-Stalled"):
            await self._bus.client.publish(stalled)
        last = headers.get("Nats-Last-Consumer")
        if last is not None and int(last) >= self._expected:
            self._last_sign = float("-inf")


@asynccontextmanager
async def read_stream(
    bus: Bus,
    *,
    name: str,
    stream: str,
    filters: Sequence[str],
    start: int | Since,
    handle: Callable[[Delivery], None],
) -> AsyncIterator[StreamReader]:
    """Run a reader while the context is open; what its handler raises ends the context, as in a task group."""
    reader = StreamReader(bus, name=name, stream=stream, filters=filters, start=start, handle=handle)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(reader.run(), name=f"reader-{name}")
        try:
            yield reader
        finally:
            task.cancel()


async def wait_for_value(bus: Bus, bucket: str, key: str, accept: Callable[[bytes], bool]) -> bytes:
    """Return the value of a key as soon as it has one that is accepted, however long that takes."""
    found: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def handle(delivery: Delivery) -> None:
        if not found.done() and accept(delivery.payload):
            found.set_result(delivery.payload)

    filters = [f"$KV.{bucket}.{key}"]
    async with read_stream(
        bus, name="wait", stream=f"KV_{bucket}", filters=filters, start=LAST_PER_SUBJECT, handle=handle
    ):
        return await found
