"""Candles (klines) as CSV, and the four trades that stand for each of them.

Three layouts are read, by column name: `timestamp,open,high,low,close,volume`; the same with a `symbol` column, many
symbols in one file; and Binance's archive, `open_time,open,...,close_time,...`, with its header or without it.
Times are those at which a bar opens: milliseconds since 1970, or text such as `2024-01-31 23:59:00` (UTC unless it
names a zone). Volumes are base units.

A bar with volume becomes four trades of a quarter of its volume each, at 0, 1/4, 2/4 and 3/4 of its span: open, low,
high, close if it closed at or above its open, else open, high, low, close. A bar without volume gives no trade but
counts as covered.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from breakwater_core.errors import InvalidInputError
from breakwater_core.identities import check_name
from breakwater_core.market import TradeBatch
from breakwater_recordings.coverage import merge_intervals
from breakwater_recordings.csv_tables import (
    DATE_TIME,
    FLOAT,
    INTEGER,
    TEXT,
    ZONED_DATE_TIME,
    CsvHeader,
    CsvTable,
    read_columns,
)
from breakwater_recordings.file_symbols import symbol_in_name, symbol_of
from breakwater_recordings.parts import RecordedPart

REQUIRED_COLUMNS = ("open", "high", "low", "close", "volume")
"""Columns by which a file is known to hold candles, next to `timestamp` or `open_time`."""

TRADES_PER_BAR = 4
BARS_PER_CHUNK = 32_768

_BINANCE_COLUMNS = (
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "count",
    "taker_buy_volume",
    "taker_buy_quote_volume",
    "ignore",
)
_EARLIEST_MS = 1_200_000_000_000
_LATEST_MS = 10_000_000_000_000
_MEND_ROW = "correct or remove the row"

type FaultMaker = Callable[[int, str, str], InvalidInputError]
"""Makes the error for a bar: its index, what is wrong with it, the remedy."""


@dataclass(frozen=True, slots=True)
class Bars:
    """Candles of one symbol, oldest first; the arrays have the same length, at least 1.

    Attributes:
        symbol: Venue symbol.
        step_ms: Span of each bar.
        open_times_ms: Shape (n_bars,), int64, rising.
        opens: Shape (n_bars,), float64, above 0; `highs`, `lows` and `closes` alike.
        volumes: Shape (n_bars,), float64, base units, not negative.
    """

    symbol: str
    step_ms: int
    open_times_ms: NDArray[np.int64]
    opens: NDArray[np.float64]
    highs: NDArray[np.float64]
    lows: NDArray[np.float64]
    closes: NDArray[np.float64]
    volumes: NDArray[np.float64]

    def __len__(self) -> int:
        return int(self.open_times_ms.size)

    def __getitem__(self, rows: slice) -> "Bars":
        return Bars(
            self.symbol,
            self.step_ms,
            self.open_times_ms[rows],
            self.opens[rows],
            self.highs[rows],
            self.lows[rows],
            self.closes[rows],
            self.volumes[rows],
        )


def is_kline_file(header: CsvHeader) -> bool:
    """Return whether the header is that of candles."""
    if not header.names:
        return len(header.first_values) == len(_BINANCE_COLUMNS)
    return set(REQUIRED_COLUMNS) <= set(header.names) and _time_column(header) is not None


def trades_of_bars(bars: Bars) -> TradeBatch:
    """Return four trades for each bar with volume; see the module's text."""
    traded = bars.volumes > 0
    rises = bars.closes >= bars.opens
    corners = [
        bars.opens,
        np.where(rises, bars.lows, bars.highs),
        np.where(rises, bars.highs, bars.lows),
        bars.closes,
    ]
    offsets_ms = np.arange(TRADES_PER_BAR, dtype=np.int64) * bars.step_ms // TRADES_PER_BAR
    prices = np.stack(corners, axis=1)[traded].reshape(-1)
    return TradeBatch(
        symbol=bars.symbol,
        times_ms=(bars.open_times_ms[traded, np.newaxis] + offsets_ms).reshape(-1),
        prices=prices,
        sizes=np.repeat(bars.volumes[traded] / TRADES_PER_BAR, TRADES_PER_BAR),
        taker_sides=np.zeros(prices.size, dtype=np.int8),
    )


