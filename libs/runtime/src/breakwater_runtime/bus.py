"""The bus: NATS JetStream streams, acknowledged publishing, key-value entries, dead letters, alerts."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext
from nats.js.api import PubAck
from nats.js.kv import KeyValue

from breakwater_core.events import Alert
from breakwater_runtime import codec, subjects, trace_steps
from breakwater_runtime.bus_client import BusClient, PermissionDeniedError, open_client, redacted
from breakwater_runtime.bus_streams import NANOSECONDS, ensure_streams
from breakwater_runtime.errors import BusError, reason_of
from breakwater_runtime.health import Health
from breakwater_runtime.logs import get_logger
from breakwater_runtime.metrics import DEAD_LETTERS, PUBLISH_TIME, PUBLISHED
from breakwater_runtime.redaction import blank
from breakwater_runtime.secret_rotation import secrets_followed
from breakwater_runtime.settings import ServiceSettings
from breakwater_runtime.store_watch import AlertOutbox, StoreWatch

__all__ = [
    "NANOSECONDS",
    "ONLY_HEADER",
    "ORIGIN_REASON_HEADER",
    "ORIGIN_SEQUENCE_HEADER",
    "ORIGIN_SUBJECT_HEADER",
    "PUBLISH_TIMEOUT_S",
    "STORED",
    "Bus",
    "BusError",
    "connect",
    "is_deletion",
    "redacted",
]

PUBLISH_TIMEOUT_S = 2.0
ONLY_HEADER = "Breakwater-Only"
"""Header of a message that is played again: the name of the one consumer or reader that is to take it."""
ORIGIN_SUBJECT_HEADER = "Breakwater-Subject"
ORIGIN_SEQUENCE_HEADER = "Breakwater-Sequence"
ORIGIN_REASON_HEADER = "Breakwater-Reason"
STORED = "$JS.ACK."
"""The reply subject of every message that was stored begins so, and that of no word of the server itself. Only this
tells them apart: a word of the server may have been stored too, as any client may have it answer on any subject."""
_KEYS_PAGE = 100_000
"""Subjects of a stream that the server lists at a time."""
_OUT_OF_ROOM = frozenset({10023, 10028, 10047, 10077})
"""JetStream error codes: insufficient resources, memory or storage exceeded, the stream could not store."""


_CREATIONS_AT_ONCE = 4
"""Consumers that a process asks for at a time. Hundreds together, as of many accounts and symbols, take the server
longer in all, and it answers nobody in time meanwhile, not even those who trade already."""


class Bus:
    """A connection to NATS with JetStream. Publishing waits for the acknowledgement of the stream."""

    def __init__(self, client: BusClient, run_id: str, watch: StoreWatch | None = None) -> None:
        """Wrap a connected client; `run_id` goes into every message, `watch` learns what is not stored."""
        self.client = client
        self.run_id = run_id
        self.watch = watch or StoreWatch(service="", instance="", run_id=run_id, health=None)
        self.outbox = AlertOutbox(self._publish_alert)
        self.jetstream: JetStreamContext = client.jetstream(timeout=PUBLISH_TIMEOUT_S)
        self._buckets: dict[str, KeyValue] = {}
        self._creations = asyncio.Semaphore(_CREATIONS_AT_ONCE)

    @property
    def connections(self) -> int:
        """How often the connection was set up anew: what was asked of the server before is forgotten by then."""
        return int(self.client.stats["reconnects"])

    async def publish(self, event: codec.Event, *, is_again: bool = False) -> int:
        """Publish one event and return its stream sequence once the stream has stored it.

        Args:
            event: What to publish.
            is_again: The caller has tried before, and does not know whether the stream has it.

        Raises:
            BusError: If no acknowledgement came; publishing again is safe, the message id makes it one.
        """
        start_ns = time.time_ns()
        acknowledgement = await self._store(codec.encode(event, self.run_id))
        trace_steps.published(event, start_ns=start_ns, is_repeat=bool(acknowledgement.duplicate) and not is_again)
        return int(acknowledgement.seq)

    async def publish_encoded(self, message: codec.Encoded) -> int:
        """Publish one encoded message; as `publish`."""
        return int((await self._store(message)).seq)

    async def _store(self, message: codec.Encoded) -> PubAck:
        started = time.perf_counter()
        headers = {"Nats-Msg-Id": message.message_id} if message.message_id else None
        try:
            acknowledgement = await self.jetstream.publish(
                message.subject, message.payload, timeout=PUBLISH_TIMEOUT_S, headers=headers
            )
        except (nats.errors.Error, TimeoutError, nats.js.errors.Error) as error:
            self.note_refused(_stream_of(message.subject), error)
            raise BusError(f"not acknowledged by the bus: {message.subject} ({reason_of(error)})") from error
        self.watch.stored(acknowledgement.stream)
        PUBLISH_TIME.labels(acknowledgement.stream).observe(time.perf_counter() - started)
        PUBLISHED.labels(acknowledgement.stream).inc()
        return acknowledgement

    async def publish_all(self, events: Iterable[codec.Event]) -> None:
        """Publish events in order, pipelined, and return once all are acknowledged.

        Raises:
            BusError: If one was not acknowledged; those before and after it may have been.
        """
        messages = [codec.encode(event, self.run_id) for event in events]
        pending = []
        try:
            with self.client.heed_denial(*{message.subject for message in messages}) as denial:
                async with denial:
                    for message in messages:
                        headers = {"Nats-Msg-Id": message.message_id} if message.message_id else None
                        pending.append(
                            await self.jetstream.publish_async(
                                message.subject, message.payload, headers=headers, wait_stall=30
                            )
                        )
                    async with asyncio.timeout(PUBLISH_TIMEOUT_S * 15):
                        for acknowledgement in await asyncio.gather(*pending):
                            self.watch.stored(acknowledgement.stream)
                            PUBLISHED.labels(acknowledgement.stream).inc()
        except (nats.errors.Error, TimeoutError, nats.js.errors.Error) as error:
            for future in pending:
                future.cancel()
            raise BusError(f"not all messages were acknowledged by the bus ({reason_of(error)})") from error

    async def publish_persistently(self, event: codec.Event) -> int:
        """Publish one event, again and again under its message id until the bus acknowledges it."""
        delay_s, is_again = 0.05, False
        while True:
            try:
                return await self.publish(event, is_again=is_again)
            except BusError as error:
                get_logger().warning("publish_retried", reason=str(error), delay_s=delay_s)
                await asyncio.sleep(delay_s)
                delay_s, is_again = min(delay_s * 2, 2.0), True

    async def alert(self, alert: Alert) -> None:
        """Log an alert and publish it; what the bus does not take now is tried again until it does."""
        get_logger().warning("alert_raised", name=alert.name, summary=alert.summary, severity=alert.severity.value)
        if len(self.outbox) or not await self._publish_alert(alert):
            self.outbox.add(alert)

    async def _publish_alert(self, alert: Alert) -> bool:
        try:
            await self.publish(alert)
        except BusError:
            return False
        return True

    def note_refused(self, stream: str, error: Exception) -> None:
        """Note that a message for the stream was not stored; the first time in an outage that raises `store_full`."""
        if not self.client.is_connected or isinstance(error, PermissionDeniedError):
            return
        certain = getattr(error, "err_code", None) in _OUT_OF_ROOM
        alert = self.watch.refused(stream, reason_of(error), now_s=time.monotonic(), certain=certain)
        if alert is not None:
            get_logger().error("alert_raised", name=alert.name, summary=alert.summary, severity=alert.severity.value)
            self.outbox.add(alert)

    async def dead_letter(
        self, *, stream: str, consumer: str, subject: str, payload: bytes, sequence: int, reason: str
    ) -> None:
        """Keep a message that cannot be processed under `dead.<stream>.<consumer>`, with its origin and the reason."""
        DEAD_LETTERS.labels(consumer).inc()
        headers = {
            "Nats-Msg-Id": f"{stream}/{sequence}/{consumer}",
            ORIGIN_SUBJECT_HEADER: subject,
            ORIGIN_SEQUENCE_HEADER: str(sequence),
            ORIGIN_REASON_HEADER: " ".join(blank(reason).split())[:500],
        }
        try:
            await self.jetstream.publish(
                f"dead.{stream}.{consumer}", payload, headers=headers, timeout=PUBLISH_TIMEOUT_S
            )
        except (nats.errors.Error, TimeoutError, nats.js.errors.Error) as error:
            self.note_refused(subjects.DEAD_STREAM.name, error)
            raise BusError(f"dead letter not acknowledged ({reason_of(error)})") from error
        self.watch.stored(subjects.DEAD_STREAM.name)

    async def bucket(self, name: str) -> KeyValue:
        """Return a key-value bucket, which `ensure_streams` has made; its leader answers, and nobody in its place."""
        known = self._buckets.get(name)
        if known is None:
            known = self._buckets[name] = KeyValue(
                name=name, stream=f"KV_{name}", pre=f"$KV.{name}.", js=self.jetstream, direct=False
            )
        return known

    async def read(self, bucket: str, key: str) -> bytes | None:
        """Return the value of a key, or None if it has none.

        Raises:
            BusError: If the bus does not answer.
        """
        try:
            entry = await (await self.bucket(bucket)).get(key)
        except (nats.js.errors.KeyNotFoundError, nats.js.errors.KeyDeletedError):
            return None
        except (nats.errors.Error, TimeoutError, nats.js.errors.Error) as error:
            raise BusError(f"{bucket}/{key} could not be read ({reason_of(error)})") from error
        return entry.value

    async def write(self, bucket: str, key: str, value: bytes) -> int:
        """Set the value of a key; returns the revision.

        Raises:
            BusError: If the bus does not acknowledge.
        """
        try:
            revision = await (await self.bucket(bucket)).put(key, value)
        except (nats.errors.Error, TimeoutError, nats.js.errors.Error) as error:
            self.note_refused(f"KV_{bucket}", error)
            raise BusError(f"{bucket}/{key} could not be written ({reason_of(error)})") from error
        self.watch.stored(f"KV_{bucket}")
        return revision

    async def write_persistently(self, bucket: str, key: str, value: bytes) -> int:
        """Set the value of a key, again and again until the bus acknowledges it; returns the revision."""
        delay_s = 0.05
        while True:
            try:
                return await self.write(bucket, key, value)
            except BusError as error:
                get_logger().warning("write_retried", reason=str(error), delay_s=delay_s)
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, 2.0)

    async def create(self, bucket: str, key: str, value: bytes) -> bool:
        """Set the value of a key that has none; False if somebody did before.

        Raises:
            BusError: If the bus does not acknowledge.
        """
        try:
            await (await self.bucket(bucket)).create(key, value)
        except nats.js.errors.KeyWrongLastSequenceError:
            return False
        except (nats.errors.Error, TimeoutError, nats.js.errors.Error) as error:
            self.note_refused(f"KV_{bucket}", error)
            raise BusError(f"{bucket}/{key} could not be created ({reason_of(error)})") from error
        self.watch.stored(f"KV_{bucket}")
        return True

    async def keys(self, bucket: str, prefix: str) -> list[str]:
        """Return the keys of a bucket that begin with the prefix, sorted; those deleted lately may be among them.

        Raises:
            BusError: If the bus does not answer.
        """
        stream, front, found, offset = f"KV_{bucket}", f"$KV.{bucket}.", set[str](), 0
        while True:
            body = {"subjects_filter": f"{front}>", "offset": offset}
            subjects_there = (await self.api(f"STREAM.INFO.{stream}", body))["state"].get("subjects") or {}
            found.update(subject.removeprefix(front) for subject in subjects_there)
            offset += len(subjects_there)
            if len(subjects_there) < _KEYS_PAGE:
                return sorted(key for key in found if key.startswith(prefix))

    async def create_consumer(
        self, stream: str, name: str, filters: Sequence[str], config: dict[str, Any]
    ) -> dict[str, Any]:
        """Create a consumer, or change the one of that name; a single filter is named where permissions tell it apart.

        Raises:
            BusError: If the bus does not answer or refuses.
        """
        subject = f"CONSUMER.CREATE.{stream}.{name}"
        taken: dict[str, Any] = {"filter_subjects": list(filters)}
        if len(filters) == 1:
            subject, taken = f"{subject}.{filters[0]}", {"filter_subject": filters[0]}
        async with self._creations:
            return await self.api(subject, {"stream_name": stream, "config": config | taken})

    async def api(self, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a request of the JetStream API and return its answer.

        Raises:
            BusError: If the bus does not answer or answers with an error.
        """
        try:
            answer = await self.client.request(
                f"$JS.API.{subject}",
                b"" if body is None else json.dumps(body).encode(),
                timeout=PUBLISH_TIMEOUT_S,
            )
        except (nats.errors.Error, TimeoutError) as error:
            raise BusError(f"JetStream did not answer {subject} ({reason_of(error)})") from error
        values: dict[str, Any] = json.loads(answer.data)
        if fault := values.get("error"):
            raise BusError(f"JetStream refused {subject}: {fault.get('description')} ({fault.get('err_code')})")
        return values


