"""The parts that pages are made of, as values: headlines, tables, strips, lists of trades and words; no markup.

Every part but a headline has a `kind`, by which the template `blocks.html.jinja` knows how to draw it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from typing import ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined

from breakwater_research.charts import Chart, Scale
from breakwater_research.heat_maps import Calendar, HeatMap

LARGEST_TABLE = 2000
"""Rows of a table; of longer ones the latest are shown."""

ENVIRONMENT = Environment(
    loader=PackageLoader("breakwater_research"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
"""Where the templates are; every text that goes into one is escaped."""


@dataclass(frozen=True, slots=True)
class Headline:
    """A figure at the head of the page; `tone` is `gain`, `loss` or nothing."""

    label: str
    value: str
    note: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """Head of a table's column; texts stand to the left, numbers to the right."""

    label: str
    is_text: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose first column names the row.

    Attributes:
        columns: As many as each row has cells.
        rows: The latest `LARGEST_TABLE` rows.
        total: Rows before the table was cut.
        note: What a reader has to know, above the table.
        is_open: Whether it is unfolded from the start.
    """

    kind: ClassVar[str] = "table"

    name: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    total: int
    note: str = ""
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class TradeGroup:
    """The trades of a span of time, e.g. of a year."""

    label: str
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class TradeList:
    """Every trade of a run, folded by span of time; drawn with as little markup as a table can have.

    Attributes:
        columns: As many as each row has cells; the first names the row.
        text_columns: How many columns from the left are texts.
    """

    kind: ClassVar[str] = "trades"

    name: str
    columns: tuple[str, ...]
    text_columns: int
    groups: tuple[TradeGroup, ...]
    note: str = ""

    @property
    def total(self) -> int:
        """Number of trades."""
        return sum(len(group.rows) for group in self.groups)


@dataclass(frozen=True, slots=True)
class Strip:
    """A value as a bar to the left or right of zero, in a strip 100 wide."""

    label: str
    value: str
    x: float
    width: float
    zero: float
    tone: str


@dataclass(frozen=True, slots=True)
class Strips:
    """Values beneath each other, all on one scale."""

    kind: ClassVar[str] = "strips"

    key: str
    title: str
    description: str
    strips: tuple[Strip, ...]


@dataclass(frozen=True, slots=True)
class Words:
    """A statement in words; `tone` is `gain`, `loss` or nothing."""

    kind: ClassVar[str] = "words"

    key: str
    title: str
    paragraphs: tuple[str, ...]
    tone: str = ""


Block = Chart | HeatMap | Calendar | Table | TradeList | Strips | Words
"""Whatever stands on a page below its headlines."""


def cut_table(
    name: str,
    columns: tuple[Column, ...],
    cells: Sequence[tuple[str, ...]],
    *,
    note: str = "",
    is_open: bool = False,
) -> Table:
    """Return a table of the latest rows."""
    return Table(name, columns, tuple(cells[-LARGEST_TABLE:]), len(cells), note, is_open)


def strips(
    key: str, title: str, description: str, values: Sequence[tuple[str, float, str]], *, zero_tone: str = ""
) -> Strips:
    """Return values as strips on one scale.

    Args:
        key: Short name, unique on the page.
        title: What is shown.
        description: The same for those who do not see it.
        values: Label, value and the value's text, in the order in which they are shown.
        zero_tone: Tone of a value of zero.
    """
    numbers = [value for _, value, _ in values]
    low, high = min(0.0, *numbers, 0.0), max(0.0, *numbers, 0.0)
    scale = Scale(low, high if high > low else low + 1)
    zero = scale.at(0)
    return Strips(
        key,
        title,
        description,
        tuple(
            Strip(
                label=label,
                value=text,
                x=min(zero, scale.at(value)),
                width=round(abs(scale.at(value) - zero), 3),
                zero=zero,
                tone=tone_of(value) or zero_tone,
            )
            for label, value, text in values
        ),
    )


def trade_list(
    name: str, columns: tuple[str, ...], text_columns: int, rows: Sequence[tuple[str, ...]], *, note: str = ""
) -> TradeList:
    """Return trades folded by year; the first cell of each row begins with the year, and rows are in order of it."""
    groups = tuple(TradeGroup(year, tuple(of_year)) for year, of_year in groupby(rows, key=lambda row: row[0][:4]))
    return TradeList(name, columns, text_columns, groups, note)


def tone_of(*amounts: Decimal | float) -> str:
    """Return `gain` if all amounts are above zero, `loss` if all are below, else nothing."""
    if amounts and all(amount > 0 for amount in amounts):
        return "gain"
    return "loss" if amounts and all(amount < 0 for amount in amounts) else ""


def counted(number: int, one: str, many: str) -> str:
    """Return a number with its noun: `1 day`, `1,234 days`."""
    return f"{number:,} {one if number == 1 else many}"


def render_page(
    *, brand: str, title: str, facts: Sequence[str], headlines: Sequence[Headline], blocks: Sequence[Block], footer: str
) -> str:
    """Return a page of headlines and blocks as HTML; the same parts give the same text.

    Args:
        brand: What kind of page it is, above the title.
        title: Title of the page and of its tab.
        facts: Short facts under the title.
        headlines: Figures at the head of the page.
        blocks: What follows, in order.
        footer: Units and conventions.
    """
    return ENVIRONMENT.get_template("blocks_page.html.jinja").render(
        brand=brand, title=title, facts=facts, headlines=headlines, blocks=blocks, footer=footer
    )
