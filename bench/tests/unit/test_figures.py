"""Figures: verdicts, ratios, percentiles, and how they are written down."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import Figure, Section, Target, Verdict, percentile
from bench.report import number_text, section_text, write_json

FASTER = Target(must=100, goal=200)
SOONER = Target(must=2.0, goal=1.0, at_most=True)


@pytest.mark.parametrize(
    ("target", "value", "verdict"),
    [
        (FASTER, 99, Verdict.MISSED),
        (FASTER, 100, Verdict.MUST),
        (FASTER, 200, Verdict.GOAL),
        (SOONER, 2.1, Verdict.MISSED),
        (SOONER, 2.0, Verdict.MUST),
        (SOONER, 0.9, Verdict.GOAL),
    ],
)
def test_a_figure_is_judged_by_its_median_in_the_direction_of_its_target(
    target: Target, value: float, verdict: Verdict
) -> None:
    assert Figure("x", "s", (0.0, value, 1e9), target).verdict is verdict


def test_a_figure_without_target_or_limit_states_neither_verdict_nor_ratio() -> None:
    figure = Figure("x", "s", (1.0,))
    assert figure.verdict is Verdict.NONE
    assert figure.ratio is None


def test_the_ratio_compares_medians_of_the_same_run() -> None:
    assert Figure("x", "s", (1.0, 2.0, 9.0), None, "bare", (4.0, 4.0, 5.0)).ratio == 0.5


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_percentile_is_a_sample_that_the_share_does_not_exceed(samples: list[float], share: float) -> None:
    value = percentile(samples, share)
    assert value in samples
    assert sum(sample <= value for sample in samples) >= share * len(samples)


def test_the_table_has_a_line_for_each_figure_and_says_what_was_missed() -> None:
    section = Section("title", (Figure("speed", "trades/s", (50.0,), FASTER, "bare", (100.0,)),), ("a note",))
    text = section_text("name", section)
    assert "== name: title" in text
    line = next(line for line in text.splitlines() if line.startswith("speed"))
    assert "MISSED" in line
    assert "0.50" in line
    assert text.endswith("a note")


def test_json_holds_every_repetition(tmp_path: Path) -> None:
    write_json(
        tmp_path / "deep" / "figures.json", {"machine": "m"}, {"a": Section("t", (Figure("x", "s", (1.0, 2.0)),))}
    )
    values = json.loads((tmp_path / "deep" / "figures.json").read_text())
    assert values["benchmarks"]["a"]["figures"][0]["values"] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.00"), (0.0123, "0.0123"), (1.5, "1.50"), (42.24, "42.2"), (1234567.0, "1,234,567")]
)
def test_numbers_are_written_with_the_digits_that_matter(value: float, text: str) -> None:
    assert number_text(value) == text
