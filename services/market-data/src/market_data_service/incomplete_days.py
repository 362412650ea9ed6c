"""Which days of which symbols have an unfilled gap: kept on the bus, so that a restart does not forget them."""

import json
from collections.abc import Iterable
from datetime import date, timedelta

import nats.errors
import nats.js.errors
from nats.js.kv import KeyValue

from breakwater_core.errors import InvariantError
from breakwater_core.session import Session
from breakwater_runtime.bus import Bus, BusError
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
        self._days = self._decoded(await self._bus.read(CHECKPOINT_BUCKET, self._key))

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
        await self._store()
        return days

    async def _store(self) -> None:
        """Write the days, with those that another process has written in the meantime."""
        bucket = await self._bus.bucket(CHECKPOINT_BUCKET)
        try:
            while True:
                revision = await self._merge(bucket)
                values = {symbol: sorted(map(date.isoformat, days)) for symbol, days in sorted(self._days.items())}
                try:
                    await bucket.update(self._key, json.dumps({"incomplete": values}).encode(), last=revision)
                except nats.js.errors.KeyWrongLastSequenceError:
                    continue
                return
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
            self._bus.note_refused(f"KV_{CHECKPOINT_BUCKET}", error)
            raise BusError(f"{CHECKPOINT_BUCKET}/{self._key} not written ({type(error).__name__})") from error

    async def _merge(self, bucket: KeyValue) -> int:
        """Take in what is stored; return its revision, 0 if there is nothing."""
        try:
            entry = await bucket.get(self._key)
        except nats.js.errors.KeyNotFoundError:
            return 0
        for symbol, days in self._decoded(entry.value).items():
            self._days.setdefault(symbol, set()).update(days)
        return int(entry.revision or 0)

    def _decoded(self, value: bytes | None) -> dict[str, set[date]]:
        try:
            stored = json.loads(value or b"{}").get("incomplete", {})
            return {symbol: set(map(date.fromisoformat, days)) for symbol, days in stored.items()}
        except (ValueError, AttributeError, TypeError) as error:
            raise InvariantError(f"{CHECKPOINT_BUCKET}/{self._key} is unreadable ({error}); delete the key") from error


def _days_between(first: date, last: date) -> Iterable[date]:
    return (first + timedelta(days=number) for number in range((last - first).days + 1))
