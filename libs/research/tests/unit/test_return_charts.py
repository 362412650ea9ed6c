"""Charts of return series: scales, the order of what is drawn, and what is said in words."""

from datetime import date

import numpy as np
import pytest

from breakwater_core.errors import InvalidInputError
from breakwater_research.return_charts import chance_chart, drawdown_chart, growth_chart, paired_bars
from breakwater_research.returns import ReturnSeries, day_number


def series(name: str, *returns: float) -> ReturnSeries:
    days = day_number(date(2024, 1, 1)) + np.arange(len(returns))
    return ReturnSeries(name, days, np.array(returns))


def test_small_growth_is_drawn_in_percent_and_large_growth_on_a_logarithmic_scale() -> None:
    small = growth_chart([series("a", 0.1, -0.05)])
    assert small.y_ticks[0].label == "0%"
    assert "logarithmic" not in small.axes
    large = growth_chart([series("a", 1.0, 1.0, 1.0)])
    assert [tick.label for tick in large.y_ticks] == ["1×", "2×", "5×"]
    assert "Logarithmic scale." in large.description


def test_equal_growth_is_an_equal_step_on_a_logarithmic_scale() -> None:
    chart = growth_chart([series("a", 1.0, 1.0, 1.0)])
    heights = [float(point.split()[1]) for point in chart.lines[0].path[1:].split("L")]
    steps = np.diff(heights)
    assert steps == pytest.approx([steps[0]] * 3, abs=0.01)


def test_an_account_that_lost_everything_still_has_a_curve() -> None:
    assert growth_chart([series("a", 0.5, -1.0)]).lines[0].path.startswith("M")


def test_several_series_have_a_legend_and_marks_have_lines_behind_them() -> None:
    chart = growth_chart([series("a", 0.1, 0.1), series("b", -0.1, 0.1)], marks=[(date(2024, 1, 2), "window")])
    assert [entry.name for entry in chart.legend] == ["a", "b"]
    assert [line.style for line in chart.lines] == ["window", "series-0", "series-1"]
    assert "a +21.00%, b −1.00%" in chart.description


def test_drawdown_hangs_from_zero() -> None:
    chart = drawdown_chart([series("a", 0.1, -0.2, 0.05)])
    assert chart.baseline == 0
    assert "a 20.00%" in chart.description


def test_a_chart_without_a_series_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        growth_chart([])


def test_windows_stand_in_pairs_and_what_is_no_number_has_no_bar() -> None:
    chart = paired_bars(
        key="w",
        title="t",
        axes="a",
        names=("in-sample", "out-of-sample"),
        groups=[("one", 1.0, -0.5), ("two", 0.5, float("nan"))],
    )
    assert chart is not None
    assert [bar.hint for bar in chart.bars] == [
        "one: in-sample 1.00",
        "one: out-of-sample −0.50",
        "two: in-sample 0.50",
    ]
    assert chart.bars[0].x + chart.bars[0].width <= chart.bars[1].x
    assert (
        paired_bars(key="w", title="t", axes="a", names=("i", "o"), groups=[("x", float("nan"), float("nan"))]) is None
    )


def test_the_actual_figure_stands_on_the_scale_of_chance_even_far_beyond_it() -> None:
    scores = np.random.default_rng(1).normal(0, 1, 200).tolist()
    chart = chance_chart(scores, 9.0)
    assert chart is not None
    place = float(chart.lines[0].path[1:].split()[0])
    assert place > max(bar.x + bar.width for bar in chart.bars)
    assert place < 100
    assert chance_chart([], 1.0) is None
