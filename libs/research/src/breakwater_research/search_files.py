"""The folder of a search, read back: `search.json` and `results.parquet`, checked as far as a page needs them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from breakwater_core.errors import InvalidInputError
from breakwater_research.returns import ReturnSeries, days_of_texts

SEARCH_FILE = "search.json"
RESULTS_FILE = "results.parquet"

_SECTIONS = ("request", "data", "sets", "verdict", "chosen", "in_sample", "deflated_sharpe")
_REMEDY = "give the output folder of `breakwater optimize`"


@dataclass(frozen=True)
class SearchFiles:
    """What a search left.

    Attributes:
        values: `search.json`.
        results: `results.parquet`: one row per set, a column per varied key, figures.
    """

    values: dict[str, Any]
    results: pd.DataFrame

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys that were varied, as `section.key`."""
        return tuple(self.values["sets"]["keys"])

    def series(self, name: str, *path: str) -> ReturnSeries | None:
        """Return the daily returns at a place of `search.json` under a name; None where there are none.

        Raises:
            InvalidInputError: If what stands there is no series.
        """
        place: Any = self.values
        for key in path:
            place = None if place is None else place.get(key)
        if place is None or not place.get("days"):
            return None
        returns = np.array(place["returns"], dtype=np.float64)
        return ReturnSeries(name, days_of_texts(place["days"]), returns)


def is_search_folder(folder: Path) -> bool:
    """Return whether the folder holds a finished search."""
    return (folder / SEARCH_FILE).is_file()


def read_search(folder: Path) -> SearchFiles:
    """Return the search that a folder holds.

    Raises:
        InvalidInputError: If a file lacks or does not hold what it should.
    """
    path = folder / SEARCH_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read ({error.strerror}); {_REMEDY}") from error
    except ValueError as error:
        raise InvalidInputError(f"{path}: is not JSON ({error}); {_REMEDY}") from error
    missing = [key for key in _SECTIONS if not isinstance(values, dict) or not values.get(key)]
    if missing:
        raise InvalidInputError(f"{path}: lacks {', '.join(missing)}; {_REMEDY}")
    results = folder / RESULTS_FILE
    try:
        table = pd.read_parquet(results)
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{results}: cannot be read ({' '.join(str(error).split())}); {_REMEDY}") from error
    lacking = [key for key in (*values["sets"]["keys"], "set") if key not in table.columns]
    if lacking:
        raise InvalidInputError(f"{results}: lacks the columns {', '.join(lacking)}; {_REMEDY}")
    return SearchFiles(values, table)
