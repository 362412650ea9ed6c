"""Recording the live feed: trades and daily bars as published, and which time is covered without a gap."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path

from breakwater_core.errors import BreakwaterError
from breakwater_core.market import BarState, DailyBar, TradeBatch
from breakwater_recordings.day_openings import DayOpening, write_day_opening
from breakwater_runtime.logs import get_logger
from market_data_service.recorder import TradeRecorder, record_to
from market_data_service.symbol_feed import SymbolFeed

_SAVE_INTERVAL_S = 1.0


class LiveRecording:
    """Records until the disk fails; trading goes on without a recording."""

    def __init__(self, recorder: TradeRecorder, directory: Path) -> None:
        self._recorder = recorder
        self._directory = directory
        self._closed: dict[str, dict[date, DailyBar]] = {}
        self._opened: set[str] = set()
        self._covered_ms: dict[str, int] = {}
        self.failure: str | None = None
        """Why nothing is recorded any more."""

    def add(self, batch: TradeBatch) -> None:
        """Take in published trades."""
        if self.failure is None:
            self._recorder.add(batch)

    def add_bar(self, bar: DailyBar) -> None:
        """Take in a published bar; an OPEN one completes what is known of its symbol's day."""
        if bar.state is BarState.CLOSED:
            if bar.symbol in self._opened:  # the next day's turn: all bars of the warm-up come again
                self._opened.discard(bar.symbol)
                self._closed.pop(bar.symbol, None)
            self._closed.setdefault(bar.symbol, {})[bar.day] = bar
            return
        self._opened.add(bar.symbol)
        if self.failure is not None:
            return
        before = self._closed.get(bar.symbol, {})
        opening = DayOpening(bar.day, (*(before[day] for day in sorted(before) if day < bar.day), bar))
        self._recorder.later(lambda: write_day_opening(self._directory, opening))

    def cover(self, feeds: Iterable[SymbolFeed]) -> None:
        """State what is covered by now: of each symbol without a gap, up to the newest trade of any symbol.

        The stream delivers all symbols over one connection, so a trade of one shows that it was up for all.
        """
        known = [feed for feed in feeds if feed.covered_from_ms is not None]
        newest_ms = max((feed.last_ms for feed in known if feed.last_ms is not None), default=0)
        for feed in known:
            if feed.is_held or feed.covered_from_ms is None:
                continue
            from_ms = max(feed.covered_from_ms, self._covered_ms.get(feed.symbol, 0))
            if from_ms < newest_ms:
                self._recorder.cover(feed.symbol, from_ms, newest_ms)
                self._covered_ms[feed.symbol] = newest_ms

    async def run(self, feeds: Iterable[SymbolFeed], flush_s: float) -> None:
        """Write what was taken in once a second, and put it on the disk every `flush_s` seconds, until cancelled."""
        loop = asyncio.get_running_loop()
        flush_at_s = loop.time() + flush_s
        while self.failure is None:
            await asyncio.sleep(_SAVE_INTERVAL_S)
            self.cover(feeds)
            is_due = loop.time() >= flush_at_s
            if is_due:
                flush_at_s = loop.time() + flush_s
            await self._save(flush=is_due)

    async def _save(self, *, flush: bool) -> None:
        try:
            await self._recorder.save(flush=flush)
        except (OSError, BreakwaterError) as error:
            self.failure = str(error)
            get_logger().error("recording_failed", reason=self.failure)


@asynccontextmanager
async def record_live(directory: Path) -> AsyncIterator[LiveRecording]:
    """Record to a folder while the context is open.

    Raises:
        InvalidInputError: If another process records there.
    """
    async with record_to(directory) as recorder:
        yield LiveRecording(recorder, directory)
