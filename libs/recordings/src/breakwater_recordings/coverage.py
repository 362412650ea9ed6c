"""Coverage: the spans of time in which nothing of a symbol's trades is known to be missing.

Times are milliseconds since 1970-01-01T00:00Z; an interval is (start, end) and holds its start but not its end.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from breakwater_core.errors import InvalidInputError

type Interval = tuple[int, int]


def merge_intervals(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """Return the intervals sorted and joined where they touch or overlap; empty ones are left out.

    Raises:
        InvalidInputError: If an interval ends before it starts.
    """
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if end < start:
            raise InvalidInputError(f"an interval ends before it starts: [{start}, {end})")
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        elif start < end:
            merged.append((start, end))
    return tuple(merged)


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is covered of one symbol.

    Attributes:
        intervals: Sorted, disjoint, not touching each other; each of them at least 1 ms long.
    """

    intervals: tuple[Interval, ...] = ()

    @classmethod
    def of(cls, intervals: Iterable[Interval]) -> "Coverage":
        """Return the coverage of intervals in any order, overlapping or not."""
        return cls(merge_intervals(intervals))

    def holds(self, start_ms: int, end_ms: int) -> bool:
        """Return whether all of [start_ms, end_ms) is covered."""
        index = bisect_right(self.intervals, start_ms, key=lambda interval: interval[0]) - 1
        return index >= 0 and end_ms <= self.intervals[index][1]
