"""Figures of daily returns: against empyrical on the same returns, against the daily rows, and by hand."""

import math
from datetime import date, timedelta
from decimal import Decimal

import empyrical
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.errors import InvalidInputError
from breakwater_core.performance import PerformanceSeries
from breakwater_research.return_figures import DAYS_PER_YEAR, return_figures

# Of at least a tenth of a basis point: below, 1 + r keeps too few digits of r for figures that agree to CLOSE.
RETURNS = st.lists(st.floats(-0.6, 0.8).map(lambda value: round(value, 5)), min_size=2, max_size=60)
CLOSE = {"rel": 1e-9, "abs": 1e-12}


def test_figures_by_hand() -> None:
    """+10 %, -20 %, +5 %: growth 1.1, 0.88, 0.924; the peak is 1.1, so the largest fall is 0.2.

    mean -1/60; deviations 7/60, -11/60, 4/60 give s = sqrt((49 + 121 + 16) / 3600 / 2) = sqrt(186 / 7200);
    d = sqrt(0.04 / 3).
    """
    figures = return_figures(np.array([0.1, -0.2, 0.05]))
    year = math.sqrt(365)
    assert figures.days == 3
    assert figures.total_return == pytest.approx(-0.076, **CLOSE)
    assert figures.cagr == pytest.approx(0.924 ** (365 / 3) - 1, **CLOSE)
    assert figures.max_drawdown == pytest.approx(0.2, **CLOSE)
    assert figures.volatility == pytest.approx(math.sqrt(186 / 7200) * year, **CLOSE)
    assert figures.sharpe == pytest.approx(-1 / 60 / math.sqrt(186 / 7200) * year, **CLOSE)
    assert figures.sortino == pytest.approx(-1 / 60 / math.sqrt(0.04 / 3) * year, **CLOSE)
    assert figures.calmar == pytest.approx(figures.cagr / 0.2, **CLOSE)


@given(RETURNS)
def test_figures_agree_with_an_independent_library(values: list[float]) -> None:
    """Conventions that differ: its drawdown is negative, and it has NaN or infinity where ours have None."""
    returns = np.array(values)
    ours = return_figures(returns)
    assert ours.total_return == pytest.approx(empyrical.cum_returns_final(returns), **CLOSE)
    assert ours.cagr == pytest.approx(empyrical.annual_return(returns, annualization=DAYS_PER_YEAR), **CLOSE)
    assert ours.volatility == pytest.approx(empyrical.annual_volatility(returns, annualization=DAYS_PER_YEAR), **CLOSE)
    assert ours.max_drawdown == pytest.approx(-empyrical.max_drawdown(returns), **CLOSE)
    if ours.sharpe is not None:
        assert ours.sharpe == pytest.approx(empyrical.sharpe_ratio(returns, annualization=DAYS_PER_YEAR), **CLOSE)
    if ours.sortino is not None:
        assert ours.sortino == pytest.approx(empyrical.sortino_ratio(returns, annualization=DAYS_PER_YEAR), **CLOSE)
    if ours.calmar is not None:
        assert ours.calmar == pytest.approx(empyrical.calmar_ratio(returns, annualization=DAYS_PER_YEAR), **CLOSE)


@given(RETURNS)
def test_the_daily_rows_state_the_drawdown_and_growth_of_an_independent_library(values: list[float]) -> None:
    series = PerformanceSeries(run_id="run", account="main", initial_equity=Decimal(1_000_000))
    equity = Decimal(1_000_000)
    for number, value in enumerate(values):
        equity *= 1 + Decimal(repr(value))
        row = series.close_day(date(2024, 1, 1) + timedelta(days=number), equity, Decimal(0))
    returns = np.array(values)
    assert float(row.mdd) == pytest.approx(-empyrical.max_drawdown(returns), abs=1e-10)
    assert float(row.cumulative) == pytest.approx(1 + empyrical.cum_returns_final(returns), rel=1e-9, abs=1e-9)


def test_a_loss_on_the_first_day_is_a_drawdown() -> None:
    assert return_figures(np.array([-0.1, 0.5])).max_drawdown == pytest.approx(0.1)


def test_what_a_series_does_not_define_is_none() -> None:
    steady = return_figures(np.full(3, 0.01))
    assert (steady.volatility, steady.sharpe, steady.sortino, steady.calmar) == (0.0, None, None, None)
    single = return_figures(np.array([0.01]))
    assert (single.volatility, single.sharpe) == (None, None)


def test_an_account_that_lost_everything_has_lost_everything_per_year_too() -> None:
    figures = return_figures(np.array([0.1, -1.0, 0.0]))
    assert (figures.total_return, figures.cagr, figures.max_drawdown, figures.calmar) == (-1.0, -1.0, 1.0, -1.0)


@pytest.mark.parametrize("values", [[], [0.1, float("nan")], [-1.01], [[0.1]]])
def test_returns_that_are_none_are_refused(values: list[float]) -> None:
    with pytest.raises(InvalidInputError, match=r"at least one daily return|finite and at least -1"):
        return_figures(np.array(values, dtype=np.float64))
