"""Parameter sets under a name, and what each of them made: the study's unit of comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError
from breakwater_research.bars.bar_table import BarTable
from breakwater_research.bars.sweep import sweep, sweep_trades
from breakwater_research.returns import ReturnSeries


@dataclass(frozen=True)
class Variant:
    """What one parameter set made.

    Attributes:
        name: As it stands in tables and legends.
        config: The set.
        series: Daily returns, net of costs.
        trades: Round trips.
        fees: Summed over all days, as shares of the equity at each day's open; `slippage` and `funding` alike, positive
            is paid.
        liquidations: Positions that the exchange closed.
    """

    name: str
    config: BreakwaterConfig
    series: ReturnSeries
    trades: int
    fees: float
    slippage: float
    funding: float
    liquidations: int

    @property
    def costs(self) -> float:
        """All costs."""
        return self.fees + self.slippage + self.funding

    def as_values(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        series = self.series
        return {
            "name": self.name,
            "total_return": series.total,
            "annual_growth": series.annual_growth,
            "sharpe": series.sharpe,
            "max_drawdown": series.max_drawdown,
            "trades": self.trades,
            "fees": self.fees,
            "slippage": self.slippage,
            "funding": self.funding,
            "liquidations": self.liquidations,
        }


def changed(config: BreakwaterConfig, changes: Mapping[str, Any]) -> BreakwaterConfig:
    """Return the configuration with other values at some keys.

    Args:
        config: What to start from.
        changes: Values by `section.key`.

    Raises:
        InvalidInputError: If a key is unknown or a value out of range.
    """
    values = config.as_values()
    for name, value in changes.items():
        section, _, key = name.partition(".")
        if key not in values.get(section, {}):
            raise InvalidInputError(f"{name}: no such key; name it as section.key")
        values[section][key] = value
    return BreakwaterConfig.parse(values)


def run_variants(
    table: BarTable,
    configs: Mapping[str, BreakwaterConfig],
    *,
    first_day: date | None = None,
    last_day: date | None = None,
) -> list[Variant]:
    """Return what each set made, in the order given; the account begins anew each year (`account_years`).

    Args:
        table: The bars.
        configs: Sets by name, at least one.
        first_day: First day wanted; None: the first complete one.
        last_day: Last day wanted, included; None: the last complete one.

    Raises:
        InvalidInputError: If no complete day is in the range, or a symbol is not in the table.
    """
    sets = list(configs.values())
    results = [
        sweep(table, sets, first_day=first, last_day=last) for first, last in account_years(table, first_day, last_day)
    ]
    days = np.concatenate([result.days for result in results]).astype(np.int64)
    returns = np.concatenate([result.returns for result in results], axis=1)
    return [
        Variant(
            name=name,
            config=config,
            series=ReturnSeries(name, days, np.ascontiguousarray(returns[number])),
            trades=int(sum(result.trades[number] for result in results)),
            fees=float(sum(result.fees[number] for result in results)),
            slippage=float(sum(result.slippage[number] for result in results)),
            funding=float(sum(result.funding[number] for result in results)),
            liquidations=int(sum(result.liquidations[number] for result in results)),
        )
        for number, (name, config) in enumerate(configs.items())
    ]


def trades_of(
    table: BarTable, config: BreakwaterConfig, *, first_day: date | None = None, last_day: date | None = None
) -> pd.DataFrame:
    """Return every round trip of a set, in the shape of `sweep_trades`.

    Args:
        table: The bars.
        config: The set.
        first_day: As in `run_variants`; `last_day` likewise.
        last_day: See there.

    Raises:
        InvalidInputError: As `run_variants`.
    """
    years = account_years(table, first_day, last_day)
    return pd.concat(
        [sweep_trades(table, config, first_day=first, last_day=last) for first, last in years], ignore_index=True
    )


def account_years(table: BarTable, first_day: date | None, last_day: date | None) -> list[tuple[date, date]]:
    """Return the calendar years of the range, in each of which the account begins anew with its initial equity.

    A set that has lost nearly everything can no longer buy the smallest quantities and falls silent, which would look
    like caution. Returns are shares, so they compound over the years all the same.

    Raises:
        InvalidInputError: If no complete day is in the range.
    """
    first, last = table.played_days(first_day, last_day)
    starts = [first, *(date(year, 1, 1) for year in range(first.year + 1, last.year + 1))]
    ends = [*(start - timedelta(days=1) for start in starts[1:]), last]
    return list(zip(starts, ends, strict=True))


def held(table: BarTable, symbols: Sequence[str], series: ReturnSeries) -> ReturnSeries:
    """Return what holding the same symbols brought: equal shares at each day's start, no leverage, no costs.

    A symbol counts from its second day on; a day without any has a return of 0.

    Args:
        table: The bars.
        symbols: What is held.
        series: Gives the days.
    """
    rows = [table.index_of(symbol) for symbol in symbols]
    closes = table.daily.closes[rows]
    with np.errstate(invalid="ignore"):
        moves = closes[:, 1:] / closes[:, :-1] - 1
    known = np.isfinite(moves)
    mean = np.where(known, moves, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    every_day = np.concatenate(([0.0], mean))
    first = (table.days[0] - date(1970, 1, 1)).days
    return ReturnSeries("held, 1x", series.days, every_day[series.days - first])
