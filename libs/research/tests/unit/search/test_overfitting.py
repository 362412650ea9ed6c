"""The probability of backtest overfitting against a plain computation and against what must hold."""

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from breakwater_core.errors import InvalidInputError
from breakwater_research.search.overfitting import probability_of_overfitting


def plain_logits(returns: NDArray[np.float64], blocks: int) -> list[float]:
    """The paper's algorithm, step by step, without blocks' sums."""
    cuts = np.array_split(np.arange(returns.shape[1]), blocks)
    logits = []
    for half in combinations(range(blocks), blocks // 2):
        inside = np.concatenate([cuts[block] for block in half])
        outside = np.concatenate([cuts[block] for block in range(blocks) if block not in half])
        sharpe = [[row[days].mean() / row[days].std(ddof=1) for row in returns] for days in (inside, outside)]
        best = int(np.argmax(sharpe[0]))
        rank = 1 + sum(other < sharpe[1][best] for other in sharpe[1])
        share = rank / (len(returns) + 1)
        logits.append(float(np.log(share / (1 - share))))
    return logits


@pytest.mark.parametrize(("sets", "days", "blocks"), [(5, 40, 4), (7, 61, 6), (2, 33, 8)])
def test_it_is_the_algorithm_of_the_paper(sets: int, days: int, blocks: int) -> None:
    returns = np.random.default_rng(sets).normal(0.0005, 0.01, size=(sets, days))
    found = probability_of_overfitting(returns, blocks=blocks)
    expected = plain_logits(returns, blocks)
    assert found.logits == pytest.approx(expected)
    assert found.probability == np.mean(np.array(expected) <= 0)


def test_all_ways_to_halve_sixteen_blocks_are_taken() -> None:
    returns = np.random.default_rng(0).normal(size=(3, 320)) * 0.01
    assert len(probability_of_overfitting(returns).logits) == 12_870


def test_noise_gives_about_one_half() -> None:
    generator = np.random.default_rng(11)
    found = [
        probability_of_overfitting(generator.normal(0.0, 0.01, size=(40, 320)), blocks=8).probability for _ in range(60)
    ]
    assert np.mean(found) == pytest.approx(0.5, abs=0.06)


def test_one_set_that_is_truly_better_is_not_overfit() -> None:
    returns = np.random.default_rng(2).normal(0.0, 0.01, size=(20, 320))
    returns[7] += 0.005
    assert probability_of_overfitting(returns).probability < 0.01


def test_sets_that_are_good_on_some_days_only_because_they_are_bad_on_others_are_overfit() -> None:
    generator = np.random.default_rng(4)
    returns = generator.normal(0.0, 0.01, size=(30, 320))
    returns -= returns.mean(axis=1, keepdims=True)  # what a set gains in one half it loses in the other
    assert probability_of_overfitting(returns).probability > 0.9


def test_sets_that_never_trade_tie_in_the_middle() -> None:
    found = probability_of_overfitting(np.zeros((4, 64)))
    assert (found.logits == 0.0).all()
    assert found.probability == 1.0


@pytest.mark.parametrize(("shape", "blocks"), [((1, 100), 4), ((5, 7), 4), ((5, 100), 5)])
def test_too_little_is_refused(shape: tuple[int, int], blocks: int) -> None:
    with pytest.raises(InvalidInputError):
        probability_of_overfitting(np.zeros(shape), blocks=blocks)
