"""The work of a search in pieces that any process can do: data and a task in, arrays out, nothing else.

A result depends on the task and the data alone, so it is the same wherever it is computed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breakwater_core.config import BreakwaterConfig
from breakwater_recordings.funding import FundingRecords
from breakwater_research.bars.bar_table import BarTable
from breakwater_research.bars.sweep import sweep
from breakwater_research.search.figures import Objective, figures
from breakwater_research.search.shuffled_days import shuffled_order, with_days_in_order

Arrays = Mapping[str, NDArray[Any]]

TOTALS = ("trades", "fees", "slippage", "funding", "liquidations")
"""Figures of a set over all days: counts, and costs summed as shares of the day's opening equity."""


@dataclass(frozen=True, eq=False)
class Market:
    """What every task computes on.

    Attributes:
        table: The bars.
        funding: Recorded rates; None: `costs.funding_rate` alone.
    """

    table: BarTable
    funding: FundingRecords | None = None

    @property
    def fingerprint(self) -> str:
        """Identity of bars and funding."""
        return f"{self.table.fingerprint} {self.funding.fingerprint if self.funding else 'constant'}"


@dataclass(frozen=True)
class SetsTask:
    """Compute some sets over all days.

    Attributes:
        name: Of the chunk that the result is stored as.
        configs: The sets.
        first_day: First day.
        last_day: Last day, included.
    """

    name: str
    configs: tuple[BreakwaterConfig, ...]
    first_day: date
    last_day: date

    def compute(self, market: Market) -> Arrays:
        """Return `days`, `returns` of shape (n_sets, n_days), and each of `TOTALS` of shape (n_sets,)."""
        result = sweep(
            market.table,
            self.configs,
            first_day=self.first_day,
            last_day=self.last_day,
            funding=market.funding,
            threads=1,  # the executor computes several tasks at the same time
        )
        totals: Arrays = {name: getattr(result, name) for name in TOTALS}
        return {"days": result.days, "returns": result.returns, **totals}


@dataclass(frozen=True)
class ShuffleTask:
    """Compute all sets on shuffled days and keep the best score.

    Attributes:
        name: Of the chunk that the result is stored as.
        configs: Every set of the search.
        first_day: First in-sample day.
        last_day: Last in-sample day; it and all days before it are shuffled, those of the warm-up too.
        objective: Whose largest value is kept.
        seed: Of the search, and number of the copy.
    """

    name: str
    configs: tuple[BreakwaterConfig, ...]
    first_day: date
    last_day: date
    objective: Objective
    seed: tuple[int, int]

    def compute(self, market: Market) -> Arrays:
        """Return `score`, shape (): the largest score over all sets."""
        table = market.table
        order = shuffled_order(table, table.day_number(self.last_day) + 1, np.random.default_rng(self.seed))
        result = sweep(
            with_days_in_order(table, order),
            self.configs,
            first_day=self.first_day,
            last_day=self.last_day,
            funding=market.funding,
            threads=1,
        )
        return {"score": np.asarray(self.objective.scores(figures(result.returns)).max())}


Task = SetsTask | ShuffleTask
