"""Which days of which symbols have an unfilled gap: kept on the bus, so that a restart does not forget them."""

import json
from collections.abc import Iterable
from datetime import date, timedelta

from breakwater_core.errors import InvariantError
from breakwater_core.session import Session
from breakwater_runtime.bus import Bus
from breakwater_runtime.subjects import CHECKPOINT_BUCKET, progress_key
from market_data_service.published import PARTICIPANT
from market_data_service.symbol_feed import Gap

_DAYS_KEPT = 500


class IncompleteDays:
    """The days with unfilled gaps, by symbol."""

    def __init__(self, bus: Bus, session: Session) -> None:
        self._bus = bus
        self._session = session
        self._days: dict[str, set[date]] = {}

    @property
    def _key(self) -> str:
        return progress_key(self._bus.run_id, PARTICIPANT)

    async def read(self) -> None:
        """Read what earlier processes wrote.

        Raises:
            BusError: If the bus does not answer.
            InvariantError: If it holds something else.
        """
        value = await self._bus.read(CHECKPOINT_BUCKET, self._key)
        try:
            stored = json.loads(value or b"{}").get("incomplete", {})
            self._days = {symbol: set(map(date.fromisoformat, days)) for symbol, days in stored.items()}
        except (ValueError, AttributeError, TypeError) as error:
            raise InvariantError(f"{CHECKPOINT_BUCKET}/{self._key} is unreadable ({error}); delete the key") from error

    def holds(self, symbol: str, day: date) -> bool:
        """Return whether the day has an unfilled gap."""
        return day in self._days.get(symbol, ())

    async def add(self, symbol: str, gap: Gap) -> list[date]:
        """Note the days that a gap touches, store them, and return them.

        Raises:
            BusError: If the bus does not acknowledge; the days are noted nevertheless.
        """
        days = list(_days_between(self._session.day_of(gap.after_ms), self._session.day_of(gap.before_ms)))
        noted = self._days.setdefault(symbol, set())
        noted.update(days)
        newest = days[-1]
        noted.difference_update({day for day in noted if (newest - day).days > _DAYS_KEPT})
        values = {symbol: sorted(map(date.isoformat, days)) for symbol, days in sorted(self._days.items())}
        await self._bus.write(CHECKPOINT_BUCKET, self._key, json.dumps({"incomplete": values}).encode())
        return days


def _days_between(first: date, last: date) -> Iterable[date]:
    return (first + timedelta(days=number) for number in range((last - first).days + 1))
