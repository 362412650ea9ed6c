"""Candles from the exchange's REST interface into one Parquet file per symbol and month, or year.

A file states which span was asked for. What it lacks of a wanted span is fetched page by page, several pages at a time,
and the file is replaced as a whole: a fetch that is killed leaves finished files and repeats at most the one in hand.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from breakwater_bybit.client import BybitClient
from breakwater_bybit.errors import Rejected
from breakwater_bybit.fields import MalformedPayload
from breakwater_bybit.model import Candle, Interval
from breakwater_cli.fetching.periods import DAY_MS, beyond, cut, file_periods
from breakwater_cli.fetching.retries import Retries
from breakwater_core.errors import InvalidInputError
from breakwater_recordings.candle_file import CandleTable, read_candle_table, write_candle_file
from breakwater_recordings.coverage import Interval as Span
from breakwater_recordings.klines import Bars
from breakwater_runtime.service import first_cause

BARS_PER_PAGE = 1000
"""Most bars in one answer (Bybit v5 docs, "Get Kline")."""


@dataclass(slots=True)
class CandleCounts:
    """What was done for one symbol.

    Attributes:
        bars: Bars fetched.
        pages: Answers that they came in.
        files: Files written.
        files_kept: Files that held all that was wanted.
        missing_bars: Bars that the exchange does not have between the first and the last one of the files written.
    """

    bars: int = 0
    pages: int = 0
    files: int = 0
    files_kept: int = 0
    missing_bars: int = 0


@dataclass(slots=True)
class CandleFetch:
    """Fetches candles of one span of bars into a folder.

    Attributes:
        client: Asks the exchange.
        interval: Length of a bar.
        directory: Folder; its files are `<symbol>/<symbol>-<interval>-<period>.parquet`.
        retries: How often each page is asked for.
        connections: Pages that are asked for at a time.
        on_bars: Is told how many bars of what is to be fetched are done with.
    """

    client: BybitClient
    interval: Interval
    directory: Path
    retries: Retries = field(default_factory=Retries)
    connections: int = 4
    on_bars: Callable[[int], None] = lambda _bars: None
    _free: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._free = asyncio.Semaphore(self.connections)

    async def fetch(self, symbol: str, span: Span) -> CandleCounts:
        """Fetch what the folder lacks of the symbol's closed bars that begin within the span.

        Raises:
            InvalidInputError: If the exchange knows no such symbol, or a file of the folder is damaged.
            TransientError: If a page could not be had in all tries; what was finished before is kept.
        """
        counts = CandleCounts()
        now_ms = await self.retries.run(self.client.server_time_ms)
        step_ms = self.interval.milliseconds
        end_ms = min(span[1], now_ms // step_ms * step_ms)
        if end_ms <= span[0]:
            self.on_bars((span[1] - span[0]) // step_ms)
            return counts
        start_ms = await self._first_ms(symbol, (span[0], end_ms))
        self.on_bars((start_ms - span[0]) // step_ms + (span[1] - end_ms) // step_ms)
        for name, period in file_periods((start_ms, end_ms), step_ms):
            path = self.directory / symbol / f"{symbol}-{interval_name(self.interval)}-{name}.parquet"
            await self._fetch_file(path, symbol, cut((start_ms, end_ms), period), counts)
        return counts

    async def _first_ms(self, symbol: str, span: Span) -> int:
        """Return the start of the span, or of the symbol's first day if that is later; the end if it has none."""
        first_day_ms = span[0] // DAY_MS * DAY_MS
        try:
            days = await self.retries.run(
                lambda: self.client.daily_candles(symbol, start_ms=first_day_ms, end_ms=span[1] - 1)
            )
        except MalformedPayload:
            return span[0]  # a bad daily bar says nothing about the bars that are wanted
        except Rejected as error:
            raise InvalidInputError(f"{symbol}: {error}; check its spelling") from error
        if not days:
            return span[1]
        return max(span[0], days[0].start_ms)

    async def _fetch_file(self, path: Path, symbol: str, wanted: Span, counts: CandleCounts) -> None:
        held = self._held(path, symbol)
        missing = beyond(wanted, None if held is None else held.asked)
        self.on_bars((wanted[1] - wanted[0] - sum(end - start for start, end in missing)) // self.interval.milliseconds)
        if not missing:
            counts.files_kept += 1
            return
        pages = [page for span in missing for page in self._pages(span)]
        candles = [candle for found in await self._ask(symbol, pages) for candle in found]
        counts.pages += len(pages)
        counts.bars += len(candles)
        if not candles and held is None:
            return
        edges = [*missing, *([] if held is None else [held.asked])]
        asked = min(start for start, _ in edges), max(end for _, end in edges)
        table = _merged(symbol, self.interval, held, candles, asked)
        write_candle_file(path, table)
        counts.files += 1
        times_ms = table.bars.open_times_ms
        counts.missing_bars += int(times_ms[-1] - times_ms[0]) // table.bars.step_ms + 1 - len(table.bars)

    def _held(self, path: Path, symbol: str) -> CandleTable | None:
        if not path.exists():
            return None
        held = read_candle_table(path)
        if (held.bars.symbol, held.bars.step_ms) != (symbol, self.interval.milliseconds):
            raise InvalidInputError(f"{path}: holds bars of {held.bars.symbol} of {held.bars.step_ms} ms; remove it")
        return held

    def _pages(self, span: Span) -> list[Span]:
        width_ms = BARS_PER_PAGE * self.interval.milliseconds
        return [(start_ms, min(start_ms + width_ms, span[1])) for start_ms in range(span[0], span[1], width_ms)]

    async def _ask(self, symbol: str, pages: Sequence[Span]) -> list[list[Candle]]:
        """Return the bars of each page; the first page that cannot be had ends the others."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._page(symbol, page)) for page in pages]
        except ExceptionGroup as failures:
            raise first_cause(failures) from failures
        return [task.result() for task in tasks]

    async def _page(self, symbol: str, page: Span) -> list[Candle]:
        async with self._free:
            candles = await self.retries.run(
                lambda: self.client.candles(symbol, self.interval, start_ms=page[0], end_ms=page[1] - 1)
            )
        self.on_bars((page[1] - page[0]) // self.interval.milliseconds)
        return [candle for candle in candles if candle.is_closed and page[0] <= candle.start_ms < page[1]]


def interval_name(interval: Interval) -> str:
    """Return the interval as files and folders are named by it: `1m`, `5m`, `1h`, `1d`."""
    minutes = interval.milliseconds // 60_000
    if minutes % 1440 == 0:
        return f"{minutes // 1440}d"
    return f"{minutes // 60}h" if minutes % 60 == 0 else f"{minutes}m"


def _merged(
    symbol: str, interval: Interval, held: CandleTable | None, candles: Sequence[Candle], asked: Span
) -> CandleTable:
    """Return what is held and what was fetched, oldest first; the two do not overlap."""
    ordered = sorted(candles, key=lambda candle: candle.start_ms)
    times_ms = np.array([candle.start_ms for candle in ordered], dtype=np.int64)
    columns = [
        np.array([getattr(candle, name) for candle in ordered], dtype=np.float64)
        for name in ("open", "high", "low", "close", "volume", "turnover")
    ]
    if held is not None:
        bars = held.bars
        old = (bars.opens, bars.highs, bars.lows, bars.closes, bars.volumes, held.turnovers)
        columns = [np.concatenate(pair) for pair in zip(old, columns, strict=True)]
        times_ms = np.concatenate([bars.open_times_ms, times_ms])
        order = np.argsort(times_ms, kind="stable")
        times_ms, columns = times_ms[order], [column[order] for column in columns]
    *values, turnovers = columns
    return CandleTable(Bars(symbol, interval.milliseconds, times_ms, *values), turnovers, asked)
