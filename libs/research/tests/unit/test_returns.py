"""Figures of a return series: checked by hand and against rules that hold for every series."""

import math
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from breakwater_core.errors import InvalidInputError
from breakwater_research.returns import ReturnSeries, day_number, days_of_texts
from breakwater_research.search.figures import figures

SHARES = st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=60)


def series(*returns: float, first: date = date(2024, 1, 30)) -> ReturnSeries:
    values: NDArray[np.float64] = np.array(returns, dtype=np.float64)
    return ReturnSeries("a", day_number(first) + np.arange(len(returns)), values)


def test_figures_of_three_days_are_those_computed_by_hand() -> None:
    three = series(0.10, -0.20, 0.05)
    assert three.total == pytest.approx(1.1 * 0.8 * 1.05 - 1)
    assert three.drawdowns.tolist() == pytest.approx([0.0, 0.2, 0.16])
    assert three.max_drawdown == pytest.approx(0.2)
    assert three.longest_below_peak_days == 2
    deviation = math.sqrt(((0.1 + 0.05 / 3) ** 2 + (-0.2 + 0.05 / 3) ** 2 + (0.05 + 0.05 / 3) ** 2) / 2)
    assert three.sharpe == pytest.approx(-0.05 / 3 / deviation * math.sqrt(365))


def test_months_and_years_compound_their_own_days() -> None:
    across = series(0.1, 0.1, -0.5, first=date(2023, 12, 30))
    assert across.by_month() == pytest.approx({(2023, 12): 0.21, (2024, 1): -0.5})
    assert across.by_year() == pytest.approx({2023: 0.21, 2024: -0.5})


@given(SHARES)
def test_months_and_years_compound_to_the_whole(returns: list[float]) -> None:
    whole = series(*returns)
    for parts in (whole.by_month(), whole.by_year()):
        assert math.prod(1 + share for share in parts.values()) == pytest.approx(1 + whole.total)


@given(SHARES)
def test_figures_are_those_by_which_a_search_chooses(returns: list[float]) -> None:
    whole = series(*returns)
    row = figures(whole.returns[None, :]).row(0)
    assert whole.total == pytest.approx(row["total_return"])
    assert whole.annual_growth == pytest.approx(row["cagr"])
    assert whole.max_drawdown == pytest.approx(row["max_drawdown"])
    if whole.annual_volatility > 1e-9:
        assert whole.sharpe == pytest.approx(row["sharpe"])


def test_a_day_that_loses_everything_ends_at_nothing() -> None:
    assert series(0.5, -1.0, 0.5).total == -1
    assert series(0.5, -1.0, 0.5).max_drawdown == 1


@pytest.mark.parametrize("returns", [(-1.5,), (math.nan,), (math.inf,)])
def test_an_impossible_return_is_refused_by_its_day(returns: tuple[float, ...]) -> None:
    with pytest.raises(InvalidInputError, match="2024-01-30"):
        series(*returns)


def test_days_must_rise_and_be_dates() -> None:
    with pytest.raises(InvalidInputError, match="rise"):
        ReturnSeries("a", np.array([2, 2]), np.zeros(2))
    with pytest.raises(InvalidInputError, match="dates"):
        days_of_texts(["yesterday"])


def test_a_range_holds_its_first_and_last_day() -> None:
    part = series(0.1, 0.2, 0.3, 0.4).between(date(2024, 1, 31), date(2024, 2, 1))
    assert part.returns.tolist() == [0.2, 0.3]
