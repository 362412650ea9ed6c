"""Recorded funding against the assumed constant, over the days and symbols that have records."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np

from breakwater_core.config import BreakwaterConfig
from breakwater_recordings.funding import FundingRecords, read_funding
from breakwater_research.bars.bar_table import BarTable
from breakwater_research.bars.sweep import sweep
from breakwater_research.study.variants import changed

_EIGHT_HOURS_MS = 8 * 3_600_000


@dataclass(frozen=True)
class FundingComparison:
    """The same trades, charged a constant rate and the recorded ones.

    Attributes:
        symbols: Those of the study that have records.
        first_day: First day on which every symbol has records; `last_day` the last one.
        last_day: See there.
        mean_rate: Mean recorded rate per 8 hours, as a fraction.
        trades: Round trips of those days.
        constant: Funding paid at the constant rate, summed shares of the day's opening equity.
        recorded: The same at the recorded rates.
    """

    symbols: tuple[str, ...]
    first_day: date
    last_day: date
    mean_rate: float
    trades: int
    constant: float
    recorded: float


def compare_funding(
    table: BarTable, config: BreakwaterConfig, funding_files: Sequence[Path]
) -> FundingComparison | None:
    """Return what recorded funding changes; None if no symbol and day of the table has records.

    Args:
        table: The bars.
        config: Strategy, costs and symbols.
        funding_files: Files of recorded rates, as `read_funding` reads them.

    Raises:
        InvalidInputError: If a settlement stands in two files, or a file is damaged.
    """
    if not funding_files:
        return None
    records = read_funding(*funding_files)
    symbols = tuple(symbol for symbol in config.portfolio.symbols if symbol in records.symbols)
    if not symbols:
        return None
    first, last = _shared_days(records, symbols)
    if not any(first <= day <= last for day in _complete_days(table)):
        return None
    of_symbols = changed(config, {"portfolio.symbols": list(symbols)})
    charged = [sweep(table, [of_symbols], first_day=first, last_day=last, funding=one) for one in (None, records)]
    return FundingComparison(
        symbols=symbols,
        first_day=first,
        last_day=last,
        mean_rate=float(np.mean([_rate_per_eight_hours(records, symbol) for symbol in symbols])),
        trades=int(charged[0].trades[0]),
        constant=float(charged[0].funding[0]),
        recorded=float(charged[1].funding[0]),
    )


def _complete_days(table: BarTable) -> list[date]:
    return [day for day, is_complete in zip(table.days, table.complete.any(axis=0), strict=True) if is_complete]


def _shared_days(records: FundingRecords, symbols: Sequence[str]) -> tuple[date, date]:
    """Return the UTC days between which every symbol has records; the last is before the first if there are none."""
    first_ms = max(int(records.by_symbol[symbol].stamps_ms[0]) for symbol in symbols)
    last_ms = min(int(records.by_symbol[symbol].stamps_ms[-1]) for symbol in symbols)
    first, last = (datetime.fromtimestamp(time_ms / 1000, tz=UTC).date() for time_ms in (first_ms, last_ms))
    return first, last


def _rate_per_eight_hours(records: FundingRecords, symbol: str) -> float:
    funding = records.by_symbol[symbol]
    span_ms = int(funding.stamps_ms[-1] - funding.stamps_ms[0])
    return float(funding.rates[1:].sum()) / (span_ms / _EIGHT_HOURS_MS) if span_ms else float(funding.rates[0])
