"""Places at the exchange: entries wait for one; whatever reduces a position takes one at once, and never waits."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class PrioritySlots:
    """Counts the orders in hand; entries wait in the order of arrival while there are too many."""

    def __init__(self, size: int) -> None:
        """Let entries in while fewer than `size` orders are in hand."""
        self._size = size
        self._used = 0
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def used(self) -> int:
        """Orders in hand."""
        return self._used

    @asynccontextmanager
    async def hold(self, *, urgent: bool) -> AsyncIterator[None]:
        """Hold a place while the context is open; `urgent`: without waiting for it."""
        if urgent or (self._used < self._size and not self._waiters):
            self._used += 1
        else:
            await self._wait()
        try:
            yield
        finally:
            self._used -= 1
            self._admit()

    async def _wait(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():  # admitted and cancelled at once: pass the place on
                self._used -= 1
                self._admit()
            raise

    def _admit(self) -> None:
        while self._waiters and self._used < self._size:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._used += 1
                waiter.set_result(None)
