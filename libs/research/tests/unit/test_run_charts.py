"""Charts of a run: the right values in words and in place, and none where there is nothing to draw."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st
from made_reports import made_day, made_order, made_report, made_run

from breakwater_research.charts import Bar, Chart
from breakwater_research.figures import run_figures
from breakwater_research.report_rows import ReportRows, read_rows
from breakwater_research.run_charts import (
    daily_return_charts,
    drawdown_chart,
    equity_chart,
    series_style,
    slippage_chart,
)


def all_charts(rows: ReportRows) -> list[Chart]:
    charts = [
        equity_chart(rows),
        drawdown_chart(rows),
        *daily_return_charts(rows),
        slippage_chart(rows, run_figures(rows)),
    ]
    return [chart for chart in charts if chart is not None]


def test_a_run_in_which_nothing_happened_has_no_charts() -> None:
    assert all_charts(read_rows(made_report())) == []


def test_descriptions_say_what_is_seen() -> None:
    equity, drawdown, returns, slippage = all_charts(read_rows(made_run()))
    assert "4 Jul 2023 to 6 Jul 2023. At the end: +0.75%." in equity.description
    assert "Largest: 5.00%." in drawdown.description
    assert returns.description == "3 days: 2 with a gain, 1 with a loss. Best +5.00%, worst −5.00%."
    assert "5 orders" in slippage.description
    assert "median +10.0 bps" in slippage.description


def test_the_equity_curve_starts_at_zero_the_day_before_the_first() -> None:
    chart = equity_chart(read_rows(made_run()))
    assert chart is not None
    assert chart.lines[0].path.startswith(f"M0 {chart.baseline:g}L33.333 ")
    assert len(chart.areas) == 1
    assert chart.hover[1].hint == "5 Jul 2023\n−4.05% since the start"


def test_gains_stand_above_the_line_and_losses_below() -> None:
    [chart] = daily_return_charts(read_rows(made_run()))
    assert [bar.style for bar in chart.bars] == ["gain", "loss", "gain"]
    for bar in chart.bars:
        edge = bar.y + bar.height if bar.style == "gain" else bar.y
        assert abs(edge - chart.baseline) < 0.01


def test_a_run_without_a_loss_has_its_drawdown_at_the_top() -> None:
    chart = drawdown_chart(read_rows(made_report(days=[made_day("2023-07-04")])))
    assert chart is not None
    assert chart.baseline == 0
    assert [tick.label for tick in chart.y_ticks][-1] == "0.0%"


def test_several_accounts_have_a_line_each_and_a_legend() -> None:
    days = [made_day("2023-07-04", name) for name in "abcdefgh"]
    chart = equity_chart(read_rows(made_report(days=days)))
    assert chart is not None
    assert [entry.name for entry in chart.legend] == list("abcdefgh")
    assert len({line.style for line in chart.lines}) == 8
    assert series_style(6) == "series-0 dashed"
    assert chart.areas == ()


def test_slippage_beyond_the_last_bin_is_named_so() -> None:
    orders = [made_order(number, slippage_bps=str(number)) for number in range(100)]
    rows = read_rows(made_report(orders=[*orders, made_order(100, leg="exit", side="sell", slippage_bps="5000")]))
    chart = slippage_chart(rows, run_figures(rows))
    assert chart is not None
    assert any(bar.style == "exit" and "and more: 1 exits" in bar.hint for bar in chart.bars)


@given(
    st.lists(
        st.tuples(st.integers(0, 3000), st.sampled_from("ab"), st.integers(-10_000, 30_000)),
        min_size=1,
        max_size=20,
        unique_by=lambda row: row[:2],
    ),
    st.lists(st.integers(-10_000, 100_000), max_size=20),
)
def test_everything_is_drawn_inside_the_plot(days: list[tuple[int, str, int]], slippages: list[int]) -> None:
    rows = [
        made_day(
            str(date(2020, 1, 1) + timedelta(days=offset)),
            account,
            ror=str(1 + basis / 10_000),
            cumulative=str(1 + basis / 10_000),
            drawdown=str(max(-basis, 0) / 10_000),
            mdd="1",
        )
        for offset, account, basis in days
    ]
    orders = [made_order(number, slippage_bps=str(value / 100)) for number, value in enumerate(slippages)]
    for chart in all_charts(read_rows(made_report(days=rows, orders=orders))):
        bars: list[Bar] = [*chart.bars, *chart.hover]
        assert all(bar.x >= -0.01 and bar.x + bar.width <= 100.01 for bar in bars)
        assert all(bar.y >= -0.01 and bar.y + bar.height <= 100.01 for bar in bars)
        assert all(0 <= tick.position <= 100 for tick in (*chart.x_ticks, *chart.y_ticks))
        assert 0 <= chart.baseline <= 100
        assert chart.x_ticks
