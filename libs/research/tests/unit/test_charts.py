"""Geometry of charts: what is drawn stands inside the plot and where its value says."""

import math
from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.errors import InvalidInputError
from breakwater_research.charts import (
    Scale,
    area_path,
    bin_counts,
    bin_edges,
    bin_ranges,
    day_ticks,
    line_path,
    nice_scale,
    nice_step,
    upright_bar,
)

VALUES = st.floats(-1e12, 1e12)


@given(span=st.floats(1e-9, 1e15), count=st.integers(1, 60))
def test_a_nice_step_is_round_and_makes_no_more_parts_than_asked(span: float, count: int) -> None:
    step = nice_step(span, count)
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert any(mantissa == pytest.approx(factor) for factor in (1, 2, 5))
    assert span / step <= count * (1 + 1e-6)
    assert span / step > count / 3


@pytest.mark.parametrize(("span", "count"), [(0, 4), (-1, 4), (math.inf, 4), (math.nan, 4), (1, 0)])
def test_there_is_no_step_without_a_span(span: float, count: int) -> None:
    with pytest.raises(InvalidInputError, match="a step needs"):
        nice_step(span, count)


@given(values=st.lists(VALUES, max_size=30), count=st.integers(2, 8))
def test_a_nice_scale_holds_zero_and_every_value_with_even_ticks(values: list[float], count: int) -> None:
    scale, ticks = nice_scale(values, count=count)
    slack = (ticks[-1] - ticks[0]) * 1e-6
    assert ticks[0] <= 0 <= ticks[-1]
    assert all(ticks[0] - slack <= value <= ticks[-1] + slack for value in values)
    assert 2 <= len(ticks) <= count + 3
    steps = [after - before for before, after in pairwise(ticks)]
    assert max(steps) == pytest.approx(min(steps), rel=1e-6)
    assert (scale.at(ticks[0]), scale.at(ticks[-1])) == (100, 0)


@given(low=VALUES, width=st.floats(0.001, 1e9), value=VALUES, other=VALUES)
def test_a_scale_keeps_order_and_never_leaves_the_plot(low: float, width: float, value: float, other: float) -> None:
    scale = Scale(low, low + width)
    assert 0 <= scale.at(value) <= 100
    assert scale.at(min(value, other)) <= scale.at(max(value, other))


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (math.nan, 1), (0, math.inf)])
def test_a_scale_needs_bounds(low: float, high: float) -> None:
    with pytest.raises(InvalidInputError, match="finite bounds"):
        Scale(low, high)


@given(first=st.dates(date(1990, 1, 1), date(2100, 1, 1)), span=st.integers(0, 15_000))
def test_day_ticks_are_few_in_order_and_within_the_days(first: date, span: int) -> None:
    last = first + timedelta(days=span)
    scale = Scale(first.toordinal() - 1, last.toordinal())
    ticks = day_ticks(first, last, scale)
    positions = [tick.position for tick in ticks]
    assert 1 <= len(ticks) <= 8
    assert len([tick for tick in ticks if not tick.is_minor]) <= 4
    assert positions == sorted(set(positions))
    assert all(scale.at(first.toordinal()) <= position <= 100 for position in positions)
    assert not ticks[0].is_minor


def test_day_ticks_name_days_first_and_months_when_there_are_many() -> None:
    def labels(first: date, last: date) -> list[str]:
        return [tick.label for tick in day_ticks(first, last, Scale(first.toordinal() - 1, last.toordinal()))]

    assert labels(date(2023, 7, 4), date(2023, 7, 4)) == ["4 Jul"]
    assert labels(date(2023, 7, 4), date(2023, 7, 6)) == ["4 Jul", "5 Jul", "6 Jul"]
    assert labels(date(2022, 11, 15), date(2023, 4, 1)) == ["Dec 2022", "Jan 2023", "Feb 2023", "Mar 2023", "Apr 2023"]
    assert labels(date(2020, 1, 1), date(2023, 12, 31))[:2] == ["Jan 2020", "Jan 2021"]


def test_paths_go_through_their_points() -> None:
    assert line_path([]) == ""
    assert line_path([(1, 2)]) == "M1 2h0"
    assert line_path([(0, 50), (50.5, 25), (100, 0)]) == "M0 50L50.5 25L100 0"
    assert area_path([(0, 50)], 100) == ""
    assert area_path([(0, 50), (100, 0)], 80) == "M0 50L100 0L100 80L0 80Z"


@given(left=st.floats(0, 99), room=st.floats(0.01, 100), y_from=st.floats(0, 100), y_to=st.floats(0, 100))
def test_a_bar_stands_in_the_middle_of_its_room(left: float, room: float, y_from: float, y_to: float) -> None:
    bar = upright_bar((left, left + room), y_from, y_to, style="gain", hint="")
    assert left - 0.001 <= bar.x
    assert bar.x + bar.width <= left + room + 0.001
    assert bar.x + bar.width / 2 == pytest.approx(left + room / 2, abs=0.002)
    assert bar.height >= 0
    assert bar.y == pytest.approx(min(y_from, y_to), abs=0.001)


@given(st.lists(st.floats(-1e6, 1e6) | st.floats(-1e30, 1e30), min_size=1, max_size=300))
def test_every_value_is_counted_in_one_bin(values: list[float]) -> None:
    edges = bin_edges(values)
    counts = bin_counts(values, edges)
    assert sum(counts) == len(values)
    assert 1 <= len(counts) <= 42
    assert list(edges) == sorted(set(edges))
    ranges = bin_ranges(edges)
    assert (ranges[0][0], ranges[-1][1]) == (0, 100)


def test_a_few_outliers_do_not_flatten_the_rest() -> None:
    edges = bin_edges([*range(100), 1e6])
    assert edges[-1] <= 100
    assert bin_counts([-5, 1e6], (0, 1, 2)) == [1, 1]


def test_bins_need_a_value() -> None:
    with pytest.raises(InvalidInputError, match="at least one value"):
        bin_edges([])
