"""The study as a whole: from a folder of candles to every figure that its document and pages show.

Every figure comes out of a run; nothing is typed. What is asked stands in `StudyPlan`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from breakwater_core.config import BreakwaterConfig, Direction, Filter
from breakwater_core.errors import InvalidInputError
from breakwater_research.bars.bar_table import BarTable, open_bar_table
from breakwater_research.returns import ReturnSeries
from breakwater_research.study.candle_files import (
    CandleFolder,
    LeftOut,
    find_candles,
    fullest_span,
    joined,
    longest_histories,
)
from breakwater_research.study.funding_part import FundingComparison, compare_funding
from breakwater_research.study.plan import SYMBOLS, StudyPlan
from breakwater_research.study.search_part import SearchOutcome, search_outcome
from breakwater_research.study.spans import SpanComparison, compare_spans
from breakwater_research.study.straight_lines import LEGS, in_straight_lines
from breakwater_research.study.variants import Variant, changed, held, run_variants, trades_of

_MINUTE_MS = 60_000

SHUFFLED_STEPS = 2
"""Steps per leg of the bars whose days are shuffled, which is done many times."""

Watcher = Callable[[str], None]
"""Is told what is computed next."""


@dataclass(frozen=True)
class SymbolHistory:
    """What the study's bars hold of a symbol."""

    symbol: str
    first_day: date
    last_day: date
    complete_days: int
    missing_days: int


@dataclass(frozen=True)
class Surface:
    """A figure over two parameters.

    Attributes:
        row_key: Key of the rows, as `section.key`; `column_key` likewise.
        rows: Values of the rows; `columns` likewise.
        variants: Shape (n_rows, n_columns).
    """

    name: str
    row_key: str
    column_key: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    variants: tuple[tuple[Variant, ...], ...]

    @property
    def sharpes(self) -> dict[tuple[str, str], float]:
        """Sharpe ratio per row and column."""
        return {
            (row, column): variant.series.sharpe
            for row, of_row in zip(self.rows, self.variants, strict=True)
            for column, variant in zip(self.columns, of_row, strict=True)
        }


@dataclass(frozen=True)
class Study:
    """Everything that the study found.

    Attributes:
        plan: What was asked.
        fingerprint: Hash of the bytes of every file of bars that the long run was made from.
        span_ms: Span of its bars.
        pieces: Into how many pieces each bar was cut; 1: none.
        bars: Bars after cutting.
        histories: What there is per symbol.
        left_out: Files that were not used, and why.
        base: The configuration as it is.
        trades: Its round trips, in the shape of `sweep_trades`.
        worst_fills: The same on bars walked corner to corner; None where bars were not cut.
        holding: What holding the same symbols brought.
        filters: Trend, contrarian, none.
        directions: Both sides, long, short.
        costs: From no costs to all of them.
        slippages: The slippage varied.
        leverages: The leverage varied.
        averages: k against moving average, per filter that has one.
        targets: k of longs against k of shorts.
        search: Walk-forward and tests over the sets of `averages`.
        spans: The same days on bars of other spans.
        funding: Recorded funding beside the constant; None without records.
    """

    plan: StudyPlan
    config: BreakwaterConfig
    fingerprint: str
    span_ms: int
    pieces: int
    bars: int
    histories: tuple[SymbolHistory, ...]
    left_out: tuple[LeftOut, ...]
    base: Variant
    trades: pd.DataFrame
    worst_fills: Variant | None
    holding: ReturnSeries
    filters: tuple[Variant, ...]
    directions: tuple[Variant, ...]
    costs: tuple[Variant, ...]
    slippages: tuple[Variant, ...]
    leverages: tuple[Variant, ...]
    averages: tuple[Surface, ...]
    targets: Surface
    search: SearchOutcome
    spans: tuple[SpanComparison, ...]
    funding: FundingComparison | None


def run_study(plan: StudyPlan, *, watch: Watcher = lambda what: None) -> Study:
    """Return what the study found.

    Args:
        plan: What is asked.
        watch: Is told what is computed next.

    Raises:
        InvalidInputError: If the folders hold no candles of the symbols, or too few days for a walk-forward window.
    """
    session = plan.config.session.session()
    watch("reading candles")
    named = plan.config.portfolio.symbols or None
    folder = find_candles(plan.folders, session=session, leave_out=plan.leave_out, symbols=named)
    span_ms = fullest_span(folder, named)
    symbols = named or longest_histories(folder, span_ms, SYMBOLS)
    absent = sorted(set(symbols) - {one.symbol for one in folder.of(span_ms)})
    if absent:
        raise InvalidInputError(
            f"no bars of {span_name(span_ms)} of {', '.join(absent)}; add files or take the symbols off the list"
        )
    config = changed(plan.config, {"portfolio.symbols": list(symbols)})
    recording, overlapping = joined(folder.of(span_ms, symbols), session)
    raw = open_bar_table(recording, session)
    steps = _steps(span_ms, plan.steps_per_leg)
    table = raw if steps == 1 else open_bar_table(in_straight_lines(recording, steps_per_leg=steps), session)
    watch("the portfolio as it is")
    runs = _Runs(table, plan)
    base = runs.one("as configured", config)
    surfaces = runs.averages(config)
    watch("walk-forward and tests against chance")
    coarse = raw if steps == 1 else open_bar_table(in_straight_lines(recording, steps_per_leg=SHUFFLED_STEPS), session)
    search = search_outcome(plan, coarse, [variant for one in surfaces for row in one.variants for variant in row])
    watch("bars of other spans on the same days")
    return Study(
        plan=plan,
        config=config,
        fingerprint=table.fingerprint,
        span_ms=span_ms,
        pieces=LEGS * steps if steps > 1 else 1,
        bars=len(table),
        histories=tuple(_history(table, symbol) for symbol in symbols),
        left_out=(*folder.left_out, *overlapping),
        base=base,
        trades=trades_of(table, config, first_day=plan.first_day, last_day=plan.last_day),
        worst_fills=None if steps == 1 else _Runs(raw, plan).one("corner to corner", config),
        holding=held(table, symbols, base.series),
        filters=runs.along(config, "strategy.filter", [one.value for one in Filter]),
        directions=runs.along(config, "strategy.direction", [one.value for one in Direction]),
        costs=runs.costs(config),
        slippages=runs.along(config, "costs.slippage_bps", [str(bps) for bps in plan.slippages_bps]),
        leverages=runs.along(config, "portfolio.gross_leverage", [str(times) for times in plan.leverages]),
        averages=surfaces,
        targets=runs.targets(config),
        search=search,
        spans=_spans(raw, table, folder, span_ms, config),
        funding=compare_funding(table, config, folder.funding_files),
    )


