"""`report.json` on disk: the same report always gives the same bytes, and a reader never sees half a file."""

import json
import os
import tempfile
from pathlib import Path

from breakwater_core.errors import InvalidInputError
from breakwater_core.report import Report

REPORT_KEYS = ("run_id", "config", "orders", "fills", "refused", "days", "counters")
"""Keys of every report, in the order in which `breakwater_core.report` builds them."""

_ARRAYS = frozenset({"orders", "fills", "refused", "days"})
_OBJECTS = frozenset({"config", "counters"})
_FILE_MODE = 0o644
_REMEDY = "give the report.json of a replay or backtest"


def report_text(report: Report) -> str:
    """Return the report as JSON: two spaces of indent, keys in the report's own order, one newline at the end.

    Raises:
        InvalidInputError: If the report holds something that JSON cannot state, e.g. NaN or a Decimal.
    """
    try:
        return json.dumps(report, indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"the report cannot be written as JSON ({error}); give decimals as text") from error


def write_report(report: Report, path: Path) -> None:
    """Write the report, replacing what stands there only once all of it is on disk.

    Args:
        report: Plain values, as `breakwater_core.report.build_report` gives them.
        path: The file; folders that lack are made.

    Raises:
        InvalidInputError: If the report is not fit for JSON, or the file cannot be written.
    """
    content = report_text(report).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, content)
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be written ({error.strerror}); choose another place") from error


def read_report(path: Path) -> Report:
    """Return the report that the file holds.

    Raises:
        InvalidInputError: If there is no such file, or it holds no report.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read ({error.strerror}); {_REMEDY}") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path}: is not UTF-8 text; {_REMEDY}") from error
    except json.JSONDecodeError as error:
        raise InvalidInputError(f"{path}: line {error.lineno} is not JSON ({error.msg}); {_REMEDY}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path}: cannot be read as JSON ({error}); {_REMEDY}") from error
    return _checked(values, path)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _checked(values: object, path: Path) -> Report:
    if not isinstance(values, dict):
        raise InvalidInputError(f"{path}: is no report: it must hold one JSON object; {_REMEDY}")
    missing = [key for key in REPORT_KEYS if key not in values]
    if missing:
        raise InvalidInputError(f"{path}: is no report: it lacks {', '.join(missing)}; {_REMEDY}")
    for key in REPORT_KEYS:
        if key in _ARRAYS and not _is_array_of_objects(values[key]):
            raise InvalidInputError(f"{path}: is no report: {key} must be an array of objects; {_REMEDY}")
        if key in _OBJECTS and not isinstance(values[key], dict):
            raise InvalidInputError(f"{path}: is no report: {key} must be an object; {_REMEDY}")
    return values


def _is_array_of_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


def _replace(path: Path, content: bytes) -> None:
    """Put a file with this content in the place of `path`: a temporary file beside it, then one rename."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(_FILE_MODE)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
