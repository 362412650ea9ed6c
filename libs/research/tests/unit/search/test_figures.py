"""Figures of return series, by hand and against core's daily rows; and objectives."""

from datetime import date, timedelta
from decimal import Decimal
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.errors import InvalidInputError
from breakwater_core.performance import PerformanceSeries
from breakwater_research.search.figures import Objective, figures

RETURNS = st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=40)


def test_figures_by_hand() -> None:
    found = figures(np.array([[0.1, -0.5, 0.2]])).row(0)
    assert found["total_return"] == pytest.approx(1.1 * 0.5 * 1.2 - 1)
    assert found["max_drawdown"] == pytest.approx(0.5)
    assert found["cagr"] == pytest.approx(0.66 ** (365 / 3) - 1)
    mean = -0.2 / 3
    deviation = sqrt(((0.1 - mean) ** 2 + (-0.5 - mean) ** 2 + (0.2 - mean) ** 2) / 2)
    assert found["sharpe"] == pytest.approx(mean / deviation * sqrt(365))
    assert found["calmar"] == pytest.approx(found["cagr"] / 0.5)


def test_a_loss_on_the_first_day_is_a_drawdown() -> None:
    assert figures(np.array([[-0.1, 0.0]])).max_drawdown[0] == pytest.approx(0.1)


@given(RETURNS)
def test_drawdown_and_growth_are_those_of_the_daily_rows(returns: list[float]) -> None:
    series = PerformanceSeries(run_id="r", account="a", initial_equity=Decimal(1))
    equity = Decimal(1)
    for number, value in enumerate(returns):
        equity *= 1 + Decimal(value)
        row = series.close_day(date(2024, 1, 1) + timedelta(days=number), equity, Decimal(0))
    found = figures(np.array([returns])).row(0)
    assert found["max_drawdown"] == pytest.approx(float(row.mdd), abs=1e-9)
    assert found["total_return"] == pytest.approx(float(row.cumulative) - 1, abs=1e-9)


def test_days_without_trades_have_no_figures_to_divide_by() -> None:
    found = figures(np.zeros((1, 50))).row(0)
    assert found == dict.fromkeys(found, 0.0)


def test_an_account_that_is_gone_stays_gone() -> None:
    found = figures(np.array([[0.5, -1.0, 0.0]])).row(0)
    assert (found["total_return"], found["cagr"], found["max_drawdown"]) == (-1.0, -1.0, 1.0)


@given(st.lists(RETURNS.filter(lambda row: len(row) >= 3).map(lambda row: row[:3]), min_size=2, max_size=8))
def test_a_set_beyond_the_drawdown_cap_ranks_below_every_set_within_it(rows: list[list[float]]) -> None:
    table = figures(np.array(rows))
    scores = Objective.parse("cagr@0.2").scores(table)
    within = table.max_drawdown <= 0.2
    if within.any() and not within.all():
        assert scores[~within].max() < scores[within].min()
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("text", ["sharpe", "calmar", "cagr", "cagr@0.25"])
def test_a_set_that_lost_everything_ranks_below_one_that_loses_every_day(text: str) -> None:
    ruined, losing = [0.01] * 50 + [-1.0] + [0.0] * 49, [-0.05, -0.051] * 50
    table = figures(np.array([ruined, losing]))
    assert table.sharpe[0] > table.sharpe[1]
    scores = Objective.parse(text).scores(table)
    assert scores[0] < scores[1]


@pytest.mark.parametrize("text", ["sharpe", "calmar", "cagr", "cagr@0.25"])
def test_an_objective_is_written_as_it_is_read(text: str) -> None:
    assert str(Objective.parse(text)) == text


@pytest.mark.parametrize("text", ["", "sortino", "sharpe@0.2", "cagr@0", "cagr@1.5", "cagr@0.2.1"])
def test_what_is_no_objective_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        Objective.parse(text)


@pytest.mark.parametrize("returns", [[[]], [[float("nan")]], [[-1.5]]])
def test_returns_that_cannot_be_are_refused(returns: list[list[float]]) -> None:
    with pytest.raises(InvalidInputError):
        figures(np.array(returns))
