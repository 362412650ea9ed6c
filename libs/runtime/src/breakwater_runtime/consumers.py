"""Durable pull consumers: each message is handled, then acknowledged; what fails is told apart and never lost."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog

from breakwater_core.errors import PermanentError, TransientError
from breakwater_runtime import codec
from breakwater_runtime.bus import Bus
from breakwater_runtime.logs import get_logger
from breakwater_runtime.metrics import HANDLING_TIME
from breakwater_runtime.pulling import ConsumerSpecification, HeldMessage, Puller
from breakwater_runtime.service import until_stopped

__all__ = ["ConsumerSpecification", "Handle", "PullConsumer", "Received"]


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
        self._puller = Puller(bus, specification, service=service, room=specification.batch)
        self._attached = asyncio.Event()

    async def attached(self) -> None:
        """Return once it takes messages."""
        await self._attached.wait()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, finish the message in hand, and give back the ones not begun or not finished."""
        await until_stopped(stop, self._puller.attach())
        self._attached.set()
        waiter = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                getter = asyncio.create_task(self._puller.next())
                await asyncio.wait({getter, waiter}, return_when=asyncio.FIRST_COMPLETED)
                if not getter.done():
                    getter.cancel()
                elif (held := getter.result()) is not None:
                    # also one that came while we were woken by `stop`: it must not be dropped
                    await self._process(held, stop)
        finally:
            waiter.cancel()
            await self._puller.detach()
            await self._puller.give_back()

    async def _process(self, held: HeldMessage, stop: asyncio.Event) -> None:
        spec, message = self._specification, held.message
        started = time.perf_counter()
        try:
            if spec.max_deliveries and held.deliveries > spec.max_deliveries:
                raise PermanentError(f"delivered {held.deliveries} times without success")
            decoded = codec.decode(message.subject, message.data)
            if decoded.run_id == self._bus.run_id:
                with structlog.contextvars.bound_contextvars(**_identities(decoded.value)):
                    await self._handle(Received(decoded.value, message.subject, held.sequence, held.deliveries))
                await held.acknowledge("handled")
            else:
                await held.acknowledge("other_run")
        except InOtherHands as error:
            get_logger().warning("message_left", consumer=spec.durable, reason=str(error), deliveries=held.deliveries)
            self._puller.leave(held)
        except TransientError as error:
            get_logger().warning(
                "message_retried", consumer=spec.durable, reason=str(error), deliveries=held.deliveries
            )
            if not stop.is_set():  # else it stays held, and another process gets it at once instead of after a pause
                await self._puller.retry_later(held)
        except PermanentError as error:
            await self._puller.bury(held, str(error))
        finally:
            HANDLING_TIME.labels(spec.durable).observe(time.perf_counter() - started)


def _identities(event: Any) -> dict[str, str]:
    names = ("intent_id", "order_link_id", "exec_id", "account", "symbol")
    return {name: value for name in names if (value := getattr(event, name, ""))}
