"""CSV files, plain or gzipped, read by column name through Arrow, with errors that name file and row.

Rows are counted from 1 as an editor counts lines, so the header is row 1.
"""

import csv
import gzip
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
from numpy.typing import NDArray

from breakwater_core.errors import InvalidInputError

INTEGER = pa.int64()
FLOAT = pa.float64()
TEXT = pa.string()
SECONDS = pa.decimal128(19, 9)
"""Seconds since 1970 as decimal text, read without going through a float."""
DATE_TIME = pa.timestamp("us")
ZONED_DATE_TIME = pa.timestamp("us", "UTC")

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_DAMAGE = (OSError, EOFError, zlib.error, UnicodeDecodeError)
_COMPLETE_AGAIN = "download or copy it again"


@dataclass(frozen=True, slots=True)
class CsvHeader:
    """The first lines of a CSV file.

    Attributes:
        path: The file.
        names: Column names, unique; empty if the first row holds numbers only.
        first_values: Fields of the first row of data; empty if there is none.
    """

    path: Path
    names: tuple[str, ...]
    first_values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CsvTable:
    """Some columns of a CSV file, and the way back from an array's index to the file's row.

    Attributes:
        path: The file.
        columns: The columns, without nulls; at least one row.
        header_rows: Rows before the first row of data, 0 or 1.
    """

    path: Path
    columns: pa.Table
    header_rows: int

    def array(self, name: str) -> NDArray[Any]:
        """Return a column of integers, floats or times as Shape (n_rows,); times as int64 milliseconds, floored.

        Raises:
            InvalidInputError: If a time in seconds has more than ten digits before the point, as milliseconds have.
        """
        column = self.columns[name].combine_chunks()
        if pa.types.is_decimal(column.type):
            billionths, fits = _billionths(column)
            if not fits.all():
                index = int(np.argmin(fits))
                what = f"{name} is {column[index].as_py():f}, which is not {_DESCRIPTIONS[SECONDS]}"
                raise self.fault(index, what, "give times in seconds since 1970")
            return billionths // 1_000_000
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64()).to_numpy() // 1000
        values: NDArray[Any] = np.asarray(column)
        return values

    def row_numbers(self) -> NDArray[np.int64]:
        """Return the line of the file that each row of data stands in, Shape (n_rows,): blank lines count too."""
        with _damage_explained(self.path), _open_text(self.path) as stream:
            filled = [number for number, line in enumerate(stream, start=1) if line.strip("\r\n")]
        return np.array(filled[self.header_rows :], dtype=np.int64)

    def fault(self, index: int, what: str, remedy: str) -> InvalidInputError:
        """Return the error for the row of data at `index`, counted from 0."""
        return row_fault(self.path, _line_number(self.path, index + self.header_rows), what, remedy)


def row_fault(path: Path, row: int, what: str, remedy: str) -> InvalidInputError:
    """Return the error for a row of a file, in the one form that all faults of files have."""
    return InvalidInputError(f"{path}, row {row}: {what}; {remedy}")


def read_header(path: Path) -> CsvHeader:
    """Return the names and the first values of a CSV file.

    Raises:
        InvalidInputError: If the file is unreadable, damaged or empty, or a column's name stands twice.
    """
    with _damage_explained(path), _open_text(path) as stream:
        rows = csv.reader(stream)
        first = tuple(field.strip() for field in next(rows, []))
        second = tuple(field.strip() for field in next(rows, []))
    if not any(first):
        raise InvalidInputError(f"{path}, row 1: the file is empty; {_COMPLETE_AGAIN}")
    if all(_NUMBER.fullmatch(field) for field in first):
        return CsvHeader(path, (), first)
    if len(set(first)) < len(first):
        raise row_fault(path, 1, f"a column stands twice in {', '.join(first)}", "rename one of the two")
    return CsvHeader(path, first, second)


def read_columns(header: CsvHeader, types: Mapping[str, pa.DataType], *, names: Sequence[str] = ()) -> CsvTable:
    """Return the wanted columns of the file.

    Args:
        header: The file's header.
        types: Type per wanted column.
        names: Names of all columns of a file without header.

    Raises:
        InvalidInputError: If the file is damaged, has no rows, or a value is missing or of another type.
    """
    columns = header.names or tuple(names)
    header_rows = 1 if header.names else 0
    try:
        with _damage_explained(header.path), pa.input_stream(str(header.path), compression=_codec(header.path)) as raw:
            table = arrow_csv.read_csv(
                raw,
                read_options=arrow_csv.ReadOptions(column_names=columns, skip_rows=header_rows, block_size=4 << 20),
                convert_options=arrow_csv.ConvertOptions(column_types=dict(types), include_columns=list(types)),
            )
    except pa.ArrowInvalid as error:
        raise _bad_row(header, columns, types, error) from error
    if table.num_rows == 0:
        raise InvalidInputError(f"{header.path}, row {header_rows + 1}: there is no row of data; {_COMPLETE_AGAIN}")
    csv_table = CsvTable(header.path, table, header_rows)
    for name in types:
        column = table[name].combine_chunks()
        if column.null_count:
            index = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            raise csv_table.fault(index, f"{name} is missing or not a number", "correct or remove the row")
    return csv_table


