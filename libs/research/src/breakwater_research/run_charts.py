"""The charts of a run: equity curve, drawdown, daily returns and slippage; None where there is nothing to draw."""

from collections.abc import Callable, Sequence
from datetime import date
from itertools import pairwise

from breakwater_research.charts import (
    EXTENT,
    Bar,
    Chart,
    LegendEntry,
    Line,
    Scale,
    area_path,
    bin_counts,
    bin_edges,
    bin_ranges,
    day_ticks,
    edge_ticks,
    line_path,
    nice_scale,
    series_style,
    upright_bar,
    value_ticks,
)
from breakwater_research.figures import RunFigures
from breakwater_research.number_text import basis_points, compact, day_text, percent
from breakwater_research.report_rows import DayRow, ReportRows


def equity_chart(rows: ReportRows) -> Chart | None:
    """Return the growth of each account since the run began, deposits taken out, percent."""
    if not rows.days:
        return None
    growth = {account: _growth(rows.days_of(account)) for account in rows.accounts}
    ends = ", ".join(
        f"{percent(points[-1][1], signed=True)}{_of(account, rows)}" for account, points in growth.items() if points
    )
    return _day_curves(
        rows,
        growth,
        key="equity",
        title="Equity curve",
        description=f"Return since the start of the run, deposits taken out. {_period(rows)} At the end: {ends}.",
        axes="return since the start, at the end of each day",
        when_flat=(-0.01, 0.01),
        hint=lambda row: f"{percent(row.cumulative - 1, signed=True)} since the start",
    )


def drawdown_chart(rows: ReportRows) -> Chart | None:
    """Return how far each account stood below its highest value so far, percent, downwards."""
    if not rows.days:
        return None
    depth = {account: _depth(rows.days_of(account)) for account in rows.accounts}
    deepest = ", ".join(
        f"{percent(rows.days_of(account)[-1].mdd)}{_of(account, rows)}" for account, points in depth.items() if points
    )
    return _day_curves(
        rows,
        depth,
        key="drawdown",
        title="Drawdown",
        description=f"Distance below the highest value so far. {_period(rows)} Largest: {deepest}.",
        axes="below the highest value so far, at the end of each day",
        when_flat=(-0.01, 0.0),
        hint=lambda row: f"{percent(-row.drawdown)} from the peak",
    )


def daily_return_charts(rows: ReportRows) -> tuple[Chart, ...]:
    """Return the return of each day as bars, one chart per account, percent."""
    charts = []
    for index, account in enumerate(rows.accounts):
        if days := rows.days_of(account):
            title = "Daily returns" if len(rows.accounts) == 1 else f"Daily returns of {account}"
            charts.append(_daily_returns(days, f"returns-{index}", title))
    return tuple(charts)


def slippage_chart(rows: ReportRows, figures: RunFigures) -> Chart | None:
    """Return how many orders had how much slippage, basis points, entries and exits on top of each other."""
    entries = [float(row.slippage_bps) for row in rows.orders if row.slippage_bps is not None and not row.leg.reduces]
    exits = [float(row.slippage_bps) for row in rows.orders if row.slippage_bps is not None and row.leg.reduces]
    if not entries and not exits:
        return None
    edges = bin_edges([*entries, *exits])
    entry_counts, exit_counts = bin_counts(entries, edges), bin_counts(exits, edges)
    totals = [of_entries + of_exits for of_entries, of_exits in zip(entry_counts, exit_counts, strict=True)]
    scale, ticks = nice_scale([float(total) for total in totals])
    step = max(1.0, ticks[1] - ticks[0])
    names = _bin_names(edges, [*entries, *exits])
    bars = []
    for name, room, of_entries, total in zip(names, bin_ranges(edges), entry_counts, totals, strict=True):
        parts = ((0, of_entries, "entry", "entries"), (of_entries, total, "exit", "exits"))
        bars += [
            upright_bar(room, scale.at(low), scale.at(high), style=style, hint=f"{name}: {high - low} {what}")
            for low, high, style, what in parts
            if high > low
        ]
    median = figures.median_slippage_bps
    positions = Scale(edges[0], edges[-1])
    middle = positions.at(float(median or 0))
    return Chart(
        key="slippage",
        title="Slippage",
        description=(
            f"Distribution of the slippage of {sum(totals)} orders against their target price, basis points, positive "
            f"is worse. Mean {basis_points(figures.average_slippage_bps)}, median {basis_points(median)}. The "
            "outermost bars hold everything beyond them."
        ),
        axes="number of orders by slippage, basis points",
        x_ticks=edge_ticks(edges, positions),
        y_ticks=value_ticks(scale, [tick for tick in ticks if tick == int(tick)], lambda value: compact(value, step)),
        baseline=scale.at(0),
        bars=tuple(bars),
        lines=(Line(line_path([(middle, 0.0), (middle, EXTENT)]), "marker"),),
        legend=(
            LegendEntry("entries", "entry"),
            LegendEntry("exits", "exit"),
            LegendEntry(f"median {basis_points(median)}", "marker"),
        ),
    )


