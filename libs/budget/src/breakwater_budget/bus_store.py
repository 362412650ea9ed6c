"""The budget's documents in the key-value bucket `budget`, changed by compare-and-set."""

import nats.errors
import nats.js.errors

from breakwater_runtime.bus import Bus, BusError
from breakwater_runtime.errors import reason_of
from breakwater_runtime.subjects import BUDGET_BUCKET

TIMEOUT_S = 0.5
"""A bus that has not answered by then counts as away: an exit then goes out by the process's own share."""


class BusStore:
    """Implements `BudgetStore` over the bus."""

    def __init__(self, bus: Bus) -> None:
        """Use the bucket of this bus, which `ensure_streams` has made."""
        self._bus = bus
        self._jetstream = bus.client.jetstream(timeout=TIMEOUT_S)

    async def read(self, key: str) -> tuple[bytes, int] | None:
        """Return the newest document under a key and its revision; None if there is none.

        Raises:
            BusError: If the bus does not answer soon.
        """
        self._check()
        try:
            message = await self._jetstream.get_last_msg(f"KV_{BUDGET_BUCKET}", _subject(key))
        except nats.js.errors.NotFoundError:
            return None
        except (nats.errors.Error, TimeoutError, nats.js.errors.Error) as error:
            raise BusError(f"{BUDGET_BUCKET}/{key} could not be read ({reason_of(error)})") from error
        return message.data or b"", message.seq or 0

    async def write(self, key: str, payload: bytes, revision: int) -> int | None:
        """Replace the document of this revision (0: none) and return the new revision; None if another one stands.

        Raises:
            BusError: If the bus does not acknowledge soon; the document may be written or not.
        """
        self._check()
        headers = {"Nats-Expected-Last-Subject-Sequence": str(revision)}
        try:
            acknowledgement = await self._jetstream.publish(_subject(key), payload, timeout=TIMEOUT_S, headers=headers)
        except nats.js.errors.APIError as error:
            if error.err_code == _WRONG_LAST_SEQUENCE:
                return None
            raise BusError(f"{BUDGET_BUCKET}/{key} was refused: {error.description}") from error
        except (nats.errors.Error, TimeoutError, nats.js.errors.Error) as error:
            raise BusError(f"{BUDGET_BUCKET}/{key} could not be written ({reason_of(error)})") from error
        return int(acknowledgement.seq)

    def _check(self) -> None:
        if not self._bus.client.is_connected:
            raise BusError("the bus is away; the request budget cannot be shared")


_WRONG_LAST_SEQUENCE = 10071
"""JetStream's code for a write that names another revision than the one that stands."""


def _subject(key: str) -> str:
    return f"$KV.{BUDGET_BUCKET}.{key}"
