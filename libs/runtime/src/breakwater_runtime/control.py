"""The control document on the bus: read from the leader, changed by compare-and-set, followed as it changes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import nats.errors
import nats.js.errors
from nats.js.api import RawStreamMsg

from breakwater_core.control import EVERY_ACCOUNT, Control
from breakwater_core.control_answers import Acknowledgement, Heard
from breakwater_core.errors import InvariantError
from breakwater_runtime.bus import Bus, BusError, is_deletion
from breakwater_runtime.errors import reason_of
from breakwater_runtime.logs import get_logger
from breakwater_runtime.metrics import HALTED
from breakwater_runtime.patience import patiently
from breakwater_runtime.readers import LAST_PER_SUBJECT, Delivery, read_stream
from breakwater_runtime.subjects import CONTROL_BUCKET, CONTROL_KEY, SEEN_PREFIX

_STREAM = f"KV_{CONTROL_BUCKET}"
_SUBJECT = f"$KV.{CONTROL_BUCKET}.{CONTROL_KEY}"
_TRIES = 50
_NOTHING = b"(empty)"
"""Stands for an entry without content that does not say that it deletes the key: it cannot be read, so it halts."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class StoredControl:
    """The document as it stands on the bus.

    Attributes:
        control: What it says.
        revision: Its revision; 0: there is none.
        stored_ms: When the server stored it, milliseconds since 1970-01-01T00:00Z; 0: never.
    """

    control: Control
    revision: int = 0
    stored_ms: int = 0


class ControlStore:
    """Reads and changes the document."""

    def __init__(self, bus: Bus) -> None:
        """Use the bucket of this bus."""
        self._bus = bus

    async def read(self) -> StoredControl:
        """Return the newest document, as the stream's leader has it when asked: never one out of a cache.

        Raises:
            BusError: If the bus does not answer.
            InvariantError: If the document cannot be read.
        """
        if not self._bus.client.is_connected:  # else the question would wait for its time limit
            raise BusError("the control document could not be read (not connected)")
        try:
            message = await self._bus.jetstream.get_msg(_STREAM, subject=_SUBJECT, direct=False)
        except nats.js.errors.NotFoundError:
            return StoredControl(Control())
        except (nats.errors.Error, TimeoutError, nats.js.errors.Error) as error:
            raise BusError(f"the control document could not be read ({reason_of(error)})") from error
        content = b"" if is_deletion(message.headers) else message.data or _NOTHING
        return StoredControl(Control.decode(content), message.seq or 0, _stored_ms(message))

    async def change(self, change: Callable[[Control], Control]) -> StoredControl:
        """Replace the document by what the change makes of it, and return it as it was stored.

        Raises:
            BusError: If the bus does not answer, or others change the document all the time; whether the change is
                stored is not known then, unless it says so.
            InvariantError: If the document cannot be read.
        """
        for _ in range(_TRIES):
            before = await self.read()
            after = change(before.control)
            try:
                await (await self._bus.bucket(CONTROL_BUCKET)).update(CONTROL_KEY, after.encode(), last=before.revision)
            except nats.js.errors.KeyWrongLastSequenceError:
                continue
            except (nats.errors.Error, TimeoutError, nats.js.errors.Error) as error:
                raise BusError(
                    f"the control document may or may not have been changed ({reason_of(error)}); "
                    "look with `breakwater status`"
                ) from error
            return replace(await self.read(), control=after)
        raise BusError("the control document was not changed: others change it all the time")


