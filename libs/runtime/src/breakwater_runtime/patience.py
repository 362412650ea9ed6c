"""Patience with a bus that is busy: when many processes start at once, an answer may take longer than usual."""

import asyncio
from collections.abc import Awaitable, Callable

from breakwater_runtime.errors import BusError
from breakwater_runtime.logs import get_logger

START_PATIENCE_S = 30.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0


async def patiently[T](step: Callable[[], Awaitable[T]], *, limit_s: float = START_PATIENCE_S) -> T:
    """Return what a step gives that may be repeated, as soon as the bus answers.

    Raises:
        BusError: What the step raised last, `limit_s` seconds or more after the beginning.
    """
    loop = asyncio.get_running_loop()
    deadline, pause_s = loop.time() + limit_s, _FIRST_PAUSE_S
    while True:
        try:
            return await step()
        except BusError as error:
            if loop.time() + pause_s >= deadline:
                raise
            get_logger().warning("bus_waiting", reason=str(error), pause_s=pause_s)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
