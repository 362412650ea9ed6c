"""Clocks and pauses as one thing that tests replace: only here the notifier reads the time."""

import asyncio
import time
from typing import Protocol


class Timing(Protocol):
    """What the notifier knows of time."""

    def now_s(self) -> float:
        """Seconds of a clock that only moves forward."""
        ...

    def wall_ms(self) -> int:
        """Milliseconds since 1970-01-01T00:00Z."""
        ...

    async def pause(self, seconds: float | None, wake: asyncio.Event) -> None:
        """Return once the seconds have passed or `wake` is set; None waits for `wake` alone."""
        ...


class WallTiming:
    """The machine's clocks."""

    def now_s(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()

    def wall_ms(self) -> int:
        """Milliseconds since 1970-01-01T00:00Z."""
        return time.time_ns() // 1_000_000

    async def pause(self, seconds: float | None, wake: asyncio.Event) -> None:
        """Return once the seconds have passed or `wake` is set."""
        try:
            async with asyncio.timeout(seconds):
                await wake.wait()
        except TimeoutError:
            return
