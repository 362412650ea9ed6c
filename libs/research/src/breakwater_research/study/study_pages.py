"""The HTML pages of a study: the portfolio as configured with every trade, and everything that was compared with it."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from breakwater_research.charts import Chart
from breakwater_research.heat_maps import HeatMap, day_calendar, month_map
from breakwater_research.number_text import day_text, fixed, percent, time_text
from breakwater_research.page_parts import (
    Block,
    Column,
    Headline,
    Table,
    TradeList,
    Words,
    counted,
    cut_table,
    render_page,
    strips,
    tone_of,
    trade_list,
)
from breakwater_research.return_charts import drawdown_chart, growth_chart
from breakwater_research.returns import ReturnSeries
from breakwater_research.study.findings import (
    about_costs,
    about_filters,
    about_leverage,
    about_slippage,
    about_spans,
    against_holding,
    known_and_not_known,
    verdict,
)
from breakwater_research.study.study import Study, span_name
from breakwater_research.study.study_charts import contribution_strips, key_text, study_charts
from breakwater_research.study.variants import Variant

FOOTER = (
    "Returns are net of all costs, compound daily and count every calendar day; a year has 365. Days in the session's "
    "zone, times in UTC. Sharpe ratios are annual, without a risk-free rate."
)

_VARIANT_COLUMNS = (
    Column("", is_text=True),
    Column("Return"),
    Column("A year"),
    Column("Sharpe"),
    Column("Max drawdown"),
    Column("Trades"),
    Column("Fees a year"),
    Column("Slippage a year"),
    Column("Funding a year"),
    Column("Liquidations"),
)


def portfolio_page(study: Study) -> str:
    """Return the page of the portfolio as configured, every trade included."""
    base = study.base
    return render_page(
        brand="Breakwater study",
        title="The portfolio as configured",
        facts=_facts(study),
        headlines=series_headlines(base.series, trades=base.trades, liquidations=base.liquidations),
        blocks=[
            growth_chart([base.series], title="Equity curve"),
            drawdown_chart([base.series]),
            month_map(base.series),
            day_calendar(base.series),
            contribution_strips(study),
            strips(
                "costs",
                "Cost breakdown",
                "Sums over all days of shares of the equity at each day's open, percent.",
                [
                    (label, value, f"{fixed(value * 100, 1, signed=True)}%")
                    for label, value in (
                        ("Before costs", float(base.series.returns.sum()) + base.costs),
                        ("Fees", -base.fees),
                        ("Slippage", -base.slippage),
                        ("Funding", -base.funding),
                        ("Net", float(base.series.returns.sum())),
                    )
                ],
            ),
            _settings(study),
            _trades(study.trades),
        ],
        footer=FOOTER,
    )


def comparison_page(study: Study) -> str:
    """Return the page of everything that was compared: filters, surfaces, costs, leverage, walk-forward, chance."""
    charts = study_charts(study)
    answer = verdict(study.search)
    blocks: list[Block] = [
        Words(
            "verdict",
            "Is it significant?",
            (answer.sentence, *answer.reasons),
            tone_of(1 if answer.is_significant else -1),
        ),
        charts["equity"],
        Words("holding", "Beside holding the same symbols", (against_holding(study),)),
        *_compared("Filters", charts["filters"], about_filters(study), study.filters),
        *_compared("Directions", charts["directions"], "", study.directions),
        *[chart for name, chart in charts.items() if name.startswith("average")],
        charts["targets"],
        *_some(charts, "windows", "walk-forward"),
        _windows(study),
        *[
            part
            for number, test in enumerate(study.search.chance, start=1)
            for part in (
                *_some(charts, f"chance-{number}"),
                Words(
                    f"chance-words-{number}",
                    test.name.capitalize(),
                    (test.null, _in_words(test.p_value, len(test.values))),
                ),
            )
        ],
        *_compared("Costs", charts["costs"], about_costs(study), study.costs),
        _variants("Slippage, bps per order", study.slippages, about_slippage(study)),
        *_compared("Leverage", charts["leverage"], about_leverage(study), study.leverages),
        _spans(study),
        Words("limits", "Known and not known", tuple(f"{name}: {text}" for name, text in known_and_not_known(study))),
        _histories(study),
        _left_out(study),
        _settings(study),
    ]
    return render_page(
        brand="Breakwater study",
        title="What was compared",
        facts=_facts(study),
        headlines=series_headlines(study.search.out_of_sample, trades=None, liquidations=None, what="out-of-sample"),
        blocks=blocks,
        footer=FOOTER,
    )


def series_headlines(
    series: ReturnSeries, *, trades: int | None, liquidations: int | None, what: str = ""
) -> list[Headline]:
    """Return the figures of a series for the head of a page."""
    headlines = [
        Headline("Total return", percent(series.total, 1, signed=True), what, tone_of(series.total)),
        Headline("A year", percent(series.annual_growth, 1, signed=True), "compound", tone_of(series.annual_growth)),
        Headline("Sharpe ratio", fixed(series.sharpe), "annual"),
        Headline(
            "Max drawdown", percent(series.max_drawdown, 1), f"{series.longest_below_peak_days:,} days below a peak"
        ),
        Headline("Volatility", percent(series.annual_volatility, 1), "annual"),
        Headline("Calmar ratio", fixed(series.calmar), "growth / drawdown"),
    ]
    if trades is not None:
        headlines.append(Headline("Trades", f"{trades:,}", f"{fixed(trades / len(series.days))} a day"))
    if liquidations is not None:
        headlines.append(Headline("Liquidations", f"{liquidations:,}", "closed by the exchange"))
    return headlines


def _facts(study: Study) -> list[str]:
    dates = study.base.series.dates
    return [
        f"{day_text(dates[0])} – {day_text(dates[-1])}",
        counted(len(study.histories), "symbol", "symbols"),
        f"bars of {span_name(study.span_ms)}",
        f"{study.config.portfolio.gross_leverage}x",
        f"data {study.fingerprint[:12]}",
        f"configuration {study.config.version}",
    ]


def _some(charts: dict[str, Chart | HeatMap], *names: str) -> list[Chart | HeatMap]:
    return [charts[name] for name in names if name in charts]


def _compared(name: str, chart: Chart | HeatMap, text: str, variants: Sequence[Variant]) -> list[Block]:
    return [chart, _variants(name, variants, text)]


def _variants(name: str, variants: Sequence[Variant], note: str) -> Table:
    return cut_table(name, _VARIANT_COLUMNS, [variant_cells(one) for one in variants], note=note, is_open=True)


def variant_cells(one: Variant) -> tuple[str, ...]:
    """Return a variant's figures as texts: name, return, growth, Sharpe, drawdown, trades, costs, liquidations."""
    series = one.series
    return (
        one.name,
        percent(series.total, 1, signed=True),
        percent(series.annual_growth, 1, signed=True),
        fixed(series.sharpe),
        percent(series.max_drawdown, 1),
        f"{one.trades:,}",
        percent(one.fees / series.years, 1),
        percent(one.slippage / series.years, 1),
        percent(one.funding / series.years, 1),
        f"{one.liquidations:,}",
    )


