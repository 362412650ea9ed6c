"""Messages of a durable consumer, held by this process until it says what became of each.

The one place that speaks JetStream's pull protocol: it asks for messages while there is room, keeps what it holds
marked as in progress, notices a server that has gone silent, buries what can never be processed and gives back the rest
at the end. `PullConsumer` handles messages one after the other on top of it; the notifier holds many at once.
"""

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from breakwater_core.events import Alert, Severity
from breakwater_runtime.bus import NANOSECONDS, ONLY_HEADER, STORED, Bus, BusError
from breakwater_runtime.logs import get_logger
from breakwater_runtime.metrics import DEAD_LETTERS, MESSAGES, READER_RESETS, RESET_CAUSES, begin_at_zero

HEARTBEAT_S = 2.0
PULL_EXPIRES_S = 20.0
DETACH_TIMEOUT_S = 1.0
ACKNOWLEDGED = b"+ACK"
GIVEN_BACK = b"-NAK"
TERMINATED = b"+TERM"
IN_PROGRESS = b"+WPI"
_REFUSED_REQUEST = json.dumps({"batch": 1, "expires": 2, "idle_heartbeat": 2}).encode()
"""A consumer answers it with status 400, as heartbeats must come within half of the time, and delivers nothing."""


@dataclass(frozen=True, slots=True)
class ConsumerSpecification:
    """One durable consumer.

    Attributes:
        stream: Stream that it reads.
        durable: Its name, shared by all processes that divide the work.
        filters: Subjects that it takes.
        batch: Messages asked for at a time.
        max_in_flight: Messages that may be unacknowledged over all processes.
        ack_wait_s: A message neither acknowledged nor marked as in progress for this long is delivered again.
        max_deliveries: A message that failed this often is put aside as a dead letter; 0: never.
        retry_delay_s: Pause before a message that failed is delivered again.
    """

    stream: str
    durable: str
    filters: tuple[str, ...]
    batch: int = 64
    max_in_flight: int = 1024
    ack_wait_s: float = 10.0
    max_deliveries: int = 20
    retry_delay_s: float = 0.5


class HeldMessage:
    """One delivered message, which comes again unless its puller is told what became of it."""

    __slots__ = ("_puller", "behind", "deliveries", "message", "sequence", "stored_ms", "stored_ns")

    def __init__(self, puller: "Puller", message: Msg) -> None:
        """Hold a message of the puller."""
        self._puller = puller
        self.message = message
        # $JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<time>.<pending>
        parts = message.reply.split(".")
        self.sequence = int(parts[-4])
        """Sequence in the stream."""
        self.deliveries = int(parts[-5])
        """How often it was delivered."""
        self.stored_ns = int(parts[-2])
        """When the stream stored it, nanoseconds since 1970-01-01T00:00Z."""
        self.stored_ms = self.stored_ns // 1_000_000
        """The same in milliseconds."""
        self.behind = int(parts[-1])
        """Messages that the consumer had still to deliver behind this one."""

    async def acknowledge(self, outcome: str) -> None:
        """State that it is done with; `outcome` is the label under which it is counted."""
        await self._puller.release(self, ACKNOWLEDGED, outcome)


