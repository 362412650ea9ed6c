"""The last question before an entry is sent: does the control document, as it stands now, let it through?

The request's stamp is taken first, then the document is read from the bus, then the request is signed with that stamp.
So whatever reaches the exchange was asked about after its stamp; and a process that is held up anywhere in between (a
stopped process, a slow machine) comes too late: its request is not sent after `SEND_WITHIN_S`, and one that left
late is refused by the exchange itself for its stamp (10002). A halt is therefore complete once every process has
acknowledged it, and without any acknowledgement once the exchange's receive window has passed.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from breakwater_core.errors import InvariantError
from breakwater_core.events import Intent
from breakwater_core.verdicts import Refused
from breakwater_runtime.control import ControlStore
from executor_service.venue_clock import VenueClock, wall_clock_ms

SEND_WITHIN_S = 4.0
"""A permit is good for so long; below Bybit's receive window of 5 s, so that no request is spent on a stale stamp."""


@dataclass(frozen=True, slots=True)
class Permit:
    """The entry may be sent now.

    Attributes:
        stamp_ms: The request must carry this stamp, milliseconds since 1970-01-01T00:00Z.
        send_by_s: It must not be sent after this time, monotonic seconds.
    """

    stamp_ms: int
    send_by_s: float


class EntryGate(Protocol):
    """Who may enter, as it stands now."""

    async def ask(self, intent: Intent, *, after_ms: int) -> Permit | Refused:
        """Return whether the entry may be sent now.

        Args:
            intent: The entry.
            after_ms: In event mode the request is stamped no earlier.

        Raises:
            BusError: If nobody can tell; then it may not.
        """


class ControlGate:
    """Asks the control document on the bus."""

    def __init__(self, store: ControlStore, clock: VenueClock, *, monotonic: Callable[[], float]) -> None:
        """Read from the store; stamp by the clock."""
        self._store = store
        self._clock = clock
        self._monotonic = monotonic

    async def ask(self, intent: Intent, *, after_ms: int) -> Permit | Refused:
        """Take the stamp, then read the document."""
        send_by_s = self._monotonic() + SEND_WITHIN_S
        stamp_ms = self._clock.stamp_ms(intent, after_ms)
        if stamp_ms is None:
            stamp_ms = wall_clock_ms()
        try:
            stored = await self._store.read()
        except InvariantError as error:
            return Refused("halted", str(error))
        return stored.control.refusal(intent.account, intent.epoch) or Permit(stamp_ms, send_by_s)


class BarredGate:
    """Asks another gate, then whether anything in this process bars the account."""

    def __init__(self, gate: EntryGate, bar: Callable[[str], Refused | None]) -> None:
        """Ask `gate` first: what it waits for may take long, and `bar` knows at once."""
        self._gate = gate
        self._bar = bar

    async def ask(self, intent: Intent, *, after_ms: int) -> Permit | Refused:
        """Return the gate's answer, unless the account is barred."""
        answer = await self._gate.ask(intent, after_ms=after_ms)
        return self._bar(intent.account) or answer


def control_gate(store: ControlStore, clock: VenueClock) -> ControlGate:
    """Return the gate with the machine's monotonic clock."""
    return ControlGate(store, clock, monotonic=time.monotonic)
