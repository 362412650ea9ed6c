"""Pacing: when, by the wall clock, an instant of a recording is due at a set speed."""

from collections.abc import Callable


class Pacer:
    """Maps event time to wall time. Who falls behind is not held up until it has caught up."""

    def __init__(self, speed: float | None, clock: Callable[[], float]) -> None:
        """Play at `speed` times real time (None: as fast as it goes); `clock` returns monotonic seconds."""
        self._speed = speed
        self._clock = clock
        self._origin: tuple[int, float] | None = None

    def begin(self, event_ms: int) -> None:
        """State that the instant is now; later calls change nothing."""
        if self._origin is None:
            self._origin = (event_ms, self._clock())

    def delay_s(self, event_ms: int) -> float:
        """Return the seconds until the instant is due; 0 if it is, before `begin`, or if the speed has no limit."""
        if self._speed is None or self._origin is None:
            return 0.0
        origin_ms, origin_s = self._origin
        due_s = origin_s + (event_ms - origin_ms) / 1000 / self._speed
        return max(0.0, due_s - self._clock())
