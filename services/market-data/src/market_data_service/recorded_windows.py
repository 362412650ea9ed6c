"""The windows of a recording, read ahead in a thread of their own while the last ones are being played."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace

from breakwater_recordings.recording import Recording, Window
from market_data_service.replay_plan import ReplayPlan

_AHEAD = 2


def windows_from(recording: Recording, plan: ReplayPlan, number: int) -> Iterator[Window]:
    """Yield the windows of the plan from the first window of a day on.

    Args:
        recording: Where the trades are.
        plan: What is played.
        number: Where to begin; must be the first window of a day.
    """
    start_ms = plan.session.day_start_ms(plan.day_of_window(number))
    for window in recording.windows(start_ms, plan.end_ms, plan.span_ms):
        actual = number + window.number - 1
        batches = tuple(replace(batch, window=actual) for batch in window.batches)
        yield Window(actual, window.start_ms, window.end_ms, batches)


class WindowSource:
    """Hands out windows one by one; reads up to two ahead."""

    def __init__(self, windows: Iterator[Window], executor: ThreadPoolExecutor) -> None:
        self._windows = windows
        self._executor = executor
        self._reading: list[asyncio.Future[Window | None]] = []

    async def next(self) -> Window | None:
        """Return the next window, or None behind the last.

        Raises:
            InvalidInputError: If the recording is damaged here.
        """
        self._read_ahead()
        window = await self._reading.pop(0)
        self._read_ahead()
        return window

    def _read_ahead(self) -> None:
        loop = asyncio.get_running_loop()
        while len(self._reading) < _AHEAD:
            self._reading.append(loop.run_in_executor(self._executor, next, self._windows, None))

    async def close(self) -> None:
        """Wait for what is being read."""
        await asyncio.gather(*self._reading, return_exceptions=True)


@asynccontextmanager
async def read_windows(open_windows: Callable[[], Iterator[Window]]) -> AsyncIterator[WindowSource]:
    """Read windows in a thread while the context is open."""
    with ThreadPoolExecutor(1, thread_name_prefix="recording") as executor:
        source = WindowSource(open_windows(), executor)
        try:
            yield source
        finally:
            await source.close()
