"""Tests by chance: as often significant on noise as they claim, and always on a real edge."""

import numpy as np
import pytest

from breakwater_research.search.randomization import flip_signs, p_value


def test_a_p_value_is_never_zero() -> None:
    assert p_value(2.0, np.array([1.0, 2.0, 3.0])) == 0.75
    assert p_value(9.0, np.array([1.0, 2.0, 3.0])) == 0.25


def test_noise_gives_even_p_values() -> None:
    generator = np.random.default_rng(5)
    found = np.sort(
        [flip_signs(generator.normal(0.0, 0.01, size=(20, 80)), seed=n, flips=99).p_value for n in range(200)]
    )
    distance = np.abs(found - (np.arange(200) + 0.5) / 200).max()
    assert distance < 1.63 / np.sqrt(200)  # Kolmogorov and Smirnov at 1 %


def test_the_best_of_many_worthless_sets_is_not_taken_for_an_edge() -> None:
    returns = np.random.default_rng(8).normal(0.0, 0.01, size=(300, 250))
    alone = returns[returns.mean(axis=1).argmax()][None, :]
    assert flip_signs(alone, seed=1).is_significant
    assert not flip_signs(returns, seed=1).is_significant


def test_a_real_edge_is_found_among_worthless_sets() -> None:
    returns = np.random.default_rng(9).normal(0.0, 0.01, size=(50, 400))
    returns[17] += 0.003
    assert flip_signs(returns, seed=1).p_value == pytest.approx(1 / 500)


def test_the_same_seed_gives_the_same_copies() -> None:
    returns = np.random.default_rng(9).normal(0.0, 0.01, size=(5, 40))
    assert (flip_signs(returns, seed=1).scores == flip_signs(returns, seed=1).scores).all()
    assert (flip_signs(returns, seed=1).scores != flip_signs(returns, seed=2).scores).any()


def test_sets_that_never_trade_are_no_edge() -> None:
    assert flip_signs(np.zeros((3, 50)), seed=1).p_value == 1.0
