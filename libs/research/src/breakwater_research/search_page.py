"""The page of a search: the chosen set, heat maps of all sets, walk-forward windows, tests against chance in words."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from breakwater_core.errors import InvalidInputError
from breakwater_research.charts import Chart
from breakwater_research.heat_maps import HeatMap, day_calendar, month_map, surface
from breakwater_research.number_text import counts_text, fixed, percent, plain_text
from breakwater_research.page_parts import (
    Block,
    Column,
    Headline,
    Table,
    Words,
    counted,
    cut_table,
    render_page,
    strips,
    tone_of,
)
from breakwater_research.return_charts import chance_chart, drawdown_chart, growth_chart, paired_bars
from breakwater_research.returns import ReturnSeries
from breakwater_research.search_files import SearchFiles, read_search

MOST_SURFACES = 6
"""Pairs of varied keys that get a heat map; further ones are in `results.parquet`."""
MOST_SETS = 50
"""Sets in the table, best first."""

FOOTER = (
    "Returns are net of all costs, compound daily and count every calendar day; a year has 365. Sharpe ratios "
    "are annual, without a "
    "risk-free rate. In-sample days chose the set, out-of-sample days did not."
)


def render_search(folder: Path) -> str:
    """Return the page of the search that a folder holds; the same folder gives the same text.

    Raises:
        InvalidInputError: If a file lacks or does not hold what it should.
    """
    search = read_search(folder)
    try:
        return _render(search)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InvalidInputError(
            f"{folder}: is no search that this version wrote ({error!r}); run the search again"
        ) from error


def _render(search: SearchFiles) -> str:
    values = search.values
    chosen, request = values["chosen"], values["request"]
    inside = search.series("in-sample", "in_sample")
    outside = search.series("out-of-sample", "out_of_sample")
    walked = search.series("walk-forward, out-of-sample", "walk_forward", "returns")
    judged = outside or walked or inside
    assert judged is not None  # read_search demands in-sample days
    known = [series for series in (inside, outside, walked) if series is not None]
    blocks: list[Block | None] = [
        _verdict(values["verdict"]),
        growth_chart(known, title="Equity curve of the chosen set"),
        drawdown_chart(known),
        month_map(judged, title=f"Monthly returns, {judged.name}"),
        day_calendar(judged, title=f"Daily returns by calendar, {judged.name}"),
        *_surfaces(search),
        *_windows(values.get("walk_forward"), search.keys),
        *_chance("permutation", "Days shuffled", values.get("permutation"), request["objective"]),
        *_chance("sign-flip", "Signs flipped", values.get("sign_flip"), "daily Sharpe ratio"),
        _statistics(values),
        _costs(chosen, known),
        _best_sets(search),
        _settings(chosen["config"]),
    ]
    spans = [values["data"][name] for name in ("in_sample", "out_of_sample") if values["data"].get(name)]
    return render_page(
        brand="Breakwater search",
        title=f"Set {chosen['set']} of {values['sets']['count']:,}",
        facts=[
            f"{spans[0]['first_day']} – {spans[-1]['last_day']}",
            counted(len(values["data"]["symbols"]), "symbol", "symbols"),
            f"chosen by {request['objective']}",
            f"data {values['data']['fingerprint'][:12]}",
            f"configuration {chosen['version']}",
        ],
        headlines=_headlines(chosen, inside, outside),
        blocks=[block for block in blocks if block is not None],
        footer=FOOTER,
    )


def _headlines(chosen: Mapping[str, Any], inside: ReturnSeries | None, outside: ReturnSeries | None) -> list[Headline]:
    headlines = [Headline(key.rpartition(".")[2], plain_text(value)) for key, value in chosen["values"].items()]
    for name, series in (("in-sample", inside), ("out-of-sample", outside)):
        if series is None:
            continue
        headlines += [
            Headline(f"Return {name}", percent(series.total, 1, signed=True), _a_year(series), tone_of(series.total)),
            Headline(f"Sharpe {name}", fixed(series.sharpe), f"drawdown {percent(series.max_drawdown, 1)}"),
        ]
    headlines.append(Headline("Trades", f"{chosen['trades']:,}", counts_text(chosen["liquidations"], "liquidation")))
    return headlines


def _a_year(series: ReturnSeries) -> str:
    return f"{percent(series.annual_growth, 1, signed=True)} a year"


def _verdict(verdict: Mapping[str, Any]) -> Words:
    marks = {True: "passed", False: "failed", None: "not checked"}
    lines = tuple(f"{marks[check['passed']]}: {check['name']}: {check['detail']}" for check in verdict["checks"])
    tone = "gain" if verdict["significant"] else "loss"
    return Words("verdict", "Is it significant?", (verdict["sentence"], *lines), tone)


def _surfaces(search: SearchFiles) -> list[HeatMap]:
    """Return a heat map per pair of varied keys with several values; what else varies takes its best value."""
    table, chosen = search.results, search.values["chosen"]["values"]
    varied = [key for key in search.keys if table[key].nunique(dropna=False) > 1]
    maps = []
    pairs: Sequence[tuple[str, str]] = list(combinations(varied, 2))
    for number, (row_key, column_key) in enumerate(pairs[:MOST_SURFACES]):
        for sample in ("in_sample", "out_of_sample"):
            best = _best_per_pair(table, row_key, column_key, f"{sample}_sharpe")
            if best is None:
                continue
            others = ", ".join(_short(key) for key in varied if key not in {row_key, column_key})
            of_best = f"; of {others} the best in-sample" if others else ""
            maps.append(
                surface(
                    key=f"surface-{number}-{sample.replace('_', '-')}",
                    title=f"Sharpe ratio {sample.replace('_', '-')} by {_short(row_key)} and {_short(column_key)}",
                    note=f"Annual, after costs; the chosen set is framed{of_best}.",
                    row_name=_short(row_key),
                    column_name=_short(column_key),
                    values=best,
                    rows=[plain_text(value) for value in _sorted(table[row_key])],
                    columns=[plain_text(value) for value in _sorted(table[column_key])],
                    marked=(plain_text(chosen[row_key]), plain_text(chosen[column_key])),
                )
            )
    return maps


def _best_per_pair(
    table: pd.DataFrame, row_key: str, column_key: str, figure: str
) -> dict[tuple[str, str], float] | None:
    """Return the figure of the set that is best in-sample, per pair of values; None if no set has it."""
    if figure not in table.columns or table[figure].isna().all():
        return None
    best: dict[tuple[str, str], tuple[float, float]] = {}
    columns = (table[row_key], table[column_key], table["in_sample_sharpe"], table[figure])
    for row, column, rank, value in zip(*columns, strict=True):
        place = (plain_text(row), plain_text(column))
        if place not in best or rank > best[place][0]:
            best[place] = (float(rank), float(value))
    return {place: value for place, (_, value) in best.items()}


def _sorted(values: "pd.Series[Any]") -> list[Any]:
    known = values.dropna().unique().tolist()
    return [*sorted(known), *([None] if values.isna().any() else [])]


def _windows(walk_forward: Mapping[str, Any] | None, keys: Sequence[str]) -> list[Chart | Table | None]:
    if walk_forward is None:
        return []
    windows = walk_forward["windows"]
    chart = paired_bars(
        key="windows",
        title="Walk-forward windows",
        axes="Sharpe ratio per window, by its first day of judgement",
        names=("in-sample", "out-of-sample"),
        groups=[
            (window["test"]["first_day"], window["in_sample"]["sharpe"], window["out_of_sample"]["sharpe"])
            for window in windows
        ],
    )
    table = cut_table(
        "Windows",
        (
            Column("Judged from", is_text=True),
            Column("to", is_text=True),
            *[Column(_short(key)) for key in keys],
            Column("Sharpe in-sample"),
            Column("out-of-sample"),
            Column("Return out-of-sample"),
            Column("Better than"),
        ),
        [
            (
                window["test"]["first_day"],
                window["test"]["last_day"],
                *[plain_text(window["values"][key]) for key in keys],
                fixed(window["in_sample"]["sharpe"]),
                fixed(window["out_of_sample"]["sharpe"]),
                percent(window["out_of_sample"]["total_return"], 1, signed=True),
                percent(window["rank"], 0),
            )
            for window in windows
        ],
        note=(
            f"{walk_forward['kind'].capitalize()} windows: {walk_forward['train_days']} days choose, the "
            f"{walk_forward['test_days']} after them "
            "judge. Better than: share of the sets that did worse there; chance gives 50%."
        ),
    )
    return [chart, table]


def _chance(key: str, title: str, test: Mapping[str, Any] | None, figure: str) -> list[Chart | Words | None]:
    if test is None:
        return []
    p_value, count = test["p_value"], test["count"]
    meaning = "cannot be told from chance" if not test["significant"] else "is unlikely to be chance"
    words = (
        f"p = {fixed(p_value, 3)} ({count:,} random copies): the best set {meaning}. If there were nothing to "
        f"find, a figure as large "
        f"as {fixed(test['observed'], 3)} would be seen in {percent(p_value, 1)} of all searches."
    )
    return [
        chance_chart(test["scores"], test["observed"], key=key, title=title, figure=figure, description=words),
        Words(f"{key}-words", f"{title}: in words", (words, test["null"])),
    ]


def _statistics(values: Mapping[str, Any]) -> Words:
    deflated, overfitting = values["deflated_sharpe"], values.get("overfitting")
    lines = [
        (
            f"Deflated Sharpe ratio {fixed(deflated['probability'], 3)}: the probability that the chosen set's "
            f"true Sharpe ratio is above "
            f"what the best of {deflated['tries']:,} worthless sets would show."
        )
    ]
    if overfitting is not None:
        lines.append(
            f"Probability of backtest overfitting {fixed(overfitting['probability'], 3)}: how often the set "
            f"that is best on half of the "
            f"days is below the middle on the other half, over {overfitting['ways']:,} ways to halve them."
        )
    return Words("statistics", "Chosen among many", tuple(lines))


def _costs(chosen: Mapping[str, Any], series: Sequence[ReturnSeries]) -> Block:
    net = sum(float(one.returns.sum()) for one in series if one.name in {"in-sample", "out-of-sample"})
    costs = [(name, float(chosen[name])) for name in ("fees", "slippage", "funding")]
    rows = [
        ("Before costs", net + sum(cost for _, cost in costs)),
        *[(name.capitalize(), -cost) for name, cost in costs],
        ("Net", net),
    ]
    return strips(
        "costs",
        "Cost breakdown of the chosen set",
        "Sums over all days of shares of the equity at each day's open, percent.",
        [(label, value, f"{fixed(value * 100, 1, signed=True)}%") for label, value in rows],
    )


def _best_sets(search: SearchFiles) -> Table:
    table = search.results.sort_values("in_sample_objective", ascending=False, kind="stable").head(MOST_SETS)
    figures = [
        name
        for name in (
            "in_sample_sharpe",
            "out_of_sample_sharpe",
            "in_sample_cagr",
            "out_of_sample_cagr",
            "in_sample_max_drawdown",
            "out_of_sample_max_drawdown",
        )
        if name in table.columns
    ]
    rows = [
        (
            str(row["set"]),
            *[plain_text(row[key]) for key in search.keys],
            *[_figure(name, row[name]) for name in figures],
        )
        for row in table.to_dict("records")
    ]
    return cut_table(
        "Best sets in-sample",
        (
            Column("Set", is_text=True),
            *[Column(_short(key)) for key in search.keys],
            *[
                Column(name.replace("_sample_", "-sample ").replace("out_of-", "out-of-").replace("_", " "))
                for name in figures
            ],
        ),
        rows,
        note=f"The {len(rows)} best of {len(search.results):,} by the objective in-sample; all are in results.parquet.",
    )


def _figure(name: str, value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return fixed(None)
    return fixed(value) if name.endswith("sharpe") else percent(value, 1, signed=name.endswith("cagr"))


def _settings(config: Mapping[str, Any]) -> Table:
    return cut_table(
        "Settings of the chosen set",
        (Column("Setting", is_text=True), Column("Value", is_text=True)),
        [
            (f"{section}.{key}", plain_text(value))
            for section, of_section in config.items()
            for key, value in of_section.items()
        ],
    )


def _short(key: str) -> str:
    return key.rpartition(".")[2]