@asynccontextmanager
async def connect(
    settings: ServiceSettings, *, name: str, health: Health | None = None, stop: asyncio.Event | None = None
) -> AsyncIterator[Bus]:
    """Connect to NATS, make sure that streams and buckets exist, and drain at the end.

    A user that may not make them waits until they are there, not ready meanwhile, or until `stop` is set.

    Raises:
        DependencyError: If NATS is not reachable, refuses the user or has no JetStream.
        SettingsError: If a file of the settings cannot be used.
        StoppedError: If `stop` was set while the streams were missing.
    """
    watch = StoreWatch(service=name, instance=settings.instance, run_id=settings.run_id, health=health)
    async with open_client(settings, name=name, health=health, on_return=watch.forget) as client:
        bus = Bus(client, settings.run_id, watch)
        outbox = asyncio.create_task(bus.outbox.run(), name="alert-outbox")
        following = secrets_followed(
            settings.rotating_secrets,
            refresh_s=settings.secrets_refresh_s,
            service=name,
            run_id=settings.run_id,
            raise_alert=bus.alert,
        )
        if (password := settings.rotating_secret("nats_password")) is not None:
            password.follow(_use_at_next_login)
        try:
            async with following:
                await ensure_streams(bus, user=settings.nats_user, health=health, stop=stop)
                yield bus
        finally:
            outbox.cancel()


async def _use_at_next_login(_password: str) -> None:
    """Take a new password: the server says when it wants another login."""


def is_deletion(headers: Mapping[str, str] | None) -> bool:
    """Whether an entry marks a deletion of its key; one that is merely empty does not, and says nothing."""
    return headers is not None and headers.get("KV-Operation") in {"DEL", "PURGE"}


def _stream_of(subject: str) -> str:
    return subject.partition(".")[0].upper()
