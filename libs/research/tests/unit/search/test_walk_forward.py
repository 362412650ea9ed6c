"""Which days choose, which judge, and that the latter say nothing about the choice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.errors import InvalidInputError
from breakwater_research.search.figures import Objective
from breakwater_research.search.walk_forward import (
    DayWindow,
    WalkForwardPlan,
    WindowKind,
    choose,
    stitched_returns,
)

SHARPE = Objective("sharpe")


def test_rolling_windows_move_and_anchored_ones_grow() -> None:
    rolling = WalkForwardPlan(WindowKind.ROLLING, 4, 2).windows(9)
    assert rolling == [DayWindow(0, 4, 6), DayWindow(2, 6, 8), DayWindow(4, 8, 9)]
    anchored = WalkForwardPlan(WindowKind.ANCHORED, 4, 2).windows(9)
    assert anchored == [DayWindow(0, 4, 6), DayWindow(0, 6, 8), DayWindow(0, 8, 9)]


@given(st.sampled_from(WindowKind), st.integers(2, 60), st.integers(1, 40), st.integers(3, 300))
def test_every_day_after_the_first_training_judges_exactly_once(
    kind: WindowKind, train: int, test: int, days: int
) -> None:
    plan = WalkForwardPlan(kind, train, test)
    if days <= train:
        with pytest.raises(InvalidInputError, match="leaves none"):
            plan.windows(days)
        return
    windows = plan.windows(days)
    judged = [day for window in windows for day in range(window.test_start, window.test_stop)]
    assert judged == list(range(train, days))
    assert all(window.test_start - window.train_start >= train for window in windows)


@given(st.integers(0, 2**32 - 1))
def test_days_that_judge_and_days_after_them_do_not_change_the_choice(seed: int) -> None:
    generator = np.random.default_rng(seed)
    returns = generator.normal(0.0, 0.01, size=(6, 60))
    window = DayWindow(10, 30, 45)
    candidates = np.arange(6)
    before = choose(returns, window, SHARPE, candidates)
    changed = returns.copy()
    changed[:, 30:] = generator.normal(0.0, 0.05, size=(6, 30))
    after = choose(changed, window, SHARPE, candidates)
    assert (after.chosen, after.train_score) == (before.chosen, before.train_score)


def test_the_choice_is_judged_among_the_others() -> None:
    days = np.tile([0.01, -0.005], 10)
    returns = np.array([days * 1.0, days + 0.002, days - 0.002])
    window = DayWindow(0, 10, 20)
    assert choose(returns, window, SHARPE, np.arange(3)).chosen == 1
    assert choose(returns, window, SHARPE, np.arange(3)).rank == 1.0
    assert choose(returns, window, SHARPE, np.array([2])).rank == 0.5
    swapped = np.hstack([returns[:, :10], returns[[0, 2, 1], 10:]])
    assert choose(swapped, window, SHARPE, np.arange(3)).rank == 0.0


def test_the_stitched_returns_are_those_of_each_window_s_choice() -> None:
    returns = np.arange(24, dtype=np.float64).reshape(2, 12) / 1000
    windows = WalkForwardPlan(WindowKind.ROLLING, 4, 4).windows(12)
    choices = [
        choose(returns, window, SHARPE, np.array([number])) for window, number in zip(windows, (1, 0), strict=True)
    ]
    assert stitched_returns(returns, choices).tolist() == [*returns[1, 4:8], *returns[0, 8:12]]


@pytest.mark.parametrize(("train", "test"), [(1, 5), (5, 0)])
def test_empty_windows_are_refused(train: int, test: int) -> None:
    with pytest.raises(InvalidInputError):
        WalkForwardPlan(WindowKind.ROLLING, train, test)
