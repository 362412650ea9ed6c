"""Charts of daily return series: growth, drawdown, windows in-sample against out-of-sample, a figure against chance."""

import math
from collections.abc import Callable, Sequence
from datetime import date
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from breakwater_core.errors import InvalidInputError
from breakwater_research.charts import (
    EXTENT,
    Bar,
    Chart,
    LegendEntry,
    Line,
    Scale,
    Tick,
    area_path,
    bin_counts,
    bin_edges,
    day_ticks,
    edge_ticks,
    line_path,
    nice_scale,
    series_style,
    upright_bar,
    value_ticks,
)
from breakwater_research.number_text import compact, day_text, fixed, percent
from breakwater_research.returns import ReturnSeries

_LOG_RATIO = 3.0  # growth that spans more than this is drawn on a logarithmic scale
_MOST_HINTS = 400  # days with a hint of their own; of longer series every n-th has one
_LEAST_GROWTH = 1e-4  # what is drawn of an account that lost everything
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_LOG_STEPS = (1.0, 2.0, 5.0)
_MOST_LOG_TICKS = 7


def growth_chart(
    series: Sequence[ReturnSeries],
    *,
    key: str = "equity",
    title: str = "Equity curve",
    marks: Sequence[tuple[date, str]] = (),
) -> Chart:
    """Return the growth of 1 over time, a line per series; wide ranges on a logarithmic scale.

    Args:
        series: At least one.
        key: Short name, unique on the page.
        title: What is shown.
        marks: Days that get a vertical line, with what happens there.

    Raises:
        InvalidInputError: If there is no series.
    """
    first, last = _range(series)
    growth = {one.name: [1.0, *(max(float(value), _LEAST_GROWTH) for value in one.growth)] for one in series}
    highest = max(max(values) for values in growth.values())
    lowest = min(min(values) for values in growth.values())
    is_log = highest / lowest > _LOG_RATIO
    if is_log:
        scale, ticks = _log_scale(lowest, highest)
    else:
        scale, values = nice_scale(value - 1 for one in growth.values() for value in one)
        step = (values[1] - values[0]) * 100
        ticks = value_ticks(scale, values, lambda value: f"{compact(value * 100, step)}%")

    def at(value: float) -> float:
        return scale.at(math.log10(value) if is_log else value - 1)

    across = Scale(first.toordinal() - 1, last.toordinal())
    points = {
        one.name: [
            (across.at(ordinal), at(value))
            for ordinal, value in zip(_ordinals(one, with_start=True), growth[one.name], strict=True)
        ]
        for one in series
    }
    ends = ", ".join(f"{one.name} {percent(one.total, signed=True)}" for one in series)
    return Chart(
        key=key,
        title=title,
        description=f"Growth from {day_text(first)} to {day_text(last)}, net of costs. At the end: {ends}."
        + (" Logarithmic scale." if is_log else ""),
        axes="multiple of the equity at the start, logarithmic scale" if is_log else "return since the start",
        x_ticks=day_ticks(first, last, across),
        y_ticks=ticks,
        baseline=at(1.0),
        areas=(Line(area_path(points[series[0].name], at(1.0)), series_style(0)),) if len(series) == 1 else (),
        lines=(*_marks(marks, across), *_lines(series, points)),
        hover=_hints(series, across, [one.growth - 1 for one in series]),
        legend=_legend(series),
    )


def drawdown_chart(series: Sequence[ReturnSeries], *, key: str = "drawdown", title: str = "Drawdown") -> Chart:
    """Return how far each series stood below its highest value so far, percent, downwards.

    Raises:
        InvalidInputError: If there is no series.
    """
    first, last = _range(series)
    depth = {one.name: [0.0, *(-float(value) for value in one.drawdowns)] for one in series}
    scale, ticks = nice_scale((value for values in depth.values() for value in values), when_flat=(-0.01, 0.0))
    step = (ticks[1] - ticks[0]) * 100
    across = Scale(first.toordinal() - 1, last.toordinal())
    points = {
        one.name: [
            (across.at(ordinal), scale.at(value))
            for ordinal, value in zip(_ordinals(one, with_start=True), depth[one.name], strict=True)
        ]
        for one in series
    }
    deepest = ", ".join(f"{one.name} {percent(one.max_drawdown)}" for one in series)
    return Chart(
        key=key,
        title=title,
        description=f"Distance below the highest value so far. Largest: {deepest}.",
        axes="below the highest value so far",
        x_ticks=day_ticks(first, last, across),
        y_ticks=value_ticks(scale, ticks, lambda value: f"{compact(value * 100, step)}%"),
        baseline=scale.at(0),
        areas=(Line(area_path(points[series[0].name], scale.at(0)), series_style(0)),) if len(series) == 1 else (),
        lines=_lines(series, points),
        hover=_hints(series, across, [-one.drawdowns for one in series]),
        legend=_legend(series),
    )


