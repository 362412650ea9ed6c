"""The bus: NATS JetStream streams, acknowledged publishing, key-value entries, dead letters, alerts."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.kv import KeyValue

from breakwater_core.errors import TransientError
from breakwater_core.events import Alert
from breakwater_runtime import codec, subjects
from breakwater_runtime.bus_client import connect_client, is_refused_login
from breakwater_runtime.errors import DependencyError
from breakwater_runtime.health import Health
from breakwater_runtime.logs import get_logger
from breakwater_runtime.metrics import BUS_CONNECTED, DEAD_LETTERS, PUBLISH_TIME, PUBLISHED
from breakwater_runtime.redaction import blank
from breakwater_runtime.secret_rotation import secrets_followed
from breakwater_runtime.settings import ServiceSettings
from breakwater_runtime.store_watch import AlertOutbox, StoreWatch
from breakwater_runtime.subjects import StreamSpecification

PUBLISH_TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 10.0
NANOSECONDS = 1_000_000_000
ONLY_HEADER = "Breakwater-Only"
"""Header of a message that is played again: the name of the one consumer or reader that is to take it."""
ORIGIN_SUBJECT_HEADER = "Breakwater-Subject"
ORIGIN_SEQUENCE_HEADER = "Breakwater-Sequence"
ORIGIN_REASON_HEADER = "Breakwater-Reason"
_OUT_OF_ROOM = frozenset({10023, 10028, 10047, 10077})
"""JetStream error codes: insufficient resources, memory or storage exceeded, the stream could not store."""


class BusError(TransientError):
    """The bus did not acknowledge in time, or is away; the message may or may not be stored."""


class Bus:
    """A connection to NATS with JetStream. Publishing waits for the acknowledgement of the stream."""

    def __init__(self, client: Client, run_id: str, watch: StoreWatch | None = None) -> None:
        """Wrap a connected client; `run_id` goes into every message, `watch` learns what is not stored."""
        self.client = client
        self.run_id = run_id
        self.watch = watch or StoreWatch(service="", instance="", run_id=run_id, health=None)
        self.outbox = AlertOutbox(self._publish_alert)
        self.jetstream: JetStreamContext = client.jetstream(timeout=PUBLISH_TIMEOUT_S)
        self._buckets: dict[str, KeyValue] = {}

    @property
    def connections(self) -> int:
        """How often the connection was set up anew: what was asked of the server before is forgotten by then."""
        return int(self.client.stats["reconnects"])

    async def publish(self, event: codec.Event) -> int:
        """Publish one event and return its stream sequence once the stream has stored it.

        Raises:
            BusError: If no acknowledgement came; publishing again is safe, the message id makes it one.
        """
        return await self.publish_encoded(codec.encode(event, self.run_id))

    async def publish_encoded(self, message: codec.Encoded) -> int:
        """Publish one encoded message; as `publish`."""
        started = time.perf_counter()
        headers = {"Nats-Msg-Id": message.message_id} if message.message_id else None
        try:
            acknowledgement = await self.jetstream.publish(
                message.subject, message.payload, timeout=PUBLISH_TIMEOUT_S, headers=headers
            )
        except (nats.errors.Error, TimeoutError, nats.js.errors.Error) as error:
            self.note_refused(_stream_of(message.subject), error)
            raise BusError(f"not acknowledged by the bus: {message.subject} ({_reason(error)})") from error
        self.watch.stored(acknowledgement.stream)
        PUBLISH_TIME.labels(acknowledgement.stream).observe(time.perf_counter() - started)
        PUBLISHED.labels(acknowledgement.stream).inc()
        return int(acknowledgement.seq)

    async def publish_all(self, events: Iterable[codec.Event]) -> None:
        """Publish events in order, pipelined, and return once all are acknowledged.

        Raises:
            BusError: If one was not acknowledged; those before and after it may have been.
        """
        pending = []
        try:
            for event in events:
                message = codec.encode(event, self.run_id)
                headers = {"Nats-Msg-Id": message.message_id} if message.message_id else None
                pending.append(
                    await self.jetstream.publish_async(message.subject, message.payload, headers=headers, wait_stall=30)
                )
            async with asyncio.timeout(PUBLISH_TIMEOUT_S * 15):
                for acknowledgement in await asyncio.gather(*pending):
                    self.watch.stored(acknowledgement.stream)
                    PUBLISHED.labels(acknowledgement.stream).inc()
        except (nats.errors.Error, TimeoutError, nats.js.errors.Error) as error:
            for future in pending:
                future.cancel()
            raise BusError(f"not all messages were acknowledged by the bus ({type(error).__name__})") from error

    async def publish_persistently(self, event: codec.Event) -> int:
        """Publish one event, again and again under its message id until the bus acknowledges it."""
        delay_s = 0.05
        while True:
            try:
                return await self.publish(event)
            except BusError as error:
                get_logger().warning("publish_retried", reason=str(error), delay_s=delay_s)
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, 2.0)

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
        if not self.client.is_connected:
            return
        certain = getattr(error, "err_code", None) in _OUT_OF_ROOM
        alert = self.watch.refused(stream, _reason(error), now_s=time.monotonic(), certain=certain)
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
            raise BusError(f"dead letter not acknowledged ({_reason(error)})") from error
        self.watch.stored(subjects.DEAD_STREAM.name)

    async def bucket(self, name: str) -> KeyValue:
        """Return a key-value bucket, which `ensure_streams` has made."""
        known = self._buckets.get(name)
        if known is None:
            known = self._buckets[name] = await self.jetstream.key_value(name)
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
            raise BusError(f"{bucket}/{key} could not be read ({type(error).__name__})") from error
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
            raise BusError(f"{bucket}/{key} could not be written ({_reason(error)})") from error
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
            raise BusError(f"{bucket}/{key} could not be created ({_reason(error)})") from error
        self.watch.stored(f"KV_{bucket}")
        return True

    async def keys(self, bucket: str, prefix: str) -> list[str]:
        """Return the keys of a bucket that begin with the prefix, sorted."""
        try:
            return sorted(key for key in await (await self.bucket(bucket)).keys() if key.startswith(prefix))
        except nats.js.errors.NoKeysError:
            return []

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
            raise BusError(f"JetStream did not answer {subject} ({type(error).__name__})") from error
        values: dict[str, Any] = json.loads(answer.data)
        if fault := values.get("error"):
            raise BusError(f"JetStream refused {subject}: {fault.get('description')} ({fault.get('err_code')})")
        return values


@asynccontextmanager
async def connect(settings: ServiceSettings, *, name: str, health: Health | None = None) -> AsyncIterator[Bus]:
    """Connect to NATS, make sure that streams and buckets exist, and drain at the end.

    Raises:
        DependencyError: If NATS is not reachable, refuses the user or has no JetStream.
    """
    log = get_logger()

    closing = False
    watch = StoreWatch(service=name, instance=settings.instance, run_id=settings.run_id, health=health)

    async def on_disconnected() -> None:
        BUS_CONNECTED.set(0)
        if closing:
            return
        if health:
            health.fail("bus", "disconnected from NATS")
        log.warning("bus_disconnected")

    async def on_reconnected() -> None:
        BUS_CONNECTED.set(1)
        watch.forget()
        if health:
            health.hold("bus")
        log.info("bus_reconnected")

    errors = 0
    password = settings.rotating_secret("nats_password")

    async def use_at_next_login(_password: str) -> None:
        """Take a new password: the server says when it wants another login."""

    async def on_error(error: Exception) -> None:
        nonlocal errors
        errors += 1
        if password is not None and is_refused_login(error):
            password.hurry()
        if (
            errors % 20 == 1
        ):  # one of a series tells enough: a client that reconnects meets the same one again and again
            log.warning("bus_error", reason=f"{type(error).__name__}: {error}")

    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            client = await connect_client(
                settings.nats_url,
                name=f"breakwater-{name}-{settings.instance}",
                user=settings.nats_user,
                password=settings.current_nats_password if settings.nats_password else None,  # asked at each login
                connect_timeout=2,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.25,
                ping_interval=10,
                max_outstanding_pings=2,
                pending_size=64 << 20,
                disconnected_cb=on_disconnected,
                reconnected_cb=on_reconnected,
                error_cb=on_error,
            )
    except (nats.errors.Error, TimeoutError, OSError) as error:
        raise DependencyError(
            f"NATS is not reachable at {redacted(settings.nats_url)} ({type(error).__name__}); "
            "start it or correct NATS_URL"
        ) from error
    BUS_CONNECTED.set(1)
    bus = Bus(client, settings.run_id, watch)
    outbox = asyncio.create_task(bus.outbox.run(), name="alert-outbox")
    if password is not None:
        password.follow(use_at_next_login)
    following = secrets_followed(
        settings.rotating_secrets,
        refresh_s=settings.secrets_refresh_s,
        service=name,
        run_id=settings.run_id,
        raise_alert=bus.alert,
    )
    try:
        async with following:
            await ensure_streams(bus)
            yield bus
    finally:
        outbox.cancel()
        with suppress(nats.errors.Error, TimeoutError):
            await asyncio.wait_for(client.flush(), 2)
        closing = True
        await client.close()


def _stream_of(subject: str) -> str:
    return subject.partition(".")[0].upper()


def _reason(error: Exception) -> str:
    """Return what went wrong in a few words; JetStream's own words if it has said any."""
    return str(getattr(error, "description", None) or type(error).__name__)