def read_klines(
    header: CsvHeader, *, given_symbol: str | None, wanted: Collection[str] | None
) -> tuple[list[RecordedPart], set[str]]:
    """Return the file's wanted symbols, one part each, after checking their rows, and all symbols that it holds.

    The bars of a file with many symbols stay in memory (48 bytes each), those of other files are read again when
    they are due.

    Args:
        header: The file's header.
        given_symbol: Symbol that the user gave for the file, if any.
        wanted: Symbols to read; None for all.

    Raises:
        InvalidInputError: If a row is out of range, out of order or a repeat, or belongs to another symbol.
    """
    if "symbol" not in header.names:
        symbol = symbol_of(header.path, given_symbol)
        if wanted is not None and symbol not in wanted:
            return [], {symbol}
        bars = _read_bars(header, symbol)
        return [part_of_bars(header.path, bars, reread=lambda: _read_bars(header, symbol))], {symbol}
    table = read_columns(header, _types(header) | {"symbol": TEXT})
    _check_symbols(table, given_symbol)
    held = set(pc.unique(table.columns["symbol"]).to_pylist())
    parts = []
    for symbol in sorted(held if wanted is None else held.intersection(wanted)):
        matches = pc.equal(table.columns["symbol"], symbol).combine_chunks()
        rows = np.flatnonzero(matches.to_numpy(zero_copy_only=False))
        parts.append(part_of_bars(header.path, _to_bars(table, header, symbol, rows), reread=None))
    return parts, held


def part_of_bars(path: Path, bars: Bars, *, reread: Callable[[], Bars] | None) -> RecordedPart:
    """Return the part that checked bars of a file are.

    Args:
        path: The file.
        bars: Its bars of one symbol.
        reread: Reads them again when they are due; None keeps them in memory.
    """
    kept = bars if reread is None else None
    starts_ms = bars.open_times_ms
    breaks = np.flatnonzero(np.diff(starts_ms) != bars.step_ms)
    first_bars = starts_ms[np.r_[0, breaks + 1]].tolist()
    last_bars = starts_ms[np.r_[breaks, len(bars) - 1]].tolist()

    def read(from_ms: int) -> Iterator[TradeBatch]:
        source = kept if reread is None else reread()
        assert source is not None
        first = max(0, int(np.searchsorted(source.open_times_ms, from_ms, side="right")) - 1)
        for start in range(first, len(source), BARS_PER_CHUNK):
            trades = trades_of_bars(source[start : start + BARS_PER_CHUNK])
            if len(trades):
                yield trades

    return RecordedPart(
        path=path,
        symbol=bars.symbol,
        start_ms=int(starts_ms[0]),
        last_ms=int(starts_ms[-1]) + bars.step_ms - 1,
        trades=TRADES_PER_BAR * int(np.count_nonzero(bars.volumes)),
        covered=merge_intervals(
            (first, last + bars.step_ms) for first, last in zip(first_bars, last_bars, strict=True)
        ),
        may_share_last_ms=False,
        observed=False,
        read=read,
        step_ms=bars.step_ms,
    )


def kline_times(header: CsvHeader, given_symbol: str | None) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return the bars' times per symbol, in the file's order and unchecked, and the rows that they stand in.

    Args:
        header: The file's header.
        given_symbol: Symbol that the user gave for the file, if any.

    Raises:
        InvalidInputError: If the times cannot be read, or the symbol cannot be told.
    """
    name = _time_column(header) or "open_time"
    types = {name: _types(header)[name]} | ({"symbol": TEXT} if "symbol" in header.names else {})
    table = read_columns(header, types, names=_BINANCE_COLUMNS)
    times_ms, rows = table.array(name), table.row_numbers()
    if "symbol" not in types:
        return {symbol_of(header.path, given_symbol): (times_ms, rows)}
    symbols = np.asarray(table.columns["symbol"].to_pylist())
    return {str(symbol): (times_ms[symbols == symbol], rows[symbols == symbol]) for symbol in np.unique(symbols)}


def _time_column(header: CsvHeader) -> str | None:
    return next((name for name in ("timestamp", "open_time") if name in header.names), None)


def _types(header: CsvHeader) -> dict[str, pa.DataType]:
    time_column = _time_column(header)
    if time_column is None:
        return {"open_time": INTEGER, "close_time": INTEGER} | dict.fromkeys(REQUIRED_COLUMNS, FLOAT)
    types = {time_column: _type_of_time(header, time_column)} | dict.fromkeys(REQUIRED_COLUMNS, FLOAT)
    return types | ({"close_time": INTEGER} if "close_time" in header.names else {})


def _type_of_time(header: CsvHeader, name: str) -> pa.DataType:
    index = header.names.index(name)
    sample = header.first_values[index] if index < len(header.first_values) else ""
    if "-" not in sample[1:]:
        return INTEGER
    _, _, time_of_day = sample.replace("T", " ").partition(" ")
    return ZONED_DATE_TIME if any(mark in time_of_day for mark in "Z+-") else DATE_TIME


def _read_bars(header: CsvHeader, symbol: str) -> Bars:
    table = read_columns(header, _types(header), names=_BINANCE_COLUMNS)
    return _to_bars(table, header, symbol, None)


def _to_bars(table: CsvTable, header: CsvHeader, symbol: str, rows: NDArray[np.int64] | None) -> Bars:
    """Return the checked bars of one symbol; `rows` are the symbol's rows of the table, None for all."""
    indices = np.arange(table.columns.num_rows) if rows is None else rows

    def fault(index: int, what: str, remedy: str) -> InvalidInputError:
        return table.fault(int(indices[index]), what, remedy)

    times_ms = table.array(_time_column(header) or "open_time")[indices]
    check_times(times_ms, fault)
    has_ends = "close_time" in table.columns.column_names
    step_ms = _stated_step(times_ms, table.array("close_time")[indices], fault) if has_ends else _step(times_ms, fault)
    check_even(times_ms, step_ms, fault)
    opens, highs, lows, closes, volumes = (table.array(name)[indices] for name in REQUIRED_COLUMNS)
    bars = Bars(symbol, step_ms, times_ms, opens, highs, lows, closes, volumes)
    check_values(bars, fault)
    return bars


