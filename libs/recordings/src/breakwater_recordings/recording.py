"""A recording: trades of some symbols, read once from front to back, alone or cut into windows of time.

Times are milliseconds since 1970-01-01T00:00Z. What is held in memory does not grow with the recording: one Parquet row
group or one CSV file per symbol.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from itertools import pairwise

import numpy as np

from breakwater_core.errors import InvalidInputError
from breakwater_core.market import TradeBatch
from breakwater_core.session import Session
from breakwater_recordings.coverage import Coverage, Interval, merge_intervals
from breakwater_recordings.parts import DEFAULT_MAX_SILENCE_MS, RecordedPart, file_digest

SPANS_MS = tuple(minutes * 60_000 for minutes in (1, 5, 15, 30, 60, 120, 180, 240, 360))
"""Spans that `Recording.suggested_span_ms` chooses from, milliseconds; each divides the day."""

_DAY_MS = 86_400_000
_BEGINNING_MS = -(2**62)


@dataclass(frozen=True, slots=True)
class Window:
    """The trades of a span of time.

    Attributes:
        number: Counted from 1.
        start_ms: First instant.
        end_ms: First instant that is not part of it.
        batches: One batch per symbol that traded, in the order of the recording's symbols.
    """

    number: int
    start_ms: int
    end_ms: int
    batches: tuple[TradeBatch, ...]

    def __len__(self) -> int:
        """Return the number of trades."""
        return sum(len(batch) for batch in self.batches)


class SymbolReader:
    """Reads the trades of one symbol once, front to back."""

    def __init__(self, symbol: str, parts: Sequence[RecordedPart]) -> None:
        """Start before the first trade.

        Args:
            symbol: Venue symbol.
            parts: The symbol's parts in time order, none overlapping another.
        """
        self.symbol = symbol
        self._parts = [part for part in parts if part.trades]
        self._part = 0  # the part being read, or to be read next
        self._chunks: Iterator[TradeBatch] | None = None  # what is left of it
        self._chunk: TradeBatch | None = None
        self._offset = 0  # trades of the chunk that were taken or passed over
        self._from_ms = _BEGINNING_MS  # trades before this are passed over
        self._position_ms = _BEGINNING_MS

    def take_until(self, end_ms: int, *, window: int = 0) -> TradeBatch:
        """Return the trades from where the last call ended to before `end_ms`; they may be none.

        The arrays are views of what was read unless a file or row group ends within them: do not write to them.

        Raises:
            InvalidInputError: If `end_ms` is before that of an earlier call, or the recording is damaged here.
        """
        self._move_to(end_ms)
        taken: list[TradeBatch] = []
        while (chunk := self._current(end_ms)) is not None:
            stop = _first_at_or_after(chunk, end_ms)
            if stop > self._offset:
                taken.append(_slice(chunk, self._offset, stop))
            self._offset = stop
            if stop < len(chunk):
                break
            self._chunk = None
        return _join(self.symbol, taken, window)

    def skip_to(self, start_ms: int) -> None:
        """Pass over the trades before `start_ms`; files and row groups that end before it are not read.

        Raises:
            InvalidInputError: If `start_ms` is before the end of an earlier call.
        """
        self._move_to(start_ms)
        self._from_ms = start_ms
        if self._chunk is not None and self._chunk.times_ms[-1] >= start_ms:
            self._offset = max(self._offset, _first_at_or_after(self._chunk, start_ms))
            return
        self._chunk = self._chunks = None
        while self._part < len(self._parts) and self._parts[self._part].last_ms < start_ms:
            self._part += 1

    def peek(self, end_ms: int) -> tuple[int, float] | None:
        """Return time and price of the next trade without taking it; None if there is none before `end_ms`.

        Raises:
            InvalidInputError: If the recording is damaged here.
        """
        chunk = self._current(end_ms)
        if chunk is None or chunk.times_ms[self._offset] >= end_ms:
            return None
        return int(chunk.times_ms[self._offset]), float(chunk.prices[self._offset])

    def _move_to(self, time_ms: int) -> None:
        if time_ms < self._position_ms:
            raise InvalidInputError(
                f"the reader of {self.symbol} is at {self._position_ms} and cannot go back to {time_ms}; open another"
            )
        self._position_ms = time_ms

    def _current(self, end_ms: int) -> TradeBatch | None:
        """Return the chunk in hand, else the next one; None if no further part begins before `end_ms`."""
        while self._chunk is None:
            if self._chunks is None:
                if self._part >= len(self._parts) or self._parts[self._part].start_ms >= end_ms:
                    return None
                self._chunks = self._parts[self._part].read(self._from_ms)
            chunk = next(self._chunks, None)
            if chunk is None:
                self._chunks = None
                self._part += 1
                continue
            self._offset = _first_at_or_after(chunk, self._from_ms)
            if self._offset < len(chunk):
                self._chunk = chunk
        return self._chunk


class Recording:
    """Trades of some symbols and what is known about their completeness.

    Attributes:
        session: Defines the days.
        symbols: Sorted.
        coverage: Per symbol, the time in which nothing is missing.
        estimated_trades: Number of trades of all symbols, as the files' footers and rows state it.
        first_ms: Earliest instant of which there is data.
        last_ms: Latest instant of which there is data: windows from `first_ms` to `last_ms + 1` hold every trade.
        notes: What was done to the files' contents, one line each, for the log.
    """

    def __init__(
        self,
        parts: Iterable[RecordedPart],
        *,
        session: Session,
        max_silence_ms: int = DEFAULT_MAX_SILENCE_MS,
    ) -> None:
        """Join the parts per symbol.

        Args:
            parts: At least one.
            session: Defines the days.
            max_silence_ms: Longest pause from one observed part to its neighbour that counts as covered.

        Raises:
            InvalidInputError: If there is no part, or two of one symbol overlap or are the same.
        """
        self._parts: dict[str, list[RecordedPart]] = {}
        for part in sorted(parts, key=lambda part: (part.symbol, part.start_ms, part.last_ms, part.path.name)):
            self._parts.setdefault(part.symbol, []).append(part)
        if not self._parts:
            raise InvalidInputError("the sources hold no recording; give at least one file")
        for of_symbol in self._parts.values():
            _check_disjoint(of_symbol)
        everything = [part for of_symbol in self._parts.values() for part in of_symbol]
        self.session = session
        self.symbols = tuple(self._parts)
        self.coverage: Mapping[str, Coverage] = {
            symbol: _coverage(of_symbol, max_silence_ms) for symbol, of_symbol in self._parts.items()
        }
        self.estimated_trades = sum(part.trades for part in everything)
        self.first_ms = min(start for part in everything for start, _ in _spans(part))
        self.last_ms = max(end for part in everything for _, end in _spans(part)) - 1
        self.notes = tuple(dict.fromkeys(note for part in everything for note in part.notes))

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the files' bytes, whatever their names and order: 64 hexadecimal digits.

        Raises:
            InvalidInputError: If a file cannot be read any more.
        """
        parts = [part for of_symbol in self._parts.values() for part in of_symbol]
        digests = {path: file_digest(path) for path in {part.path for part in parts}}
        contents = sorted(f"{part.symbol} {digests[part.path]}" for part in parts)
        return hashlib.sha256("\n".join(contents).encode()).hexdigest()

    def parts_of(self, symbol: str) -> tuple[RecordedPart, ...]:
        """Return the symbol's parts in time order.

        Raises:
            InvalidInputError: If the recording does not hold the symbol.
        """
        return tuple(self._of(symbol))

    @property
    def days(self) -> list[date]:
        """Days of the session of which any symbol has data, sorted."""
        found = {day for parts in self._parts.values() for part in parts for day in self._days_of(_spans(part))}
        return sorted(found)

    def days_of(self, symbol: str) -> list[date]:
        """Return the days of which the symbol has data, sorted.

        Raises:
            InvalidInputError: If the recording does not hold the symbol.
        """
        return sorted({day for part in self._of(symbol) for day in self._days_of(_spans(part))})

    def is_complete(self, symbol: str, day: date) -> bool:
        """Return whether nothing of the symbol's session day is known to be missing; False if it is not held."""
        coverage = self.coverage.get(symbol, Coverage())
        return coverage.holds(self.session.day_start_ms(day), self.session.day_end_ms(day))

    def complete_days(self, symbol: str) -> list[date]:
        """Return the days of the symbol that are complete, sorted.

        Raises:
            InvalidInputError: If the recording does not hold the symbol.
        """
        return [day for day in self.days_of(symbol) if self.is_complete(symbol, day)]

    def reader(self, symbol: str) -> SymbolReader:
        """Return a new reader before the symbol's first trade.

        Raises:
            InvalidInputError: If the recording does not hold the symbol.
        """
        return SymbolReader(symbol, self._of(symbol))

    def windows(self, start_ms: int, end_ms: int, span_ms: int) -> Iterator[Window]:
        """Yield the trades of [start_ms, end_ms) cut into windows, those without trades too.

        Windows end on multiples of `span_ms` counted from the start of each session day, and at the day's end, so the
        first and the last one, and the last of a day that is not 24 hours long, may be shorter.

        Args:
            start_ms: First instant.
            end_ms: First instant that is not part of it.
            span_ms: Length of a window; divides 24 hours.

        Raises:
            InvalidInputError: If the span does not divide 24 hours or the range is empty; while they are read, if the
                recording is damaged.
        """
        if not 0 < span_ms <= _DAY_MS or _DAY_MS % span_ms:
            raise InvalidInputError(f"span_ms must divide 24 hours ({_DAY_MS} ms), was {span_ms}")
        if start_ms >= end_ms:
            raise InvalidInputError(f"the range is empty: it ends at {end_ms} and starts at {start_ms}")
        return self._windows(start_ms, end_ms, span_ms)

    def suggested_span_ms(self, start_ms: int, end_ms: int, target_trades: int = 100_000) -> int:
        """Return the longest of `SPANS_MS` at which a window of all symbols has at most `target_trades` on average.

        The average is over the time of the range that has data, the trades of each file being taken as spread evenly.
        The shortest span is returned if even that exceeds the target.

        Raises:
            InvalidInputError: If the range is empty or the target below 1.
        """
        if start_ms >= end_ms or target_trades < 1:
            raise InvalidInputError(
                "the range must not be empty and the target at least 1, "
                f"were {start_ms} to {end_ms} and {target_trades}"
            )
        parts = [part for of_symbol in self._parts.values() for part in of_symbol]
        trades = sum(part.trades * _share((part.start_ms, part.last_ms + 1), start_ms, end_ms) for part in parts)
        spans = merge_intervals(span for part in parts for span in _spans(part))
        rate = trades / max(1, sum(_overlap_ms(span, start_ms, end_ms) for span in spans))
        return max((span for span in SPANS_MS if rate * span <= target_trades), default=SPANS_MS[0])

    def _windows(self, start_ms: int, end_ms: int, span_ms: int) -> Iterator[Window]:
        readers = [self.reader(symbol) for symbol in self.symbols]
        for reader in readers:
            reader.skip_to(start_ms)
        for number, window_end_ms in enumerate(window_ends(self.session, start_ms, end_ms, span_ms), start=1):
            batches = (reader.take_until(window_end_ms, window=number) for reader in readers)
            yield Window(number, start_ms, window_end_ms, tuple(batch for batch in batches if len(batch)))
            start_ms = window_end_ms

    def _of(self, symbol: str) -> list[RecordedPart]:
        try:
            return self._parts[symbol]
        except KeyError:
            held = ", ".join(self.symbols)
            raise InvalidInputError(f"the recording does not hold {symbol}; it holds {held}") from None

    def _days_of(self, spans: Iterable[Interval]) -> Iterator[date]:
        for start_ms, end_ms in spans:
            day, last = self.session.day_of(start_ms), self.session.day_of(end_ms - 1)
            while day <= last:
                yield day
                day += timedelta(days=1)