class _Runs:
    """Sweeps over one table and range of days."""

    def __init__(self, table: BarTable, plan: StudyPlan) -> None:
        self._table = table
        self._plan = plan

    def one(self, name: str, config: BreakwaterConfig) -> Variant:
        return self._run({name: config})[0]

    def along(self, config: BreakwaterConfig, key: str, values: Sequence[str]) -> tuple[Variant, ...]:
        return self._run({value: changed(config, {key: value}) for value in values})

    def costs(self, config: BreakwaterConfig) -> tuple[Variant, ...]:
        """Return what each kind of cost takes, added one after the other."""
        none = {"costs.taker_fee": "0", "costs.slippage_bps": "0", "costs.funding_rate": "0"}
        no_records = {key: value for key, value in none.items() if key != "costs.taker_fee"}
        return self._run(
            {
                "no costs": changed(config, none),
                "fee": changed(config, no_records),
                "fee and slippage": changed(config, {"costs.funding_rate": "0"}),
                "fee, slippage and funding": config,
            }
        )

    def averages(self, config: BreakwaterConfig) -> tuple[Surface, ...]:
        """Return k against the moving average's window, one surface per filter that uses it."""
        return tuple(
            self._surface(
                f"{one.value} filter",
                changed(config, {"strategy.filter": one.value}),
                ("strategy.k_long", "strategy.k_short"),
                [str(value) for value in self._plan.k_values],
                ("strategy.ma_window",),
                [str(days) for days in self._plan.ma_windows],
            )
            for one in (Filter.TREND, Filter.CONTRARIAN)
        )

    def targets(self, config: BreakwaterConfig) -> Surface:
        """Return k of longs against k of shorts."""
        values = [str(value) for value in self._plan.k_values]
        return self._surface(
            "long and short targets", config, ("strategy.k_long",), values, ("strategy.k_short",), values
        )

    def _surface(
        self,
        name: str,
        config: BreakwaterConfig,
        row_keys: tuple[str, ...],
        rows: Sequence[str],
        column_keys: tuple[str, ...],
        columns: Sequence[str],
    ) -> Surface:
        configs = {
            f"{name}: {row_keys[0]} {row}, {column_keys[0]} {column}": changed(
                config,
                {key: float(row) for key in row_keys} | {key: float(column) for key in column_keys},
            )
            for row in rows
            for column in columns
        }
        variants = self._run(configs)
        width = len(columns)
        return Surface(
            name=name,
            row_key=row_keys[0],
            column_key=column_keys[0],
            rows=tuple(rows),
            columns=tuple(columns),
            variants=tuple(variants[start : start + width] for start in range(0, len(variants), width)),
        )

    def _run(self, configs: dict[str, BreakwaterConfig]) -> tuple[Variant, ...]:
        return tuple(run_variants(self._table, configs, first_day=self._plan.first_day, last_day=self._plan.last_day))


def span_name(span_ms: int) -> str:
    """Return a span as a person says it: `1 minute`, `5 minutes`, `1 hour`."""
    minutes = span_ms // _MINUTE_MS
    number, unit = (minutes // 60, "hour") if minutes % 60 == 0 and minutes else (minutes, "minute")
    return f"{number} {unit}{'' if number == 1 else 's'}"


def _steps(span_ms: int, wanted: int) -> int:
    """Return how many steps a leg is cut into: as wanted, but no piece shorter than a minute."""
    return max(1, min(wanted, span_ms // (LEGS * _MINUTE_MS)))


def _history(table: BarTable, symbol: str) -> SymbolHistory:
    number = table.index_of(symbol)
    with_trades = np.flatnonzero(np.isfinite(table.daily.opens[number]))
    first, last = int(with_trades[0]), int(with_trades[-1])
    complete = int(table.complete[number, first : last + 1].sum())
    days = table.days
    return SymbolHistory(symbol, days[first], days[last], complete, last - first + 1 - complete)


def _spans(
    raw: BarTable, table: BarTable, folder: CandleFolder, span_ms: int, config: BreakwaterConfig
) -> tuple[SpanComparison, ...]:
    name = span_name(span_ms)
    found = []
    for fine_ms in (fine for fine in folder.spans_ms() if fine < span_ms):
        fine_name = span_name(fine_ms)
        if raw is not table:
            lines = f"{name}, straight lines", f"{fine_name}, straight lines"
            found.append(compare_spans(table, folder, fine_span_ms=fine_ms, names=lines, config=config, is_cut=True))
        corners = f"{name}, corner to corner", f"{fine_name}, corner to corner"
        found.append(compare_spans(raw, folder, fine_span_ms=fine_ms, names=corners, config=config, is_cut=False))
    return tuple(one for one in found if one is not None)