def paired_bars(
    *,
    key: str,
    title: str,
    axes: str,
    names: tuple[str, str],
    groups: Sequence[tuple[str, float, float]],
    text: Callable[[float], str] = lambda value: fixed(value),
) -> Chart | None:
    """Return two bars beside each other per group, e.g. a figure in-sample and out-of-sample per window.

    Args:
        key: Short name, unique on the page.
        title: What is shown.
        axes: What the axes show.
        names: What the left and the right bars are.
        groups: Label, left and right value; what is not finite has no bar. None at all give no chart.
        text: Writes a value.
    """
    values = [value for _, left, right in groups for value in (left, right) if math.isfinite(value)]
    if not values:
        return None
    scale, ticks = nice_scale(values)
    step = ticks[1] - ticks[0]
    room = EXTENT / len(groups)
    bars = []
    for index, (label, *pair) in enumerate(groups):
        middle = (index + 0.5) * room
        for value, style, name, x in zip(pair, ("entry", "exit"), names, (middle - room * 0.4, middle), strict=True):
            if math.isfinite(value):
                hint = f"{label}: {name} {text(value)}"
                bars.append(upright_bar((x, x + room * 0.4), scale.at(0), scale.at(value), style=style, hint=hint))
    skip = math.ceil(len(groups) / 8)
    narrow = math.ceil(len(groups) / 3)
    words = "; ".join(f"{label}: {text(left)} {names[0]}, {text(right)} {names[1]}" for label, left, right in groups)
    return Chart(
        key=key,
        title=title,
        description=words + ".",
        axes=axes,
        x_ticks=tuple(
            Tick(round((index + 0.5) * room, 3), label, index % narrow != 0)
            for index, (label, _, _) in enumerate(groups)
            if index % skip == 0
        ),
        y_ticks=value_ticks(scale, ticks, lambda value: compact(value, step)),
        baseline=scale.at(0),
        bars=tuple(bars),
        legend=(LegendEntry(names[0], "entry"), LegendEntry(names[1], "exit")),
    )


def chance_chart(
    values: Sequence[float],
    actual: float,
    *,
    key: str = "chance",
    title: str = "Against chance",
    figure: str = "Sharpe ratio",
    description: str = "",
) -> Chart | None:
    """Return the distribution of a figure under the null hypothesis, with the actual figure as a line.

    Args:
        values: The figure of each permutation; those that are not finite are left out. None give no chart.
        actual: The figure as it was.
        key: Short name, unique on the page.
        title: What is shown.
        figure: Name of the figure.
        description: What the permutations are, and the p-value in words.
    """
    known = [value for value in values if math.isfinite(value)]
    if not known or not math.isfinite(actual):
        return None
    edges = bin_edges(known)
    low, high = min(edges[0], actual), max(edges[-1], actual)
    room = (high - low) * 0.02
    across = Scale(low - room, high + room)
    counts = bin_counts(known, edges)
    scale, ticks = nice_scale([float(count) for count in counts])
    step = max(1.0, ticks[1] - ticks[0])
    width = edges[1] - edges[0]
    bars = [
        upright_bar(
            (across.at(left), across.at(right)),
            scale.at(0),
            scale.at(count),
            style="muted",
            hint=f"{figure} {compact(left, width)} to {compact(right, width)}: {count} permutations",
        )
        for count, (left, right) in zip(counts, pairwise(edges), strict=True)
    ]
    place = across.at(actual)
    return Chart(
        key=key,
        title=title,
        description=description or f"{figure} of {len(known)} permutations; the actual one is {fixed(actual)}.",
        axes=f"number of permutations by {figure}",
        x_ticks=edge_ticks((low - room, high + room), across),
        y_ticks=value_ticks(scale, [tick for tick in ticks if tick == int(tick)], lambda value: compact(value, step)),
        baseline=scale.at(0),
        bars=tuple(bars),
        lines=(Line(line_path([(place, 0.0), (place, EXTENT)]), "marker"),),
        legend=(LegendEntry("permutations", "muted"), LegendEntry(f"actual {fixed(actual)}", "marker")),
    )


