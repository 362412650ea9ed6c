"""The file format of own recordings: Parquet with trades of one symbol in time order.

Columns: `time_ms` int64 (milliseconds since 1970-01-01T00:00Z), `price` double (quote currency per 1 base unit), `size`
double (base units), `taker_side` int8 (+1 bought, -1 sold, 0 unknown). Key-value metadata, all text:
`breakwater.format` (`1`), `breakwater.symbol`, `breakwater.venue`, `breakwater.day` (UTC) and `breakwater.coverage`, a
JSON list of [start_ms, end_ms) in which nothing is missing. Files are named `trades-<start_ms>.parquet` in
`<directory>/<symbol>/<YYYY-MM-DD>/` and appear whole or not at all.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from breakwater_core.errors import InvalidInputError
from breakwater_core.market import TradeBatch
from breakwater_recordings.coverage import Interval, merge_intervals
from breakwater_recordings.parts import RecordedPart, first_fault

FORMAT_VERSION = "1"
ROWS_PER_GROUP = 131_072
DEFAULT_VENUE = "bybit"
SUFFIX = ".parquet"

SCHEMA = pa.schema(
    [
        pa.field("time_ms", pa.int64(), nullable=False),
        pa.field("price", pa.float64(), nullable=False),
        pa.field("size", pa.float64(), nullable=False),
        pa.field("taker_side", pa.int8(), nullable=False),
    ]
)

_MEND = "the file is damaged or not a recording of Breakwater: remove it, or record it again"


def to_arrow(batch: TradeBatch) -> pa.RecordBatch:
    """Return the trades as an Arrow record batch, without copies."""
    columns = (
        np.ascontiguousarray(batch.times_ms, dtype=np.int64),
        np.ascontiguousarray(batch.prices, dtype=np.float64),
        np.ascontiguousarray(batch.sizes, dtype=np.float64),
        np.ascontiguousarray(batch.taker_sides, dtype=np.int8),
    )
    return pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=SCHEMA)


def from_arrow(table: pa.Table | pa.RecordBatch, symbol: str) -> TradeBatch:
    """Return the trades of Arrow columns, without copies where a column is one chunk."""
    times_ms, prices, sizes, taker_sides = (_to_numpy(table.column(name)) for name in SCHEMA.names)
    return TradeBatch(symbol, times_ms, prices, sizes, taker_sides)


def write_trade_file(
    path: Path,
    batches: Iterable[TradeBatch],
    *,
    symbol: str,
    venue: str,
    day: date,
    coverage: Callable[[], Sequence[Interval]],
) -> int:
    """Write trades of one symbol and UTC day; return their number.

    The file is written under another name, flushed to the disk and renamed, so that it is never seen half written.

    Args:
        path: The file; its folder is made if absent.
        batches: Trades in time order.
        symbol: Venue symbol.
        venue: Name of the exchange, e.g. `bybit`.
        day: UTC day of the trades.
        coverage: Returns the covered intervals; called after the last batch.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    rows = 0
    with partial.open("wb") as stream:
        with pq.ParquetWriter(
            stream,
            SCHEMA,
            compression="zstd",
            compression_level=3,
            use_dictionary=["price", "size", "taker_side"],
            column_encoding={"time_ms": "DELTA_BINARY_PACKED"},
        ) as writer:
            for group in _groups(batches):
                writer.write_table(group, row_group_size=ROWS_PER_GROUP)
                rows += group.num_rows
            writer.add_key_value_metadata(
                {
                    "breakwater.format": FORMAT_VERSION,
                    "breakwater.symbol": symbol,
                    "breakwater.venue": venue,
                    "breakwater.day": day.isoformat(),
                    "breakwater.coverage": json.dumps(merge_intervals(coverage())),
                }
            )
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)
    sync_folder(path.parent)
    return rows


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_trade_file(path: Path) -> RecordedPart:
    """Return the file's trades; only its footer is read until they are asked for.

    Raises:
        InvalidInputError: If the file is damaged or no recording, or of a newer format; while its trades are read,
            if one of them is out of range or out of order.
    """
    with _open(path) as file:
        footer = file.metadata
        facts = _facts(path, footer)
        bounds = [_bounds(path, footer.row_group(group)) for group in range(footer.num_row_groups)]
        rows = footer.num_rows
        if not SCHEMA.equals(file.schema_arrow.remove_metadata()):
            raise InvalidInputError(f"{path}: has columns {', '.join(file.schema_arrow.names)}; {_MEND}")
    if any(later[0] < earlier[1] for earlier, later in pairwise(bounds)):
        raise InvalidInputError(f"{path}: row groups are not in time order; {_MEND}")
    covered = _coverage(path, facts)
    if not bounds and not covered:
        raise InvalidInputError(f"{path}: holds neither trades nor coverage; remove it")
    symbol = facts["breakwater.symbol"]

    def read(from_ms: int) -> Iterator[TradeBatch]:
        with _open(path) as trades:
            for group, (_, last_ms) in enumerate(bounds):
                if last_ms >= from_ms:
                    yield _read_group(path, trades, group, symbol)

    start_ms, last_ms = (bounds[0][0], bounds[-1][1]) if bounds else (covered[0][0], covered[-1][1] - 1)
    return RecordedPart(
        path=path,
        symbol=symbol,
        start_ms=start_ms,
        last_ms=last_ms,
        trades=rows,
        covered=covered,
        may_share_last_ms=True,
        observed=False,
        read=read,
    )