class ControlWatch:
    """The newest control state; what cannot be read halts entries, because nobody knows what was meant."""

    def __init__(self) -> None:
        """Begin with entries allowed, as long as nobody has set anything."""
        self.state = Control()
        self.stored_ms = 0
        self._revision = 0
        self._changed = asyncio.Event()
        self._show()

    def handle(self, delivery: Delivery) -> None:
        """Take a newer value of the key; a deleted key is the initial state."""
        content = b"" if delivery.deletes else delivery.payload or _NOTHING
        self.take(content, revision=delivery.sequence, stored_ms=delivery.stored_ns // 1_000_000)

    def take(self, payload: bytes, *, revision: int = 0, stored_ms: int = 0) -> None:
        """Take a value of the key; one that is older than what is known changes nothing."""
        if revision and revision <= self._revision:
            return
        self._revision = max(self._revision, revision)
        self.stored_ms = stored_ms or self.stored_ms
        try:
            self.state = Control.decode(payload)
        except InvariantError as error:
            get_logger().error("control_state_unreadable", reason=str(error))
            unreadable = replace(self.state.everyone, halted=True, reason="the control document cannot be read")
            self.state = replace(self.state, everyone=unreadable)
        self._show()
        self._changed.set()  # each waiter holds the event of its own call
        self._changed = asyncio.Event()

    def _show(self) -> None:
        HALTED.labels(EVERY_ACCOUNT).set(int(self.state.everyone.halted))
        for account, gate in self.state.accounts.items():
            HALTED.labels(account).set(int(gate.halted))

    async def wait_for_change(self, known: Control, timeout_s: float) -> None:
        """Return when the state is another than the known one, at the latest after the timeout, seconds."""
        changed = self._changed
        if self.state is known:
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), timeout_s)


@asynccontextmanager
async def watch_control(bus: Bus, *, name: str) -> AsyncIterator[ControlWatch]:
    """Follow the document while the context is open; its state is known before the context begins.

    Raises:
        BusError: If the bus does not answer at the beginning, for half a minute.
    """
    watch = ControlWatch()
    try:
        stored = await patiently(ControlStore(bus).read)
    except InvariantError as error:
        watch.take(b"?")
        get_logger().error("control_state_unreadable", reason=str(error))
    else:
        if stored.revision:
            watch.take(stored.control.encode(), revision=stored.revision, stored_ms=stored.stored_ms)
    async with read_stream(
        bus, name=f"{name}-control", stream=_STREAM, filters=[_SUBJECT], start=LAST_PER_SUBJECT, handle=watch.handle
    ):
        yield watch


class AcknowledgementWatch:
    """The newest acknowledgement of each executor process."""

    def __init__(self) -> None:
        """Begin with none."""
        self._heard: dict[str, Heard] = {}

    @property
    def heard(self) -> tuple[Heard, ...]:
        """What is known, also of processes that have gone without a word."""
        return tuple(self._heard.values())

    def handle(self, delivery: Delivery) -> None:
        """Take a newer value; a deleted key is a process that has stopped in order."""
        if not delivery.payload:
            self._heard.pop(delivery.subject, None)
            return
        try:
            acknowledgement = Acknowledgement.decode(delivery.payload)
        except InvariantError as error:
            get_logger().warning("acknowledgement_unreadable", subject=delivery.subject, reason=str(error))
            return
        self._heard[delivery.subject] = Heard(acknowledgement, delivery.stored_ns // 1_000_000)


@asynccontextmanager
async def watch_acknowledgements(bus: Bus, *, name: str) -> AsyncIterator[AcknowledgementWatch]:
    """Follow what executors acknowledge while the context is open."""
    watch = AcknowledgementWatch()
    async with read_stream(
        bus,
        name=f"{name}-acknowledgements",
        stream=_STREAM,
        filters=[f"$KV.{CONTROL_BUCKET}.{SEEN_PREFIX}>"],
        start=LAST_PER_SUBJECT,
        handle=watch.handle,
    ):
        yield watch


async def read_acknowledgements(bus: Bus) -> tuple[Heard, ...]:
    """Return the newest acknowledgement of each executor process, gone ones included.

    Raises:
        BusError: If the bus does not answer.
    """
    found = []
    for key in await bus.keys(CONTROL_BUCKET, SEEN_PREFIX):
        try:
            message = await bus.jetstream.get_msg(_STREAM, subject=f"$KV.{CONTROL_BUCKET}.{key}", direct=False)
            if message.data:
                found.append(Heard(Acknowledgement.decode(message.data), _stored_ms(message)))
        except nats.js.errors.NotFoundError:
            continue
        except (nats.errors.Error, TimeoutError, nats.js.errors.Error) as error:
            raise BusError(f"acknowledgements could not be read ({reason_of(error)})") from error
    return tuple(found)


def _stored_ms(message: RawStreamMsg) -> int:
    """Return when the server stored a message, whole milliseconds since 1970, as a reader has it."""
    return 0 if message.time is None else (message.time - _EPOCH) // timedelta(milliseconds=1)
