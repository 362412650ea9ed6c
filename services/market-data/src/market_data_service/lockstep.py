"""The other parties of a lock-step: how far each of them is, as they write it to the checkpoint bucket."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from breakwater_core.errors import InvariantError
from breakwater_runtime.bus import Bus, BusError
from breakwater_runtime.readers import LAST_PER_SUBJECT, Delivery, read_stream
from breakwater_runtime.subjects import CHECKPOINT_BUCKET, progress_key

_NONE_YET = -1
_LOOK_AFTER_S = 1.0


class Lockstep:
    """Knows the last finished window of each participant and wakes who waits for one."""

    def __init__(self, bus: Bus, participants: Iterable[str]) -> None:
        self._bus = bus
        self._finished = dict.fromkeys(participants, _NONE_YET)
        self._keys = {f"$KV.{CHECKPOINT_BUCKET}.{progress_key(bus.run_id, name)}": name for name in self._finished}
        self._changed = asyncio.Event()
        self._failure: InvariantError | None = None

    @property
    def subjects(self) -> list[str]:
        """Subjects of the participants' keys."""
        return list(self._keys)

    def finished(self, participant: str) -> int:
        """Return the last window that the participant has finished; -1 before it has reported any."""
        return self._finished[participant]

    def received(self, delivery: Delivery) -> None:
        """Take in a value of one of the keys."""
        name = self._keys[delivery.subject]
        try:
            self._finished[name] = max(self._finished[name], int(delivery.payload))
        except ValueError:
            text = delivery.payload[:40]
            self._failure = InvariantError(f"{name} reported its progress as {text!r}, not as the number of a window")
        self._changed.set()

    async def wait(self, participant: str, window: int) -> None:
        """Wait until the participant has finished the window, however long that takes.

        Raises:
            BusError: If the connection to the bus was lost meanwhile, so that messages may have been lost.
            InvariantError: If a participant reports something else than a number.
        """
        connections = connections_of(self._bus)
        while self._finished[participant] < window:
            self._changed.clear()
            try:
                async with asyncio.timeout(_LOOK_AFTER_S):
                    await self._changed.wait()
            except TimeoutError:
                check_connection(self._bus, connections)
            if self._failure is not None:
                raise self._failure


def connections_of(bus: Bus) -> int:
    """Return how often the connection to the bus was set up anew."""
    return int(bus.client.stats["reconnects"])


def check_connection(bus: Bus, connections: int) -> None:
    """Check that the connection is still the one that it was.

    Raises:
        BusError: If it was set up anew or is away.
    """
    if connections_of(bus) != connections or not bus.client.is_connected:
        raise BusError("the connection to the bus was interrupted")


@asynccontextmanager
async def follow_participants(bus: Bus, participants: Iterable[str]) -> AsyncIterator[Lockstep]:
    """Follow the progress of participants while the context is open."""
    lockstep = Lockstep(bus, participants)
    if not lockstep.subjects:
        yield lockstep
        return
    async with read_stream(
        bus,
        name="lockstep",
        stream=f"KV_{CHECKPOINT_BUCKET}",
        filters=lockstep.subjects,
        start=LAST_PER_SUBJECT,
        handle=lockstep.received,
    ):
        yield lockstep