def _groups(batches: Iterable[TradeBatch]) -> Iterator[pa.Table]:
    """Yield tables of whole row groups, and the rest at the end."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        waiting.append(to_arrow(batch))
        rows += len(batch)
        if rows >= ROWS_PER_GROUP:
            table = pa.Table.from_batches(waiting, SCHEMA)
            whole = rows - rows % ROWS_PER_GROUP
            yield table.slice(0, whole)
            rest = table.slice(whole)
            waiting, rows = rest.to_batches(), rest.num_rows
    if rows:
        yield pa.Table.from_batches(waiting, SCHEMA)


def _to_numpy(column: pa.ChunkedArray | pa.Array) -> NDArray[Any]:
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    values: NDArray[Any] = column.to_numpy(zero_copy_only=True)
    return values


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise InvalidInputError(f"{path}: is no complete Parquet file; {_MEND}") from error


def _facts(path: Path, footer: pq.FileMetaData) -> dict[str, str]:
    facts = {key.decode(): value.decode() for key, value in (footer.metadata or {}).items() if key != b"ARROW:schema"}
    version = facts.get("breakwater.format")
    if version is None or "breakwater.symbol" not in facts:
        raise InvalidInputError(f"{path}: unknown format, the Parquet metadata names no recording; {_MEND}")
    if version != FORMAT_VERSION:
        raise InvalidInputError(f"{path}: has format version {version}; this program reads version {FORMAT_VERSION}")
    return facts


def _coverage(path: Path, facts: dict[str, str]) -> tuple[Interval, ...]:
    try:
        return merge_intervals((int(start), int(end)) for start, end in json.loads(facts["breakwater.coverage"]))
    except (KeyError, ValueError, TypeError) as error:
        raise InvalidInputError(f"{path}: the coverage in its metadata is unreadable; {_MEND}") from error


def _bounds(path: Path, group: pq.RowGroupMetaData) -> Interval:
    statistics = group.column(0).statistics
    if statistics is None or not statistics.has_min_max:
        raise InvalidInputError(f"{path}: a row group does not state its times; {_MEND}")
    return int(statistics.min), int(statistics.max)


def _read_group(path: Path, file: pq.ParquetFile, group: int, symbol: str) -> TradeBatch:
    try:
        table = file.read_row_group(group, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise InvalidInputError(f"{path}: row group {group} cannot be read ({error}); {_MEND}") from error
    batch = from_arrow(table, symbol)
    fault = first_fault(batch)
    if fault is not None:
        rows_before = sum(file.metadata.row_group(earlier).num_rows for earlier in range(group))
        raise InvalidInputError(f"{path}, row {rows_before + fault[0] + 1}: {fault[1]}; {_MEND}")
    return batch
