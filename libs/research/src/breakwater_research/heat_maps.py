"""Heat maps: tables whose cells are coloured by value, and calendars of days; no markup.

A shade is a name that the style sheet knows: `up-1` to `up-5` for values above zero, `down-1` to `down-5` below it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import ClassVar

from breakwater_research.number_text import NONE, day_text, fixed, percent
from breakwater_research.returns import ReturnSeries

SHADES = 5
"""Shades above and below zero."""

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_TAIL_SHARE = 0.03  # the outermost days do not set the scale of a calendar


@dataclass(frozen=True, slots=True)
class HeatCell:
    """A value with its colour; `is_marked` puts a frame around it."""

    text: str
    shade: str = ""
    hint: str = ""
    is_marked: bool = False


@dataclass(frozen=True, slots=True)
class HeatMap:
    """A table of coloured cells, which is its own alternative for those who do not see the colours.

    Attributes:
        key: Short name, unique on the page.
        title: What is shown.
        note: What the cells hold, in a sentence.
        corner: Name of what the rows and columns are.
        columns: Labels of the columns.
        rows: A label and as many cells as there are columns.
    """

    kind: ClassVar[str] = "heat_map"

    key: str
    title: str
    note: str
    corner: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[HeatCell, ...]], ...]


@dataclass(frozen=True, slots=True)
class CalendarDay:
    """A day of a calendar: its week from the left, its weekday from the top (Monday is 0)."""

    week: int
    weekday: int
    shade: str
    hint: str


@dataclass(frozen=True, slots=True)
class CalendarYear:
    """The days of a year; `summary` says in words what is seen."""

    year: str
    summary: str
    days: tuple[CalendarDay, ...]


@dataclass(frozen=True, slots=True)
class Calendar:
    """Days as coloured squares, one band per year."""

    kind: ClassVar[str] = "calendar"

    key: str
    title: str
    note: str
    years: tuple[CalendarYear, ...]


def shade(value: float, extent: float) -> str:
    """Return the shade of a value on a scale from -extent to extent; zero and what is no number have none."""
    if not math.isfinite(value) or value == 0 or not extent > 0:
        return ""
    step = min(SHADES, max(1, math.ceil(abs(value) / extent * SHADES - 1e-9)))
    return f"{'up' if value > 0 else 'down'}-{step}"


def surface(
    *,
    key: str,
    title: str,
    note: str,
    row_name: str,
    column_name: str,
    values: Mapping[tuple[str, str], float],
    rows: Sequence[str],
    columns: Sequence[str],
    marked: tuple[str, str] | None = None,
    text: Callable[[float], str] = lambda value: fixed(value),
) -> HeatMap:
    """Return a heat map of a figure over two parameters; colours diverge at zero.

    Args:
        key: Short name, unique on the page.
        title: What is shown.
        note: What the cells hold, in a sentence.
        row_name: Parameter of the rows.
        column_name: Parameter of the columns.
        values: Figure per row label and column label; what lacks or is no number stays empty.
        rows: Labels from top to bottom.
        columns: Labels from left to right.
        marked: Row and column of the cell to put a frame around.
        text: Writes a figure.
    """
    extent = max((abs(value) for value in values.values() if math.isfinite(value)), default=0.0)

    def cell(row: str, column: str) -> HeatCell:
        value = values.get((row, column), math.nan)
        shown = text(value) if math.isfinite(value) else NONE
        hint = f"{row_name} {row}, {column_name} {column}: {shown}"
        return HeatCell(shown, shade(value, extent), hint, (row, column) == marked)

    return HeatMap(
        key=key,
        title=title,
        note=note,
        corner=f"{row_name} ↓ {column_name} →",
        columns=tuple(columns),
        rows=tuple((row, tuple(cell(row, column) for column in columns)) for row in rows),
    )


def month_map(series: ReturnSeries, *, key: str = "months", title: str = "Monthly returns") -> HeatMap:
    """Return the compounded return of each month and year, percent; the first and last may be parts of one."""
    months = series.by_month()
    years = sorted({year for year, _ in months})
    extent = _usual_extent(list(months.values()))
    of_year = series.by_year()
    rows = []
    for year in years:
        cells = [
            HeatCell(
                _short_percent(months[year, month]),
                shade(months[year, month], extent),
                f"{name} {year}: {percent(months[year, month], signed=True)}",
            )
            if (year, month) in months
            else HeatCell("")
            for month, name in enumerate(MONTHS, start=1)
        ]
        total = of_year[year]
        rows.append(
            (str(year), (*cells, HeatCell(_short_percent(total), "", f"{year}: {percent(total, signed=True)}")))
        )
    return HeatMap(
        key=key,
        title=title,
        note="Compounded return in percent after all costs; the first and the last month may be incomplete.",
        corner="Year",
        columns=(*MONTHS, "Year"),
        rows=tuple(rows),
    )


def day_calendar(series: ReturnSeries, *, key: str = "calendar", title: str = "Daily returns by calendar") -> Calendar:
    """Return each day as a square, coloured by its return; the outermost 3 % of days share the strongest shade."""
    extent = _usual_extent([float(value) for value in series.returns])
    days = list(zip(series.dates, (float(value) for value in series.returns), strict=True))
    years = []
    for year in sorted({day.year for day, _ in days}):
        of_year = [(day, value) for day, value in days if day.year == year]
        gains, losses = sum(value > 0 for _, value in of_year), sum(value < 0 for _, value in of_year)
        best, worst = max(of_year, key=lambda pair: pair[1]), min(of_year, key=lambda pair: pair[1])
        years.append(
            CalendarYear(
                str(year),
                f"{len(of_year)} days, {gains} with a gain, {losses} with a loss; best {day_text(best[0])} "
                f"{percent(best[1], signed=True)}, worst {day_text(worst[0])} {percent(worst[1], signed=True)}.",
                tuple(
                    CalendarDay(
                        _week(day),
                        day.weekday(),
                        shade(value, extent),
                        f"{day_text(day)}: {percent(value, signed=True)}",
                    )
                    for day, value in of_year
                ),
            )
        )
    return Calendar(key, title, "Return of each day; weeks from left to right, Monday on top.", tuple(years))


def _week(day: date) -> int:
    """Return the week of the year from 0, weeks beginning on Monday."""
    first = date(day.year, 1, 1)
    monday = first - timedelta(days=first.weekday())
    return (day - monday).days // 7


def _usual_extent(values: Sequence[float]) -> float:
    """Return the size that all but the largest 3 % of values stay within."""
    sizes = sorted(abs(value) for value in values)
    return sizes[max(0, len(sizes) - 1 - int(len(sizes) * _TAIL_SHARE))] if sizes else 0.0


def _short_percent(share: float) -> str:
    """Return percent in as few characters as a narrow column takes: `−4.2`, `+13`."""
    return fixed(share * 100, 1 if abs(share) < 0.0995 else 0, signed=True)
