"""Durable pull consumers: each message is handled, then acknowledged; what fails is told apart and never lost."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from breakwater_core.errors import PermanentError, TransientError
from breakwater_core.events import Alert, Severity
from breakwater_runtime import codec
from breakwater_runtime.bus import NANOSECONDS, Bus, BusError
from breakwater_runtime.logs import get_logger
from breakwater_runtime.metrics import HANDLING_TIME, MESSAGES, READER_RESETS

HEARTBEAT_S = 2.0
PULL_EXPIRES_S = 20.0
DETACH_TIMEOUT_S = 1.0


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


@dataclass(frozen=True, slots=True)
class Received:
    """An event with what is known of its delivery."""

    event: Any
    subject: str
    sequence: int
    deliveries: int


Handle = Callable[[Received], Awaitable[None]]


class InOtherHands(TransientError):
    """Another process handles the message now; this one's word on it would disturb that."""


class PullConsumer:
    """Pulls messages of a durable consumer and handles them one after the other, in order."""

    def __init__(self, bus: Bus, specification: ConsumerSpecification, handle: Handle, *, service: str) -> None:
        """Handle each message with `handle`; `service` names the source of alerts."""
        self._bus = bus
        self._specification = specification
        self._handle = handle
        self._service = service
        self._queue: asyncio.Queue[Msg] = asyncio.Queue()
        self._outstanding = 0
        self._last_sign = 0.0
        self._inbox = ""
        self._subscription: Subscription | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, finish the message in hand, and give back the ones not begun."""
        await self._ensure_consumer()
        waiter = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                await self._ask()
                getter = asyncio.create_task(self._queue.get())
                await asyncio.wait({getter, waiter}, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
                if getter.done():  # also one that came while we were woken by something else: it must not be dropped
                    await self._process(getter.result())
                else:
                    getter.cancel()
        finally:
            waiter.cancel()
            await self._give_back()

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
                    f"CONSUMER.CREATE.{spec.stream}.{spec.durable}",
                    {"stream_name": spec.stream, "config": config},
                )
            except BusError as error:
                get_logger().warning("consumer_waiting", consumer=spec.durable, reason=str(error))
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, 2.0)
            else:
                return

    async def _ask(self) -> None:
        """Ask the server for messages unless a request is open; ask anew when an open one has gone silent."""
        now = asyncio.get_running_loop().time()
        if self._outstanding > 0 and now - self._last_sign > 3 * HEARTBEAT_S:
            READER_RESETS.labels(self._specification.durable, "silence").inc()
            self._outstanding = 0
        if self._outstanding > 0 or not self._queue.empty():
            return
        spec = self._specification
        request = {
            "batch": spec.batch,
            "expires": round(PULL_EXPIRES_S * NANOSECONDS),
            "idle_heartbeat": round(HEARTBEAT_S * NANOSECONDS),
        }
        try:
            await self._renew_inbox()
            await self._bus.client.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{spec.stream}.{spec.durable}",
                json.dumps(request).encode(),
                self._inbox,
            )
        except nats.errors.Error as error:
            get_logger().warning("consumer_waiting", consumer=spec.durable, reason=f"{type(error).__name__}")
            return
        self._outstanding = spec.batch
        self._last_sign = now

    async def _renew_inbox(self) -> None:
        if self._subscription is None:
            self._inbox = self._bus.client.new_inbox()
            self._subscription = await self._bus.client.subscribe(self._inbox, cb=self._received)

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

    async def _process(self, message: Msg) -> None:
        spec = self._specification
        parts = message.reply.split(".")
        sequence, deliveries = int(parts[-4]), int(parts[-5])
        started = time.perf_counter()
        outcome = "handled"
        heartbeat = asyncio.create_task(self._mark_in_progress(message))
        try:
            if spec.max_deliveries and deliveries > spec.max_deliveries:
                raise PermanentError(f"delivered {deliveries} times without success")
            decoded = codec.decode(message.subject, message.data)
            if decoded.run_id == self._bus.run_id:
                with structlog.contextvars.bound_contextvars(**_identities(decoded.value)):
                    await self._handle(Received(decoded.value, message.subject, sequence, deliveries))
            else:
                outcome = "other_run"
            await self._acknowledge(message, b"+ACK")
        except InOtherHands as error:
            outcome = "left"
            get_logger().warning("message_left", consumer=spec.durable, reason=str(error), deliveries=deliveries)
        except TransientError as error:
            outcome = "retried"
            get_logger().warning("message_retried", consumer=spec.durable, reason=str(error), deliveries=deliveries)
            delay = {"delay": round(spec.retry_delay_s * NANOSECONDS)}
            await self._acknowledge(message, b"-NAK " + json.dumps(delay).encode())
        except PermanentError as error:
            outcome = "dead"
            await self._bury(message, sequence, str(error))
        finally:
            heartbeat.cancel()
            MESSAGES.labels(spec.durable, outcome).inc()
            HANDLING_TIME.labels(spec.durable).observe(time.perf_counter() - started)

    async def _bury(self, message: Msg, sequence: int, reason: str) -> None:
        spec = self._specification
        get_logger().error("message_dead", consumer=spec.durable, reason=reason, sequence=sequence)
        await self._bus.dead_letter(
            stream=spec.stream,
            consumer=spec.durable,
            subject=message.subject,
            payload=message.data,
            sequence=sequence,
            reason=reason,
        )
        await self._bus.alert(
            Alert(
                alert_id=f"dead_letter/{spec.stream}/{sequence}/{spec.durable}",
                run_id=self._bus.run_id,
                severity=Severity.CRITICAL,
                service=self._service,
                name="dead_letter",
                summary=f"{spec.durable} put a message of {message.subject} aside: {reason}",
                event_time_ms=0,
                facts={"sequence": str(sequence)},
            )
        )
        await self._acknowledge(message, b"+TERM")

    async def _acknowledge(self, message: Msg, word: bytes) -> None:
        with suppress(nats.errors.Error):  # not heard: delivered again, and handlers give the same result twice
            await self._bus.client.publish(message.reply, word)

    async def _mark_in_progress(self, message: Msg) -> None:
        while True:
            await asyncio.sleep(self._specification.ack_wait_s / 3)
            await self._acknowledge(message, b"+WPI")

    async def _give_back(self) -> None:
        if self._subscription is not None:
            with suppress(nats.errors.Error, TimeoutError):
                # what the server has sent by now still arrives, to be given back at once instead of after ack_wait
                drained = self._subscription.drain()  # type: ignore[no-untyped-call]  # nats-py does not annotate it
                await asyncio.wait_for(drained, DETACH_TIMEOUT_S)
        while not self._queue.empty():
            await self._acknowledge(self._queue.get_nowait(), b"-NAK")


def _identities(event: Any) -> dict[str, str]:
    names = ("intent_id", "order_link_id", "exec_id", "account", "symbol")
    return {name: value for name in names if (value := getattr(event, name, ""))}
