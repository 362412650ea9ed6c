"""Bayesian search: which sets to try next, asked of Optuna's tree-structured Parzen estimator.

Each choice that is to be made (of the in-sample days, and of each walk-forward window) has a study of its own, which
knows scores on the days of that choice only: the days that judge never say what is tried. Studies ask in batches of a
fixed size and are told in the order of asking, so the same seed tries the same sets wherever they are computed.

Bergstra, Bardenet, Bengio and Kegl (2011), "Algorithms for Hyper-Parameter Optimization".
"""

from collections.abc import Sequence
from typing import Final

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from breakwater_research.search.space import SearchSpace

BATCH: Final = 16
"""Sets that a study asks for before it is told of the first of them."""

Point = tuple[int, ...]


class SetSampler:
    """Asks for sets of one choice.

    Args:
        space: Where sets come from.
        trials: How many to ask for; one may be asked for more than once.
        seed: Another seed tries other sets.
    """

    def __init__(self, space: SearchSpace, *, trials: int, seed: int) -> None:
        self._left = trials
        self._distributions = _distributions(space)
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=BATCH, constant_liar=True)
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # it tells of each new study
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        optuna.logging.set_verbosity(verbosity)
        self._asked: list[optuna.Trial] = []

    def ask(self) -> list[Point]:
        """Return the next sets to try, one index per axis; none once enough were asked for."""
        size = min(BATCH, self._left)
        self._left -= size
        self._asked = [self._study.ask(self._distributions) for _ in range(size)]
        return [tuple(int(trial.params[name]) for name in self._distributions) for trial in self._asked]

    def tell(self, scores: Sequence[float]) -> None:
        """Take the scores of the sets that were asked for last, in their order."""
        for trial, score in zip(self._asked, scores, strict=True):
            self._study.tell(trial, score)


def _distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return what the index of each axis is drawn from: neighbours are alike only where the values are ordered."""
    return {
        ",".join(axis.keys): IntDistribution(0, len(axis.values) - 1)
        if axis.is_ordered
        else CategoricalDistribution(tuple(range(len(axis.values))))
        for axis in space.axes
    }
