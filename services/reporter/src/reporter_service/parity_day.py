"""One live day beside its backtest: what is handed to the process that computes it, and what that hands back.

Plain values in and out, so that both may cross a process boundary as JSON. Money is quote currency, times milliseconds
since 1970-01-01T00:00Z.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from breakwater_core.config import BreakwaterConfig
from breakwater_core.decimals import from_text
from breakwater_core.errors import InvalidInputError
from breakwater_core.report import Report
from breakwater_recordings.day_recording import open_day
from breakwater_recordings.recording import Recording
from breakwater_research.parity import Tolerance, compare

DayBacktest = Callable[[Recording, BreakwaterConfig, date], Report]
"""Returns the report of a backtest of one day of a recording."""

_LARGEST_EQUITY = Decimal("1e12")


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


def compare_day(job: ParityJob, backtest: DayBacktest) -> dict[str, Any]:
    """Return the comparison as `Parity.as_values` gives it, or `{"reason": why the day is not comparable}`."""
    try:
        return _compared(job, backtest)
    except InvalidInputError as error:
        return {"reason": " ".join(str(error).split())}


def _compared(job: ParityJob, backtest: DayBacktest) -> dict[str, Any]:
    given = BreakwaterConfig.parse(job.config)
    equity = from_text(job.equity)
    if not 0 < equity <= _LARGEST_EQUITY:
        raise InvalidInputError(f"the account opened the day with an equity of {job.equity}")
    day = date.fromisoformat(job.day)
    portfolio = given.portfolio.model_copy(update={"accounts": (job.account,), "initial_equity": equity})
    config = given.model_copy(update={"portfolio": portfolio})
    recording = open_day(Path(job.directory), day, session=config.session.session(), symbols=config.portfolio.symbols)
    expected = backtest(recording, config, day)
    actual = {**job.actual, "config": expected["config"], "counters": expected["counters"]}
    tolerance = Tolerance(from_text(job.tolerance_bps), job.tolerance_ms)
    return compare(expected, actual, tolerance=tolerance).as_values()
