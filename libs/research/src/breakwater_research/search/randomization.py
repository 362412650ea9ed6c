"""Two tests by chance: is the best of all sets better than the best of a market, or of returns, without an edge?

Both take the largest figure over all sets, in the data and in each random copy of it, so that the choice among many
sets is part of what chance is given. The p-value is (1 + copies at or above the data) / (1 + copies): Phipson and Smyth
(2010), "Permutation P-values Should Never Be Zero".

Days shuffled. Null: days are exchangeable; what a day's range, average and noise say about the day after is nothing.
Each copy is the market with its in-sample days in another order (`shuffled_days`), and every set is computed on it
again. What happens within a day is not touched, so profit that does not depend on the days before is in every copy.

Signs flipped. Null: each day, what all sets gained is as likely as what they would have lost. Each copy multiplies the
in-sample returns of a day, of all sets alike, by +1 or -1. What sets have in common on a day is not touched.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from breakwater_research.search.figures import daily_sharpe

LEVEL: Final = 0.05
"""A p-value above this is not significant."""
FLIPS: Final = 499
_CELLS_AT_A_TIME: Final = 8_000_000

SHUFFLED_DAYS: Final = (
    "Days are exchangeable: the range, average and noise of the days before say nothing about a day. "
    "The in-sample days are put in random order, all symbols together, and all sets are computed again."
)
FLIPPED_SIGNS: Final = (
    "A day's gains are as likely as the same losses: the in-sample returns of each day, of all sets alike, are "
    "multiplied by +1 or -1 at random. The figure is the largest Sharpe ratio per day."
)


@dataclass(frozen=True, eq=False)
class RandomTest:
    """The outcome of a test by chance.

    Attributes:
        null: What is assumed, and how the copies are made.
        seed: Of the copies.
        observed: Largest figure over all sets in the data.
        scores: Shape (n_copies,): largest figure over all sets in each copy.
    """

    null: str
    seed: int
    observed: float
    scores: NDArray[np.float64]

    @property
    def p_value(self) -> float:
        """Chance of a figure as large as that of the data if the null holds."""
        return p_value(self.observed, self.scores)

    @property
    def is_significant(self) -> bool:
        """Whether the null is refused at the level."""
        return self.p_value <= LEVEL

    def as_values(self) -> dict[str, Any]:
        """Return the outcome as plain values."""
        return {
            "null": self.null,
            "seed": self.seed,
            "count": len(self.scores),
            "observed": self.observed,
            "scores": self.scores.tolist(),
            "p_value": self.p_value,
            "level": LEVEL,
            "significant": self.is_significant,
        }


def p_value(observed: float, scores: NDArray[np.float64]) -> float:
    """Return (1 + scores at or above the observed one) / (1 + scores)."""
    return float((1 + (scores >= observed).sum()) / (1 + len(scores)))


def flip_signs(returns: NDArray[np.float64], *, seed: int, flips: int = FLIPS) -> RandomTest:
    """Return whether the best daily Sharpe ratio is above what the sets would show without an edge.

    Args:
        returns: Shape (n_sets, n_days), at least two days.
        seed: Another seed is another set of copies.
        flips: Number of copies.
    """
    sets, days = returns.shape
    signs = np.random.default_rng([seed, 1]).choice(np.array([-1.0, 1.0]), size=(flips, days))
    squares = np.square(returns).sum(axis=1) / days
    scores = np.empty(flips)
    step = max(1, _CELLS_AT_A_TIME // sets)
    for start in range(0, flips, step):
        means = signs[start : start + step] @ returns.T / days
        variance = (squares - means * means) * days / (days - 1.0)
        varies = variance > 1e-24 + 1e-12 * squares
        scores[start : start + step] = np.where(varies, means / np.sqrt(np.where(varies, variance, 1.0)), 0.0).max(
            axis=1
        )
    return RandomTest(FLIPPED_SIGNS, seed, float(daily_sharpe(returns).max()), scores)
