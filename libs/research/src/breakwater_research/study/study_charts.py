"""The charts and heat maps of a study, under the names of their files in the document."""

import math

from breakwater_research.charts import Chart
from breakwater_research.heat_maps import HeatMap, month_map, surface
from breakwater_research.number_text import fixed
from breakwater_research.page_parts import Strips, strips
from breakwater_research.return_charts import chance_chart, drawdown_chart, growth_chart, paired_bars
from breakwater_research.returns import ReturnSeries
from breakwater_research.study.study import Study, Surface


def study_charts(study: Study) -> dict[str, Chart | HeatMap]:
    """Return what the document shows, by file name without its ending."""
    drawn: dict[str, Chart | HeatMap | None] = {
        "equity": growth_chart(
            [named(study.base.series, "portfolio"), study.holding], title="The portfolio and its symbols, held"
        ),
        "drawdown": drawdown_chart([named(study.base.series, "portfolio"), study.holding]),
        "months": month_map(study.base.series),
        "filters": growth_chart([one.series for one in study.filters], key="filters", title="Filters"),
        "directions": growth_chart([one.series for one in study.directions], key="directions", title="Long and short"),
        "costs": growth_chart([one.series for one in study.costs], key="costs", title="With and without costs"),
        "leverage": growth_chart(
            [named(one.series, f"{one.name}x") for one in study.leverages], key="leverage", title="Leverage"
        ),
        **{f"average-{one.name.split()[0]}": surface_map(one) for one in study.averages},
        "targets": surface_map(study.targets),
        "windows": windows_chart(study),
        "walk-forward": growth_chart(
            [study.search.in_sample, study.search.out_of_sample, study.search.anchored],
            key="walk-forward",
            title="Walk-forward",
            marks=[(window.first_day, window.chosen) for window in study.search.windows],
        ),
    }
    for number, test in enumerate(study.search.chance, start=1):
        drawn[f"chance-{number}"] = chance_chart(
            test.values,
            test.actual,
            key=f"chance-{number}",
            title=test.name.capitalize(),
            figure=test.figure,
            description=f"{test.null} p = {fixed(test.p_value, 3)}.",
        )
    return {name: chart for name, chart in drawn.items() if chart is not None}


def windows_chart(study: Study) -> Chart | None:
    """Return each window's Sharpe ratio in-sample beside the one out-of-sample."""
    return paired_bars(
        key="windows",
        title="Walk-forward windows",
        axes="Sharpe ratio per window, by its first day of judgement",
        names=("in-sample", "out-of-sample"),
        groups=[
            (window.first_day.strftime("%b %y"), window.in_sample, window.out_of_sample)
            for window in study.search.windows
        ],
    )


def surface_map(of: Surface) -> HeatMap:
    """Return the Sharpe ratio over two parameters, its largest value framed."""
    sharpes = of.sharpes
    known = {place: value for place, value in sharpes.items() if math.isfinite(value)}
    return surface(
        key=f"surface-{of.name.replace(' ', '-')}",
        title=f"Sharpe ratio, {of.name}",
        note=(
            f"Annual Sharpe ratio after costs over all days by {key_text(of.row_key)} (rows) and "
            f"{key_text(of.column_key)} (columns); the "
            "largest is framed. Every cell was chosen in hindsight."
        ),
        row_name=key_text(of.row_key),
        column_name=key_text(of.column_key),
        values=sharpes,
        rows=of.rows,
        columns=of.columns,
        marked=max(known, key=lambda place: known[place]) if known else None,
    )


def contribution_strips(study: Study) -> Strips:
    """Return what each symbol added, in percent of the day's opening equity, summed over all days."""
    sums = study.trades.groupby("symbol")["net_return"].sum()
    counts = study.trades.groupby("symbol").size()
    symbols = [one.symbol for one in study.histories]
    return strips(
        "contribution",
        "Contribution per symbol",
        "Sum of each trade's net result as a share of the equity at its day's open, percent.",
        [
            (
                f"{symbol} ({int(counts.get(symbol, 0)):,})",
                float(sums.get(symbol, 0.0)),
                f"{fixed(float(sums.get(symbol, 0.0)) * 100, 1, signed=True)}%",
            )
            for symbol in symbols
        ],
    )


def named(series: ReturnSeries, name: str) -> ReturnSeries:
    """Return the series under another name."""
    return ReturnSeries(name, series.days, series.returns)


def key_text(key: str) -> str:
    """Return a configuration key as it stands beside an axis: without its section."""
    return key.rpartition(".")[2]
