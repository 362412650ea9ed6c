"""The plan of a replay: which days are played, how they are cut into windows, which days before only warm up.

Pure functions of what the recording states; times are milliseconds since 1970-01-01T00:00Z.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from breakwater_core.errors import InvalidInputError
from breakwater_core.session import Session

MIN_SPAN_MS = 1_000
MAX_SPAN_MS = 6 * 3_600_000
WALL_TIME_PER_WINDOW_MS = 250
"""Wall time that a window takes at a set speed."""

_DAY_MS = 86_400_000
_SECONDS_DIVISORS = tuple(seconds for seconds in range(1, MAX_SPAN_MS // 1000 + 1) if 86_400 % seconds == 0)


@dataclass(frozen=True)
class ReplayPlan:
    """What is played, in which windows.

    Attributes:
        session: Defines the days.
        first_day: First day that is played.
        last_day: Last day that is played.
        span_ms: Event time of a window; windows end on its multiples counted from each day's start, and at its end.
    """

    session: Session
    first_day: date
    last_day: date
    span_ms: int

    @property
    def start_ms(self) -> int:
        """First instant of window 1."""
        return self.session.day_start_ms(self.first_day)

    @property
    def end_ms(self) -> int:
        """End of the last window."""
        return self.session.day_end_ms(self.last_day)

    def windows_of(self, day: date) -> int:
        """Return the number of windows of a day."""
        return -(-(self.session.day_end_ms(day) - self.session.day_start_ms(day)) // self.span_ms)

    def first_window_of(self, day: date) -> int:
        """Return the number of the day's first window, counted from 1 at the first day."""
        number = 1
        played = self.first_day
        while played < day:
            number += self.windows_of(played)
            played += timedelta(days=1)
        return number

    def day_of_window(self, number: int) -> date:
        """Return the day that a window belongs to; window 0 stands before the first and belongs to the first day.

        Raises:
            InvalidInputError: If the number is behind the last window.
        """
        day = self.first_day
        left = max(1, number)
        while left > (windows := self.windows_of(day)):
            left -= windows
            day += timedelta(days=1)
        if day > self.last_day:
            raise InvalidInputError(f"window {number} is behind the end of the replay, {self.last_day}")
        return day


def choose_days(
    *, start: date | None, end: date | None, recorded: Sequence[date], complete: Collection[date]
) -> tuple[date, date]:
    """Return the first and the last day to play.

    Args:
        start: As asked for; None: the first complete day.
        end: As asked for; None: the last complete day.
        recorded: Days of which there is any data, sorted.
        complete: Days that are complete for at least one symbol.

    Raises:
        InvalidInputError: If no day is left, or nothing of the range is recorded.
    """
    if not complete and (start is None or end is None):
        held = f"{recorded[0]} to {recorded[-1]}" if recorded else "nothing"
        raise InvalidInputError(f"no recorded day is complete ({held} is held); name the days with START and END")
    first = start or min(complete)
    last = end or max(complete)
    if first > last:
        raise InvalidInputError(f"nothing to play: the range begins on {first} and ends on {last}")
    if not any(first <= day <= last for day in recorded):
        held = f"{recorded[0]} to {recorded[-1]}" if recorded else "nothing"
        raise InvalidInputError(f"nothing is recorded from {first} to {last}; the recording holds {held}")
    return first, last


def span_of_speed(speed: float) -> int:
    """Return the span in milliseconds whose windows take about `WALL_TIME_PER_WINDOW_MS` at a speed.

    It is the longest that does not take longer, between one second and six hours, and divides 24 hours.
    """
    wanted_s = WALL_TIME_PER_WINDOW_MS * speed / 1000
    return 1000 * max((seconds for seconds in _SECONDS_DIVISORS if seconds <= wanted_s), default=1)
