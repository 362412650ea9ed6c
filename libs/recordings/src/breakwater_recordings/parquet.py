"""Recording to Parquet: one folder per symbol and UTC day, in the format of `parquet_file`.

Trades are first appended to a journal, a hidden Arrow stream beside the file that is to be, and the Parquet file is
made of it when the day is over or the writer is closed. After a crash the next writer makes it of what the journal
holds: what is lost is at most what came after the last flush. A journal is never read as a recording.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import pyarrow as pa

from breakwater_core.errors import InvalidInputError
from breakwater_core.identities import check_name
from breakwater_core.market import TradeBatch
from breakwater_recordings.coverage import Interval, merge_intervals
from breakwater_recordings.parquet_file import (
    DEFAULT_VENUE,
    SCHEMA,
    SUFFIX,
    from_arrow,
    read_trade_file,
    sync_folder,
    to_arrow,
    write_trade_file,
)
from breakwater_recordings.parts import first_fault

ROWS_PER_FLUSH = 65_536
"""Trades of one symbol after which they are flushed without being asked to."""
ROWS_PER_FILE = 4_000_000
"""Trades after which a file is finished and the next one begun."""
DAY_GRACE_MS = 5 * 60_000
"""How far a symbol's time must be into the next day before the day's file is finished, milliseconds."""

_DAY_MS = 86_400_000
_JOURNAL = ".journal"
_COVERAGE_KEY = b"coverage"


class RecordingWriter:
    """Writes trades and coverage of any number of symbols; one writer per directory at a time.

    Not safe for use from several threads. Use it as a context manager, or call `close`.
    """

    def __init__(self, directory: Path, *, venue: str = DEFAULT_VENUE) -> None:
        """Take hold of the directory and finish what a crashed writer left in it.

        Args:
            directory: Root of the recording; made if absent.
            venue: Name of the exchange, written into each file.

        Raises:
            InvalidInputError: If another writer has the directory.
        """
        self._directory = directory
        self._venue = check_name("venue", venue)
        self._open: dict[tuple[str, date], _OpenFile] = {}
        self._until_ms: dict[str, int | None] = {}
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = (directory / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise InvalidInputError(
                f"{directory}: another recorder writes here; stop it or record to another directory"
            ) from error
        self._recover()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def recorded_until_ms(self, symbol: str) -> int | None:
        """Return the time of the symbol's latest recorded trade, of earlier runs too; None if there is none.

        Raises:
            InvalidInputError: If a file of the symbol is damaged.
        """
        if symbol not in self._until_ms:
            self._until_ms[symbol] = _latest_recorded_ms(self._directory / check_name("symbol", symbol))
        return self._until_ms[symbol]

    def write(self, batch: TradeBatch) -> None:
        """Append trades; none may be earlier than the symbol's latest recorded one.

        Raises:
            InvalidInputError: If a trade is out of range or order.
        """
        if not len(batch):
            return
        fault = first_fault(batch)
        if fault is not None:
            raise InvalidInputError(f"{batch.symbol}: trade {fault[0] + 1} of a batch cannot be recorded: {fault[1]}")
        until_ms = self.recorded_until_ms(batch.symbol)
        first_ms, last_ms = int(batch.times_ms[0]), int(batch.times_ms[-1])
        if until_ms is not None and first_ms < until_ms:
            raise InvalidInputError(
                f"{batch.symbol}: a trade of {first_ms} comes after one of {until_ms} was recorded; "
                "leave out what recorded_until_ms covers"
            )
        for day_start_ms, end_ms in _split_by_day(first_ms, last_ms + 1):
            file = self._file(batch.symbol, day_start_ms)
            file.append(_between(batch, day_start_ms, end_ms))
            if file.rows >= ROWS_PER_FILE:
                self._finish(file)
        self._until_ms[batch.symbol] = last_ms
        self._finish_days_before(batch.symbol, last_ms)

    def cover(self, symbol: str, start_ms: int, end_ms: int) -> None:
        """State that nothing is missing of the symbol's trades in [start_ms, end_ms), those written before this.

        Raises:
            InvalidInputError: If the interval ends before it starts.
        """
        if end_ms < start_ms:
            raise InvalidInputError(f"{symbol}: coverage ends before it starts: [{start_ms}, {end_ms})")
        for from_ms, until_ms in _split_by_day(start_ms, end_ms):
            self._file(symbol, from_ms).cover((from_ms, until_ms))
        self._finish_days_before(symbol, end_ms)

    def flush(self) -> None:
        """Put everything written so far on the disk."""
        for file in self._open.values():
            file.flush()

    def close(self) -> None:
        """Finish all files and let go of the directory; a second call does nothing."""
        if self._lock.closed:
            return
        try:
            for file in list(self._open.values()):
                self._finish(file)
        finally:
            self._lock.close()

    def _file(self, symbol: str, start_ms: int) -> "_OpenFile":
        day = _utc_day(start_ms)
        file = self._open.get((symbol, day))
        if file is None:
            folder = self._directory / check_name("symbol", symbol) / day.isoformat()
            folder.mkdir(parents=True, exist_ok=True)
            file = _OpenFile(_free_name(folder, start_ms), symbol, self._venue, day)
            self._open[symbol, day] = file
        return file

    def _finish(self, file: "_OpenFile") -> None:
        file.finish()
        del self._open[file.symbol, file.day]

    def _finish_days_before(self, symbol: str, now_ms: int) -> None:
        day = _utc_day(now_ms - DAY_GRACE_MS)
        for file in [file for file in self._open.values() if file.symbol == symbol and file.day < day]:
            self._finish(file)

    def _recover(self) -> None:
        for partial in self._directory.glob("*/*/.*.partial"):
            partial.unlink()
        for journal in sorted(self._directory.glob(f"*/*/.*{_JOURNAL}")):
            _finish_journal(journal)


@dataclass(slots=True)
class _OpenFile:
    """A file that is being written: its journal, and what is not in it yet."""

    path: Path
    symbol: str
    venue: str
    day: date
    rows: int = 0
    _waiting: list[TradeBatch] = field(default_factory=list)
    _rows_waiting: int = 0
    _coverage: tuple[Interval, ...] = ()
    _coverage_waiting: bool = False
    _stream: BinaryIO = field(init=False)
    _writer: pa.RecordBatchStreamWriter = field(init=False)

    def __post_init__(self) -> None:
        facts = {"symbol": self.symbol, "venue": self.venue, "day": self.day.isoformat()}
        self._stream = _journal_of(self.path).open("wb")
        self._writer = pa.ipc.new_stream(self._stream, SCHEMA.with_metadata(facts))

    def append(self, batch: TradeBatch) -> None:
        self._waiting.append(_copy(batch))
        self._rows_waiting += len(batch)
        self.rows += len(batch)
        if self._rows_waiting >= ROWS_PER_FLUSH:
            self.flush()

    def cover(self, interval: Interval) -> None:
        self._coverage = merge_intervals([*self._coverage, interval])
        self._coverage_waiting = True

    def flush(self) -> None:
        if not self._waiting and not self._coverage_waiting:
            return
        table = pa.Table.from_batches([to_arrow(batch) for batch in self._waiting], SCHEMA).combine_chunks()
        columns = [table.column(name).combine_chunks() for name in SCHEMA.names]
        self._writer.write_batch(
            pa.RecordBatch.from_arrays(columns, schema=SCHEMA),
            custom_metadata={_COVERAGE_KEY: json.dumps(self._coverage)},
        )
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._waiting.clear()
        self._rows_waiting = 0
        self._coverage_waiting = False

    def finish(self) -> None:
        self.flush()
        self._writer.close()
        self._stream.close()
        _finish_journal(_journal_of(self.path))


def _journal_of(path: Path) -> Path:
    return path.with_name(f".{path.name}{_JOURNAL}")


def _finish_journal(journal: Path) -> None:
    """Make the Parquet file of what is whole in the journal, then remove the journal."""
    path = journal.with_name(journal.name.removeprefix(".").removesuffix(_JOURNAL))
    if not path.exists():  # else the crash came between writing it and removing the journal
        _convert(journal, path)
    journal.unlink()
    sync_folder(journal.parent)


def _convert(journal: Path, path: Path) -> None:
    coverage: list[tuple[Interval, ...]] = [()]
    with journal.open("rb") as stream:
        try:
            reader = pa.ipc.open_stream(stream)
        except (pa.ArrowInvalid, OSError):
            return  # crashed before anything was flushed
        facts = {key.decode(): value.decode() for key, value in reader.schema.metadata.items()}

        def batches() -> Iterator[TradeBatch]:
            with suppress(StopIteration, pa.ArrowInvalid, OSError):  # the end, or where a crash cut it off
                while True:
                    batch, metadata = reader.read_next_batch_with_custom_metadata()
                    coverage.append(tuple((start, end) for start, end in json.loads(metadata[_COVERAGE_KEY])))
                    yield from_arrow(batch, facts["symbol"])

        flushed = batches()
        first = next(flushed, None)
        if first is None:
            return
        write_trade_file(
            path,
            chain([first], flushed),
            symbol=facts["symbol"],
            venue=facts["venue"],
            day=date.fromisoformat(facts["day"]),
            coverage=lambda: coverage[-1],
        )


def _latest_recorded_ms(folder: Path) -> int | None:
    """Return the time of the latest trade in the newest day folder that has any."""
    for day_folder in sorted((path for path in folder.glob("*") if path.is_dir()), reverse=True):
        parts = [read_trade_file(path) for path in day_folder.glob(f"*{SUFFIX}") if not path.name.startswith(".")]
        latest_ms = [part.last_ms for part in parts if part.trades]
        if latest_ms:
            return max(latest_ms)
    return None


def _free_name(folder: Path, start_ms: int) -> Path:
    path = folder / f"trades-{start_ms}{SUFFIX}"
    number = 2
    while path.exists() or _journal_of(path).exists():
        path = folder / f"trades-{start_ms}_{number}{SUFFIX}"  # sorts after the first one
        number += 1
    return path


def _utc_day(time_ms: int) -> date:
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC).date()


def _split_by_day(start_ms: int, end_ms: int) -> Iterator[Interval]:
    while start_ms < end_ms:
        day_end_ms = start_ms - start_ms % _DAY_MS + _DAY_MS
        yield start_ms, min(day_end_ms, end_ms)
        start_ms = day_end_ms


def _between(batch: TradeBatch, start_ms: int, end_ms: int) -> TradeBatch:
    first, stop = (int(index) for index in np.searchsorted(batch.times_ms, (start_ms, end_ms)))
    return TradeBatch(
        batch.symbol,
        batch.times_ms[first:stop],
        batch.prices[first:stop],
        batch.sizes[first:stop],
        batch.taker_sides[first:stop],
    )


def _copy(batch: TradeBatch) -> TradeBatch:
    """Return the trades in arrays of their own: the caller may use its buffers again."""
    return TradeBatch(
        batch.symbol,
        batch.times_ms.copy(),
        batch.prices.copy(),
        batch.sizes.copy(),
        batch.taker_sides.copy(),
    )
