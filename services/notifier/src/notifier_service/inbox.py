"""Messages of one durable consumer, held until whoever got them says that they are done with.

The runtime's `PullConsumer` handles one message after the other. Here many are in hand at once, because several may be
told of in one Slack message, and because they wait for Slack: so each is kept marked as in progress, their number is
limited, and all are given back at the end.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from breakwater_core.errors import PermanentError
from breakwater_core.events import Alert, Severity
from breakwater_runtime import codec
from breakwater_runtime.bus import NANOSECONDS, Bus, BusError
from breakwater_runtime.consumers import ConsumerSpecification
from breakwater_runtime.logs import get_logger
from breakwater_runtime.metrics import MESSAGES, READER_RESETS

HEARTBEAT_S = 2.0
PULL_EXPIRES_S = 20.0
SERVICE = "notifier"


class HeldMessage:
    """One delivered message, which comes again unless it is acknowledged."""

    def __init__(self, inbox: "Inbox", message: Msg) -> None:
        """Hold a message of the inbox."""
        self._inbox = inbox
        self.message = message
        # $JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<time>.<pending>
        parts = message.reply.split(".")
        self.sequence = int(parts[-4])
        """Sequence in the stream."""
        self.deliveries = int(parts[-5])
        """How often it was delivered."""
        self.stored_ms = int(parts[-2]) // 1_000_000
        """When the stream stored it, milliseconds since 1970-01-01T00:00Z."""
        self.behind = int(parts[-1])
        """Messages that the consumer had still to deliver behind this one."""

    async def acknowledge(self, outcome: str) -> None:
        """State that it is done with."""
        await self._inbox.release(self, b"+ACK", outcome)


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event of our run, and the message that brought it."""

    event: Any
    held: HeldMessage


