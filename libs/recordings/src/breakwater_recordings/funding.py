"""Recorded funding rates: a CSV file of `symbol,timestamp,funding_rate`, and what it says is due in a stretch of time.

Times are milliseconds since 1970-01-01T00:00Z, rates fractions per interval (0.0001 is 1 bp); longs pay shorts when
positive. Exchanges stamp a settlement some milliseconds late: a stamp belongs to the full hour next to it. Intervals
are what the stamps say, so symbols that settle every 4 hours and every 8 stand in one file, and a symbol may change.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from breakwater_core.decimals import from_float
from breakwater_core.errors import InvalidInputError
from breakwater_core.venue_rules import FUNDING_INTERVAL_MS
from breakwater_recordings.csv_tables import FLOAT, INTEGER, TEXT, CsvTable, read_columns, read_header

REQUIRED_COLUMNS = ("symbol", "timestamp", "funding_rate")
"""Columns of a funding file; others may stand beside them."""
MOST_LATE_MS = 60_000
"""A stamp further than this from a full hour is no settlement."""
LARGEST_RATE = 0.1
"""No exchange settles more than this share at once: a larger figure is a percentage taken for a fraction."""

_HOUR_MS = 3_600_000
_EARLIEST_MS = 1_200_000_000_000
_LATEST_MS = 10_000_000_000_000
_MEND_ROW = "correct or remove the row"


@dataclass(frozen=True, slots=True, eq=False)
class SymbolFunding:
    """Settlements of one symbol.

    Attributes:
        stamps_ms: Shape (n,), int64, rising, full hours.
        rates: Shape (n,), float64, fraction of the position's value at the stamp.
    """

    stamps_ms: NDArray[np.int64]
    rates: NDArray[np.float64]


class FundingRecords:
    """Recorded rates of some symbols, and a constant's place where there is none.

    A rate is taken to be missing on a multiple of 8 hours (00:00, 08:00, 16:00 UTC) of which the records say nothing
    and whose recorded neighbours lie more than 8 hours apart: before the first record, after the last one, and in
    gaps. Whoever asks gives the rate of such stamps (`costs.funding_rate`). A gap of 8 hours or less cannot be told
    from a change of the interval and counts as complete.
    """

    def __init__(self, by_symbol: Mapping[str, SymbolFunding]) -> None:
        """Take the settlements per symbol."""
        self.by_symbol = dict(sorted(by_symbol.items()))

    @classmethod
    def of(cls, rates: Mapping[str, Mapping[int, Decimal]]) -> "FundingRecords":
        """Return the records of these rates by symbol and stamp, e.g. of a test."""
        return cls(
            {
                symbol: SymbolFunding(
                    np.array(sorted(stamps), dtype=np.int64),
                    np.array([float(stamps[stamp]) for stamp in sorted(stamps)], dtype=np.float64),
                )
                for symbol, stamps in rates.items()
            }
        )

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols with a record, sorted."""
        return tuple(self.by_symbol)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of stamps and rates: 64 hexadecimal digits, whatever the file looked like."""
        digest = hashlib.sha256()
        for symbol, funding in self.by_symbol.items():
            digest.update(f"{symbol} {len(funding.stamps_ms)}\n".encode())
            digest.update(funding.stamps_ms.astype("<i8").tobytes())
            digest.update(funding.rates.astype("<f8").tobytes())
        return digest.hexdigest()

    def schedule(
        self, symbol: str, after_ms: int, through_ms: int, *, otherwise: float
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return stamps and rates with `after_ms < stamp <= through_ms`, oldest first, two arrays of Shape (n,).

        Args:
            symbol: Venue symbol.
            after_ms: Stamps up to it are left out.
            through_ms: The last instant.
            otherwise: Rate of the stamps of which the records say nothing; see the class.
        """
        grid = _grid(after_ms, through_ms)
        funding = self.by_symbol.get(symbol)
        if funding is None or not funding.stamps_ms.size:
            return grid, np.full(grid.size, otherwise)
        low, high = np.searchsorted(funding.stamps_ms, (after_ms, through_ms), side="right")
        stamps, rates = funding.stamps_ms[low:high], funding.rates[low:high]
        missing = grid[_is_missing(funding.stamps_ms, grid)]
        if not missing.size:
            return stamps, rates
        stamps = np.concatenate((stamps, missing))
        order = np.argsort(stamps)
        return stamps[order], np.concatenate((rates, np.full(missing.size, otherwise)))[order]

    def due(self, symbol: str, after_ms: int, through_ms: int, *, otherwise: Decimal) -> Iterator[tuple[int, Decimal]]:
        """Yield stamp and rate of what is due with `after_ms < stamp <= through_ms`, oldest first; as `schedule`."""
        stamps, rates = self.schedule(symbol, after_ms, through_ms, otherwise=float(otherwise))
        for stamp, rate in zip(stamps.tolist(), rates.tolist(), strict=True):
            yield stamp, from_float(rate)

    def missing(self, symbol: str, after_ms: int, through_ms: int) -> int:
        """Return how many stamps with `after_ms < stamp <= through_ms` the records say nothing of; see the class."""
        grid = _grid(after_ms, through_ms)
        funding = self.by_symbol.get(symbol)
        if funding is None or not funding.stamps_ms.size:
            return int(grid.size)
        return int(np.count_nonzero(_is_missing(funding.stamps_ms, grid)))


