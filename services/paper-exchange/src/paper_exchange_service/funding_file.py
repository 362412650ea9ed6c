"""Reads recorded funding rates: a CSV file of symbol, timestamp, funding_rate."""

import csv
import gzip
from decimal import Decimal
from pathlib import Path

from breakwater_core.decimals import from_text
from breakwater_core.errors import InvalidInputError

_MINUTE_MS = 60_000


def read_funding(path: Path) -> dict[str, dict[int, Decimal]]:
    """Return the rates per symbol and stamp; stamps that are some milliseconds late are set to their minute.

    Raises:
        InvalidInputError: If the file is absent or a row is wrong.
    """
    rates: dict[str, dict[int, Decimal]] = {}
    rows_read = 0
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
            for row in csv.DictReader(lines):
                rows_read += 1
                stamp_ms = round(int(row["timestamp"]) / _MINUTE_MS) * _MINUTE_MS
                rates.setdefault(row["symbol"], {})[stamp_ms] = from_text(row["funding_rate"])
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path}: cannot be read ({error}); give a CSV file, plain or gzipped") from error
    except (KeyError, ValueError, TypeError) as error:
        raise InvalidInputError(
            f"{path}, row {rows_read + 1}: expected the columns symbol, timestamp (ms), funding_rate ({error})"
        ) from error
    return rates
