"""Two reports compared order by order; each is a report.json, the folder of a run, or a run of a database."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from breakwater_cli.reports import database_url_of
from breakwater_core.decimals import to_text
from breakwater_core.errors import InvalidInputError
from breakwater_research.parity import Difference, Parity, Tolerance, compare
from breakwater_research.report_files import read_report
from reporter_service.reading import load_report

EQUAL, DIFFERENT = 0, 1
ROWS_SHOWN = 200


def compare_reports(a: str, b: str, *, database: str | None, tolerance: Tolerance) -> Parity:
    """Return in what report B differs from report A.

    Raises:
        InvalidInputError: If one of them is neither a report nor a run of the database.
    """
    return compare(_report(a, database), _report(b, database), tolerance=tolerance)


def show(parity: Parity) -> None:
    """Print the differences as a table, with the total below."""
    console = Console()
    if parity.differences:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("day", "account", "order", "cause", "field", "A", "B"):
            table.add_column(name, overflow="fold")
        table.add_column("bps", justify="right")
        for difference in parity.differences[:ROWS_SHOWN]:
            table.add_row(*(Text(cell) for cell in _cells(difference)))
        console.print(table)
        if len(parity.differences) > ROWS_SHOWN:
            console.print(f"and {len(parity.differences) - ROWS_SHOWN} more; --json lists all")
    console.print(summary(parity), highlight=False)


def summary(parity: Parity) -> str:
    """Return the result on one line."""
    if parity.is_equal:
        return f"equal: {parity.orders_equal} orders; total {to_text(parity.total_bps)} bps"
    count = len(parity.differences)
    return (
        f"{count} difference{'' if count == 1 else 's'}: {parity.orders_equal} orders equal, "
        f"{parity.orders_different} differ; total {to_text(parity.total_bps)} bps of the equity at the day's open, "
        f"{to_text(parity.cost)} in quote currency"
    )


def _cells(difference: Difference) -> tuple[str, ...]:
    return (
        "" if difference.day is None else difference.day.isoformat(),
        difference.account,
        difference.subject,
        difference.cause.value,
        difference.field,
        difference.a,
        difference.b,
        "" if difference.cost_bps is None else to_text(difference.cost_bps),
    )


def _report(name: str, database: str | None) -> dict[str, Any]:
    path = Path(name)
    if path.is_dir():
        path = path / "report.json"
    if path.is_file():
        return read_report(path)
    if database is None:
        raise InvalidInputError(
            f"{name}: no such report; give a report.json, the --out folder of a run, or --database with a run id"
        )
    return load_report(database_url_of(database), name)
