"""The engines that a backtest can be computed with; the command line offers those that stand here."""

from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from typing import Protocol

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError
from breakwater_core.report import Report
from breakwater_recordings.recording import Recording
from breakwater_research.cost_records import NO_RECORDS, CostRecords
from breakwater_research.event_backtest import DayWatcher
from breakwater_research.tick_backtest import run_tick_backtest


class NoBarsError(InvalidInputError):
    """The recording is not made of candles: the tick engine takes it, the bars engine does not."""


class EngineName(StrEnum):
    """How a backtest is computed."""

    BARS = "bars"
    """Candles only: the same report as of their four trades each, found by searching instead of walking."""
    TICK = "tick"
    """Every trade, exactly as in a replay."""


class BacktestEngine(Protocol):
    """Computes the report of a run; see `run_tick_backtest` for arguments and errors."""

    def __call__(
        self,
        recording: Recording,
        config: BreakwaterConfig,
        *,
        first_day: date | None = None,
        last_day: date | None = None,
        run_id: str | None = None,
        on_day: DayWatcher | None = None,
        records: CostRecords = NO_RECORDS,
    ) -> Report:
        """Return the report, in the shape of `breakwater_core.report.build_report`."""


def _run_bars_backtest(
    recording: Recording,
    config: BreakwaterConfig,
    *,
    first_day: date | None = None,
    last_day: date | None = None,
    run_id: str | None = None,
    on_day: DayWatcher | None = None,
    records: CostRecords = NO_RECORDS,
) -> Report:
    from breakwater_research.bars.bars_engine import run_bars_backtest  # numba takes a second to import

    return run_bars_backtest(
        recording, config, first_day=first_day, last_day=last_day, run_id=run_id, on_day=on_day, records=records
    )


ENGINES: Mapping[EngineName, BacktestEngine] = {
    EngineName.BARS: _run_bars_backtest,
    EngineName.TICK: run_tick_backtest,
}
"""Every engine by its name."""