def _billionths(column: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return decimals of scale 9 as whole billionths, and which of them fit 64 bits.

    Arrow reads more digits than the type allows: the high half of each 128-bit integer must repeat the low one's sign.
    """
    words = np.frombuffer(column.buffers()[1], dtype="<i8").reshape(-1, 2)[column.offset : column.offset + len(column)]
    low, high = words[:, 0], words[:, 1]
    return low, high == low >> 63


def _codec(path: Path) -> str | None:
    return "gzip" if path.suffix == ".gz" else None


def _open_text(path: Path) -> TextIO:
    if _codec(path):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


@contextmanager
def _damage_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise InvalidInputError(f"{path}: cannot be read ({error.strerror}); check the path and its rights") from error
    except _DAMAGE as error:
        kind = "gzip file" if _codec(path) else "text file"
        reason = str(error).rstrip(".") or type(error).__name__
        raise InvalidInputError(f"{path}: broken or truncated {kind} ({reason}); {_COMPLETE_AGAIN}") from error


def _line_number(path: Path, filled_row: int) -> int:
    """Return the number of the line that is the filled row number `filled_row` (from 0): blank lines count too."""
    with _damage_explained(path), _open_text(path) as stream:
        filled = -1
        for number, line in enumerate(stream, start=1):
            filled += bool(line.strip("\r\n"))
            if filled == filled_row:
                return number
    return filled_row + 1


def _bad_row(
    header: CsvHeader, columns: Sequence[str], types: Mapping[str, pa.DataType], cause: Exception
) -> InvalidInputError:
    """Return the error for the first row that does not parse, found by reading the file slowly."""
    with _damage_explained(header.path), _open_text(header.path) as stream:
        for number, line in enumerate(stream, start=1):
            fields = next(csv.reader([line]), [])
            if not fields or (number == 1 and header.names):
                continue
            if len(fields) != len(columns):
                what = f"has {len(fields)} fields instead of {len(columns)}"
                return row_fault(header.path, number, what, f"if the file was cut off, {_COMPLETE_AGAIN}")
            values = dict(zip(columns, fields, strict=True))
            for name, kind in types.items():
                if not _parses(values[name], kind):
                    what = f"{name} is {values[name]!r}, which is not {_DESCRIPTIONS[kind]}"
                    return row_fault(header.path, number, what, "correct or remove the row")
    return InvalidInputError(f"{header.path}: is no readable CSV file ({cause}); {_COMPLETE_AGAIN}")


def _seconds(text: str) -> None:
    value = Decimal(text)
    if not value.is_finite() or abs(value) >= 10**10 or value != round(value, 9):
        raise ValueError(text)


def _whole(text: str) -> None:
    if not _WHOLE.fullmatch(text.strip()) or not -(2**63) <= int(text) < 2**63:
        raise ValueError(text)


def _number(text: str) -> None:
    if not _NUMBER.fullmatch(text.strip()) and not math.isinf(float(text)):
        raise ValueError(text)


def _date_time(text: str) -> None:
    if datetime.fromisoformat(text).tzinfo is not None:
        raise ValueError(text)


def _zoned_date_time(text: str) -> None:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError(text)


_PARSERS: Mapping[pa.DataType, Callable[[str], object]] = {
    INTEGER: _whole,
    FLOAT: _number,
    TEXT: str,
    SECONDS: _seconds,
    DATE_TIME: _date_time,
    ZONED_DATE_TIME: _zoned_date_time,
}
_DESCRIPTIONS: Mapping[pa.DataType, str] = {
    INTEGER: "a whole number",
    FLOAT: "a number",
    TEXT: "text",
    SECONDS: "a time in seconds with at most 9 decimals",
    DATE_TIME: "a date and time without a zone such as 2024-01-31 23:59:00, as in the first row",
    ZONED_DATE_TIME: "a date and time with a zone such as 2024-01-31 23:59:00+00:00, as in the first row",
}


def _parses(text: str, kind: pa.DataType) -> bool:
    try:
        _PARSERS[kind](text)
    except (ValueError, ArithmeticError):
        return False
    return text.strip() != ""
