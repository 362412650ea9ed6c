"""Places at the exchange: entries wait for one; whatever reduces a position takes one at once, and never waits.

Accounts take turns: one that waits with many entries, e.g. for its request budget, keeps no other one waiting.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class PrioritySlots:
    """Counts the orders in hand; entries wait while there are too many, those of an account in the order of arrival."""

    def __init__(self, size: int) -> None:
        """Let entries in while fewer than `size` orders are in hand."""
        self._size = size
        self._used = 0
        self._waiters: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def used(self) -> int:
        """Orders in hand."""
        return self._used

    @asynccontextmanager
    async def hold(self, *, urgent: bool, account: str = "") -> AsyncIterator[None]:
        """Hold a place while the context is open; `urgent`: without waiting, else when it is `account`'s turn."""
        if urgent or (self._used < self._size and not self._waiters):
            self._used += 1
        else:
            await self._wait(account)
        try:
            yield
        finally:
            self._used -= 1
            self._admit()

    async def _wait(self, account: str) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(account, deque()).append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():  # admitted and cancelled at once: pass the place on
                self._used -= 1
                self._admit()
            raise

    def _admit(self) -> None:
        while self._waiters and self._used < self._size:
            account, waiters = self._waiters.popitem(last=False)
            waiter = waiters.popleft()
            if waiters:
                self._waiters[account] = waiters  # behind the others
            if not waiter.done():
                self._used += 1
                waiter.set_result(None)
