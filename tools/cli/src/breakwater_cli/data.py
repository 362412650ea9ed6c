"""`breakwater data`: what recordings hold, as a table for people or JSON for machines."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table

from breakwater_recordings.coverage import Interval
from breakwater_recordings.inventory import Holding, Inventory

SHOWN = 10
"""Gaps, repeats and days that are listed per symbol unless all are wanted."""
FILE_WIDTH = 160
"""Columns of the table where it is not printed to a terminal."""
_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"))


def as_values(inventory: Inventory) -> dict[str, Any]:
    """Return the inventory for JSON: times as milliseconds since 1970, days as `2024-05-31`."""
    return {
        "holdings": [
            {
                "symbol": holding.symbol,
                "kind": holding.kind,
                "step_ms": holding.step_ms,
                "files": holding.files,
                "rows": holding.rows,
                "first_ms": holding.first_ms,
                "last_ms": holding.last_ms,
                "first_day": _day(holding.first_ms),
                "last_day": _day(holding.last_ms),
                "gaps": [
                    {"start_ms": start_ms, "end_ms": end_ms, "bars": _bars(holding, (start_ms, end_ms))}
                    for start_ms, end_ms in holding.gaps
                ],
                "incomplete_days": [day.isoformat() for day in holding.incomplete_days],
                "repeats": [
                    {"file": str(repeat.path), "row": repeat.row, "time_ms": repeat.time_ms}
                    for repeat in holding.repeats
                ],
            }
            for holding in inventory.holdings
        ],
        "faults": list(inventory.faults),
    }


def show(inventory: Inventory, *, everything: bool) -> None:
    """Print the inventory: a table, then what is missing or repeated of each symbol, then the faults."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = FILE_WIDTH
    table = Table()
    for column in ("symbol", "data", "files", "first day", "last day", "rows", "gaps", "incomplete days", "repeats"):
        table.add_column(column, justify="left" if column in {"symbol", "data"} else "right", no_wrap=True)
    for holding in inventory.holdings:
        table.add_row(
            holding.symbol,
            _data(holding),
            f"{holding.files:,}",
            _day(holding.first_ms),
            _day(holding.last_ms),
            f"{holding.rows:,}",
            f"{len(holding.gaps):,}",
            f"{len(holding.incomplete_days):,}",
            f"{len(holding.repeats):,}",
        )
    if inventory.holdings:
        console.print(table)
    for line in details(inventory, everything=everything):
        console.print(line, markup=False)


def details(inventory: Inventory, *, everything: bool) -> list[str]:
    """Return a line for each gap, incomplete day, repeated row and fault, the first `SHOWN` of each unless all."""
    lines = []
    for holding in inventory.holdings:
        name = f"{holding.symbol} {_data(holding)}"
        gaps = [f"{name}: gap {_gap(holding, gap)}" for gap in holding.gaps]
        days = [f"{name}: incomplete {text}" for text in _ranges(holding.incomplete_days)]
        repeats = [
            f"{name}: {_time(repeat.time_ms)} stands twice, {repeat.path}, row {repeat.row}"
            for repeat in holding.repeats
        ]
        for group in (gaps, days, repeats):
            shown = group if everything else group[:SHOWN]
            lines += shown
            if len(shown) < len(group):
                lines.append(f"{name}: and {len(group) - len(shown):,} more (--all lists them)")
    return [*lines, *(f"fault: {fault}" for fault in inventory.faults)]


def _ranges(days: Sequence[date]) -> list[str]:
    """Return the days, sorted, with those that follow each other as one."""
    runs: list[list[date]] = []
    for day in days:
        if runs and day - runs[-1][-1] == timedelta(days=1):
            runs[-1].append(day)
        else:
            runs.append([day])
    return [f"day {run[0]}" if len(run) == 1 else f"days {run[0]} to {run[-1]} ({len(run):,})" for run in runs]


def _data(holding: Holding) -> str:
    return holding.kind if holding.step_ms is None else f"{_length(holding.step_ms)} {holding.kind}"


def _length(span_ms: int) -> str:
    for unit_ms, name in _UNITS:
        if span_ms % unit_ms == 0:
            return f"{span_ms // unit_ms}{name}"
    return f"{span_ms / 3_600_000:.1f} h"


def _gap(holding: Holding, gap: Interval) -> str:
    bars = _bars(holding, gap)
    size = _length(gap[1] - gap[0]) if bars is None else f"{bars:,} bars"
    return f"{_time(gap[0])} to {_time(gap[1])} ({size})"


def _bars(holding: Holding, gap: Interval) -> int | None:
    return None if holding.step_ms is None else (gap[1] - gap[0]) // holding.step_ms


def _day(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC).date().isoformat()


def _time(time_ms: int) -> str:
    text = datetime.fromtimestamp(time_ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
    return text if time_ms % 1000 == 0 else f"{text}.{time_ms % 1000:03d}"