def _range(series: Sequence[ReturnSeries]) -> tuple[date, date]:
    if not series:
        raise InvalidInputError("a chart of returns needs at least one series")
    ordinals = [(int(one.days[0]), int(one.days[-1])) for one in series]
    return (
        date.fromordinal(_EPOCH_ORDINAL + min(first for first, _ in ordinals)),
        date.fromordinal(_EPOCH_ORDINAL + max(last for _, last in ordinals)),
    )


def _ordinals(series: ReturnSeries, *, with_start: bool) -> list[int]:
    ordinals = [_EPOCH_ORDINAL + int(day) for day in series.days]
    return [ordinals[0] - 1, *ordinals] if with_start else ordinals


def _lines(series: Sequence[ReturnSeries], points: dict[str, list[tuple[float, float]]]) -> tuple[Line, ...]:
    return tuple(Line(line_path(points[one.name]), series_style(index)) for index, one in enumerate(series))


def _legend(series: Sequence[ReturnSeries]) -> tuple[LegendEntry, ...]:
    if len(series) == 1:
        return ()
    return tuple(LegendEntry(one.name, series_style(index)) for index, one in enumerate(series))


def _marks(marks: Sequence[tuple[date, str]], across: Scale) -> tuple[Line, ...]:
    places = [across.at(day.toordinal()) for day, _ in marks]
    return tuple(Line(line_path([(place, 0.0), (place, EXTENT)]), "window") for place in places)


def _hints(series: Sequence[ReturnSeries], across: Scale, values: Sequence[NDArray[np.float64]]) -> tuple[Bar, ...]:
    """Return invisible bars that name a day and the share of each series; of long series not every day has one."""
    texts: dict[int, list[str]] = {}
    longest = max(series, key=lambda one: one.days.size)
    skip = math.ceil(longest.days.size / _MOST_HINTS)
    wanted = {ordinal for index, ordinal in enumerate(_ordinals(longest, with_start=False)) if index % skip == 0}
    for one, shares in zip(series, values, strict=True):
        name = f" ({one.name})" if len(series) > 1 else ""
        for ordinal, share in zip(_ordinals(one, with_start=False), shares, strict=True):
            if ordinal in wanted:
                texts.setdefault(ordinal, []).append(f"{percent(float(share), signed=True)}{name}")
    bars = []
    for ordinal, lines in texts.items():
        left, right = across.at(ordinal - skip / 2), across.at(ordinal + skip / 2)
        hint = "\n".join([day_text(date.fromordinal(ordinal)), *lines])
        bars.append(Bar(left, 0.0, round(right - left, 3), EXTENT, "hover", hint))
    return tuple(bars)


def _log_scale(lowest: float, highest: float) -> tuple[Scale, tuple[Tick, ...]]:
    """Return a logarithmic scale over the values, ticks at 1, 2 and 5 times powers of ten or at the powers alone."""
    low, high = math.log10(lowest), math.log10(highest)
    room = (high - low) * 0.03
    scale = Scale(low - room, high + room, EXTENT, 0.0)
    powers = range(math.floor(low) - 1, math.ceil(high) + 1)
    ticks = [factor * 10.0**power for power in powers for factor in _LOG_STEPS]
    inside = [tick for tick in ticks if lowest <= tick <= highest]
    if len(inside) > _MOST_LOG_TICKS:
        inside = [tick for tick in inside if math.isclose(math.log10(tick), round(math.log10(tick)), abs_tol=1e-9)]
    return scale, tuple(Tick(scale.at(math.log10(tick)), f"{tick:g}×") for tick in inside)