class Puller:
    """Pulls messages of one durable consumer and holds no more of them than there is room for."""

    def __init__(self, bus: Bus, specification: ConsumerSpecification, *, service: str, room: int) -> None:
        """Hold at most `room` messages, those waiting to be taken included; `service` names the source of alerts."""
        self._bus = bus
        self._specification = specification
        self._service = service
        self._room = room
        self._queue: asyncio.Queue[HeldMessage | None] = asyncio.Queue()  # None: there is room again
        self._held: dict[HeldMessage, None] = {}  # oldest first
        self._outstanding = 0
        self._connections = 0
        self._last_sign = 0.0
        self._inbox = ""
        self._subscription: Subscription | None = None
        self._marker: asyncio.Task[None] | None = None
        begin_at_zero(READER_RESETS, [specification.durable], RESET_CAUSES)
        begin_at_zero(DEAD_LETTERS, [specification.durable])

    @property
    def held(self) -> int:
        """Messages delivered and not done with."""
        return len(self._held)

    @property
    def _next_subject(self) -> str:
        return f"$JS.API.CONSUMER.MSG.NEXT.{self._specification.stream}.{self._specification.durable}"

    async def attach(self) -> None:
        """Make sure that the consumer exists, however long that takes, and begin to keep held messages marked."""
        await self._ensure_consumer()
        self._marker = asyncio.create_task(self._keep_marked(), name=f"mark-{self._specification.durable}")

    async def next(self) -> HeldMessage | None:
        """Return the next message, or None when none has come for a while: then call again.

        Cancelling it loses no message.
        """
        await self.ask()
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                return await self._queue.get()
        except TimeoutError:
            return None

    async def release(self, held: HeldMessage, word: bytes, outcome: str) -> None:
        """Tell the server what became of a held message, and hold it no longer."""
        if self._let_go(held, outcome):
            await self._say(held.message, word)

    def leave(self, held: HeldMessage) -> None:
        """Hold a message no longer and say nothing of it: it has been delivered to another process meanwhile."""
        self._let_go(held, "left")

    def _let_go(self, held: HeldMessage, outcome: str) -> bool:
        if held not in self._held:
            return False
        if len(self._held) == self._room:
            self._queue.put_nowait(None)
        del self._held[held]
        MESSAGES.labels(self._specification.durable, outcome).inc()
        return True

    async def retry_later(self, held: HeldMessage) -> None:
        """Have a held message delivered again after the consumer's pause."""
        delay = {"delay": round(self._specification.retry_delay_s * NANOSECONDS)}
        await self.release(held, GIVEN_BACK + b" " + json.dumps(delay).encode(), "retried")

    async def bury(self, held: HeldMessage, reason: str) -> None:
        """Put a held message aside as a dead letter, with an alert; if the bus cannot keep it, it comes again."""
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
            await self.retry_later(held)
            return
        await self._bus.alert(
            dead_letter_alert(
                run_id=self._bus.run_id,
                service=self._service,
                stream=spec.stream,
                consumer=spec.durable,
                subject=message.subject,
                sequence=held.sequence,
                reason=reason,
            )
        )
        await self.release(held, TERMINATED, "dead")

    async def detach(self) -> None:
        """Ask for nothing any more; what the server has sent by now still arrives, to be given back at once.

        The server drops a request that nobody listens to any more, but not a message that it has taken up for one: that
        would be lost until `ack_wait_s` is over. So this still listens, at its own end, until the consumer has answered
        a question asked after that; whatever it sent before the answer has come before the answer.
        """
        subscription, self._subscription = self._subscription, None
        if subscription is None:
            return
        with suppress(nats.errors.Error, TimeoutError):
            async with asyncio.timeout(DETACH_TIMEOUT_S):
                await self._bus.client._send_unsubscribe(subscription._id)  # to the server; the callback stays
                await self._bus.client.request(self._next_subject, _REFUSED_REQUEST, timeout=DETACH_TIMEOUT_S)
        with suppress(nats.errors.Error, TimeoutError):
            drained = subscription.drain()  # type: ignore[no-untyped-call]  # nats-py does not annotate it
            await asyncio.wait_for(drained, DETACH_TIMEOUT_S)

    async def give_back(self) -> None:
        """Return every held message to the stream, to be delivered at once to the next process."""
        if self._marker is not None:
            self._marker.cancel()
        for held in tuple(self._held):
            await self.release(held, GIVEN_BACK, "given_back")

    async def _ensure_consumer(self) -> None:
        spec = self._specification
        config: dict[str, Any] = {
            "durable_name": spec.durable,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": round(spec.ack_wait_s * NANOSECONDS),
            "max_deliver": -1,
            "max_ack_pending": spec.max_in_flight,
        }
        delay_s = 0.1
        while True:
            try:
                await self._bus.create_consumer(spec.stream, spec.durable, spec.filters, config)
            except BusError as error:
                get_logger().warning("consumer_waiting", consumer=spec.durable, reason=str(error))
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, 2.0)
            else:
                return

    async def ask(self) -> None:
        """Ask for as many messages as there is room for, unless a request is open; anew when it has gone silent."""
        now = asyncio.get_running_loop().time()
        spec = self._specification
        renewed = self._bus.connections != self._connections
        if self._outstanding > 0 and (renewed or now - self._last_sign > 3 * HEARTBEAT_S):
            READER_RESETS.labels(spec.durable, "reconnect" if renewed else "silence").inc()
            self._outstanding = 0
        self._connections = self._bus.connections
        batch = min(spec.batch, self._room - len(self._held))
        if self._outstanding > 0 or not self._queue.empty() or batch <= 0:
            return
        request = {
            "batch": batch,
            "expires": round(PULL_EXPIRES_S * NANOSECONDS),
            "idle_heartbeat": round(HEARTBEAT_S * NANOSECONDS),
        }
        try:
            if self._subscription is None:
                self._inbox = self._bus.client.new_inbox()
                self._subscription = await self._bus.client.subscribe(self._inbox, cb=self._received)
            await self._bus.client.publish(self._next_subject, json.dumps(request).encode(), self._inbox)
        except nats.errors.Error as error:
            get_logger().warning("consumer_waiting", consumer=spec.durable, reason=type(error).__name__)
            return
        self._outstanding = batch
        self._last_sign = now

    async def _received(self, message: Msg) -> None:
        self._last_sign = asyncio.get_running_loop().time()
        headers = message.headers or {}
        status = None if message.reply.startswith(STORED) else headers.get("Status")
        if status is None:
            self._outstanding = max(0, self._outstanding - 1)
            held = HeldMessage(self, message)
            self._held[held] = None
            if headers.get(ONLY_HEADER, self._specification.durable) != self._specification.durable:
                await self.release(held, ACKNOWLEDGED, "for_another")
                self._queue.put_nowait(None)
            else:
                self._queue.put_nowait(held)
        elif status != "100":  # 404, 408, 409: this request has ended
            self._outstanding = 0
            if status == "409" and "Deleted" in (headers.get("Description") or ""):
                await self._ensure_consumer()

    async def _keep_marked(self) -> None:
        """Keep the server from delivering held messages again while they are worked on or wait for their turn."""
        while True:
            await asyncio.sleep(self._specification.ack_wait_s / 3)
            for held in tuple(self._held):
                await self._say(held.message, IN_PROGRESS)

    async def _say(self, message: Msg, word: bytes) -> None:
        with suppress(nats.errors.Error):  # not heard: delivered again, and handlers give the same result twice
            await self._bus.client.publish(message.reply, word)


def dead_letter_alert(
    *, run_id: str, service: str, stream: str, consumer: str, subject: str, sequence: int, reason: str
) -> Alert:
    """Return the alert that tells of a dead letter; the same one however often the message is buried."""
    return Alert(
        alert_id=f"dead_letter/{stream}/{sequence}/{consumer}",
        run_id=run_id,
        severity=Severity.CRITICAL,
        service=service,
        name="dead_letter",
        summary=f"{consumer} put a message of {subject} aside: {reason}",
        event_time_ms=0,
        facts={"sequence": str(sequence)},
    )
