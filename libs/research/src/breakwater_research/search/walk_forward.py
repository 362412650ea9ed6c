"""Walk-forward: choose on some days, judge on the days after them, move on.

Windows are indices into the days of a search, oldest first. Only days before a window's test days choose its set.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from breakwater_core.errors import InvalidInputError
from breakwater_research.search.figures import Objective, figures


class WindowKind(StrEnum):
    """Where the days that choose begin."""

    ANCHORED = "anchored"
    """Always with the first day, so that they grow."""
    ROLLING = "rolling"
    """So many days before the test days."""


@dataclass(frozen=True)
class WalkForwardPlan:
    """How days are cut into windows.

    Attributes:
        kind: Anchored or rolling.
        train_days: Days that choose; with anchored windows those of the first.
        test_days: Days that judge; windows move on by so many, so that each day judges at most once.
    """

    kind: WindowKind
    train_days: int
    test_days: int

    def __post_init__(self) -> None:
        if self.train_days < 2 or self.test_days < 1:
            raise InvalidInputError(
                "a walk-forward window takes at least 2 days to choose and 1 to judge, "
                f"were {self.train_days} and {self.test_days}"
            )

    def windows(self, days: int) -> list["DayWindow"]:
        """Return the windows over so many days; the last one may judge on fewer.

        Raises:
            InvalidInputError: If there are not enough days for one window.
        """
        if days <= self.train_days:
            raise InvalidInputError(
                f"a window of {self.train_days} days to choose leaves none of {days} to judge; "
                "take a smaller --train-days or more data"
            )
        starts = range(self.train_days, days, self.test_days)
        return [
            DayWindow(
                train_start=0 if self.kind is WindowKind.ANCHORED else test_start - self.train_days,
                test_start=test_start,
                test_stop=min(test_start + self.test_days, days),
            )
            for test_start in starts
        ]


@dataclass(frozen=True)
class DayWindow:
    """Days [train_start, test_start) choose, days [test_start, test_stop) judge."""

    train_start: int
    test_start: int
    test_stop: int

    @property
    def train(self) -> slice:
        """Days that choose."""
        return slice(self.train_start, self.test_start)

    @property
    def test(self) -> slice:
        """Days that judge."""
        return slice(self.test_start, self.test_stop)


@dataclass(frozen=True)
class WindowChoice:
    """What a window came to.

    Attributes:
        window: Its days.
        chosen: Row of the set that did best on the days that choose; the first of equals.
        train_score: Its objective there.
        test_score: Its objective on the days that judge.
        rank: Share of the candidates that did worse than it on the days that judge, in [0, 1]; chance gives one half.
    """

    window: DayWindow
    chosen: int
    train_score: float
    test_score: float
    rank: float


def choose(
    returns: NDArray[np.float64], window: DayWindow, objective: Objective, candidates: NDArray[np.int64]
) -> WindowChoice:
    """Choose one of the candidates on the window's first days and judge it on its last ones.

    Args:
        returns: Shape (n_sets, n_days).
        window: Which days.
        objective: What is to be large.
        candidates: Rows that may be chosen, at least one.
    """
    before = objective.scores(figures(returns[candidates, window.train]))
    after = objective.scores(figures(returns[candidates, window.test]))
    best = int(before.argmax())
    others = max(1, len(candidates) - 1)
    worse = ((after < after[best]).sum() + ((after == after[best]).sum() - 1) / 2) / others
    return WindowChoice(
        window=window,
        chosen=int(candidates[best]),
        train_score=float(before[best]),
        test_score=float(after[best]),
        rank=float(worse) if len(candidates) > 1 else 0.5,
    )


def stitched_returns(returns: NDArray[np.float64], choices: list[WindowChoice]) -> NDArray[np.float64]:
    """Return the daily returns of doing what the windows chose: shape (n_judged_days,), one window after the other."""
    return np.concatenate([returns[choice.chosen, choice.window.test] for choice in choices])
