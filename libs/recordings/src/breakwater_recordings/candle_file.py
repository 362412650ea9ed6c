"""The file format of fetched candles: Parquet with bars of one symbol and span, oldest first.

Columns: `open_time_ms` int64 (milliseconds since 1970-01-01T00:00Z), `open`, `high`, `low`, `close` double (quote
currency per 1 base unit), `volume` double (base units), `turnover` double (quote currency). Key-value metadata, all
text: `breakwater.kind` (`candles`), `breakwater.format` (`1`), `breakwater.symbol`, `breakwater.venue`,
`breakwater.step_ms` and `breakwater.asked`, a JSON pair [start_ms, end_ms): the span that the exchange was asked for,
so that a bar that is missing within it is one that the exchange does not have. Files appear whole or not at all.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from breakwater_core.errors import InvalidInputError
from breakwater_core.identities import check_name
from breakwater_recordings.coverage import Interval
from breakwater_recordings.klines import Bars, check_even, check_times, check_values, part_of_bars
from breakwater_recordings.parquet_file import DEFAULT_VENUE, SUFFIX, sync_folder
from breakwater_recordings.parts import RecordedPart

FORMAT_VERSION = "1"
KIND = "candles"

SCHEMA = pa.schema(
    [
        pa.field("open_time_ms", pa.int64(), nullable=False),
        *(
            pa.field(name, pa.float64(), nullable=False)
            for name in ("open", "high", "low", "close", "volume", "turnover")
        ),
    ]
)

_MEND = "the file is damaged or was changed: remove it and fetch it again"


@dataclass(frozen=True, slots=True)
class CandleTable:
    """The contents of a file of candles.

    Attributes:
        bars: The bars, checked.
        turnovers: Shape (n_bars,), float64, quote currency.
        asked: Span that the exchange was asked for, milliseconds since 1970.
    """

    bars: Bars
    turnovers: NDArray[np.float64]
    asked: Interval


def is_candle_file(path: Path) -> bool:
    """Return whether a Parquet file states that it holds candles; False if it is damaged."""
    try:
        metadata = pq.read_metadata(path).metadata or {}
    except (pa.ArrowException, OSError):
        return False
    return bool(metadata.get(b"breakwater.kind") == KIND.encode())


def write_candle_file(path: Path, table: CandleTable, *, venue: str = DEFAULT_VENUE) -> None:
    """Write candles under another name, flush them to the disk and rename the file: it is never seen half written.

    Args:
        path: The file, ending in `.parquet`; its folder is made if absent, its former contents are replaced.
        table: At least one bar.
        venue: Name of the exchange.

    Raises:
        InvalidInputError: If there is no bar, or one breaks the rules of `Bars` or lies outside of what was asked.
    """
    bars = table.bars
    if not path.name.endswith(SUFFIX) or not len(bars):
        raise InvalidInputError(f"{path}: must end in {SUFFIX} and hold at least one bar")
    _check(path, table)
    columns = (bars.open_times_ms, bars.opens, bars.highs, bars.lows, bars.closes, bars.volumes, table.turnovers)
    facts = {
        "breakwater.kind": KIND,
        "breakwater.format": FORMAT_VERSION,
        "breakwater.symbol": check_name("symbol", bars.symbol),
        "breakwater.venue": check_name("venue", venue),
        "breakwater.step_ms": str(bars.step_ms),
        "breakwater.asked": json.dumps(table.asked),
    }
    arrow = pa.Table.from_arrays([pa.array(column) for column in columns], schema=SCHEMA.with_metadata(facts))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as stream:
        pq.write_table(
            arrow,
            stream,
            compression="zstd",
            use_dictionary=["open", "high", "low", "close"],
            column_encoding={"open_time_ms": "DELTA_BINARY_PACKED"},
        )
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def read_candle_table(path: Path) -> CandleTable:
    """Return the file's contents after checking every row.

    Raises:
        InvalidInputError: If the file is damaged or of a newer format, or a row is out of range or order or a repeat.
    """
    try:
        arrow = pq.read_table(path, use_threads=False, memory_map=False, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise InvalidInputError(f"{path}: is no complete Parquet file; {_MEND}") from error
    facts = {key.decode(): value.decode() for key, value in (arrow.schema.metadata or {}).items()}
    version = facts.get("breakwater.format")
    if facts.get("breakwater.kind") != KIND or version != FORMAT_VERSION:
        raise InvalidInputError(
            f"{path}: holds {facts.get('breakwater.kind', 'no candles')} of format {version}; "
            f"this program reads candles of format {FORMAT_VERSION}"
        )
    if not SCHEMA.equals(arrow.schema.remove_metadata()) or not arrow.num_rows:
        raise InvalidInputError(f"{path}: has {arrow.num_rows} rows of {', '.join(arrow.schema.names)}; {_MEND}")
    try:
        symbol = check_name("symbol", facts["breakwater.symbol"])
        step_ms = int(facts["breakwater.step_ms"])
        start_ms, end_ms = (int(value) for value in json.loads(facts["breakwater.asked"]))
    except (KeyError, ValueError, TypeError) as error:
        raise InvalidInputError(f"{path}: its metadata is unreadable ({error}); {_MEND}") from error
    times_ms, *values = (_column(path, arrow, name) for name in SCHEMA.names)
    opens, highs, lows, closes, volumes, turnovers = values
    bars = Bars(symbol, step_ms, times_ms, opens, highs, lows, closes, volumes)
    table = CandleTable(bars, turnovers, (start_ms, end_ms))
    _check(path, table)
    return table


def read_candle_file(path: Path) -> RecordedPart:
    """Return the file's bars as a part of a recording.

    Raises:
        InvalidInputError: As `read_candle_table`.
    """
    return part_of_bars(path, read_candle_table(path).bars, reread=lambda: read_candle_table(path).bars)


def _column(path: Path, arrow: pa.Table, name: str) -> NDArray[Any]:
    column = arrow.column(name).combine_chunks()
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False))) + 1
        raise InvalidInputError(f"{path}, row {row}: {name} is missing; {_MEND}")
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return values


def _check(path: Path, table: CandleTable) -> None:
    """Check the rows, counted from 1: the file has no header."""

    def fault(index: int, what: str, _remedy: str) -> InvalidInputError:
        return InvalidInputError(f"{path}, row {index + 1}: {what}; {_MEND}")

    bars = table.bars
    if bars.step_ms <= 0:
        raise InvalidInputError(f"{path}: a bar's span must be above 0, was {bars.step_ms} ms; {_MEND}")
    check_times(bars.open_times_ms, fault)
    check_even(bars.open_times_ms, bars.step_ms, fault)
    check_values(bars, fault)
    good = np.isfinite(table.turnovers) & (table.turnovers >= 0)
    if not good.all():
        raise fault(int(np.argmin(good)), "turnover must be finite and not negative", _MEND)
    outside = (bars.open_times_ms < table.asked[0]) | (bars.open_times_ms >= table.asked[1])
    if outside.any():
        raise fault(int(np.argmax(outside)), "the bar lies outside of what the exchange was asked for", _MEND)
