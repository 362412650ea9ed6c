"""What a benchmark measures: figures with their unit, their targets and the limit measured beside them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Any

import numpy as np


class Verdict(StrEnum):
    """How a figure stands to its target."""

    GOAL = "goal"
    MUST = "must"
    MISSED = "MISSED"
    NONE = ""


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be reached, in the unit of the figure.

    Attributes:
        must: Has to be reached.
        goal: Is hoped for.
        at_most: Whether less is better.
    """

    must: float
    goal: float | None = None
    at_most: bool = False

    def verdict(self, value: float) -> Verdict:
        """Return what the value reaches."""
        if self.goal is not None and self._holds(value, self.goal):
            return Verdict.GOAL
        return Verdict.MUST if self._holds(value, self.must) else Verdict.MISSED

    def _holds(self, value: float, bound: float) -> bool:
        return value <= bound if self.at_most else value >= bound


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity.

    Attributes:
        name: What was measured.
        unit: Unit of all its numbers.
        values: One per repetition, at least one.
        target: What is to be reached; None: nothing is set, the figure informs.
        limit_name: What the limit is, e.g. `bare nats-py`; empty: none was measured.
        limit_values: The limit in the same run and unit, one per repetition.
    """

    name: str
    unit: str
    values: tuple[float, ...]
    target: Target | None = None
    limit_name: str = ""
    limit_values: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        """Median of the repetitions."""
        return median(self.values)

    @property
    def verdict(self) -> Verdict:
        """What the median reaches."""
        return Verdict.NONE if self.target is None else self.target.verdict(self.median)

    @property
    def limit(self) -> float | None:
        """Median of the limit, None if none was measured."""
        return median(self.limit_values) if self.limit_values else None

    @property
    def ratio(self) -> float | None:
        """Median / limit, None without a limit."""
        return self.median / self.limit if self.limit else None

    def as_values(self) -> dict[str, Any]:
        """Return the figure as plain values that JSON can hold."""
        return {
            "name": self.name,
            "unit": self.unit,
            "median": self.median,
            "values": list(self.values),
            "must": None if self.target is None else self.target.must,
            "goal": None if self.target is None else self.target.goal,
            "at_most": None if self.target is None else self.target.at_most,
            "verdict": self.verdict.value,
            "limit_name": self.limit_name,
            "limit": self.limit,
            "ratio": self.ratio,
        }


@dataclass(frozen=True, slots=True)
class Section:
    """The table of one benchmark.

    Attributes:
        title: What was done.
        figures: Rows of the table.
        notes: Sentences beneath it: sizes, what is left out, what to know when reading it.
        faults: What makes the figures worthless, such as results that differ where they must be equal.
    """

    title: str
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    def as_values(self) -> dict[str, Any]:
        """Return the table as plain values that JSON can hold."""
        return {
            "title": self.title,
            "figures": [figure.as_values() for figure in self.figures],
            "notes": list(self.notes),
            "faults": list(self.faults),
        }


def percentile(samples: Sequence[float], share: float) -> float:
    """Return the smallest sample that at least `share` of the samples do not exceed.

    Args:
        samples: At least one, in any order.
        share: In (0, 1], e.g. 0.99.
    """
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    return float(ordered[max(0, math.ceil(share * ordered.size) - 1)])
