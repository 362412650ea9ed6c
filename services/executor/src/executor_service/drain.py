"""Stopping: work that can be left is left at once, an order on its way is followed as long as the time allows.

What is left is delivered again, and its durable record tells the next process where to go on.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from breakwater_core.errors import TransientError


class Draining(TransientError):
    """The process is stopping; another one takes the intent over."""


class Drain:
    """The two moments of a stop.

    Attributes:
        begun: No new work; whatever waits between two orders is left.
        due: Time is nearly up; whatever waits is left.
    """

    def __init__(self, begun: asyncio.Event | None = None) -> None:
        """Begin when `begun` is set, e.g. by SIGTERM."""
        self.begun = begun or asyncio.Event()
        self.due = asyncio.Event()

    async def pause(self, pause_s: float) -> None:
        """Wait, following an order.

        Raises:
            Draining: When the time of the stop is nearly up.
        """
        await self._pause(pause_s, self.due)

    async def rest(self, pause_s: float) -> None:
        """Wait with no order on its way.

        Raises:
            Draining: When a stop has begun.
        """
        await self._pause(pause_s, self.begun)

    async def wait[T](self, coming: Coroutine[Any, Any, T]) -> T:
        """Return what comes, e.g. a place among the orders in hand, with no order on its way.

        Raises:
            Draining: If a stop begins before; what was awaited is cancelled.
        """
        task = asyncio.ensure_future(coming)
        begun = asyncio.ensure_future(self.begun.wait())
        try:
            await asyncio.wait({task, begun}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Draining("stopping; the intent is delivered again")
            return task.result()
        finally:
            begun.cancel()
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def check(self) -> None:
        """Begin nothing new while stopping.

        Raises:
            Draining: When a stop has begun.
        """
        if self.begun.is_set():
            raise Draining("stopping; the intent is delivered again")

    @staticmethod
    async def _pause(pause_s: float, cut_short: asyncio.Event) -> None:
        if pause_s > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(cut_short.wait(), pause_s)
        if cut_short.is_set():
            raise Draining("stopping; the intent is delivered again")
