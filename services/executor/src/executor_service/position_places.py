"""Places for open positions, taken before an entry is sent and shared by all executors of an account.

The exchange tells which positions are open, but not which entries are on their way in other processes. So each entry
takes a place in one value per account, by compare-and-set, and gives it back when it is closed; by then the exchange
knows.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Protocol

import nats.errors
import nats.js.errors

from breakwater_core.errors import InvariantError
from breakwater_core.events import Intent
from breakwater_runtime.bus import Bus, BusError
from breakwater_runtime.subjects import ACCOUNT_BUCKET, places_key

Held = Callable[[], Awaitable[set[str]]]
"""Asks the exchange which symbols have an open position."""


class Places(Protocol):
    """Who may still open a position."""

    async def take(self, intent: Intent, *, most: int, held: Held) -> int | None:
        """Take a place for an entry; return None, or how many others are taken if there is none left.

        Args:
            intent: The entry; taking its place again changes nothing.
            most: Positions allowed per account.
            held: Asked after the places were read, so that an entry that gives its place back meanwhile is seen.

        Raises:
            BusError: If the bus does not answer.
        """

    async def give_back(self, intent: Intent) -> None:
        """Give the place of a closed entry back; without one nothing changes.

        Raises:
            BusError: If the bus does not answer.
        """


class PositionPlaces:
    """Places in the `account` bucket: symbols by the intent that has taken them."""

    def __init__(self, bus: Bus) -> None:
        """Use the bucket of this bus, for its run."""
        self._bus = bus

    async def take(self, intent: Intent, *, most: int, held: Held) -> int | None:
        """Take a place for an entry."""
        while True:
            taken, revision = await self._read(intent)
            others = ({*taken, *await held()}) - {intent.symbol}
            if len(others) >= most:
                return len(others)
            if taken.get(intent.symbol) == intent.intent_id:
                return None
            if await self._write(intent, {**taken, intent.symbol: intent.intent_id}, revision):
                return None

    async def give_back(self, intent: Intent) -> None:
        """Give the place of a closed entry back."""
        while True:
            taken, revision = await self._read(intent)
            if taken.get(intent.symbol) != intent.intent_id:
                return
            del taken[intent.symbol]
            if await self._write(intent, taken, revision):
                return

    async def _read(self, intent: Intent) -> tuple[dict[str, str], int]:
        key = places_key(intent.run_id, intent.account)
        try:
            entry = await (await self._bus.bucket(ACCOUNT_BUCKET)).get(key)
        except nats.js.errors.KeyNotFoundError:
            return {}, 0
        except (nats.errors.Error, TimeoutError, nats.js.errors.Error) as error:
            raise BusError(f"{ACCOUNT_BUCKET}/{key} could not be read ({type(error).__name__})") from error
        try:
            return dict(json.loads(entry.value or b"{}")), entry.revision or 0
        except (ValueError, TypeError) as error:
            raise InvariantError(
                f"{ACCOUNT_BUCKET}/{key} cannot be read; remove it while nothing is entered"
            ) from error

    async def _write(self, intent: Intent, taken: dict[str, str], revision: int) -> bool:
        """Replace the value of this revision; False if somebody else has."""
        key = places_key(intent.run_id, intent.account)
        try:
            payload = json.dumps(taken, separators=(",", ":"), sort_keys=True).encode()
            await (await self._bus.bucket(ACCOUNT_BUCKET)).update(key, payload, last=revision)
        except nats.js.errors.KeyWrongLastSequenceError:
            return False
        except (nats.errors.Error, TimeoutError, nats.js.errors.Error) as error:
            raise BusError(f"{ACCOUNT_BUCKET}/{key} could not be written ({type(error).__name__})") from error
        return True
