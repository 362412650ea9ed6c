"""Geometry of charts: where lines, bars and axis labels stand, without a word of SVG or HTML.

A plot is 100 wide and 100 high, whatever its size on the screen: x grows to the right, y grows downwards, so a position
is a percentage of the plot's width or height.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import ClassVar

from breakwater_core.errors import InvalidInputError
from breakwater_research.number_text import compact, month_text, short_day

EXTENT = 100.0
"""Width and height of every plot."""

SERIES_STYLES = 6
"""Number of colours for lines; further lines repeat them dashed."""

_WIDEST_BAR = 12.0
_BAR_SHARE = 0.72  # of the room that a bar has
_DAY_STEPS = (1, 2, 3, 5, 7, 14)
_MONTH_STEPS = (1, 2, 3, 6, 12, 24, 60, 120)
_NARROW_TICKS = 4  # as many labels fit beside each other on a phone
_TAIL_SHARE = 0.03
_LEAST_SPAN = 1e-9  # below it all values count as equal


@dataclass(frozen=True, slots=True)
class Tick:
    """A label on an axis.

    Attributes:
        position: From the left or from the top, in [0, 100].
        label: Its text.
        is_minor: Whether it may be left out where there is little room.
    """

    position: float
    label: str
    is_minor: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A path through points, as SVG path data; `style` names how it is drawn."""

    path: str
    style: str


@dataclass(frozen=True, slots=True)
class Bar:
    """An upright rectangle; `hint` says what it stands for."""

    x: float
    y: float
    width: float
    height: float
    style: str
    hint: str


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """What a style stands for."""

    name: str
    style: str


