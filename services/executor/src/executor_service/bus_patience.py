"""Patience with a bus that is away: a write that must not be lost is repeated until it is there."""

import asyncio
from collections.abc import Awaitable, Callable

from breakwater_runtime.bus import BusError
from breakwater_runtime.logs import get_logger

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0


async def insist[T](step: Callable[[], Awaitable[T]]) -> T:
    """Repeat a step that may be repeated until the bus answers, and return what it gives."""
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return await step()
        except BusError as error:
            get_logger().warning("bus_waiting", reason=str(error), pause_s=pause_s)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
