"""Frames on their way to one connection: they may be late, come twice or out of order, but none is lost on the way."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from paper_exchange_service.faults import Fate

Frame = dict[str, Any]


class FrameLine:
    """A line in which a late frame holds up those behind it, as on a real stream."""

    def __init__(self, send: Callable[[Frame], None]) -> None:
        """Start empty; `send` hands a frame to the connection."""
        self._send = send
        self._waiting: deque[tuple[float, Frame]] = deque()
        self._held: list[Frame] = []
        self._timer: asyncio.TimerHandle | None = None
        self._release_timer: asyncio.TimerHandle | None = None

    def push(self, frame: Frame, fate: Fate) -> None:
        """Send a frame as its fate says."""
        loop = asyncio.get_running_loop()
        if fate.held_s is not None:
            self._held.extend([frame] * fate.copies)
            if self._release_timer is None:
                self._release_timer = loop.call_later(fate.held_s, self._release)
            return
        self._queue([frame] * fate.copies, fate.delay_s)
        self._release()

    def close(self) -> None:
        """Forget what waits: the connection is gone."""
        for timer in (self._timer, self._release_timer):
            if timer is not None:
                timer.cancel()
        self._waiting.clear()
        self._held.clear()

    def _release(self) -> None:
        if self._release_timer is not None:
            self._release_timer.cancel()
            self._release_timer = None
        held, self._held = self._held, []
        self._queue(held, 0.0)

    def _queue(self, frames: list[Frame], delay_s: float) -> None:
        due_s = asyncio.get_running_loop().time() + delay_s
        self._waiting.extend((due_s, frame) for frame in frames)
        self._pump()

    def _pump(self) -> None:
        """Send what is due from the head of the line on; a frame that is not due yet holds up the rest."""
        loop = asyncio.get_running_loop()
        while self._waiting and self._waiting[0][0] <= loop.time():
            self._send(self._waiting.popleft()[1])
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            self._timer = loop.call_at(self._waiting[0][0], self._pump)
