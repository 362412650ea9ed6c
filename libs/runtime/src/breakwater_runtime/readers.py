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

from breakwater_runtime.bus import NANOSECONDS, ONLY_HEADER, STORED, Bus, BusError, is_deletion
from breakwater_runtime.logs import get_logger
from breakwater_runtime.metrics import READER_RESETS, RESET_CAUSES, begin_at_zero

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
class After:
    """Start: behind a message that was taken before.

    A server that crashes may lose the newest messages of a stream that does not survive a power cut, and gives their
    sequences to others. So the message is known by its sequence and its time of storage, nanoseconds since
    1970-01-01T00:00Z; if another one stands there now, reading goes on behind that time.
    """

    sequence: int
    stored_ns: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message of a stream.

    Attributes:
        subject: Where it was published.
        payload: Its content.
        sequence: Its sequence in the stream.
        stored_ns: When the server stored it, nanoseconds since 1970-01-01T00:00Z.
        deletes: It marks the deletion of a key.
    """

    subject: str
    payload: bytes
    sequence: int
    stored_ns: int = 0
    deletes: bool = False


class StreamReader:
    """Delivers the messages of a stream to a plain callback, in order, each once."""

    def __init__(
        self,
        bus: Bus,
        *,
        name: str,
        stream: str,
        filters: Sequence[str],
        start: int | Since | After,
        handle: Callable[[Delivery], None],
        room: asyncio.Event | None = None,
    ) -> None:
        """Read `filters` of `stream` from sequence `start` (or a constant above); `handle` must not block.

        While `room` is not set nothing is handed over, and the server, which waits for an answer after a few megabytes
        at most, sends nothing more.
        """
        self._bus = bus
        self._name = name
        self._stream = stream
        self._filters = list(filters)
        self._start = start
        self._handle = handle
        self._room = room
        self._waits_for_room = False
        self._connections = 0
        self._last: After | None = start if isinstance(start, After) else None
        self._consumer = ""
        self._expected = 1
        self._last_sign = 0.0
        self._subscription: Subscription | None = None
        self._failure: Exception | None = None
        begin_at_zero(READER_RESETS, [name], RESET_CAUSES)

    @property
    def sequence(self) -> int:
        """Stream sequence of the last message handed over; 0 before the first."""
        return self._last.sequence if self._last else 0

    async def run(self) -> None:
        """Keep the reader alive until cancelled; raises what the handler raised."""
        try:
            await self._attach("start")
            while True:
                await asyncio.sleep(HEARTBEAT_S / 2)
                if self._failure is not None:
                    raise self._failure
                silent_s = asyncio.get_running_loop().time() - self._last_sign
                if self._bus.connections != self._connections and not self._waits_for_room:
                    await self._attach("reconnect")
                elif silent_s > 3 * HEARTBEAT_S and not self._waits_for_room:
                    await self._attach("silence")
        finally:
            await self._detach()

    async def _attach(self, cause: str) -> None:
        if cause != "start":
            READER_RESETS.labels(self._name, cause).inc()
            get_logger().warning("reader_reset", reader=self._name, cause=cause, behind_sequence=self.sequence)
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
        self._connections = self._bus.connections
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
            **await self._policy(),
        }
        await self._bus.create_consumer(self._stream, self._consumer, self._filters, config)
        self._last_sign = asyncio.get_running_loop().time()

    async def _policy(self) -> dict[str, Any]:
        if self._last is not None:
            if await self._still_stored(self._last):
                return {"deliver_policy": "by_start_sequence", "opt_start_seq": self._last.sequence + 1}
            return {"deliver_policy": "by_start_time", "opt_start_time": _timestamp(self._last.stored_ns + 1)}
        if isinstance(self._start, Since):
            return {"deliver_policy": "by_start_time", "opt_start_time": _timestamp(self._start.time_ms * 1_000_000)}
        if self._start == NEW_ONLY:
            return {"deliver_policy": "new"}
        if self._start == LAST_PER_SUBJECT:
            return {"deliver_policy": "last_per_subject"}
        start = self._start if isinstance(self._start, int) else 1
        return {"deliver_policy": "by_start_sequence", "opt_start_seq": max(1, start)}

    async def _still_stored(self, last: After) -> bool:
        """Whether the stream still begins or goes on as it did when the message was taken."""
        state = (await self._bus.api(f"STREAM.INFO.{self._stream}"))["state"]
        if last.sequence < int(state["first_seq"]):
            return True  # it has aged out: what follows it is the oldest that is there
        if last.sequence > int(state["last_seq"]):
            return False
        try:
            found = await self._bus.api(f"STREAM.MSG.GET.{self._stream}", {"seq": last.sequence})
        except BusError:
            return True  # removed one by one, as key-value entries are
        return nanoseconds_of(str(found["message"]["time"])) == last.stored_ns

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
        if not message.reply.startswith(STORED) and headers is not None and headers.get("Status") == "100":
            await self._controlled(message, headers)
            return
        # $JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<time>.<pending>
        parts = message.reply.split(".")
        sequence, count, stored_ns = int(parts[-4]), int(parts[-3]), int(parts[-2])
        if parts[-6] != self._consumer or self._failure is not None:
            return
        if count != self._expected:
            self._last_sign = float("-inf")  # a message was lost on the way: the watchdog sets up anew
            return
        self._expected += 1
        if headers is not None and headers.get(ONLY_HEADER, self._name) != self._name:
            self._last = After(sequence, stored_ns)
            return
        await self._wait_for_room()
        try:
            self._handle(Delivery(message.subject, message.data, sequence, stored_ns, is_deletion(headers)))
        except Exception as error:  # noqa: BLE001  # handed to run(), which raises it in the owner's task
            self._failure = error
            return
        self._last = After(sequence, stored_ns)

    async def _wait_for_room(self) -> None:
        if self._room is None or self._room.is_set():
            return
        self._waits_for_room = True
        try:
            await self._room.wait()
        finally:
            self._waits_for_room = False
            self._last_sign = asyncio.get_running_loop().time()

    async def _controlled(self, message: Msg, headers: dict[str, str]) -> None:
        if message.reply:  # flow control: the server waits for this answer
            await self._bus.client.publish(message.reply)
        elif stalled := headers.get("Nats-Consumer-Stalled"):
            await self._bus.client.publish(stalled)
        last = headers.get("Nats-Last-Consumer")
        if last is not None and int(last) >= self._expected:
            self._last_sign = float("-inf")


def _timestamp(time_ns: int) -> str:
    seconds, rest = divmod(time_ns, NANOSECONDS)
    return f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def nanoseconds_of(timestamp: str) -> int:
    """Return nanoseconds since 1970 of RFC 3339 text in UTC with up to nine decimals, as the server writes it."""
    whole, _, decimals = timestamp.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    return seconds * NANOSECONDS + int(decimals.ljust(9, "0") or 0)


@asynccontextmanager
async def read_stream(
    bus: Bus,
    *,
    name: str,
    stream: str,
    filters: Sequence[str],
    start: int | Since | After,
    handle: Callable[[Delivery], None],
    room: asyncio.Event | None = None,
) -> AsyncIterator[StreamReader]:
    """Run a reader while the context is open; what its handler raises ends the context, as in a task group."""
    reader = StreamReader(bus, name=name, stream=stream, filters=filters, start=start, handle=handle, room=room)
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
