"""Heat maps and calendars: what is coloured how, and that every value is also written."""

import math
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_research.heat_maps import day_calendar, month_map, shade, surface
from breakwater_research.returns import ReturnSeries, day_number


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, ""),
        (math.nan, ""),
        (0.01, "up-1"),
        (0.2, "up-1"),
        (0.21, "up-2"),
        (1.0, "up-5"),
        (9.0, "up-5"),
        (-1, "down-5"),
    ],
)
def test_a_shade_grows_with_the_distance_from_zero(value: float, expected: str) -> None:
    assert shade(value, 1.0) == expected


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_a_larger_value_never_has_a_weaker_shade(one: float, other: float) -> None:
    def rank(value: float) -> int:
        name, _, step = shade(value, 1e3).partition("-")
        return 0 if not name else int(step) * (1 if name == "up" else -1)

    assert rank(min(one, other)) <= rank(max(one, other))


def test_a_surface_writes_every_value_and_frames_the_marked_cell() -> None:
    heat = surface(
        key="s",
        title="t",
        note="n",
        row_name="k",
        column_name="ma",
        values={("0.5", "3"): 1.0, ("0.5", "5"): math.nan, ("0.6", "3"): -0.25},
        rows=["0.5", "0.6"],
        columns=["3", "5"],
        marked=("0.6", "3"),
    )
    (first, (one, absent)), (second, (marked, unknown)) = heat.rows
    assert (first, second) == ("0.5", "0.6")
    assert (one.text, one.shade, one.is_marked) == ("1.00", "up-5", False)
    assert (marked.text, marked.shade, marked.is_marked) == ("−0.25", "down-2", True)
    assert absent.text == unknown.text == "–"
    assert marked.hint == "k 0.6, ma 3: −0.25"


def test_months_that_were_not_traded_are_empty_and_the_year_compounds() -> None:
    days = np.array([day_number(date(2024, 1, 31)), day_number(date(2024, 3, 1))])
    heat = month_map(ReturnSeries("a", days, np.array([0.1, 0.1])))
    ((year, cells),) = heat.rows
    assert year == "2024"
    assert [cell.text for cell in cells] == ["+10", "", "+10", *[""] * 9, "+21"]


def test_each_day_of_a_calendar_stands_in_its_week_and_weekday() -> None:
    days = day_number(date(2024, 1, 1)) + np.arange(366)
    returns = np.where(np.arange(366) % 2, 0.01, -0.01)
    (year,) = day_calendar(ReturnSeries("a", days, returns)).years
    assert len({(day.week, day.weekday) for day in year.days}) == 366
    assert (year.days[0].week, year.days[0].weekday) == (0, 0)  # a Monday
    assert (year.days[-1].week, year.days[-1].weekday) == (52, 1)
    assert year.days[0].hint == "1 Jan 2024: −1.00%"
    assert "366 days, 183 with a gain, 183 with a loss" in year.summary