def _check_symbols(table: CsvTable, given: str | None) -> None:
    """Check the column `symbol`: names of symbols, and only that of the file if it is given or named by one."""
    symbols = table.columns["symbol"]
    for name in pc.unique(symbols).to_pylist():
        try:
            check_name("symbol", name)
        except InvalidInputError as error:
            raise table.fault(
                pc.index(symbols, name).as_py(), f"symbol is {name!r}, which is no name", _MEND_ROW
            ) from error
    expected = given or symbol_in_name(table.path)
    if expected is None:
        return
    matches = pc.equal(symbols, expected).combine_chunks()
    if not pc.all(matches).as_py():
        index = int(np.argmin(matches.to_numpy(zero_copy_only=False)))
        raise table.fault(
            index,
            f"symbol is {symbols[index].as_py()!r}, but the file is taken for {expected}",
            "give the file without SYMBOL= to read every symbol in it, or rename it",
        )


def check_times(times_ms: NDArray[np.int64], fault: FaultMaker) -> None:
    """Check that the bars' times are milliseconds since 1970 and rise.

    Raises:
        InvalidInputError: For the first one that does not.
    """
    plausible = (times_ms >= _EARLIEST_MS) & (times_ms < _LATEST_MS)
    if not plausible.all():
        index = int(np.argmin(plausible))
        what = f"time {times_ms[index]} is not milliseconds since 1970 (2008 or later)"
        raise fault(index, what, "give times in milliseconds or as text such as 2024-01-31 23:59:00")
    steps = np.diff(times_ms)
    if (steps <= 0).any():
        index = int(np.argmax(steps <= 0)) + 1
        if steps[index - 1] == 0:
            raise fault(index, "the bar's time stands twice", "remove the repeated row")
        raise fault(index, "the bar's time is before that of the row above", "sort the rows by time")


def check_even(times_ms: NDArray[np.int64], step_ms: int, fault: FaultMaker) -> None:
    """Check that bars begin whole steps apart.

    Raises:
        InvalidInputError: For the first one that does not.
    """
    steps = np.diff(times_ms)
    uneven = steps % step_ms != 0
    if uneven.any():
        index = int(np.argmax(uneven)) + 1
        what = (
            f"the bar opens {steps[index - 1]} ms after the one above, no multiple of the file's step of {step_ms} ms"
        )
        raise fault(index, what, "give bars of one span per file")


def _step(times_ms: NDArray[np.int64], fault: FaultMaker) -> int:
    """Return the span of a bar: the smallest difference between bars."""
    if times_ms.size == 1:
        raise fault(0, "a single bar does not show its span", "give a file with more bars")
    return int(np.diff(times_ms).min())


def _stated_step(times_ms: NDArray[np.int64], ends_ms: NDArray[np.int64], fault: FaultMaker) -> int:
    """Return the span of a bar as `close_time`, its last millisecond, states it."""
    spans_ms = ends_ms + 1 - times_ms
    bad = (spans_ms <= 0) | (spans_ms != spans_ms[0])
    if bad.any():
        index = int(np.argmax(bad))
        what = f"the bar ends {spans_ms[index]} ms after it opens, the first one {spans_ms[0]} ms"
        raise fault(index, what, "give bars of one span per file")
    return int(spans_ms[0])


def check_values(bars: Bars, fault: FaultMaker) -> None:
    """Check the bars' prices and volumes.

    Raises:
        InvalidInputError: For the first bar with a price that is not finite and above 0, a negative volume, or a low
            that is not the lowest or a high that is not the highest of its prices.
    """
    tests: list[tuple[NDArray[np.bool_], str]] = []
    for name, values in (("open", bars.opens), ("high", bars.highs), ("low", bars.lows), ("close", bars.closes)):
        tests.append((np.isfinite(values) & (values > 0), f"{name} must be finite and above 0"))
    tests.append((np.isfinite(bars.volumes) & (bars.volumes >= 0), "volume must be finite and not negative"))
    tests.append((bars.highs >= bars.lows, "high is below low"))
    tests.append(((bars.opens >= bars.lows) & (bars.opens <= bars.highs), "open lies outside [low, high]"))
    tests.append(((bars.closes >= bars.lows) & (bars.closes <= bars.highs), "close lies outside [low, high]"))
    for good, what in tests:
        if not good.all():
            raise fault(int(np.argmin(good)), what, _MEND_ROW)