def _growth(days: Sequence[DayRow]) -> list[tuple[int, float]]:
    """Return day numbers and returns since the start, the day before the first one included."""
    if not days:
        return []
    first = days[0]
    before = float(first.cumulative / first.ror) - 1 if first.ror > 0 else 0.0
    return [
        (first.day.toordinal() - 1, before),
        *((row.day.toordinal(), float(row.cumulative) - 1) for row in days),
    ]


def _depth(days: Sequence[DayRow]) -> list[tuple[int, float]]:
    """Return day numbers and drawdowns below zero, the day before the first one included."""
    if not days:
        return []
    return [(days[0].day.toordinal() - 1, 0.0), *((row.day.toordinal(), -float(row.drawdown)) for row in days)]


def _day_curves(
    rows: ReportRows,
    curves: dict[str, list[tuple[int, float]]],
    *,
    key: str,
    title: str,
    description: str,
    axes: str,
    when_flat: tuple[float, float],
    hint: Callable[[DayRow], str],
) -> Chart:
    first, last = rows.days[0].day, rows.days[-1].day
    across = Scale(first.toordinal() - 1, last.toordinal())
    scale, ticks = nice_scale((value for points in curves.values() for _, value in points), when_flat=when_flat)
    lines, areas, legend = [], [], []
    for index, (account, points) in enumerate(curves.items()):
        placed = [(across.at(day), scale.at(value)) for day, value in points]
        lines.append(Line(line_path(placed), series_style(index)))
        legend.append(LegendEntry(account, series_style(index)))
        if len(curves) == 1:
            areas.append(Line(area_path(placed, scale.at(0)), series_style(index)))
    return Chart(
        key=key,
        title=title,
        description=description,
        axes=axes,
        x_ticks=day_ticks(first, last, across),
        y_ticks=value_ticks(scale, ticks, _percent_label(ticks)),
        baseline=scale.at(0),
        areas=tuple(areas),
        lines=tuple(lines),
        hover=_day_hints(rows, across, hint),
        legend=tuple(legend) if len(curves) > 1 else (),
    )


def _day_hints(rows: ReportRows, across: Scale, hint: Callable[[DayRow], str]) -> tuple[Bar, ...]:
    """Return one invisible bar per day that names the day and the figure of each account."""
    texts: dict[date, list[str]] = {}
    for row in rows.days:
        texts.setdefault(row.day, [day_text(row.day)]).append(f"{hint(row)}{_of(row.account, rows)}")
    bars = []
    for day, lines in texts.items():
        left, right = across.at(day.toordinal() - 0.5), across.at(day.toordinal() + 0.5)
        bars.append(Bar(left, 0.0, round(right - left, 3), EXTENT, "hover", "\n".join(lines)))
    return tuple(bars)


def _daily_returns(days: Sequence[DayRow], key: str, title: str) -> Chart:
    first, last = days[0].day, days[-1].day
    across = Scale(first.toordinal() - 0.5, last.toordinal() + 0.5)
    returns = [float(row.ror) - 1 for row in days]
    scale, ticks = nice_scale(returns, count=5)
    zero = scale.at(0)
    bars = tuple(
        upright_bar(
            (across.at(row.day.toordinal() - 0.5), across.at(row.day.toordinal() + 0.5)),
            zero,
            scale.at(value),
            style="gain" if value >= 0 else "loss",
            hint=f"{day_text(row.day)}: {percent(value, signed=True)}",
        )
        for row, value in zip(days, returns, strict=True)
    )
    gains, losses = sum(value > 0 for value in returns), sum(value < 0 for value in returns)
    return Chart(
        key=key,
        title=title,
        description=(
            f"{len(days)} days: {gains} with a gain, {losses} with a loss. Best {percent(max(returns), signed=True)}, "
            f"worst {percent(min(returns), signed=True)}."
        ),
        axes="return of the day, percent",
        x_ticks=day_ticks(first, last, across),
        y_ticks=value_ticks(scale, ticks, _percent_label(ticks)),
        baseline=zero,
        bars=bars,
    )


def _percent_label(ticks: Sequence[float]) -> Callable[[float], str]:
    step = (ticks[1] - ticks[0]) * 100
    return lambda value: f"{compact(value * 100, step)}%"


def _bin_names(edges: Sequence[float], values: Sequence[float]) -> list[str]:
    step = edges[1] - edges[0]
    names = [f"{compact(low, step)} to {compact(high, step)} bps" for low, high in pairwise(edges)]
    if max(values) > edges[-1]:
        names[-1] = f"{compact(edges[-2], step)} bps and more"
    if min(values) < edges[0]:
        names[0] = f"below {compact(edges[1], step)} bps"
    return names


def _of(account: str, rows: ReportRows) -> str:
    return f" ({account})" if len(rows.accounts) > 1 else ""


def _period(rows: ReportRows) -> str:
    return f"{day_text(rows.days[0].day)} to {day_text(rows.days[-1].day)}."
