"""Who tells of which event, durably: so that a restart tells nothing twice.

Two kinds of entries in the key-value bucket `notified`, kept for seven days:

- `event.<hash of the event's identity>` names the message that tells of the event.
- `message.<id>` is absent until the message is about to be posted, then `sending`, then `posted`; `failed` if it is
  certain that it was not posted; `abandoned` if another process took its events over.

A process that finds an event claimed by another's message looks at that message. Absent or failed: it abandons the
message, which the owner then can no longer begin, and takes the event. Posted: the event was told. Sending: the owner
died, or lost its bus, at the one moment when nobody can know; then the event is not told again, unless it is a critical
alert, which is rather told twice than never.
"""

import asyncio
import hashlib
import uuid
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import batched

import nats.errors
import nats.js.errors
from nats.js.kv import KeyValue

from breakwater_core.errors import InvariantError
from breakwater_runtime.bus import Bus, BusError
from breakwater_runtime.subjects import NOTIFIED_BUCKET
from notifier_service.notice import Notice

CLAIMS_AT_A_TIME = 64
_ATTEMPTS = 20


class _Progress(StrEnum):
    """How far a message got."""

    SENDING = "sending"
    POSTED = "posted"
    FAILED = "failed"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Claimed:
    """What claiming events for a message gave.

    Attributes:
        ours: Events that the message is to tell of.
        told: Events that were told before.
        unknown: Events of a message that may or may not have been posted; they are not told again.
    """

    ours: tuple[Notice, ...]
    told: tuple[Notice, ...]
    unknown: tuple[Notice, ...]


class _Verdict(StrEnum):
    OURS = "ours"
    TOLD = "told"
    UNKNOWN = "unknown"
    AGAIN = "again"


class Claims:
    """The claims of this process; several processes may have claims on one bus."""

    def __init__(self, bus: Bus) -> None:
        """Keep the claims in the bus's bucket `notified`."""
        self._bus = bus
        self._begun: dict[str, int] = {}
        self._unsent: set[str] = set()

    @staticmethod
    def new_message_id() -> str:
        """Return an id for a message: unlike that of any other."""
        return uuid.uuid4().hex

    async def claim(self, notices: Sequence[Notice], message_id: str) -> Claimed:
        """Claim events for a message, which is not to be posted before `begin` says so.

        Raises:
            BusError: If the bus does not answer; claiming again under a new message id is safe.
        """
        self._unsent.add(message_id)
        verdicts: list[_Verdict] = []
        for part in batched(notices, CLAIMS_AT_A_TIME):
            verdicts += await asyncio.gather(*(self._claim_one(notice, message_id) for notice in part))

        def those(verdict: _Verdict) -> tuple[Notice, ...]:
            return tuple(notice for notice, given in zip(notices, verdicts, strict=True) if given is verdict)

        ours = those(_Verdict.OURS)
        if not ours:
            self._unsent.discard(message_id)
        return Claimed(ours, those(_Verdict.TOLD), those(_Verdict.UNKNOWN))

    async def begin(self, message_id: str) -> bool:
        """State that the message is about to be posted; False: another process took its events over.

        Raises:
            BusError: If the bus does not answer; then the message must not be posted, and its events be claimed anew.
        """
        revision = self._begun.get(message_id, 0)
        written = await self._replace(f"message.{message_id}", _Progress.SENDING, revision)
        if written is None:
            return False
        self._begun[message_id] = written
        self._unsent.discard(message_id)
        return True

    async def fail(self, message_id: str) -> None:
        """State that the message was certainly not posted.

        Raises:
            BusError: If the bus does not answer.
        """
        self._unsent.add(message_id)
        self._begun[message_id] = await self._bus.write(
            NOTIFIED_BUCKET, f"message.{message_id}", _Progress.FAILED.value.encode()
        )

    async def finish(self, message_id: str) -> None:
        """State that the message was posted.

        Raises:
            BusError: If the bus does not answer.
        """
        await self._bus.write(NOTIFIED_BUCKET, f"message.{message_id}", _Progress.POSTED.value.encode())
        self._begun.pop(message_id, None)

    async def _claim_one(self, notice: Notice, message_id: str) -> _Verdict:
        key = f"event.{hashlib.sha256(notice.identity.encode()).hexdigest()[:32]}"
        if await self._replace(key, message_id, 0) is not None:
            return _Verdict.OURS
        for _ in range(_ATTEMPTS):
            verdict = await self._claim_known(key, notice, message_id)
            if verdict is not _Verdict.AGAIN:
                return verdict
        raise InvariantError(f"the claim {key} kept changing; only one notifier per run should be running")

    async def _claim_known(self, key: str, notice: Notice, message_id: str) -> _Verdict:
        entry = await self._entry(key)
        if entry is None or entry.value is None:  # older than the bucket keeps entries
            return _Verdict.OURS if await self._replace(key, message_id, 0) is not None else _Verdict.AGAIN
        owner = entry.value.decode()
        if owner == message_id:
            return _Verdict.OURS
        if owner not in self._unsent:
            verdict = await self._judge(owner, notice)
            if verdict is not _Verdict.OURS:
                return verdict
        taken = await self._replace(key, message_id, int(entry.revision or 0))
        return _Verdict.OURS if taken is not None else _Verdict.AGAIN

    async def _judge(self, owner: str, notice: Notice) -> _Verdict:
        """Tell whether an event may be taken from the message that owns it; if so, that message can no longer begin."""
        key = f"message.{owner}"
        entry = await self._entry(key)
        progress = _Progress(entry.value.decode()) if entry is not None and entry.value is not None else None
        match progress:
            case _Progress.POSTED:
                return _Verdict.TOLD
            case _Progress.SENDING:
                return _Verdict.OURS if notice.at_least_once else _Verdict.UNKNOWN
            case _Progress.ABANDONED:
                return _Verdict.OURS
            case _:
                revision = 0 if entry is None else int(entry.revision or 0)
                abandoned = await self._replace(key, _Progress.ABANDONED, revision)
                return _Verdict.OURS if abandoned is not None else _Verdict.AGAIN

    async def _entry(self, key: str) -> KeyValue.Entry | None:
        try:
            return await _heard((await self._bus.bucket(NOTIFIED_BUCKET)).get(key), key)
        except nats.js.errors.KeyNotFoundError:
            return None

    async def _replace(self, key: str, value: str, revision: int) -> int | None:
        """Write a value if the key still is at the revision (0: has none); returns the new revision, or None if not."""
        try:
            bucket = await self._bus.bucket(NOTIFIED_BUCKET)
            return await _heard(bucket.update(key, value.encode(), last=revision), key)
        except nats.js.errors.KeyWrongLastSequenceError:
            return None


async def _heard[T](request: Awaitable[T], key: str) -> T:
    try:
        return await request
    except (nats.js.errors.KeyNotFoundError, nats.js.errors.KeyWrongLastSequenceError):
        raise
    except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
        raise BusError(f"{NOTIFIED_BUCKET}/{key} could not be had ({type(error).__name__})") from error
