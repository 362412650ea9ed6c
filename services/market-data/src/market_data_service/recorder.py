"""Recording what is published to Parquet, in a thread, so that the event loop never waits for the disk."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from breakwater_core.market import TradeBatch
from breakwater_recordings.parquet import RecordingWriter


class TradeRecorder:
    """Collects trades and coverage; `save` hands them to the writer."""

    def __init__(self, writer: RecordingWriter, executor: ThreadPoolExecutor) -> None:
        self._writer = writer
        self._executor = executor
        self._waiting: list[Callable[[], None]] = []

    def add(self, batch: TradeBatch) -> None:
        """Take in trades; those before what an earlier process recorded are left out."""
        self._waiting.append(lambda: self._write(batch))

    def cover(self, symbol: str, start_ms: int, end_ms: int) -> None:
        """State that nothing is missing of the symbol in [start_ms, end_ms), what was added before included."""
        self._waiting.append(lambda: self._writer.cover(symbol, start_ms, end_ms))

    def later(self, write: Callable[[], None]) -> None:
        """Have something else written to the folder, in the order of what was taken in."""
        self._waiting.append(write)

    async def save(self, *, flush: bool = False) -> None:
        """Write what was taken in; with `flush` put it on the disk.

        Raises:
            InvalidInputError: If the trades cannot be recorded.
            OSError: If the disk is full or fails.
        """
        waiting, self._waiting = self._waiting, []
        if waiting or flush:
            await asyncio.get_running_loop().run_in_executor(self._executor, self._save, waiting, flush)

    def _save(self, waiting: list[Callable[[], None]], flush: bool) -> None:
        for write in waiting:
            write()
        if flush:
            self._writer.flush()

    def _write(self, batch: TradeBatch) -> None:
        until_ms = self._writer.recorded_until_ms(batch.symbol)
        if until_ms is None or batch.times_ms[0] >= until_ms:
            self._writer.write(batch)
            return
        new = batch.times_ms > until_ms
        self._writer.write(
            TradeBatch(batch.symbol, batch.times_ms[new], batch.prices[new], batch.sizes[new], batch.taker_sides[new])
        )


@asynccontextmanager
async def record_to(directory: Path) -> AsyncIterator[TradeRecorder]:
    """Record to a folder while the context is open; what was taken in is written at the end.

    Raises:
        InvalidInputError: If another process records there.
    """
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, thread_name_prefix="recorder") as executor:
        writer = await loop.run_in_executor(executor, RecordingWriter, directory)
        recorder = TradeRecorder(writer, executor)
        try:
            yield recorder
        finally:
            try:
                await recorder.save()
            finally:
                await loop.run_in_executor(executor, writer.close)