def _windows(study: Study) -> Table:
    return cut_table(
        "Windows",
        (
            Column("Judged from", is_text=True),
            Column("to", is_text=True),
            Column("Chosen set", is_text=True),
            Column("Sharpe in-sample"),
            Column("out-of-sample"),
            Column("Better than"),
        ),
        [
            (
                one.first_day.isoformat(),
                one.last_day.isoformat(),
                one.chosen.replace("strategy.", ""),
                fixed(one.in_sample),
                fixed(one.out_of_sample),
                percent(one.rank, 0),
            )
            for one in study.search.windows
        ],
        note=(
            f"Each window chooses among {study.search.tries} sets by Sharpe ratio on {study.plan.train_days} "
            f"days and is judged on the "
            f"{study.plan.test_days} days after them; chance is better than 50% of the sets."
        ),
    )


def _in_words(p_value: float, permutations: int) -> str:
    return (
        f"p = {fixed(p_value, 3)}: of {permutations:,} permutations, {percent(p_value, 1)} did at least as "
        f"well (the actual one counts as "
        f"one of them)."
    )


def _spans(study: Study) -> Table:
    return cut_table(
        "The same days on other bars",
        (
            Column("Symbol", is_text=True),
            Column("Bars", is_text=True),
            Column("against", is_text=True),
            Column("Days"),
            Column("Trades"),
            Column("Same"),
            Column("Other side"),
            Column("Net result, bps"),
        ),
        [
            (
                one.symbol,
                comparison.coarse,
                comparison.fine,
                f"{one.days:,}",
                f"{one.trades[0]:,} / {one.trades[1]:,}",
                f"{one.same_side:,}",
                f"{one.other_side:,}",
                " / ".join(fixed(result * 1e4, 0, signed=True) for result in one.results),
            )
            for comparison in study.spans
            for one in comparison.symbols
        ],
        note=" ".join(about_spans(study)) or "No finer bars of these symbols were given.",
    )


def _histories(study: Study) -> Table:
    return cut_table(
        "Candles",
        (
            Column("Symbol", is_text=True),
            Column("First day", is_text=True),
            Column("Last day", is_text=True),
            Column("Complete days"),
            Column("Incomplete days"),
        ),
        [
            (
                one.symbol,
                one.first_day.isoformat(),
                one.last_day.isoformat(),
                f"{one.complete_days:,}",
                f"{one.missing_days:,}",
            )
            for one in study.histories
        ],
    )


def _left_out(study: Study) -> Table:
    return cut_table(
        "Files left out",
        (Column("File", is_text=True), Column("Reason", is_text=True)),
        [(one.file, one.reason) for one in study.left_out],
    )


def _settings(study: Study) -> Table:
    values = study.config.as_values()
    return cut_table(
        "Settings",
        (Column("Setting", is_text=True), Column("Value", is_text=True)),
        [
            (f"{section}.{key_text(key)}", ", ".join(value) if isinstance(value, list) else str(value))
            for section, of_section in values.items()
            for key, value in of_section.items()
        ],
    )


def _trades(trades: pd.DataFrame) -> TradeList:
    columns = ("Entry, UTC", "Symbol", "Side", "Exit by", "Target", "Entry", "Exit", "Gross", "Costs", "Net")
    ordered: Any = trades.sort_values(["entry_time_ms", "symbol"]).to_dict("records")
    rows = [
        (
            time_text(int(trade["entry_time_ms"]))[:16],
            str(trade["symbol"]),
            "long" if trade["side"] > 0 else "short",
            str(trade["exit_leg"]),
            f"{trade['target_price']:.6g}",
            f"{trade['entry_price']:.6g}",
            f"{trade['exit_price']:.6g}",
            _bps(trade["gross_return"]),
            _bps(-(trade["fee"] + trade["slippage"] + trade["funding"])),
            _bps(trade["net_return"]),
        )
        for trade in ordered
    ]
    return trade_list(
        "Trades", columns, 4, rows, note="Results in basis points of the account's equity at the day's open."
    )


def _bps(share: float) -> str:
    return fixed(share * 1e4, 1, signed=True)
