"""Who goes first within a process: what reduces a position; entries that are ready to be sent let it pass.

The request budget lets exits pass where requests are scarce. Where they are not, a burst of entries would still slow an
exit down, as all of them share the process and the way to the exchange.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

GIVE_WAY_S = 1.0
"""So long at most an entry waits before it is sent: an exit that the exchange does not take must not stop it."""


class RightOfWay:
    """Counts reductions from when they are taken up until their first order has its end."""

    def __init__(self) -> None:
        """Begin with a free way."""
        self._passing = 0
        self._free = asyncio.Event()
        self._free.set()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Have entries wait while the context is open."""
        self._passing += 1
        self._free.clear()
        try:
            yield
        finally:
            self._passing -= 1
            if not self._passing:
                self._free.set()

    async def give(self, *, longest_s: float = GIVE_WAY_S) -> None:
        """Wait until no reduction is on its way, or `longest_s` seconds."""
        if not self._passing:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await self._free.wait()
