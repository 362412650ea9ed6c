"""Day opens in the `account` bucket: the first one written of a day counts."""

import asyncio
from datetime import date

from breakwater_core.errors import InvariantError
from breakwater_runtime.bus import Bus
from breakwater_runtime.readers import wait_for_value
from breakwater_runtime.service import until_stopped
from breakwater_runtime.subjects import ACCOUNT_BUCKET, day_open_key
from executor_service.day_open import DayOpen
from executor_service.drain import Drain, Draining


class DayOpenStore:
    """Reads and writes day opens; those that were read are kept, as they never change."""

    def __init__(self, bus: Bus, drain: Drain) -> None:
        """Use the bucket of this bus; waiting ends with the drain."""
        self._bus = bus
        self._drain = drain
        self._known: dict[tuple[str, date], DayOpen] = {}

    async def wait_for(self, account: str, day: date, timeout_s: float | None) -> DayOpen | None:
        """Return the day's open as soon as it is there; None if it is not in time (None: no limit).

        Raises:
            Draining: If the process stops while waiting.
            BusError: If the bus does not answer.
        """
        found = await self.read(account, day)
        if found is not None:
            return found
        key = day_open_key(self._bus.run_id, account, day.isoformat())
        try:
            async with asyncio.timeout(timeout_s):
                value = await until_stopped(self._drain.begun, wait_for_value(self._bus, ACCOUNT_BUCKET, key, bool))
        except TimeoutError:
            return None
        if value is None:
            raise Draining("stopping; the intent is delivered again")
        return DayOpen.decode(value)

    async def read(self, account: str, day: date) -> DayOpen | None:
        """Return the day's open if it is there.

        Raises:
            BusError: If the bus does not answer.
        """
        if (known := self._known.get((account, day))) is not None:
            return known
        value = await self._bus.read(ACCOUNT_BUCKET, day_open_key(self._bus.run_id, account, day.isoformat()))
        if value is None:
            return None
        found = DayOpen.decode(value)
        for old in [key for key in self._known if key[0] == account and key[1] < day]:
            del self._known[old]
        self._known[account, day] = found
        return found

    async def create(self, account: str, day_open: DayOpen) -> DayOpen:
        """Write the day's open unless there is one, and return the one that counts.

        Raises:
            BusError: If the bus does not answer.
            InvariantError: If the entry disappears while it is written.
        """
        key = day_open_key(self._bus.run_id, account, day_open.day.isoformat())
        await self._bus.create(ACCOUNT_BUCKET, key, day_open.encode())
        found = await self.read(account, day_open.day)
        if found is None:
            raise InvariantError(f"{ACCOUNT_BUCKET}/{key} was written and is gone; nobody may delete day opens")
        return found

    async def first(self, account: str) -> DayOpen | None:
        """Return the oldest day open of the account.

        Raises:
            BusError: If the bus does not answer.
        """
        days = await self._days(account)
        return await self.read(account, min(days)) if days else None

    async def latest_before(self, account: str, day: date) -> DayOpen | None:
        """Return the newest day open of the account before a day.

        Raises:
            BusError: If the bus does not answer.
        """
        earlier = [known for known in await self._days(account) if known < day]
        return await self.read(account, max(earlier)) if earlier else None

    async def _days(self, account: str) -> list[date]:
        prefix = day_open_key(self._bus.run_id, account, "")
        return [date.fromisoformat(key.removeprefix(prefix)) for key in await self._bus.keys(ACCOUNT_BUCKET, prefix)]
