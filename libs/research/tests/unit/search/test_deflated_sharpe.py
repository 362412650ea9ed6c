"""The deflated Sharpe ratio against the figures of its paper."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.errors import InvalidInputError
from breakwater_research.search.deflated_sharpe import deflated_sharpe, expected_largest_sharpe, probability_above

PAPER_SHARPE = 2.5 / sqrt(250)  # annual 2.5, 250 days a year, as in the paper's numerical example
PAPER_VARIANCE = 0.5 / 250


@pytest.mark.parametrize(
    ("tries", "skewness", "kurtosis", "benchmark", "probability"),
    [(100, -3.0, 10.0, 0.1132, 0.9004), (46, -3.0, 10.0, None, 0.9505), (88, 0.0, 3.0, None, 0.9505)],
)
def test_the_paper_s_example_comes_out(
    tries: int, skewness: float, kurtosis: float, benchmark: float | None, probability: float
) -> None:
    expected = expected_largest_sharpe(tries, PAPER_VARIANCE)
    if benchmark is not None:
        assert expected == pytest.approx(benchmark, abs=5e-5)
    found = probability_above(sharpe=PAPER_SHARPE, benchmark=expected, days=1250, skewness=skewness, kurtosis=kurtosis)
    assert found == pytest.approx(probability, abs=5e-5)


def test_the_best_of_worthless_tries_is_as_good_as_expected() -> None:
    tries = np.random.default_rng(3).normal(0.0, 0.05, size=(4000, 50))
    assert tries.max(axis=1).mean() == pytest.approx(expected_largest_sharpe(50, 0.05**2), rel=0.02)


@given(st.integers(1, 10_000), st.floats(0.0, 1.0))
def test_more_tries_are_expected_to_show_more(tries: int, variance: float) -> None:
    assert expected_largest_sharpe(tries + 1, variance) >= expected_largest_sharpe(tries, variance) >= 0.0


def test_one_set_alone_is_held_against_zero() -> None:
    returns = np.random.default_rng(1).normal(0.001, 0.01, size=(1, 400))
    found = deflated_sharpe(returns, 0)
    assert (found.tries, found.benchmark) == (1, 0.0)
    alone = probability_above(
        sharpe=found.sharpe, benchmark=0.0, days=400, skewness=found.skewness, kurtosis=found.kurtosis
    )
    assert found.probability == alone


def test_a_set_that_never_trades_is_no_finding() -> None:
    assert deflated_sharpe(np.zeros((3, 100)), 0).probability == pytest.approx(0.5)


def test_one_day_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="two days"):
        deflated_sharpe(np.zeros((3, 1)), 0)