def _check_disjoint(parts: Sequence[RecordedPart]) -> None:
    latest: RecordedPart | None = None
    for part in parts:
        if not part.trades:
            continue  # states coverage only
        if latest is not None and (_overlap(latest, part) or _is_copy(latest, part)):
            raise InvalidInputError(
                f"{part.symbol}: {latest.path} and {part.path} overlap in time; leave one out or cut its repeated rows"
            )
        latest = part


def _overlap(earlier: RecordedPart, later: RecordedPart) -> bool:
    allowed_from_ms = earlier.last_ms if earlier.may_share_last_ms else earlier.last_ms + 1
    return later.start_ms < allowed_from_ms


def _is_copy(part: RecordedPart, other: RecordedPart) -> bool:
    """Return whether two files are the same: those of a single instant may follow each other and still be copies."""
    spans_are_equal = (part.start_ms, part.last_ms, part.trades) == (other.start_ms, other.last_ms, other.trades)
    return spans_are_equal and file_digest(part.path) == file_digest(other.path)


def _coverage(parts: Sequence[RecordedPart], max_silence_ms: int) -> Coverage:
    """Join the parts' coverage; a pause of up to `max_silence_ms` next to an observed part is a quiet market."""
    intervals: list[Interval] = []
    for earlier, later in pairwise(parts):
        pause_ms = later.start_ms - earlier.last_ms
        if (earlier.observed or later.observed) and 0 < pause_ms <= max_silence_ms:
            intervals.append((earlier.last_ms, later.start_ms))
    return Coverage.of([*intervals, *(interval for part in parts for interval in part.covered)])


