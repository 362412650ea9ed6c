"""Records kept in event-time order, whatever order they arrive in."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from typing import Any


class TimedLog[T]:
    """Records sorted by a key whose first part is their time in milliseconds."""

    def __init__(self, key: Callable[[T], tuple[Any, ...]]) -> None:
        """Start empty; `key` gives `(time_ms, ...)` and must be unique and independent of arrival."""
        self._key = key
        self._keys: list[tuple[Any, ...]] = []
        self._records: list[T] = []

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[T]:
        return iter(self._records)

    def add(self, record: T) -> int:
        """Insert a record; returns its place."""
        key = self._key(record)
        if not self._keys or self._keys[-1] < key:
            self._keys.append(key)
            self._records.append(record)
            return len(self._records) - 1
        place = bisect_right(self._keys, key)
        insort(self._keys, key)
        self._records.insert(place, record)
        return place

    def newest_first(self, start_ms: int | None = None, end_ms: int | None = None) -> Iterator[T]:
        """Yield the records with `start_ms <= time <= end_ms`, newest first."""
        low = 0 if start_ms is None else bisect_left(self._keys, (start_ms,))
        high = len(self._keys) if end_ms is None else bisect_left(self._keys, (end_ms + 1,))
        for place in range(high - 1, low - 1, -1):
            yield self._records[place]
