"""How late the event loop is: a task that asks to be woken and measures by how much that is missed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from breakwater_runtime.metrics import LOOP_LAG

INTERVAL_S = 0.5


@asynccontextmanager
async def measured_loop(interval_s: float = INTERVAL_S) -> AsyncIterator[None]:
    """Measure the running event loop every `interval_s` seconds while the context is open."""
    task = asyncio.create_task(_measure(interval_s), name="loop-lag")
    try:
        yield
    finally:
        task.cancel()


async def _measure(interval_s: float) -> None:
    loop = asyncio.get_running_loop()
    while True:
        asked_s = loop.time()
        await asyncio.sleep(interval_s)
        LOOP_LAG.observe(max(0.0, loop.time() - asked_s - interval_s))
