"""What the process that compares a day is handed: plain values, which cross the process boundary as JSON."""

from dataclasses import asdict, dataclass
from typing import Any

from breakwater_core.report import Report


@dataclass(frozen=True, slots=True)
class ParityJob:
    """A day of an account to be compared.

    Attributes:
        directory: Folder that market-data records to.
        account: The account.
        day: The session's day, ISO 8601.
        equity: The account's equity at the day's open, decimal text.
        config: The run's configuration as plain values.
        actual: What the account did on the day, in the shape of a report.
        tolerance_bps: What is not listed, basis points, decimal text.
        tolerance_ms: Executions may be so far apart.
    """

    directory: str
    account: str
    day: str
    equity: str
    config: dict[str, Any]
    actual: Report
    tolerance_bps: str
    tolerance_ms: int

    def as_values(self) -> dict[str, Any]:
        """Return the job as plain values."""
        return asdict(self)
