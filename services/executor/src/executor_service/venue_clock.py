"""The time of the run: the wall clock, or in a replay the time of the event that is being handled."""

import time
from collections.abc import Callable
from enum import StrEnum

from breakwater_core.events import Intent


class ClockMode(StrEnum):
    """Which time requests are stamped with."""

    WALL = "wall"
    EVENT = "event"


class VenueClock:
    """Tells what time it is for an intent. In event mode nothing depends on the machine's clock."""

    def __init__(self, mode: ClockMode, wall_ms: Callable[[], int] | None = None) -> None:
        """Use the wall clock (`wall_ms`: milliseconds since 1970, None: the machine's) or the intents' event time."""
        self._mode = mode
        self.wall_ms = wall_ms or wall_clock_ms

    @property
    def is_event_time(self) -> bool:
        """Whether the machine's clock plays no part."""
        return self._mode is ClockMode.EVENT

    def now_ms(self, intent: Intent, after_ms: int = 0) -> int:
        """Return the venue time at which the intent is handled; in event mode not before `after_ms`."""
        return max(intent.trigger_time_ms, after_ms) if self.is_event_time else self.wall_ms()

    def stamp_ms(self, intent: Intent, after_ms: int = 0) -> int | None:
        """Return the stamp of a request for the intent; None: the wall clock, read when it is sent."""
        return self.now_ms(intent, after_ms) if self.is_event_time else None

    def may_enter(self, intent: Intent) -> bool:
        """Return whether an entry may still be sent; in event mode it never gets older."""
        until_ms = intent.valid_until_ms
        return until_ms is None or self.is_event_time or self.wall_ms() < until_ms

    def left_s(self, intent: Intent) -> float | None:
        """Return for how many seconds an entry may still be sent; None: for ever."""
        if intent.valid_until_ms is None or self.is_event_time:
            return None
        return max(0.0, (intent.valid_until_ms - self.wall_ms()) / 1000)


def wall_clock_ms() -> int:
    """Return the machine's time, milliseconds since 1970."""
    return time.time_ns() // 1_000_000
