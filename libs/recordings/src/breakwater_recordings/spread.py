"""Recorded best bids and asks: half the spread of a symbol as of a time, what a taker pays for not waiting.

A file has one row per change of the best bid or ask, with `event_ms,bid_price,ask_price` among its columns. Times are
the exchange's, milliseconds since 1970-01-01T00:00Z; a recorder's own clock is not read, because one that is late by a
second would show a market the taker could not have seen. Half spreads are shares of the mid price, so that a book of
one venue can stand for another's.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from breakwater_core.decimals import from_float
from breakwater_core.errors import InvalidInputError
from breakwater_recordings.csv_tables import FLOAT, INTEGER, CsvTable, read_columns, read_header
from breakwater_recordings.file_symbols import split_source, symbol_of

REQUIRED_COLUMNS = ("event_ms", "bid_price", "ask_price")
"""Columns of a book file; others may stand beside them."""
OLDEST_MS = 60_000
"""A record older than this at the time asked for says nothing."""

_EARLIEST_MS = 1_200_000_000_000
_LATEST_MS = 10_000_000_000_000
_MEND_ROW = "correct or remove the row"


@dataclass(frozen=True, slots=True, eq=False)
class SymbolSpread:
    """Half spreads of one symbol.

    Attributes:
        times_ms: Shape (n,), int64, not falling.
        half_spreads: Shape (n,), float64: (ask - bid) / (ask + bid), a share of the mid price.
    """

    times_ms: NDArray[np.int64]
    half_spreads: NDArray[np.float64]


class SpreadRecords:
    """Half spreads of some symbols as of any time."""

    def __init__(self, by_symbol: Mapping[str, SymbolSpread]) -> None:
        """Take the half spreads per symbol."""
        self.by_symbol = dict(sorted(by_symbol.items()))

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols with a record, sorted."""
        return tuple(self.by_symbol)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of times and spreads: 64 hexadecimal digits, whatever the files looked like."""
        digest = hashlib.sha256()
        for symbol, spread in self.by_symbol.items():
            digest.update(f"{symbol} {len(spread.times_ms)}\n".encode())
            digest.update(spread.times_ms.astype("<i8").tobytes())
            digest.update(spread.half_spreads.astype("<f8").tobytes())
        return digest.hexdigest()

    def half_spread_at(self, symbol: str, time_ms: int) -> Decimal | None:
        """Return half the spread as a share of the mid price, by the last record at or before the time.

        None if the symbol has no record then, or none younger than `OLDEST_MS`.
        """
        spread = self.by_symbol.get(symbol)
        if spread is None:
            return None
        place = int(np.searchsorted(spread.times_ms, time_ms, side="right")) - 1
        if place < 0 or time_ms - int(spread.times_ms[place]) > OLDEST_MS:
            return None
        return from_float(float(spread.half_spreads[place]))


def read_spreads(*sources: str) -> SpreadRecords:
    """Return the half spreads of book files, one symbol each.

    Args:
        sources: CSV files, plain or gzipped, or `SYMBOL=FILE`; at least one.

    Raises:
        InvalidInputError: If a file is absent or damaged, its symbol unknown or given twice, a row without exchange
            time, out of order or crossed (ask below bid); names file and row.
    """
    found: dict[str, SymbolSpread] = {}
    for source in sources:
        given, path = split_source(source)
        symbol = symbol_of(path, given)
        if symbol in found:
            raise InvalidInputError(f"{path}: the book of {symbol} was given already; give one file per symbol")
        found[symbol] = _read(path)
    if not found:
        raise InvalidInputError(f"no book file was given; give a CSV file of {', '.join(REQUIRED_COLUMNS)}")
    return SpreadRecords(found)


def _read(path: Path) -> SymbolSpread:
    header = read_header(path)
    absent = [name for name in REQUIRED_COLUMNS if name not in header.names]
    if absent:
        held = ", ".join(header.names) or "none"
        raise InvalidInputError(f"{path}, row 1: lacks the columns {', '.join(absent)}; its columns are {held}")
    table = read_columns(header, {"event_ms": INTEGER, "bid_price": FLOAT, "ask_price": FLOAT})
    times_ms, bids, asks = (table.array(name) for name in REQUIRED_COLUMNS)
    _check(table, times_ms, bids, asks)
    return SymbolSpread(times_ms, (asks - bids) / (asks + bids))


def _check(table: CsvTable, times_ms: NDArray[np.int64], bids: NDArray[np.float64], asks: NDArray[np.float64]) -> None:
    tests: tuple[tuple[NDArray[np.bool_], str, str], ...] = (
        (
            (times_ms >= _EARLIEST_MS) & (times_ms < _LATEST_MS),
            "event_ms is not milliseconds since 1970 (2008 or later)",
            "give the exchange's time in milliseconds",
        ),
        (
            np.concatenate(([True], times_ms[1:] >= times_ms[:-1])),
            "event_ms is before that of the row above",
            "sort the rows by time",
        ),
        (np.isfinite(bids) & (bids > 0), "bid_price must be finite and above 0", _MEND_ROW),
        (np.isfinite(asks) & (asks > 0), "ask_price must be finite and above 0", _MEND_ROW),
        (asks >= bids, "ask_price is below bid_price", _MEND_ROW),
    )
    for good, what, remedy in tests:
        if not good.all():
            raise table.fault(int(np.argmin(good)), what, remedy)
