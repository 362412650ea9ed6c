"""Walk-forward and tests against chance over sets that a study has run."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from breakwater_research.bars.bar_table import BarTable
from breakwater_research.returns import ReturnSeries
from breakwater_research.search.deflated_sharpe import deflated_sharpe
from breakwater_research.search.figures import DAYS_PER_YEAR, Objective, daily_sharpe, figures
from breakwater_research.search.overfitting import probability_of_overfitting
from breakwater_research.search.randomization import RandomTest, flip_signs
from breakwater_research.search.shuffled_days import shuffled_order, with_days_in_order
from breakwater_research.search.walk_forward import (
    WalkForwardPlan,
    WindowChoice,
    WindowKind,
    choose,
    stitched_returns,
)
from breakwater_research.study.plan import StudyPlan
from breakwater_research.study.variants import Variant, run_variants

OBJECTIVE = Objective("sharpe")

ONE_SERIES = (
    "If there were no edge, each day's gain would be as likely as the same loss: the out-of-sample return of "
    "each day is multiplied by "
    "+1 or -1 at random."
)
SHUFFLED = (
    "If the days before a day said nothing about it, any order of days would do as well: whole days are put in "
    "random order, all symbols "
    "together, every set is run again, and the best is chosen again. What happens within a day stays, so this "
    "does not test the day itself."
)
EVERY_SET = (
    "If no set had an edge, each day's gains would be as likely as the same losses: the returns of each day, "
    "of all sets alike, are "
    "multiplied by +1 or -1 at random, and the best set is chosen again."
)


@dataclass(frozen=True)
class Window:
    """A walk-forward window: what it chose, and how that did before and after.

    Attributes:
        first_day: First day it was judged on.
        last_day: Last day it was judged on.
        chosen: Name of the set.
        in_sample: Sharpe ratio on the days that chose.
        out_of_sample: Sharpe ratio on the days that judged.
        rank: Share of the sets that did worse on the days that judged; chance gives one half.
    """

    first_day: date
    last_day: date
    chosen: str
    in_sample: float
    out_of_sample: float
    rank: float


@dataclass(frozen=True)
class Chance:
    """A test against chance.

    Attributes:
        name: What is tested.
        null: What would be true if there were nothing.
        figure: Name of the figure.
        actual: The figure as it was.
        values: The figure under the null hypothesis, one per permutation.
        p_value: Share of permutations, the actual order included, that did at least as well.
    """

    name: str
    null: str
    figure: str
    actual: float
    values: tuple[float, ...]
    p_value: float


@dataclass(frozen=True)
class SearchOutcome:
    """What choosing among the sets came to.

    Attributes:
        tries: Sets that were looked at.
        best: The best set over all days, in hindsight.
        windows: Rolling walk-forward windows.
        in_sample: Returns of the best set in hindsight, on the days that the windows judged.
        out_of_sample: Returns of doing what the rolling windows chose.
        anchored: The same with windows that always begin with the first day.
        deflated_sharpe: Probability that the best set's true Sharpe ratio is above what the best of as many worthless
            sets shows.
        overfitting: Probability that the best set of one half of the days is below the middle on the other.
        chance: Tests against chance.
    """

    tries: int
    best: Variant
    windows: tuple[Window, ...]
    in_sample: ReturnSeries
    out_of_sample: ReturnSeries
    anchored: ReturnSeries
    deflated_sharpe: float
    overfitting: float
    chance: tuple[Chance, ...]


def search_outcome(plan: StudyPlan, table: BarTable, variants: Sequence[Variant]) -> SearchOutcome:
    """Return what choosing among the sets by Sharpe ratio came to.

    Args:
        plan: Windows, permutations and seed.
        table: Bars to shuffle the days of; they may be coarser than those that the sets were run on.
        variants: The sets, at least two, all over the same days.

    Raises:
        InvalidInputError: If there are too few days for one window, or too few sets.
    """
    returns = np.stack([variant.series.returns for variant in variants])
    days = variants[0].series.days
    rolling, choices = _walk(plan, WindowKind.ROLLING, returns, days)
    anchored, _ = _walk(plan, WindowKind.ANCHORED, returns, days)
    best = int(OBJECTIVE.scores(figures(returns)).argmax())
    judged = slice(choices[0].window.test_start, choices[-1].window.test_stop)
    dates = variants[0].series.dates
    return SearchOutcome(
        tries=len(variants),
        best=variants[best],
        windows=tuple(
            Window(
                first_day=dates[choice.window.test_start],
                last_day=dates[choice.window.test_stop - 1],
                chosen=variants[choice.chosen].name,
                in_sample=choice.train_score,
                out_of_sample=choice.test_score,
                rank=choice.rank,
            )
            for choice in choices
        ),
        in_sample=ReturnSeries("best set in hindsight", days[judged], returns[best, judged]),
        out_of_sample=rolling,
        anchored=anchored,
        deflated_sharpe=deflated_sharpe(returns, best).probability,
        overfitting=probability_of_overfitting(returns).probability,
        chance=(*_flipped(plan, returns, rolling), _shuffled(plan, table, variants)),
    )


def _walk(
    plan: StudyPlan, kind: WindowKind, returns: NDArray[np.float64], days: NDArray[np.int64]
) -> tuple[ReturnSeries, list[WindowChoice]]:
    windows = WalkForwardPlan(kind, plan.train_days, plan.test_days).windows(returns.shape[1])
    candidates = np.arange(len(returns))
    choices = [choose(returns, window, OBJECTIVE, candidates) for window in windows]
    judged = days[windows[0].test_start : windows[-1].test_stop]
    return ReturnSeries(f"{kind} walk-forward", judged, stitched_returns(returns, choices)), choices


def _flipped(plan: StudyPlan, returns: NDArray[np.float64], out_of_sample: ReturnSeries) -> tuple[Chance, ...]:
    """Return the tests by flipped signs: of what the windows chose, and of the best of all sets."""
    chosen = flip_signs(out_of_sample.returns[np.newaxis], seed=plan.seed, flips=plan.permutations)
    best = flip_signs(returns, seed=plan.seed, flips=plan.permutations)
    return (
        _annual("out-of-sample returns against flipped signs", ONE_SERIES, chosen),
        _annual("best of all sets against flipped signs", EVERY_SET, best),
    )


def _shuffled(plan: StudyPlan, table: BarTable, variants: Sequence[Variant]) -> Chance:
    """Return the test by shuffled days: every set is run again on each market whose days are in another order."""
    configs = {variant.name: variant.config for variant in variants}
    first, last = table.played_days(plan.first_day, plan.last_day)
    days = table.day_number(last) + 1

    def best_on(market: BarTable) -> float:
        found = run_variants(market, configs, first_day=first, last_day=last)
        return float(daily_sharpe(np.stack([variant.series.returns for variant in found])).max())

    copies = (shuffled_order(table, days, np.random.default_rng([plan.seed, copy])) for copy in range(plan.shuffles))
    scores = np.array([best_on(with_days_in_order(table, order)) for order in copies])
    return _annual(
        "best of all sets against shuffled days", SHUFFLED, RandomTest("", plan.seed, best_on(table), scores)
    )


def _annual(name: str, null: str, test: RandomTest) -> Chance:
    """Return a test of daily Sharpe ratios with annual ones."""
    year = DAYS_PER_YEAR**0.5
    values = tuple((test.scores * year).tolist())
    return Chance(name, null, "annual Sharpe ratio", test.observed * year, values, test.p_value)
