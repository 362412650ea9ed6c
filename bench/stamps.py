"""When intents are on the bus, as a reader of their stream sees it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.errors import BenchmarkError
from breakwater_runtime.bus import Bus
from breakwater_runtime.readers import Delivery, read_stream

_TIMEOUT_S = 30.0


class StampedIntents:
    """The first intent of each symbol.

    Attributes:
        seen_ns: When it was delivered, Unix nanoseconds, by symbol.
    """

    def __init__(self) -> None:
        """Start without any."""
        self.seen_ns: dict[str, int] = {}
        self._changed = asyncio.Event()

    def delivered(self, delivery: Delivery) -> None:
        """Take an intent."""
        self.seen_ns.setdefault(delivery.subject.rpartition(".")[2], time.time_ns())
        self._changed.set()

    async def wait_for(self, count: int) -> None:
        """Return once so many symbols have an intent.

        Raises:
            BenchmarkError: If they do not come.
        """
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                while len(self.seen_ns) < count:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError as error:
            raise BenchmarkError(f"only {len(self.seen_ns)} of {count} intents came; see signal's log") from error


@asynccontextmanager
async def stamped_intents(bus: Bus) -> AsyncIterator[StampedIntents]:
    """Stamp intents while the context is open."""
    intents = StampedIntents()
    async with read_stream(
        bus, name="bench-intents", stream="INTENT", filters=["intent.>"], start=1, handle=intents.delivered
    ):
        yield intents
