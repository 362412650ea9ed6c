"""One live day beside its backtest, computed.

It reads recordings and so loads pyarrow: for the process that compares a day, not for the reporter's.
"""

from collections.abc import Callable
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
from reporter_service.parity_job import ParityJob

DayBacktest = Callable[[Recording, BreakwaterConfig, date], Report]
"""Returns the report of a backtest of one day of a recording."""

_LARGEST_EQUITY = Decimal("1e12")


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
