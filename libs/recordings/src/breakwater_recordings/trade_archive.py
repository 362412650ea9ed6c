"""Bybit's public archive of trades: one CSV per symbol and UTC day, one row per fill.

Columns are read by name, so files with an 11th column `RPI`, or more, are read as well. `timestamp` is seconds
since 1970 with decimals, floored to milliseconds; `side` is the taker's.
"""

import logging
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from breakwater_core.errors import InvalidInputError
from breakwater_core.market import TradeBatch
from breakwater_recordings.coverage import Interval
from breakwater_recordings.csv_tables import FLOAT, SECONDS, TEXT, CsvHeader, CsvTable, read_columns
from breakwater_recordings.file_symbols import symbol_in_name
from breakwater_recordings.parts import RecordedPart, first_fault, observed_intervals

REQUIRED_COLUMNS = ("timestamp", "symbol", "side", "size", "price", "trdMatchID")
"""Columns by which a file is known as a trade archive; others may stand beside them."""

_TRADE_TYPES = {"timestamp": SECONDS, "side": TEXT, "size": FLOAT, "price": FLOAT}
_ALL_TYPES = _TRADE_TYPES | {"symbol": TEXT, "trdMatchID": TEXT}
_DAY_IN_NAME = re.compile(r"(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)")
_SORTED_SINCE_MS = round(datetime(2020, 10, 1, tzinfo=UTC).timestamp() * 1000)
_DAY_MS = 86_400_000
_ID_LENGTH = 36  # of a UUID as text
_WORD_FACTORS = np.array(
    [pow(0x9E37_79B9_7F4A_7C15, power, 2**64) for power in range(1, _ID_LENGTH // 4 + 1)], dtype=np.uint64
)
_MEND_ROW = "correct or remove the row"

log = logging.getLogger(__name__)


def is_trade_archive(header: CsvHeader) -> bool:
    """Return whether the header is that of a trade archive."""
    return set(REQUIRED_COLUMNS) <= set(header.names)


def stated_symbol(header: CsvHeader) -> str | None:
    """Return the symbol of the file's first row; None if there is no such row."""
    index = header.names.index("symbol")
    return header.first_values[index] if index < len(header.first_values) else None


def read_trade_archive(header: CsvHeader, *, given_symbol: str | None, max_silence_ms: int) -> RecordedPart:
    """Return the file's trades after checking every row.

    Rows must be in time order. Files from before October 2020 need not be: they are sorted, rows of one time kept
    in the file's order, and the part says so in its notes.

    Args:
        header: The file's header.
        given_symbol: Symbol that the user gave for the file, if any.
        max_silence_ms: Longest pause between trades that counts as covered in a file not named by a day.

    Raises:
        InvalidInputError: If a row is out of range, out of order or a repeat, or belongs to another symbol or day.
    """
    path = header.path
    table = read_columns(header, _ALL_TYPES)
    symbol = _check_symbol(table, given_symbol)
    batch = _to_batch(table, symbol)
    order = _check_order(table, batch)
    _check_trades(table, batch)
    _check_trade_ids(table)
    notes: tuple[str, ...] = ()
    if order:
        batch = _sorted(batch)
        notes = (f"{path}: rows are not in time order; sorted, as all files before 2020-10 are",)
        log.warning("archive rows of %s are not in time order; they were sorted", path)
    first_ms, last_ms = int(batch.times_ms[0]), int(batch.times_ms[-1])
    day = day_in_name(path)
    if day is not None:
        _check_day(table, batch, day)
        covered: tuple[Interval, ...] = (_day_interval(day),)
    else:
        covered = observed_intervals(batch.times_ms, max_silence_ms)

    def read(_from_ms: int) -> Iterator[TradeBatch]:
        trades = _to_batch(read_columns(header, _TRADE_TYPES), symbol)
        yield _sorted(trades) if order else trades

    return RecordedPart(
        path=path,
        symbol=symbol,
        start_ms=first_ms,
        last_ms=last_ms,
        trades=len(batch),
        covered=covered,
        may_share_last_ms=False,
        observed=day is None,
        read=read,
        notes=notes,
    )


def day_in_name(path: Path) -> date | None:
    """Return the UTC day that the file is named by, e.g. `BTCUSDT2023-10-10.csv.gz`; None if it is not."""
    match = _DAY_IN_NAME.search(path.name)
    if match is None:
        return None
    try:
        return date.fromisoformat(match[0])
    except ValueError:
        return None


def _day_interval(day: date) -> tuple[int, int]:
    start_ms = (day - date(1970, 1, 1)) // timedelta(days=1) * _DAY_MS
    return start_ms, start_ms + _DAY_MS


def _to_batch(table: CsvTable, symbol: str) -> TradeBatch:
    sides = table.columns["side"]
    bought = pc.equal(sides, "Buy").combine_chunks().to_numpy(zero_copy_only=False)
    sold = pc.equal(sides, "Sell").combine_chunks().to_numpy(zero_copy_only=False)
    known = bought | sold
    if not known.all():
        index = int(np.argmin(known))
        raise table.fault(index, f"side is {sides[index].as_py()!r} instead of Buy or Sell", _MEND_ROW)
    return TradeBatch(
        symbol=symbol,
        times_ms=table.array("timestamp"),
        prices=table.array("price"),
        sizes=table.array("size"),
        taker_sides=bought.astype(np.int8) - sold.astype(np.int8),
    )


def _sorted(batch: TradeBatch) -> TradeBatch:
    order = np.argsort(batch.times_ms, kind="stable")
    return TradeBatch(
        symbol=batch.symbol,
        times_ms=batch.times_ms[order],
        prices=batch.prices[order],
        sizes=batch.sizes[order],
        taker_sides=batch.taker_sides[order],
    )


def _check_symbol(table: CsvTable, given: str | None) -> str:
    symbols = table.columns["symbol"]
    expected = given or symbol_in_name(table.path) or str(symbols[0].as_py())
    matches = pc.equal(symbols, expected).combine_chunks()
    if pc.all(matches).as_py():
        return expected
    index = int(np.argmin(matches.to_numpy(zero_copy_only=False)))
    raise table.fault(
        index,
        f"symbol is {symbols[index].as_py()!r}, but the file is taken for {expected}",
        "give each symbol its own file, and as SYMBOL=FILE if the name says another",
    )


def _check_order(table: CsvTable, batch: TradeBatch) -> bool:
    """Return whether the rows must be sorted, which only old files may need."""
    falls = batch.times_ms[1:] < batch.times_ms[:-1]
    if not falls.any():
        return False
    if int(batch.times_ms.max()) < _SORTED_SINCE_MS:
        return True
    index = int(np.argmax(falls)) + 1
    raise table.fault(index, "its timestamp is before that of the row above", "sort the rows by time")


def _check_trades(table: CsvTable, batch: TradeBatch) -> None:
    if int(batch.times_ms.min()) < 0:
        raise table.fault(int(np.argmin(batch.times_ms)), "timestamp is negative", _MEND_ROW)
    in_any_order = TradeBatch(batch.symbol, np.zeros_like(batch.times_ms), batch.prices, batch.sizes, batch.taker_sides)
    fault = first_fault(in_any_order)
    if fault is not None:
        raise table.fault(fault[0], fault[1], _MEND_ROW)


def _check_trade_ids(table: CsvTable) -> None:
    ids = table.columns["trdMatchID"]
    seen: set[object] = set()
    for index in _suspects(ids):
        trade_id = ids[index].as_py()
        if trade_id in seen:
            raise table.fault(index, f"trade id {trade_id!r} stands twice", "remove the repeated row")
        seen.add(trade_id)


def _suspects(ids: pa.ChunkedArray) -> list[int]:
    """Return the rows, in order, whose id may stand in another row too: those that share their checksum.

    A day has millions of ids of 36 characters; a set of them would need more memory than all the rest.
    """
    checksums = np.concatenate([_checksums(chunk) for chunk in ids.iterchunks()])
    order = np.argsort(checksums, kind="stable")
    repeats = np.flatnonzero(checksums[order[1:]] == checksums[order[:-1]])
    return sorted({*order[repeats].tolist(), *order[repeats + 1].tolist()})


def _checksums(ids: pa.StringArray) -> NDArray[np.uint64]:
    """Return 64 bits per id, Shape (n_ids,): equal for equal ids; their lengths unless all have 36 characters."""
    _, offset_buffer, text_buffer = ids.buffers()
    offsets = np.frombuffer(offset_buffer, dtype=np.int32)[ids.offset : ids.offset + len(ids) + 1]
    lengths = np.diff(offsets)
    if not (lengths == _ID_LENGTH).all():
        return lengths.astype(np.uint64)
    text = np.frombuffer(text_buffer, dtype=np.uint8)[offsets[0] : offsets[-1]]
    words = text.reshape(-1, _ID_LENGTH).view(np.uint32)
    checksums = np.zeros(len(ids), dtype=np.uint64)
    for column, factor in enumerate(_WORD_FACTORS):
        checksums += words[:, column] * factor
    return checksums


def _check_day(table: CsvTable, batch: TradeBatch, day: date) -> None:
    start_ms, end_ms = _day_interval(day)
    if start_ms <= int(batch.times_ms[0]) and int(batch.times_ms[-1]) < end_ms:
        return
    outside = (batch.times_ms < start_ms) | (batch.times_ms >= end_ms)
    found = datetime.fromtimestamp(int(batch.times_ms[np.argmax(outside)]) / 1000, tz=UTC).date()
    raise InvalidInputError(
        f"{table.path}: is named by {day} but holds trades of {found} (UTC); rename it or download that day again"
    )
