"""Feeds the engine in real time: history at the start, then each trade as its time comes."""

import asyncio
from collections.abc import Callable

from paper_exchange_service.engine.engine import Engine
from paper_exchange_service.playback import UTC_DAYS, Playback, utc_day
from paper_exchange_service.public_feed import PublicFeed
from paper_exchange_service.venue import RealTimeVenue

_TICK_S = 0.02
_STATE_EVERY_MS = 100


class Feeder:
    """Moves trades from a playback into the engine and out on the public stream."""

    def __init__(
        self, engine: Engine, venue: RealTimeVenue, public: PublicFeed, playback: Playback, clock: Callable[[], int]
    ) -> None:
        self._engine = engine
        self._venue = venue
        self._public = public
        self._playback = playback
        self._clock = clock
        self._fed_ms = 0
        self._state_ms = 0
        venue.catch_up = self.catch_up

    def load_history(self) -> int:
        """Feed everything before now; return the number of trades."""
        now_ms = self._clock()
        total = 0
        day = self._playback.first_day
        while day <= utc_day(now_ms):
            for batch in self._playback.take_until(min(now_ms, UTC_DAYS.day_end_ms(day))):
                self._engine.feed(batch)
                total += len(batch)
            self._engine.forget_before(now_ms)
            day = utc_day(UTC_DAYS.day_end_ms(day))
        self._fed_ms = now_ms
        return total

    def catch_up(self, now_ms: int) -> None:
        """Feed and publish the trades through the time, but none of the future."""
        now_ms = min(now_ms, self._clock())
        if now_ms <= self._fed_ms:
            return
        self._fed_ms = now_ms
        for batch in self._playback.take_until(now_ms + 1):
            self._engine.feed(batch)
            self._public.traded(batch, now_ms)

    async def run(self) -> None:
        """Feed until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            started_s = loop.time()
            now_ms = self._clock()
            self.catch_up(now_ms)
            self._venue.advance(now_ms)
            if now_ms - self._state_ms >= _STATE_EVERY_MS:
                self._state_ms = now_ms
                self._public.tick(now_ms)
            await asyncio.sleep(max(0.0, _TICK_S - (loop.time() - started_s)))
