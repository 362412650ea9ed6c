"""The streams and buckets of the bus: made where they are missing, waited for where another user makes them."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from breakwater_runtime import subjects
from breakwater_runtime.errors import BusError, DependencyError, StoppedError
from breakwater_runtime.health import Health
from breakwater_runtime.logs import get_logger
from breakwater_runtime.permissions import OPERATOR, SETUP, USERS
from breakwater_runtime.subjects import StreamSpecification

if TYPE_CHECKING:
    from breakwater_runtime.bus import Bus

NANOSECONDS = 1_000_000_000
CONDITION = "streams"
_LOOK_S = 0.25
_REMEDY = "run python -m breakwater_runtime.bus_setup"
_MUST_EQUAL = ("allow_direct", "allow_rollup_hdrs", "retention")
"""Settings of a stream on which the permissions or the books rest."""
_NOTED = ("max_age", "max_bytes", "max_msgs_per_subject", "discard", "num_replicas", "duplicate_window", "persist_mode")
"""Settings that an operator may have set otherwise."""


def bodies(replicas: int = 1) -> dict[str, dict[str, Any]]:
    """Return the JetStream configuration of each stream and bucket, by the name of the stream."""
    made = [stream_body(stream) for stream in subjects.STREAMS] + [bucket_body(bucket) for bucket in subjects.BUCKETS]
    return {body["name"]: body | {"num_replicas": replicas} for body in made}


async def ensure_streams(
    bus: "Bus", *, user: str | None = None, health: Health | None = None, stop: asyncio.Event | None = None
) -> None:
    """Create the streams and buckets that are missing; existing ones are left as an operator may have set them.

    The user of a service leaves that to `python -m breakwater_runtime.bus_setup` and waits until it has happened.

    Raises:
        DependencyError: If JetStream is off or refuses, or the operator's user finds some missing.
        StoppedError: If `stop` was set while it waited.
    """
    try:
        missing = await missing_streams(bus)
        if missing and user == OPERATOR:
            raise DependencyError(f"streams are missing: {', '.join(missing)}; {_REMEDY}")
        if missing and user in USERS and user != SETUP:
            await _wait_for(bus, missing, health, stop)
        else:
            for name in missing:
                await create_stream(bus, bodies()[name])
    except BusError as error:
        raise DependencyError(f"{error}; NATS must run with JetStream and room for the streams") from error


async def missing_streams(bus: "Bus") -> list[str]:
    """Return the names of the streams and buckets that are not there.

    Raises:
        BusError: If the bus does not answer.
    """
    present = (await bus.api("STREAM.NAMES", {"offset": 0})).get("streams") or ()
    return [name for name in bodies() if name not in present]


async def create_stream(bus: "Bus", body: dict[str, Any]) -> None:
    """Create one stream, unless somebody else makes it in the meantime.

    Raises:
        BusError: If it is not there afterwards.
    """
    try:
        await bus.api(f"STREAM.CREATE.{body['name']}", body)
    except BusError:
        if body["name"] in await missing_streams(bus):
            raise


async def _wait_for(bus: "Bus", missing: list[str], health: Health | None, stop: asyncio.Event | None) -> None:
    get_logger().warning("streams_missing", streams=missing, remedy=_REMEDY)
    stopped = stop or asyncio.Event()
    while missing:
        if health:
            health.fail(CONDITION, f"streams are missing: {', '.join(missing)}; {_REMEDY}")
        try:
            await asyncio.wait_for(stopped.wait(), _LOOK_S)
            raise StoppedError("told to stop while streams were missing")
        except TimeoutError:
            pass
        try:
            missing = await missing_streams(bus)
        except BusError as error:  # the bus was away for a moment, which the condition `bus` tells
            get_logger().warning("streams_unknown", reason=str(error))
    if health:
        health.hold(CONDITION)
    get_logger().info("streams_found")


def faults(body: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    """Yield in what a stream that exists is not as the system needs it."""
    if lacking := [one for one in body["subjects"] if one not in (found.get("subjects") or ())]:
        yield f"{body['name']}: does not store {', '.join(lacking)}"
    for key in _MUST_EQUAL:
        if _plain(found.get(key)) != _plain(body.get(key)):
            yield f"{body['name']}: {key} is {_plain(found.get(key))}, must be {_plain(body.get(key))}"


def differences(body: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    """Yield in what a stream that exists is set otherwise than here, as an operator may."""
    for key in _NOTED:
        if key in body and _plain(found.get(key)) != _plain(body.get(key)):
            yield f"{body['name']}: {key} is {_plain(found.get(key))}, here it would be {_plain(body.get(key))}"


def _plain(value: Any) -> Any:
    """Return a setting as it counts: the server leaves some out that have their default, and writes -1 for no limit."""
    return None if value in (None, False, 0, -1, "", "default") else value


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
        "allow_direct": False,  # its answers may be sent to any subject: see breakwater_runtime.permissions
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
        "allow_rollup_hdrs": False,  # one such header would let the writer of one key remove all others
        "deny_delete": True,
        "allow_direct": False,  # as for streams
    }
    if bucket in subjects.FLEETING_BUCKETS:
        body["persist_mode"] = "async"
    return body