def _spans(part: RecordedPart) -> tuple[Interval, ...]:
    """Return the time of which the part has data: what it covers and where its trades lie."""
    if not part.trades:
        return part.covered
    return (*part.covered, (part.start_ms, part.last_ms + 1))


def _overlap_ms(span: Interval, start_ms: int, end_ms: int) -> int:
    return max(0, min(span[1], end_ms) - max(span[0], start_ms))


def _share(span: Interval, start_ms: int, end_ms: int) -> float:
    """Return which share of the span lies in [start_ms, end_ms)."""
    return _overlap_ms(span, start_ms, end_ms) / (span[1] - span[0])


def window_ends(session: Session, start_ms: int, end_ms: int, span_ms: int) -> Iterator[int]:
    """Yield where the windows of [start_ms, end_ms) end, as `Recording.windows` cuts them."""
    day = session.day_of(start_ms)
    while start_ms < end_ms:
        day_start_ms, day_end_ms = session.day_start_ms(day), session.day_end_ms(day)
        while start_ms < min(day_end_ms, end_ms):
            multiple_ms = start_ms + span_ms - (start_ms - day_start_ms) % span_ms
            start_ms = min(multiple_ms, day_end_ms, end_ms)
            yield start_ms
        day += timedelta(days=1)


def _first_at_or_after(batch: TradeBatch, time_ms: int) -> int:
    if batch.times_ms[-1] < time_ms:
        return len(batch)
    return int(np.searchsorted(batch.times_ms, time_ms, side="left"))


def _slice(batch: TradeBatch, start: int, stop: int) -> TradeBatch:
    return TradeBatch(
        batch.symbol,
        batch.times_ms[start:stop],
        batch.prices[start:stop],
        batch.sizes[start:stop],
        batch.taker_sides[start:stop],
    )


def _join(symbol: str, batches: Sequence[TradeBatch], window: int) -> TradeBatch:
    if len(batches) == 1:
        only = batches[0]
        return TradeBatch(symbol, only.times_ms, only.prices, only.sizes, only.taker_sides, window)
    if not batches:
        empty = np.empty(0)
        return TradeBatch(symbol, empty.astype(np.int64), empty, empty, empty.astype(np.int8), window)
    return TradeBatch(
        symbol,
        np.concatenate([batch.times_ms for batch in batches]),
        np.concatenate([batch.prices for batch in batches]),
        np.concatenate([batch.sizes for batch in batches]),
        np.concatenate([batch.taker_sides for batch in batches]),
        window,
    )
