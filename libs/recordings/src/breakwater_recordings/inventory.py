"""What files and folders hold, per symbol and kind of data: extent, gaps, incomplete days, repeats, faults.

Unlike `sources.open_recording`, which refuses a recording with a fault, this goes on and lists every one. Times are
milliseconds since 1970-01-01T00:00Z; a gap is [start_ms, end_ms).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from breakwater_core.errors import InvalidInputError
from breakwater_core.session import Session
from breakwater_recordings.coverage import Coverage, Interval
from breakwater_recordings.csv_tables import FLOAT, INTEGER, TEXT, CsvHeader, read_columns, read_header
from breakwater_recordings.klines import is_kline_file, kline_times
from breakwater_recordings.parquet_file import SUFFIX
from breakwater_recordings.parts import DEFAULT_MAX_SILENCE_MS, RecordedPart
from breakwater_recordings.recording import Recording
from breakwater_recordings.sources import files_of, read_parts
from breakwater_recordings.trade_archive import is_trade_archive

FUNDING_COLUMNS = frozenset({"symbol", "timestamp", "funding_rate"})
"""Columns by which a file is known to hold funding rates."""
LONGEST_FUNDING_PAUSE_MS = 8 * 3_600_000 + 60_000
"""Two settlements further apart than this have a gap between them: eight hours, and a minute of lateness."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """A row whose time stood in the file before.

    Attributes:
        path: The file.
        row: Line of the file, the first being 1.
        time_ms: The time.
    """

    path: Path
    row: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class Holding:
    """What there is of one symbol and kind of data.

    Attributes:
        symbol: Venue symbol.
        kind: E.g. `candles (Parquet)`, `trades (archive)`.
        step_ms: Span of a bar; None for trades and funding rates, or where it cannot be told.
        files: Number of files.
        rows: Bars, trades or rates.
        first_ms: Earliest instant of which there is data.
        last_ms: Latest instant of which there is data.
        gaps: Spans between the two of which nothing is known.
        incomplete_days: Session days from the first to the last that are not covered as a whole; none for funding.
        repeats: Rows whose time stands twice.
    """

    symbol: str
    kind: str
    step_ms: int | None
    files: int
    rows: int
    first_ms: int
    last_ms: int
    gaps: tuple[Interval, ...]
    incomplete_days: tuple[date, ...]
    repeats: tuple[Repeat, ...] = ()


@dataclass(frozen=True, slots=True)
class Inventory:
    """What sources hold.

    Attributes:
        holdings: Sorted by symbol and kind.
        faults: Why a file, or two together, cannot be read; one line each.
    """

    holdings: tuple[Holding, ...]
    faults: tuple[str, ...]


@dataclass(slots=True)
class _Found:
    """What was found of one symbol, kind and span of bars."""

    parts: list[RecordedPart] = field(default_factory=list)
    spans: list[Interval] = field(default_factory=list)
    loose_files: int = 0
    loose_rows: int = 0
    repeats: list[Repeat] = field(default_factory=list)


type _Key = tuple[str, str, int | None]


def take_inventory(
    sources: Sequence[str], *, session: Session, max_silence_ms: int = DEFAULT_MAX_SILENCE_MS
) -> Inventory:
    """Return what the sources hold, reading every CSV file whole and the Parquet files' footers or bars.

    Args:
        sources: Files, folders (every Parquet and CSV file beneath) or `SYMBOL=FILE`.
        session: Defines the days.
        max_silence_ms: Longest pause between two trades that counts as covered in trade archives that are not named by
            a day.

    Raises:
        InvalidInputError: If there is no source, or one does not exist.
    """
    if not sources:
        raise InvalidInputError("no source was given; give a file, a folder or SYMBOL=FILE")
    found: dict[_Key, _Found] = {}
    faults: list[str] = []
    for given_symbol, path in files_of(sources):
        try:
            _look_at(path, given_symbol, max_silence_ms, found)
        except InvalidInputError as error:
            faults.append(str(error))
            _survey(path, given_symbol, found)
    keys = sorted(found, key=lambda key: (key[0], key[1], key[2] or 0))
    holdings = tuple(_holding(key, found[key], session, max_silence_ms, faults) for key in keys)
    return Inventory(holdings, tuple(dict.fromkeys(faults)))


def _look_at(path: Path, given_symbol: str | None, max_silence_ms: int, found: dict[_Key, _Found]) -> None:
    header = None if path.name.endswith(SUFFIX) else read_header(path)
    if header is not None and set(header.names) >= FUNDING_COLUMNS:
        _look_at_funding(header, found)
        return
    parts, _ = read_parts(path, given_symbol, None, max_silence_ms)
    for part in parts:
        place = found.setdefault((part.symbol, _kind(header, part), part.step_ms), _Found())
        place.parts.append(part)
        place.spans.extend(part.covered)


def _kind(header: CsvHeader | None, part: RecordedPart) -> str:
    if header is None:
        return "trades (Parquet)" if part.step_ms is None else "candles (Parquet)"
    return "trades (archive)" if is_trade_archive(header) else "candles (CSV)"


def _look_at_funding(header: CsvHeader, found: dict[_Key, _Found]) -> None:
    table = read_columns(header, {"symbol": TEXT, "timestamp": INTEGER, "funding_rate": FLOAT})
    symbols, times_ms = np.asarray(table.columns["symbol"].to_pylist()), table.array("timestamp")
    lines = table.row_numbers()
    for symbol in np.unique(symbols).tolist():
        rows = np.flatnonzero(symbols == symbol)
        _note_times(
            (symbol, "funding", None), header.path, times_ms[rows], lines[rows], LONGEST_FUNDING_PAUSE_MS, found
        )


def _survey(path: Path, given_symbol: str | None, found: dict[_Key, _Found]) -> None:
    """Note what can be told of a file of candles that has a fault: its times, if these are readable."""
    try:
        header = None if path.name.endswith(SUFFIX) else read_header(path)
        if header is None or not is_kline_file(header):
            return
        surveyed = kline_times(header, given_symbol)
    except InvalidInputError:
        return  # the fault says it all
    for symbol, (times_ms, rows) in surveyed.items():
        steps = np.diff(np.unique(times_ms))
        if steps.size:
            step_ms = int(steps.min())
            _note_times((symbol, "candles (CSV)", step_ms), path, times_ms, rows, step_ms, found)


def _note_times(
    key: _Key,
    path: Path,
    times_ms: NDArray[np.int64],
    rows: NDArray[np.int64],
    longest_step_ms: int,
    found: dict[_Key, _Found],
) -> None:
    place = found.setdefault(key, _Found())
    order = np.argsort(times_ms, kind="stable")
    ordered = times_ms[order]
    again = np.flatnonzero(np.diff(ordered) == 0) + 1
    place.repeats += [Repeat(path, int(rows[order[index]]), int(ordered[index])) for index in again]
    place.loose_files += 1
    place.loose_rows += int(times_ms.size)
    breaks = np.flatnonzero(np.diff(ordered) > longest_step_ms)
    starts, ends = ordered[np.r_[0, breaks + 1]].tolist(), ordered[np.r_[breaks, ordered.size - 1]].tolist()
    width_ms = key[2] or 1
    place.spans.extend((start, end + width_ms) for start, end in zip(starts, ends, strict=True))


def _holding(key: _Key, found: _Found, session: Session, max_silence_ms: int, faults: list[str]) -> Holding:
    symbol, kind, step_ms = key
    spans = list(found.spans)
    if found.parts:
        try:
            joined = Recording(found.parts, session=session, max_silence_ms=max_silence_ms)
            spans += joined.coverage[symbol].intervals
        except InvalidInputError as error:
            faults.append(str(error))
    covered = Coverage.of(spans)
    extents = [*covered.intervals, *((part.start_ms, part.last_ms + 1) for part in found.parts)]
    first_ms, last_ms = min(start for start, _ in extents), max(end for _, end in extents) - 1
    return Holding(
        symbol=symbol,
        kind=kind,
        step_ms=step_ms,
        files=len({part.path for part in found.parts}) + found.loose_files,
        rows=sum(_rows(part) for part in found.parts) + found.loose_rows,
        first_ms=first_ms,
        last_ms=last_ms,
        gaps=_gaps(covered, first_ms, last_ms + 1),
        incomplete_days=() if kind == "funding" else tuple(_incomplete_days(covered, first_ms, last_ms, session)),
        repeats=tuple(sorted(found.repeats, key=lambda repeat: (str(repeat.path), repeat.row))),
    )


def _rows(part: RecordedPart) -> int:
    if part.step_ms is None:
        return part.trades
    return sum(end - start for start, end in part.covered) // part.step_ms


def _gaps(covered: Coverage, start_ms: int, end_ms: int) -> tuple[Interval, ...]:
    edges = [(start_ms, start_ms), *covered.intervals, (end_ms, end_ms)]
    return tuple((earlier[1], later[0]) for earlier, later in pairwise(edges) if earlier[1] < later[0])


def _incomplete_days(covered: Coverage, first_ms: int, last_ms: int, session: Session) -> Iterable[date]:
    day, last = session.day_of(first_ms), session.day_of(last_ms)
    while day <= last:
        if not covered.holds(session.day_start_ms(day), session.day_end_ms(day)):
            yield day
        day += timedelta(days=1)
