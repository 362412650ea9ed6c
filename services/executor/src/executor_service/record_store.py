"""The durable records in the `intents` bucket; each write names the revision that it replaces."""

import nats.errors
import nats.js.errors

from breakwater_runtime.bus import Bus, BusError
from breakwater_runtime.consumers import InOtherHands
from breakwater_runtime.subjects import INTENTS_BUCKET
from executor_service.intent_record import IntentRecord


class TakenOver(InOtherHands):
    """Another process has written the record: it works on the intent, or has finished it."""


class RecordStore:
    """Reads and writes records on the bus."""

    def __init__(self, bus: Bus) -> None:
        """Use the bucket of this bus."""
        self._bus = bus

    async def read(self, key: str) -> tuple[IntentRecord, int] | None:
        """Return the record and its revision, or None if there is none.

        Raises:
            BusError: If the bus does not answer.
        """
        try:
            entry = await (await self._bus.bucket(INTENTS_BUCKET)).get(key)
        except (nats.js.errors.KeyNotFoundError, nats.js.errors.KeyDeletedError):
            return None
        except (nats.errors.Error, TimeoutError, nats.js.errors.Error) as error:
            raise BusError(f"{INTENTS_BUCKET}/{key} could not be read ({type(error).__name__})") from error
        if entry.value is None or entry.revision is None:
            return None
        return IntentRecord.decode(entry.value), entry.revision

    async def write(self, key: str, record: IntentRecord, revision: int) -> int:
        """Replace the record of this revision (0: there is none yet) and return the new revision.

        Raises:
            TakenOver: If the record is of another revision.
            BusError: If the bus does not acknowledge; the record may be written or not.
        """
        if not self._bus.client.is_connected:  # else the write would wait, and be sent whenever the bus is back
            raise BusError(f"{INTENTS_BUCKET}/{key} could not be written (not connected)")
        try:
            return await (await self._bus.bucket(INTENTS_BUCKET)).update(key, record.encode(), last=revision)
        except nats.js.errors.KeyWrongLastSequenceError as error:
            raise TakenOver(f"the record of {record.intent_id} was written by another process") from error
        except (nats.errors.Error, TimeoutError, nats.js.errors.Error) as error:
            raise BusError(f"{INTENTS_BUCKET}/{key} could not be written ({type(error).__name__})") from error