def redacted(url: str) -> str:
    """Return the URL without user and password."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


async def ensure_streams(bus: Bus, streams: Iterable[StreamSpecification] = subjects.STREAMS) -> None:
    """Create the streams and buckets that are missing; existing ones are left as an operator may have set them.

    Raises:
        DependencyError: If JetStream is off or refuses.
    """
    try:
        present = set(await _stream_names(bus))
        for stream in streams:
            if stream.name not in present:
                await _create(bus, stream.name, stream_body(stream))
        for bucket in subjects.BUCKETS:
            if f"KV_{bucket}" not in present:
                await _create(bus, f"KV_{bucket}", bucket_body(bucket))
    except BusError as error:
        raise DependencyError(f"{error}; NATS must run with JetStream and room for the streams") from error


async def _stream_names(bus: Bus) -> list[str]:
    names = (await bus.api("STREAM.NAMES", {"offset": 0})).get("streams")
    return list(names or ())


async def _create(bus: Bus, name: str, body: dict[str, Any]) -> None:
    try:
        await bus.api(f"STREAM.CREATE.{name}", body)
    except BusError:
        if name not in await _stream_names(bus):  # somebody else made it in the meantime, with the same settings
            raise


def stream_body(stream: StreamSpecification) -> dict[str, Any]:
    """Return the JetStream configuration of a stream."""
    body: dict[str, Any] = {
        "name": stream.name,
        "subjects": list(stream.subjects),
        "storage": "file",
        "retention": "limits",
        "discard": "old",
        "num_replicas": 1,
        "max_age": round(stream.max_age_s * NANOSECONDS),
        "max_bytes": stream.max_bytes,
        "duplicate_window": 120 * NANOSECONDS,
        "allow_direct": True,
    }
    if not stream.survives_power_cut:
        body["persist_mode"] = "async"
    return body


def bucket_body(bucket: str) -> dict[str, Any]:
    """Return the JetStream configuration of a key-value bucket's stream."""
    body: dict[str, Any] = {
        "name": f"KV_{bucket}",
        "subjects": [f"$KV.{bucket}.>"],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "num_replicas": 1,
        "max_msgs_per_subject": 1,
        "max_bytes": subjects.GIBIBYTE // 4,
        "max_age": round(subjects.BUCKET_MAX_AGE_S.get(bucket, 0) * NANOSECONDS),
        "allow_rollup_hdrs": True,
        "deny_delete": True,
        "allow_direct": True,
    }
    if bucket in subjects.FLEETING_BUCKETS:
        body["persist_mode"] = "async"
    return body
