"""One recorded live day as a recording of its own: its trades, preceded by what its opening says of the days before.

Each daily bar of the opening becomes four trades (open, high, low, close) of its day, from which the same bar is built
again, and the day's open becomes its first trade: the exchange's candle, which live targets are computed from, may open
at another price than that of the day's first trade. Times are milliseconds since 1970-01-01T00:00Z.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np

from breakwater_core.errors import InvalidInputError
from breakwater_core.market import BarState, DailyBar, TradeBatch
from breakwater_core.session import Session
from breakwater_recordings.coverage import Coverage, Interval
from breakwater_recordings.day_openings import DayOpening, read_day_opening
from breakwater_recordings.parts import RecordedPart
from breakwater_recordings.recording import Recording
from breakwater_recordings.sources import open_recording


def open_day(directory: Path, day: date, *, session: Session, symbols: Sequence[str]) -> Recording:
    """Return the recording of one day that market-data recorded live, with the warm-up that it was traded with.

    Args:
        directory: Folder of the recording.
        day: The session's day.
        session: Defines the day.
        symbols: What is wanted; all of it must be there. None named: those of the opening.

    Raises:
        InvalidInputError: If trades, coverage or bars of the day are missing; says which, and where the gap is.
    """
    opening = read_day_opening(directory, day)
    if opening is None:
        raise InvalidInputError(f"no opening of {day} is recorded")
    symbols = symbols or opening.symbols
    absent = sorted(set(symbols) - set(opening.symbols))
    if absent:
        raise InvalidInputError(f"no open of {', '.join(absent)} is recorded on {day}")
    start_ms, end_ms = session.day_start_ms(day), session.day_end_ms(day)
    sources = []
    for symbol in symbols:
        folders = [directory / symbol / name.isoformat() for name in _utc_days(start_ms, end_ms)]
        found = [str(folder) for folder in folders if any(folder.glob("*.parquet"))]
        if not found:
            raise InvalidInputError(f"no trades of {symbol} are recorded on {day}")
        sources += found
    recording = open_recording(sources, session=session, symbols=symbols)
    for symbol in symbols:
        gap = first_gap(recording.coverage[symbol], start_ms, end_ms)
        if gap is not None:
            raise InvalidInputError(f"gap in {symbol} from {_clock_text(gap[0])} to {_clock_text(gap[1])}")
    return recording_of_day(recording, opening, symbols=symbols)


def first_gap(coverage: Coverage, start_ms: int, end_ms: int) -> Interval | None:
    """Return the first span of [start_ms, end_ms) of which trades may be missing; None if there is none."""
    reached_ms = start_ms
    for from_ms, until_ms in coverage.intervals:
        if until_ms <= reached_ms:
            continue
        if from_ms > reached_ms or reached_ms >= end_ms:
            return (reached_ms, min(from_ms, end_ms)) if reached_ms < end_ms else None
        reached_ms = until_ms
    return (reached_ms, end_ms) if reached_ms < end_ms else None


def recording_of_day(recording: Recording, opening: DayOpening, *, symbols: Sequence[str]) -> Recording:
    """Return the opening's bars and the trades of its day as one recording.

    Raises:
        InvalidInputError: If the recording does not hold a symbol.
    """
    session, day = recording.session, opening.day
    span = (session.day_start_ms(day), session.day_end_ms(day))
    parts: list[RecordedPart] = []
    for symbol in symbols:
        bars = sorted((bar for bar in opening.bars if bar.symbol == symbol), key=lambda bar: bar.day)
        parts += [_part_of_bar(bar, session) for bar in bars if bar.state is BarState.CLOSED and bar.day < day]
        parts += [_opening_part(bar, span[0]) for bar in bars if bar.state is BarState.OPEN]
        parts += [_cut(part, span) for part in recording.parts_of(symbol) if _overlaps(part, span)]
    return Recording(parts, session=session)


def _part_of_bar(bar: DailyBar, session: Session) -> RecordedPart:
    start_ms, end_ms = session.day_start_ms(bar.day), session.day_end_ms(bar.day)
    batch = TradeBatch(
        bar.symbol,
        np.array([start_ms, start_ms + 1, start_ms + 2, end_ms - 1], np.int64),
        np.array([bar.open, bar.high, bar.low, bar.close]),
        np.array([bar.volume, 0.0, 0.0, 0.0]),
        np.zeros(4, np.int8),
    )
    return _made(batch, covered=((start_ms, end_ms),) if bar.complete else ())


def _opening_part(bar: DailyBar, start_ms: int) -> RecordedPart:
    batch = TradeBatch(
        bar.symbol, np.array([start_ms], np.int64), np.array([bar.open]), np.zeros(1), np.zeros(1, np.int8)
    )
    return _made(batch, covered=())


def _made(batch: TradeBatch, *, covered: tuple[Interval, ...]) -> RecordedPart:
    start_ms = int(batch.times_ms[0])
    return RecordedPart(
        path=Path(f"bar-{batch.symbol}-{start_ms}"),
        symbol=batch.symbol,
        start_ms=start_ms,
        last_ms=int(batch.times_ms[-1]),
        trades=len(batch),
        covered=covered,
        may_share_last_ms=True,
        observed=False,
        read=lambda _from_ms: iter([batch]),
    )


def _overlaps(part: RecordedPart, span: Interval) -> bool:
    return part.start_ms < span[1] and part.last_ms >= span[0]


def _cut(part: RecordedPart, span: Interval) -> RecordedPart:
    """Return what the part holds of the span."""

    def read(from_ms: int) -> Iterator[TradeBatch]:
        for batch in part.read(max(from_ms, span[0])):
            first, stop = (int(index) for index in np.searchsorted(batch.times_ms, span))
            if stop > first:
                yield TradeBatch(
                    batch.symbol,
                    batch.times_ms[first:stop],
                    batch.prices[first:stop],
                    batch.sizes[first:stop],
                    batch.taker_sides[first:stop],
                )

    covered = ((max(start, span[0]), min(end, span[1])) for start, end in part.covered)
    return RecordedPart(
        path=part.path,
        symbol=part.symbol,
        start_ms=max(part.start_ms, span[0]),
        last_ms=min(part.last_ms, span[1] - 1),
        trades=part.trades,
        covered=tuple(interval for interval in covered if interval[0] < interval[1]),
        may_share_last_ms=part.may_share_last_ms,
        observed=part.observed,
        read=read,
    )


def _utc_days(start_ms: int, end_ms: int) -> Iterator[date]:
    day, last = (datetime.fromtimestamp(time_ms / 1000, tz=UTC).date() for time_ms in (start_ms, end_ms - 1))
    while day <= last:
        yield day
        day += timedelta(days=1)


def _clock_text(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
