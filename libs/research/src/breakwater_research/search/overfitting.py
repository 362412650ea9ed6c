"""How often the set that looks best on some days is below the middle on the others.

Bailey, Borwein, Lopez de Prado and Zhu (2015), "The Probability of Backtest Overfitting", Journal of Computational
Finance 20(4): combinatorially symmetric cross-validation. The days are cut into S blocks in order. For each of the
S! / (S/2)!^2 ways to take half of the blocks, the set with the largest Sharpe ratio on them is ranked among all N sets
by the Sharpe ratio on the other half:

    w = rank / (N + 1)      logit = ln(w / (1 - w))      PBO = share of the ways whose logit is not above 0

Sets that are worth nothing give about one half. Ties take their mean rank. Blocks differ by a day at most where their
number does not divide the days, which the paper avoids by choosing the days.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from breakwater_core.errors import InvalidInputError

BLOCKS: Final = 16
"""Blocks that the paper proposes; 12,870 ways to halve them."""

_CELLS_AT_A_TIME: Final = 4_000_000


@dataclass(frozen=True)
class Overfitting:
    """The result.

    Attributes:
        probability: PBO, in [0, 1].
        logits: Shape (n_ways,), one per way to halve the blocks; below 0 is below the middle.
        blocks: Number of blocks.
        loss_probability: Share of the ways in which the set that looked best lost money on the other half.
    """

    probability: float
    logits: NDArray[np.float64]
    blocks: int
    loss_probability: float


def probability_of_overfitting(returns: NDArray[np.float64], *, blocks: int = BLOCKS) -> Overfitting:
    """Return the probability of backtest overfitting of a choice by Sharpe ratio.

    Args:
        returns: Shape (n_sets, n_days), daily returns of every set; at least two sets and two days a block.
        blocks: Even, in [2, 20].

    Raises:
        InvalidInputError: If there are too few sets or days, or the number of blocks is out of range.
    """
    sets, days = returns.shape
    if blocks % 2 or not 2 <= blocks <= 20:
        raise InvalidInputError(f"blocks must be even and in [2, 20], was {blocks}")
    if sets < 2 or days < 2 * blocks:
        raise InvalidInputError(
            f"overfitting is judged over at least 2 sets and {2 * blocks} days, there were {sets} and {days}"
        )
    cuts = np.array_split(np.arange(days), blocks)
    counts = np.array([len(cut) for cut in cuts], dtype=np.float64)
    sums = np.array([returns[:, cut].sum(axis=1) for cut in cuts])
    squares = np.array([np.square(returns[:, cut]).sum(axis=1) for cut in cuts])
    chosen_blocks = list(combinations(range(blocks), blocks // 2))
    halves = np.zeros((len(chosen_blocks), blocks))
    halves[np.arange(len(chosen_blocks))[:, None], np.array(chosen_blocks)] = 1.0
    step = max(1, _CELLS_AT_A_TIME // sets)
    ranks, losses = np.empty(len(halves)), 0
    for start in range(0, len(halves), step):
        inside = halves[start : start + step]
        outside = 1.0 - inside
        best = _sharpe(inside, counts, sums, squares).argmax(axis=1)
        scores = _sharpe(outside, counts, sums, squares)
        of_best = np.take_along_axis(scores, best[:, None], axis=1)
        below, equal = (scores < of_best).sum(axis=1), (scores == of_best).sum(axis=1)
        ranks[start : start + step] = below + (equal + 1) / 2
        losses += int((of_best < 0.0).sum())
    share = ranks / (sets + 1)
    logits = np.log(share / (1.0 - share))
    return Overfitting(float((logits <= 0.0).mean()), logits, blocks, losses / len(halves))


def _sharpe(
    halves: NDArray[np.float64],
    counts: NDArray[np.float64],
    sums: NDArray[np.float64],
    squares: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the daily Sharpe ratio of each set over each half, shape (n_ways, n_sets); 0 without variation."""
    days = (halves @ counts)[:, None]
    mean = halves @ sums / days
    variance = (halves @ squares / days - mean * mean) * days / (days - 1.0)
    floor = 1e-24 + 1e-12 * mean * mean  # what rounding leaves of a series that does not vary
    varies = variance > floor
    return np.where(varies, mean / np.sqrt(np.where(varies, variance, 1.0)), 0.0)