def read_funding(*paths: Path) -> FundingRecords:
    """Return the rates of one or several funding files; rows may stand in any order.

    Args:
        paths: CSV files, plain or gzipped, with `REQUIRED_COLUMNS`; at least one.

    Raises:
        InvalidInputError: If a file is absent or damaged, a value out of range, a stamp no settlement, or a settlement
            stands twice; names file and row.
    """
    found: dict[str, list[SymbolFunding]] = {}
    for path in paths:
        for symbol, funding in _read(path):
            found.setdefault(symbol, []).append(funding)
    if not found:
        raise InvalidInputError("no funding file was given; give a CSV file of symbol, timestamp, funding_rate")
    return FundingRecords({symbol: _joined(symbol, parts) for symbol, parts in found.items()})


def _read(path: Path) -> Iterator[tuple[str, SymbolFunding]]:
    header = read_header(path)
    absent = [name for name in REQUIRED_COLUMNS if name not in header.names]
    if absent:
        held = ", ".join(header.names) or "none"
        raise InvalidInputError(f"{path}, row 1: lacks the columns {', '.join(absent)}; its columns are {held}")
    table = read_columns(header, {"symbol": TEXT, "timestamp": INTEGER, "funding_rate": FLOAT})
    symbols = np.asarray(table.columns["symbol"].to_pylist())
    times_ms, rates = table.array("timestamp"), table.array("funding_rate")
    stamps_ms = (times_ms + _HOUR_MS // 2) // _HOUR_MS * _HOUR_MS
    _check(table, times_ms, stamps_ms, rates)
    for symbol in np.unique(symbols).tolist():
        rows = np.flatnonzero(symbols == symbol)
        rows = rows[np.argsort(stamps_ms[rows], kind="stable")]
        repeats = np.flatnonzero(np.diff(stamps_ms[rows]) == 0)
        if repeats.size:
            raise table.fault(
                int(rows[repeats[0] + 1]), f"the settlement of {symbol} stands twice", "remove the repeated row"
            )
        yield symbol, SymbolFunding(stamps_ms[rows], rates[rows])


def _check(
    table: CsvTable, times_ms: NDArray[np.int64], stamps_ms: NDArray[np.int64], rates: NDArray[np.float64]
) -> None:
    tests: Iterable[tuple[NDArray[np.bool_], str, str]] = (
        (
            (times_ms >= _EARLIEST_MS) & (times_ms < _LATEST_MS),
            "timestamp is not milliseconds since 1970 (2008 or later)",
            "give times in milliseconds",
        ),
        (
            np.abs(times_ms - stamps_ms) <= MOST_LATE_MS,
            "timestamp is more than a minute from a full hour, so it is no settlement",
            "give the times at which funding was settled",
        ),
        (np.isfinite(rates), "funding_rate is not finite", _MEND_ROW),
        (
            np.abs(rates) <= LARGEST_RATE,
            f"funding_rate is beyond {LARGEST_RATE}",
            "give rates as fractions, 0.0001 for 0.01 %",
        ),
    )
    for good, what, remedy in tests:
        if not good.all():
            raise table.fault(int(np.argmin(good)), what, remedy)


def _joined(symbol: str, parts: list[SymbolFunding]) -> SymbolFunding:
    if len(parts) == 1:
        return parts[0]
    stamps = np.concatenate([part.stamps_ms for part in parts])
    order = np.argsort(stamps, kind="stable")
    stamps = stamps[order]
    if (np.diff(stamps) == 0).any():
        stamp_ms = int(stamps[np.argmin(np.diff(stamps))])
        raise InvalidInputError(f"two funding files hold the settlement of {symbol} at {stamp_ms} ms; give one of them")
    return SymbolFunding(stamps, np.concatenate([part.rates for part in parts])[order])


def _grid(after_ms: int, through_ms: int) -> NDArray[np.int64]:
    first = (after_ms // FUNDING_INTERVAL_MS + 1) * FUNDING_INTERVAL_MS
    return np.arange(first, through_ms + 1, FUNDING_INTERVAL_MS, dtype=np.int64)


def _is_missing(stamps_ms: NDArray[np.int64], grid: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which stamps of the grid lie between records over 8 hours apart, or beyond all; Shape (n_grid,)."""
    far = np.int64(2**61)
    padded = np.concatenate(([-far], stamps_ms, [far]))
    places = np.searchsorted(stamps_ms, grid, side="left")
    earlier, later = padded[places], padded[places + 1]
    gaps: NDArray[np.bool_] = (later != grid) & (later - earlier > FUNDING_INTERVAL_MS)
    return gaps
