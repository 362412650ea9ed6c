"""The trading session: which day an instant belongs to, and when that day opens, exits and ends.

A day is named by the calendar date, in the session's zone, on which it begins. Nothing here depends on the zone of
the machine.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from breakwater_core.errors import InvalidInputError


@dataclass(frozen=True)
class Session:
    """Day boundaries and the exit window.

    Attributes:
        start: Time of day at which a day begins, in `timezone`.
        timezone: IANA name, e.g. `UTC` or `Asia/Seoul`.
        exit_lead_ms: The exit window opens this many milliseconds before the day's end.
    """

    start: time = time(0, 0)
    timezone: str = "UTC"
    exit_lead_ms: int = 30_000
    _starts: dict[date, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise InvalidInputError(f"session.timezone: no such zone: {self.timezone!r}; use an IANA name") from error
        if not 0 < self.exit_lead_ms < 12 * 3_600_000:
            raise InvalidInputError(f"session.exit_lead must be above 0 and below 12 h, was {self.exit_lead_ms} ms")

    def day_start_ms(self, day: date) -> int:
        """Return the instant at which `day` begins, milliseconds since 1970-01-01T00:00Z."""
        known = self._starts.get(day)
        if known is None:
            local = datetime.combine(day, self.start, tzinfo=ZoneInfo(self.timezone))
            known = self._starts[day] = round(local.astimezone(UTC).timestamp() * 1000)
        return known

    def day_end_ms(self, day: date) -> int:
        """Return the instant at which `day` ends: the start of the next one."""
        return self.day_start_ms(day + timedelta(days=1))

    def exit_opens_ms(self, day: date) -> int:
        """Return the instant at which the exit window of `day` opens."""
        return self.day_end_ms(day) - self.exit_lead_ms

    def day_of(self, time_ms: int) -> date:
        """Return the day that the instant belongs to."""
        guess = datetime.fromtimestamp(time_ms / 1000, tz=ZoneInfo(self.timezone)).date()
        days = [guess + timedelta(days=offset) for offset in (-1, 0, 1)]
        return days[max(0, bisect_right([self.day_start_ms(day) for day in days], time_ms) - 1)]