class Inbox:
    """Pulls messages of a durable consumer, at most as many as may be held at a time, and hands on their events."""

    def __init__(
        self, bus: Bus, specification: ConsumerSpecification, receive: Callable[[Arrival], Awaitable[None]]
    ) -> None:
        """Hand each event to `receive`; `specification.max_in_flight` limits how many messages are held."""
        self._bus = bus
        self._specification = specification
        self._receive = receive
        self._queue: asyncio.Queue[Msg | None] = asyncio.Queue()  # None: there is room again
        self._held: dict[HeldMessage, None] = {}  # oldest first
        self._outstanding = 0
        self._last_sign = 0.0
        self._address = ""
        self._subscription: Subscription | None = None
        self.behind = 0
        """Messages that were still in the stream when the last one was delivered."""

    @property
    def held(self) -> int:
        """Messages delivered and not done with."""
        return len(self._held)

    async def run(self) -> None:
        """Pull until cancelled; then the subscription is closed, and `give_back` is the owner's to call."""
        await self._ensure_consumer()
        marker = asyncio.create_task(self._keep_marked(), name=f"mark-{self._specification.durable}")
        try:
            while True:
                await self._ask()
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        message = await self._queue.get()
                except TimeoutError:
                    continue
                if message is not None:
                    await self._take(message)
        finally:
            marker.cancel()
            if self._subscription is not None:
                with suppress(nats.errors.Error):
                    await self._subscription.unsubscribe()

    async def give_back(self) -> None:
        """Return every held message to the stream, to be delivered at once to the next process."""
        while not self._queue.empty():
            if (message := self._queue.get_nowait()) is not None:
                await self._say(message, b"-NAK")
        for held in tuple(self._held):
            await self.release(held, b"-NAK", "given_back")

    async def release(self, held: HeldMessage, word: bytes, outcome: str) -> None:
        """Answer the server about a held message and hold it no longer."""
        if held in self._held:
            if len(self._held) == self._specification.max_in_flight:
                self._queue.put_nowait(None)
            del self._held[held]
            MESSAGES.labels(self._specification.durable, outcome).inc()
            await self._say(held.message, word)

    async def _ensure_consumer(self) -> None:
        spec = self._specification
        config: dict[str, Any] = {
            "durable_name": spec.durable,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": round(spec.ack_wait_s * NANOSECONDS),
            "max_deliver": -1,
            "max_ack_pending": spec.max_in_flight,
            "filter_subjects": list(spec.filters),
        }
        delay_s = 0.1
        while True:
            try:
                await self._bus.api(
                    f"CONSUMER.CREATE.{spec.stream}.{spec.durable}", {"stream_name": spec.stream, "config": config}
                )
            except BusError as error:
                get_logger().warning("consumer_waiting", consumer=spec.durable, reason=str(error))
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, 2.0)
            else:
                return

    async def _ask(self) -> None:
        """Ask for as many messages as there is room for, unless a request is open; anew when it has gone silent."""
        now = asyncio.get_running_loop().time()
        spec = self._specification
        if self._outstanding > 0 and now - self._last_sign > 3 * HEARTBEAT_S:
            READER_RESETS.labels(spec.durable, "silence").inc()
            self._outstanding = 0
        room = spec.max_in_flight - len(self._held)
        if self._outstanding > 0 or not self._queue.empty() or room <= 0:
            return
        batch = min(spec.batch, room)
        request = {
            "batch": batch,
            "expires": round(PULL_EXPIRES_S * NANOSECONDS),
            "idle_heartbeat": round(HEARTBEAT_S * NANOSECONDS),
        }
        try:
            if self._subscription is None:
                self._address = self._bus.client.new_inbox()
                self._subscription = await self._bus.client.subscribe(self._address, cb=self._received)
            await self._bus.client.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{spec.stream}.{spec.durable}", json.dumps(request).encode(), self._address
            )
        except nats.errors.Error as error:
            get_logger().warning("consumer_waiting", consumer=spec.durable, reason=type(error).__name__)
            return
        self._outstanding = batch
        self._last_sign = now

    async def _received(self, message: Msg) -> None:
        self._last_sign = asyncio.get_running_loop().time()
        status = (message.headers or {}).get("Status")
        if status is None:
            self._outstanding = max(0, self._outstanding - 1)
            self._queue.put_nowait(message)
        elif status != "100":  # 404, 408, 409: this request has ended
            self._outstanding = 0
            if status == "409" and "Deleted" in ((message.headers or {}).get("Description") or ""):
                await self._ensure_consumer()

    async def _take(self, message: Msg) -> None:
        held = HeldMessage(self, message)
        self._held[held] = None
        self.behind = held.behind
        try:
            decoded = codec.decode(message.subject, message.data)
        except PermanentError as error:
            await self._bury(held, str(error))
            return
        if decoded.run_id != self._bus.run_id:
            await held.acknowledge("other_run")
            return
        await self._receive(Arrival(decoded.value, held))

    async def _bury(self, held: HeldMessage, reason: str) -> None:
        spec, message = self._specification, held.message
        get_logger().error("message_dead", consumer=spec.durable, reason=reason, sequence=held.sequence)
        try:
            await self._bus.dead_letter(
                stream=spec.stream,
                consumer=spec.durable,
                subject=message.subject,
                payload=message.data,
                sequence=held.sequence,
                reason=reason,
            )
        except BusError as error:
            get_logger().warning("message_retried", consumer=spec.durable, reason=str(error))
            await self.release(held, b"-NAK", "retried")
            return
        await self._bus.alert(
            Alert(
                alert_id=f"dead_letter/{spec.stream}/{held.sequence}/{spec.durable}",
                run_id=self._bus.run_id,
                severity=Severity.CRITICAL,
                service=SERVICE,
                name="dead_letter",
                summary=f"{spec.durable} put a message of {message.subject} aside: {reason}",
                event_time_ms=0,
                facts={"sequence": str(held.sequence)},
            )
        )
        await self.release(held, b"+TERM", "dead")

    async def _keep_marked(self) -> None:
        """Keep the server from delivering held messages again while they wait."""
        while True:
            await asyncio.sleep(self._specification.ack_wait_s / 3)
            for held in tuple(self._held):
                await self._say(held.message, b"+WPI")

    async def _say(self, message: Msg, word: bytes) -> None:
        with suppress(nats.errors.Error):  # not heard: delivered again, and an event told once is not told again
            await self._bus.client.publish(message.reply, word)
