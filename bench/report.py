"""Figures as tables for a person and as JSON for a machine."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.figures import Figure, Section

_HEADINGS = ("figure", "median", "unit", "min .. max", "n", "must / goal", "reached", "limit of the same run", "ratio")
_LEFT = frozenset({0, 2, 5, 6, 7})


def header_text(facts: Mapping[str, str]) -> str:
    """Return the lines that say what the figures were measured on."""
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())


def section_text(name: str, section: Section) -> str:
    """Return a section as a table with its notes."""
    rows = [_HEADINGS, *(_row(figure) for figure in section.figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = [f"== {name}: {section.title}"]
    lines += [_line(row, widths) for row in rows]
    lines.insert(2, "  ".join("-" * width for width in widths))
    lines += [f"  {note}" for note in (*section.notes, *section.faults)]
    return "\n".join(lines)


def write_json(path: Path, facts: Mapping[str, str], sections: Mapping[str, Section]) -> None:
    """Write header and figures of all benchmarks that ran."""
    values = {"machine": dict(facts), "benchmarks": {name: section.as_values() for name, section in sections.items()}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def number_text(value: float) -> str:
    """Return a number with about three digits that matter."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3g}"


def _row(figure: Figure) -> tuple[str, ...]:
    target = ""
    if figure.target is not None:
        sign = "<=" if figure.target.at_most else ">="
        goal = "" if figure.target.goal is None else f" / {number_text(figure.target.goal)}"
        target = f"{sign} {number_text(figure.target.must)}{goal}"
    spread = ""
    if len(figure.values) > 1:
        spread = f"{number_text(min(figure.values))} .. {number_text(max(figure.values))}"
    limit = "" if figure.limit is None else f"{number_text(figure.limit)} {figure.limit_name}"
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    return (
        figure.name,
        number_text(figure.median),
        figure.unit,
        spread,
        str(len(figure.values)),
        target,
        figure.verdict.value,
        limit,
        ratio,
    )


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = (
        f"{cell:<{width}}" if column in _LEFT else f"{cell:>{width}}"
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join(cells).rstrip()
