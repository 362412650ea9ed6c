"""The candles of a study: which files of a folder hold which symbols over which time, and which are used."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from breakwater_core.errors import InvalidInputError
from breakwater_core.session import Session
from breakwater_recordings.csv_tables import read_header
from breakwater_recordings.funding import REQUIRED_COLUMNS as FUNDING_COLUMNS
from breakwater_recordings.parquet_file import SUFFIX as PARQUET_SUFFIX
from breakwater_recordings.parts import RecordedPart
from breakwater_recordings.recording import Recording
from breakwater_recordings.sources import open_recording
from breakwater_research.study.straight_lines import span_of

LONGEST_SPAN_MS = 3_600_000
"""Longer bars do not say when within the day a target was crossed, nor what came first."""

_SUFFIXES = (".csv", ".csv.gz", PARQUET_SUFFIX)
_DAY_MS = 86_400_000


@dataclass(frozen=True)
class CandleSeries:
    """The candles of one symbol and span in one file."""

    part: RecordedPart
    span_ms: int

    @property
    def symbol(self) -> str:
        """Venue symbol."""
        return self.part.symbol

    @property
    def days(self) -> float:
        """Time from first to last bar, days."""
        return (self.part.last_ms - self.part.start_ms) / _DAY_MS

    @property
    def first_day(self) -> date:
        """UTC date of the first bar."""
        return datetime.fromtimestamp(self.part.start_ms / 1000, tz=UTC).date()

    @property
    def last_day(self) -> date:
        """UTC date of the last bar."""
        return datetime.fromtimestamp(self.part.last_ms / 1000, tz=UTC).date()


@dataclass(frozen=True)
class LeftOut:
    """A file, or a series of it, that is not used, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class CandleFolder:
    """All candles beneath a folder.

    Attributes:
        series: Sorted by span, symbol and time.
        left_out: What cannot or shall not be used.
        funding_files: Files of recorded funding rates.
    """

    series: tuple[CandleSeries, ...]
    left_out: tuple[LeftOut, ...]
    funding_files: tuple[Path, ...] = ()

    def spans_ms(self) -> list[int]:
        """Return the spans that there are, shortest first."""
        return sorted({series.span_ms for series in self.series})

    def of(self, span_ms: int, symbols: Iterable[str] | None = None) -> list[CandleSeries]:
        """Return the series of a span, of all symbols or some."""
        wanted = None if symbols is None else set(symbols)
        return [one for one in self.series if one.span_ms == span_ms and (wanted is None or one.symbol in wanted)]


def find_candles(
    folders: Sequence[Path], *, session: Session, leave_out: Sequence[str], symbols: Sequence[str] | None
) -> CandleFolder:
    """Return the candles beneath some folders; every file that looks like candles is read and checked once.

    Args:
        folders: Where to look, at any depth.
        session: Defines the days.
        leave_out: Patterns of file names (as in `*_spot_*`) of other markets.
        symbols: Symbols wanted; None for all.

    Raises:
        InvalidInputError: If a folder does not exist, or none holds candles that can be used.
    """
    series: list[CandleSeries] = []
    left_out: list[LeftOut] = []
    funding_files: list[Path] = []
    for path in _files(folders):
        if any(path.match(pattern) for pattern in leave_out):
            left_out.append(LeftOut(path.name, "its name is on the list of other markets"))
            continue
        if _is_funding(path):
            funding_files.append(path)
            continue
        try:
            recording = open_recording([str(path)], session=session)
            wanted = recording.symbols if symbols is None else [one for one in recording.symbols if one in symbols]
            found = [
                CandleSeries(part, _span_of(part, session))
                for symbol in wanted
                for part in recording.parts_of(symbol)
                if part.trades
            ]
        except InvalidInputError as error:
            left_out.append(LeftOut(path.name, str(error).replace(str(path), path.name)))
            continue
        if found and found[0].span_ms > LONGEST_SPAN_MS:
            left_out.append(LeftOut(path.name, "its bars are too long to say when within the day a price was met"))
        else:
            series += found
    if not series:
        raise InvalidInputError(
            f"{', '.join(map(str, folders))}: no candles of an hour or less that can be used; fetch some or name others"
        )
    series.sort(key=lambda one: (one.span_ms, one.symbol, one.part.start_ms))
    return CandleFolder(tuple(series), tuple(left_out), tuple(funding_files))


def longest_histories(folder: CandleFolder, span_ms: int, count: int) -> tuple[str, ...]:
    """Return the symbols with the longest history at a span, sorted by name: a choice that looks at no price."""
    days: dict[str, float] = {}
    for one in folder.of(span_ms):
        days[one.symbol] = days.get(one.symbol, 0.0) + one.days
    return tuple(sorted(sorted(days, key=lambda symbol: (-days[symbol], symbol))[:count]))


def fullest_span(folder: CandleFolder, symbols: Sequence[str] | None) -> int:
    """Return the span with the most days of the symbols together; of equals the shortest.

    Raises:
        InvalidInputError: If no series holds one of the symbols.
    """
    totals = {span_ms: sum(one.days for one in folder.of(span_ms, symbols)) for span_ms in folder.spans_ms()}
    if not any(totals.values()):
        raise InvalidInputError(f"no candles of {', '.join(symbols or ())}; name symbols that the folder holds")
    return max(totals, key=lambda span_ms: (totals[span_ms], -span_ms))


def joined(series: Sequence[CandleSeries], session: Session) -> tuple[Recording, list[LeftOut]]:
    """Return a recording of series of one span; of series that overlap the longest is kept.

    Raises:
        InvalidInputError: If there is no series.
    """
    kept: list[CandleSeries] = []
    left_out = []
    for one in sorted(series, key=lambda one: (-one.days, str(one.part.path))):
        rival = next((other for other in kept if _overlap(one, other)), None)
        if rival is None:
            kept.append(one)
        else:
            reason = f"{one.symbol} overlaps {rival.part.path.name}, which is longer"
            left_out.append(LeftOut(one.part.path.name, reason))
    return Recording([one.part for one in kept], session=session), left_out


def _overlap(one: CandleSeries, other: CandleSeries) -> bool:
    if one.symbol != other.symbol:
        return False
    return one.part.start_ms <= other.part.last_ms and other.part.start_ms <= one.part.last_ms


def _span_of(part: RecordedPart, session: Session) -> int:
    return span_of(Recording([part], session=session))


def _is_funding(path: Path) -> bool:
    """Return whether the file's header is that of funding rates; one that cannot be read is left to the readers."""
    if path.name.endswith(PARQUET_SUFFIX):
        return False
    try:
        return set(FUNDING_COLUMNS) <= set(read_header(path).names)
    except InvalidInputError:
        return False


def _files(folders: Sequence[Path]) -> list[Path]:
    files = []
    for folder in folders:
        if not folder.exists():
            raise InvalidInputError(f"{folder}: no such file or folder; check the path")
        found = [folder] if folder.is_file() else folder.rglob("*")
        files += [path for path in found if path.name.endswith(_SUFFIXES) and path.name[0] != "."]
    return sorted(set(files))