@dataclass(frozen=True, slots=True)
class Chart:
    """All that is drawn of a chart.

    Attributes:
        key: Short name, unique on the page.
        title: What is shown.
        description: What is seen, in words, for those who do not see it.
        axes: What the axes show, in a few words.
        baseline: Position of zero, from the top.
        hover: Invisible bars that carry hints.
    """

    kind: ClassVar[str] = "chart"

    key: str
    title: str
    description: str
    axes: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    baseline: float
    areas: tuple[Line, ...] = ()
    bars: tuple[Bar, ...] = ()
    lines: tuple[Line, ...] = ()
    hover: tuple[Bar, ...] = ()
    legend: tuple[LegendEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Scale:
    """Straight map from values to positions: `low` to `start`, `high` to `end`.

    Raises:
        InvalidInputError: If `low` is not below `high`, or one is not finite.
    """

    low: float
    high: float
    start: float = 0.0
    end: float = EXTENT

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise InvalidInputError(f"a scale needs finite bounds, low below high, were {self.low} and {self.high}")

    def at(self, value: float) -> float:
        """Return the position of a value; values beyond the bounds stand at the nearer one."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 3)


def nice_step(span: float, count: int) -> float:
    """Return the smallest of 1, 2, 5, 10, 20, ... (and their tenths) that cuts the span into at most `count` parts.

    Raises:
        InvalidInputError: If the span is not finite and above 0, or the count below 1.
    """
    if not (math.isfinite(span) and span > 0 and count >= 1):
        raise InvalidInputError(f"a step needs a finite span above 0 and a count of 1 or more, were {span} and {count}")
    exponent = math.floor(math.log10(span / count))
    steps = (factor * 10.0**power for power in (exponent, exponent + 1) for factor in (1, 2, 5))
    return next(step for step in steps if span / step <= count * (1 + 1e-9))


def nice_scale(
    values: Iterable[float], *, count: int = 4, when_flat: tuple[float, float] = (-0.01, 0.01)
) -> tuple[Scale, tuple[float, ...]]:
    """Return an upright scale that holds zero and all values, from tick to tick, and its ticks.

    Args:
        values: Finite; none at all are treated like zeros.
        count: About how many parts the ticks cut the scale into.
        when_flat: Bounds to use when all values are zero, zero within them.
    """
    known = [0.0, *values]
    low, high = min(known), max(known)
    if high - low < _LEAST_SPAN:
        low, high = when_flat
    step = nice_step(high - low, count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(round(index * step, 12) for index in range(first, last + 1))
    return Scale(ticks[0], ticks[-1], EXTENT, 0.0), ticks


def value_ticks(scale: Scale, values: Sequence[float], label: Callable[[float], str]) -> tuple[Tick, ...]:
    """Return the labels of an axis of numbers."""
    return tuple(Tick(scale.at(value), label(value)) for value in values)


def day_ticks(first: date, last: date, scale: Scale, *, count: int = 7) -> tuple[Tick, ...]:
    """Return the labels of an axis of days: days for up to three months, beyond that the first days of months.

    Args:
        first: First day that may get a label.
        last: Last day that may get one, not before the first.
        scale: From day numbers (`date.toordinal`) to positions.
        count: Largest number of labels.
    """
    span = (last - first).days
    step = next((step for step in _DAY_STEPS if span // step + 1 <= count), None)
    if step is not None:
        days = [first + timedelta(days=offset) for offset in range(0, span + 1, step)]
        labels = [(day, short_day(day)) for day in days]
    else:
        labels = [(day, month_text(day)) for day in _month_starts(first, last, count)]
    skip = math.ceil(len(labels) / _NARROW_TICKS)
    return tuple(Tick(scale.at(day.toordinal()), label, index % skip != 0) for index, (day, label) in enumerate(labels))


def _month_starts(first: date, last: date, count: int) -> list[date]:
    """Return at most `count` first days of months in the range, evenly apart; the first day itself if there is none."""
    months = range(first.year * 12 + first.month - 1 + (first.day > 1), last.year * 12 + last.month)
    step = next((step for step in _MONTH_STEPS if math.ceil(len(months) / step) <= count), _MONTH_STEPS[-1])
    anchored = [month for month in months if month % step == 0] or list(months[:1])
    return [date(month // 12, month % 12 + 1, 1) for month in anchored] or [first]


def line_path(points: Sequence[tuple[float, float]]) -> str:
    """Return SVG path data through positions; no points give no path, one point a dot."""
    if not points:
        return ""
    (x, y), *rest = points
    return f"M{x:g} {y:g}" + ("".join(f"L{x:g} {y:g}" for x, y in rest) or "h0")


def area_path(points: Sequence[tuple[float, float]], baseline: float) -> str:
    """Return SVG path data of the area between positions and a level; fewer than two points enclose none."""
    if len(points) < 2:
        return ""
    return f"{line_path(points)}L{points[-1][0]:g} {baseline:g}L{points[0][0]:g} {baseline:g}Z"


def upright_bar(x_range: tuple[float, float], y_from: float, y_to: float, *, style: str, hint: str) -> Bar:
    """Return a bar centred in the room between two x positions, between two y positions in either order."""
    room = x_range[1] - x_range[0]
    width = min(room * _BAR_SHARE, _WIDEST_BAR)
    return Bar(
        x=round((x_range[0] + x_range[1] - width) / 2, 3),
        y=round(min(y_from, y_to), 3),
        width=round(width, 3),
        height=round(abs(y_to - y_from), 3),
        style=style,
        hint=hint,
    )


def bin_edges(values: Sequence[float], *, count: int = 40) -> tuple[float, ...]:
    """Return the edges of equal bins of a round width over all values but the outermost 3 % on either side.

    Values beyond the edges are to be counted in the outermost bins, so that a few outliers do not flatten the rest.

    Args:
        values: Finite, at least one.
        count: About the largest number of bins.

    Raises:
        InvalidInputError: If there is no value.
    """
    if not values:
        raise InvalidInputError("bins need at least one value")
    ordered = sorted(values)
    tail = int(len(ordered) * _TAIL_SHARE)
    low, high = ordered[tail], ordered[-1 - tail]
    magnitude = max(abs(low), abs(high))
    if high - low < max(_LEAST_SPAN, magnitude * _LEAST_SPAN):
        room = max(0.5, magnitude * 1e-6)
        low, high = low - room, high + room
    step = nice_step(high - low, count)
    first, last = math.floor(low / step), math.ceil(high / step)
    return tuple(round(index * step, 9) for index in range(first, max(last, first + 1) + 1))


def bin_counts(values: Iterable[float], edges: Sequence[float]) -> list[int]:
    """Return how many values lie in each bin [edge, next edge); what lies beyond counts in the outermost bins."""
    counts = [0] * (len(edges) - 1)
    for value in values:
        counts[min(max(bisect_right(edges, value) - 1, 0), len(counts) - 1)] += 1
    return counts


def bin_ranges(edges: Sequence[float]) -> list[tuple[float, float]]:
    """Return the x positions between which each bin stands."""
    scale = Scale(edges[0], edges[-1])
    return [(scale.at(low), scale.at(high)) for low, high in pairwise(edges)]


def edge_ticks(edges: Sequence[float], positions: Scale) -> tuple[Tick, ...]:
    """Return labels at round values from the first to the last of some edges."""
    step = nice_step(edges[-1] - edges[0], 6)
    first = -int(-edges[0] // step)
    last = int(edges[-1] // step)
    return tuple(
        Tick(positions.at(index * step), compact(index * step, step), (index - first) % 2 == 1 and last - first > 3)
        for index in range(first, last + 1)
    )


def series_style(index: int) -> str:
    """Return the style of the line at this place."""
    return f"series-{index % SERIES_STYLES}" + (" dashed" if index >= SERIES_STYLES else "")
