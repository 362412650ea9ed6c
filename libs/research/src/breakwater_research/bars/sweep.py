"""Many parameter sets over one bar table, in float64: daily returns, trades, costs.

Each set is run as the exact account would run it: entries, stops and exits to the trade, quantities rounded down to
the instrument's step, fills rounded to its tick, profit compounding from day to day. Days on which an entry might be
refused or split, or a position liquidated, are walked by the exact account itself. So a set's daily returns are those
of `run_bars_backtest` but for the rounding of float64.

Sets are spread over threads; the compiled code runs without the interpreter's lock. Money is quote currency, times
milliseconds UTC.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from breakwater_core.config import BreakwaterConfig, CostSettings
from breakwater_core.errors import InvalidInputError
from breakwater_core.market import Instrument
from breakwater_recordings.funding import FundingRecords
from breakwater_recordings.instruments import instrument_for
from breakwater_research.bars import kernels
from breakwater_research.bars.bar_table import BarTable
from breakwater_research.bars.day_walk import walk_day
from breakwater_research.bars.kernels import Costs, Progress, Venue, run_days
from breakwater_research.bars.plans import PlanBook, same_days
from breakwater_research.cores import usable_cores
from breakwater_research.cost_records import CostRecords

_EPOCH = date(1970, 1, 1)
_LEGS = np.array(["exit", "stop", "liquidation"])
_UNLIMITED = 1 << 30


@dataclass(frozen=True, eq=False)
class SweepResult:
    """What each of the S sets made on each of the D days.

    Attributes:
        days: Shape (D,), int32: days since 1970-01-01.
        returns: Shape (S, D), float64: net return of the account as a share of the equity at the day's open; 0 on a day
            without trade, -1 on one that leaves nothing.
        trades: Shape (S,), int64: round trips.
        fees: Shape (S,), float64: trading fees, as shares of the equity at the open of their day, summed.
        slippage: Shape (S,): likewise what fills cost beyond the last trade before them.
        funding: Shape (S,): likewise funding paid, negative when received.
        liquidations: Shape (S,), int64: positions liquidated.
    """

    days: NDArray[np.int32]
    returns: NDArray[np.float64]
    trades: NDArray[np.int64]
    fees: NDArray[np.float64]
    slippage: NDArray[np.float64]
    funding: NDArray[np.float64]
    liquidations: NDArray[np.int64]


def sweep(
    table: BarTable,
    configs: Sequence[BreakwaterConfig],
    *,
    first_day: date | None = None,
    last_day: date | None = None,
    funding: FundingRecords | None = None,
    threads: int | None = None,
) -> SweepResult:
    """Return what each configuration makes over the table's days.

    Of several accounts the first counts: all are traded alike.

    Args:
        table: The bars.
        configs: The sets; their sessions begin the days where the table's does. Without symbols all are traded.
        first_day: First day wanted; None: the first complete one.
        last_day: Last day wanted, included; None: the last complete one.
        funding: Recorded rates; where they say nothing, or None: `costs.funding_rate`.
        threads: Threads to run on; None: one per core that this process may use.

    Raises:
        InvalidInputError: If no complete day is in the range, a symbol is not in the table, or a session begins its
            days at another time.
    """
    run = _Run(table, configs, first_day, last_day, funding)
    result = SweepResult(
        days=np.arange(run.days[0], run.days[1] + 1, dtype=np.int32) + (table.first_day - _EPOCH).days,
        returns=np.zeros((len(configs), run.days[1] - run.days[0] + 1)),
        trades=np.zeros(len(configs), dtype=np.int64),
        fees=np.zeros(len(configs)),
        slippage=np.zeros(len(configs)),
        funding=np.zeros(len(configs)),
        liquidations=np.zeros(len(configs), dtype=np.int64),
    )

    def one(number: int) -> None:
        set_run = run.of(number, keeps_log=False, returns=result.returns[number])
        progress = set_run.progress
        result.trades[number] = progress.counts[0]
        result.fees[number], result.slippage[number], result.funding[number] = progress.sums
        result.liquidations[number] = set_run.liquidations

    workers = min(len(configs), threads or usable_cores())
    if workers <= 1:
        for number in range(len(configs)):
            one(number)
        return result
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(one, range(len(configs))):
            pass
    return result


def sweep_trades(
    table: BarTable,
    config: BreakwaterConfig,
    *,
    first_day: date | None = None,
    last_day: date | None = None,
    funding: FundingRecords | None = None,
) -> pd.DataFrame:
    """Return the round trips of one configuration, one row each, by day and symbol.

    Columns: `symbol`, `day` (midnight of the session's date), `side` (1 long, -1 short), `trigger_time_ms`,
    `target_price` and `trigger_price` of the entry, `entry_time_ms`, `entry_price`, `exit_time_ms`, `exit_price`,
    `exit_leg` (`exit`, `stop` or `liquidation`), `quantity_share` (notional at the trigger / equity at the day's open),
    and as shares of that equity: `gross_return` (between the last trades before both fills), `fee`, `slippage`,
    `funding`, `net_return`. An order split into several, or a position of several fills, stands in one row with mean
    prices and the last fill's time.

    Args:
        table: The bars.
        config: The set.
        first_day: As in `sweep`, as all that follows.
        last_day: See there.
        funding: See there.

    Raises:
        InvalidInputError: As `sweep`.
    """
    run = _Run(table, [config], first_day, last_day, funding)
    count = run.days[1] - run.days[0] + 1
    done = run.of(0, keeps_log=True, returns=np.zeros(count))
    log = done.progress.log[: done.progress.counts[1]]
    opening = np.concatenate(([1.0], np.cumprod(1.0 + done.progress.returns)))[:-1] * done.progress.equity[2]
    equity = opening[log[:, kernels.DAY].astype(np.int64) - run.days[0]]
    days = np.datetime64(table.first_day, "D") + log[:, kernels.DAY].astype("timedelta64[D]")
    net = log[:, kernels.GROSS] - log[:, [kernels.FEE, kernels.SLIPPAGE, kernels.FUNDING]].sum(axis=1)
    return pd.DataFrame(
        {
            "symbol": np.array(table.symbols)[log[:, kernels.SYMBOL].astype(np.int64)],
            "day": pd.to_datetime(days.astype("datetime64[s]")),
            "side": log[:, kernels.SIDE].astype(np.int64),
            "trigger_time_ms": log[:, kernels.TRIGGER_TIME].astype(np.int64),
            "target_price": log[:, kernels.TARGET],
            "trigger_price": log[:, kernels.TRIGGER_PRICE],
            "entry_time_ms": log[:, kernels.ENTRY_TIME].astype(np.int64),
            "entry_price": log[:, kernels.ENTRY_PRICE],
            "exit_time_ms": log[:, kernels.EXIT_TIME].astype(np.int64),
            "exit_price": log[:, kernels.EXIT_PRICE],
            "exit_leg": _LEGS[log[:, kernels.EXIT_LEG].astype(np.int64)],
            "quantity_share": log[:, kernels.QUANTITY] * log[:, kernels.TRIGGER_PRICE] / equity,
            "gross_return": log[:, kernels.GROSS] / equity,
            "fee": log[:, kernels.FEE] / equity,
            "slippage": log[:, kernels.SLIPPAGE] / equity,
            "funding": log[:, kernels.FUNDING] / equity,
            "net_return": net / equity,
        }
    )


@dataclass(eq=False)
class _SetRun:
    progress: Progress
    liquidations: int = 0


class _Run:
    """Sets over the days of a table; what they share is made here, before threads begin."""

    def __init__(
        self,
        table: BarTable,
        configs: Sequence[BreakwaterConfig],
        first_day: date | None,
        last_day: date | None,
        funding: FundingRecords | None,
    ) -> None:
        self._table = table
        self._configs = [_checked(table, config) for config in configs]
        self._dates = table.played_days(first_day, last_day)
        self.days = (table.day_number(self._dates[0]), table.day_number(self._dates[1]))
        self._book = PlanBook(table)
        self._rules = [self._book.rules(config) for config in self._configs]
        self._records = CostRecords(funding=funding)
        prices = table.first_prices()
        self._instruments = {symbol: instrument_for(symbol, price) for symbol, price in prices.items()}
        self._venues: dict[float | None, Venue] = {}
        for config in self._configs:
            self._venue(config.costs)

    def of(self, number: int, *, keeps_log: bool, returns: NDArray[np.float64]) -> _SetRun:
        """Run a set; `returns` takes its daily returns."""
        config, table, (first, last) = self._configs[number], self._table, self.days
        members = np.array(sorted(table.index_of(symbol) for symbol in config.portfolio.symbols), dtype=np.int64)
        equity = float(config.portfolio.initial_equity)
        days = last - first + 1 if keeps_log else 1
        done = _SetRun(
            Progress(
                equity=np.array([equity, equity, equity]),
                returns=returns,
                sums=np.zeros(3),
                counts=np.zeros(2, dtype=np.int64),
                log=np.empty((members.size * days + 1, kernels.COLUMNS)),
                keeps_log=np.array([keeps_log]),
            )
        )
        costs = costs_of(config, has_records=self._records.funding is not None)
        venue = self._venue(config.costs)
        walks_always = _walks_always(config)
        day = first
        while day <= last:
            if not walks_always:
                span = (first, day, last)
                arguments = (self._book.days, self._rules[number], costs, venue, members, table.day_starts_ms)
                day = run_days(table.paths, *arguments, span, done.progress)
            if day <= last:
                self._walk(config, day, done)
                day += 1
        return done

    def _walk(self, config: BreakwaterConfig, day: int, done: _SetRun) -> None:
        """Have the exact account trade a day."""
        progress = done.progress
        equity, peak, initial = progress.equity
        if equity <= 0.0:
            return
        walked = walk_day(
            self._table,
            config,
            self._book,
            day,
            run=self._dates,
            standing=(equity, peak, initial),
            records=self._records,
        )
        start = int(progress.counts[1])
        size = len(walked.rows)
        progress.log[start : start + size] = walked.rows
        progress.sums[:] += walked.rows[:, [kernels.FEE, kernels.SLIPPAGE, kernels.FUNDING]].sum(axis=0) / equity
        progress.returns[day - self.days[0]] = max(-1.0, walked.equity / equity - 1.0)
        progress.equity[0] = walked.equity
        progress.equity[1] = max(peak, walked.equity)
        progress.counts[0] += size
        progress.counts[1] += size if progress.keeps_log[0] else 0
        done.liquidations += int((walked.rows[:, kernels.EXIT_LEG] == kernels.LEG_LIQUIDATION).sum())

    def _venue(self, costs: CostSettings) -> Venue:
        """Return trading rules and funding; with records the constant rate fills their gaps, so it matters there."""
        key = None if self._records.funding is None else float(costs.funding_rate)
        if key not in self._venues:
            self._venues[key] = _venue_of(self._table, self._instruments, self._records.funding, key or 0.0)
        return self._venues[key]


def _checked(table: BarTable, config: BreakwaterConfig) -> BreakwaterConfig:
    """Return the configuration with its symbols.

    Raises:
        InvalidInputError: If a symbol is not in the table, or the session begins its days at another time.
    """
    if not same_days(config.session.session(), table.session):
        raise InvalidInputError(
            f"the configuration's days begin at {config.session.start} in {config.session.timezone}, the table's at "
            f"{table.session.start} in {table.session.timezone}; open a table with the configuration's session"
        )
    if not config.portfolio.symbols:
        portfolio = config.portfolio.model_copy(update={"symbols": table.symbols})
        return config.model_copy(update={"portfolio": portfolio})
    for symbol in config.portfolio.symbols:
        table.index_of(symbol)
    return config


def costs_of(config: BreakwaterConfig, *, has_records: bool = False) -> Costs:
    """Return what a configuration pays and how large it trades; with records the stamps' own rates count."""
    costs, risk, portfolio = config.costs, config.risk, config.portfolio
    return Costs(
        share=float(portfolio.gross_leverage) / len(portfolio.symbols),
        stop_loss=config.strategy.stop_loss or 0.0,
        fee_rate=float(costs.taker_fee),
        slippage=float(costs.slippage_bps) / 10_000,
        range_share=float(costs.slippage_range_share),
        latency_ms=costs.latency_ms,
        exit_lead_ms=config.session.session().exit_lead_ms,
        funding_rate=float("nan") if has_records else float(costs.funding_rate),
        largest_notional=float("inf") if risk.max_order_notional is None else float(risk.max_order_notional),
        most_positions=_UNLIMITED if risk.max_open_positions is None else risk.max_open_positions,
        loss_stop=float("inf") if risk.daily_loss_stop is None else float(risk.daily_loss_stop),
        drawdown_stop=float("inf") if risk.drawdown_stop is None else float(risk.drawdown_stop),
    )


def _walks_always(config: BreakwaterConfig) -> bool:
    """Return whether no day is a plain one: exits that match on the next day, or entries that are never in time."""
    is_late = config.costs.latency_ms >= config.session.session().exit_lead_ms
    return is_late or round(config.risk.entry_valid_for * 1000) == 0


def _venue_of(
    table: BarTable, instruments: dict[str, Instrument], funding: FundingRecords | None, otherwise: float
) -> Venue:
    rules = [instruments.get(symbol) for symbol in table.symbols]
    ticks = np.array([1.0 if rule is None else float(rule.tick_size) for rule in rules])
    steps = np.array([1.0 if rule is None else float(rule.quantity_step) for rule in rules])
    start_ms, end_ms = int(table.day_starts_ms[0]) - 1, int(table.day_starts_ms[-1])
    records = funding or FundingRecords({})
    stamps = [records.schedule(symbol, start_ms, end_ms, otherwise=otherwise) for symbol in table.symbols]
    marks = [
        kernels.marks_of(table.paths, number, int(at[0]), int(at[-1]), times)
        for number, (at, (times, _)) in enumerate(zip(table.trade_at, stamps, strict=True))
    ]
    return Venue(
        ticks=ticks,
        tick_inverses=_inverses(ticks),
        steps=steps,
        step_inverses=_inverses(steps),
        smallest=np.array([0.0 if rule is None else float(rule.min_quantity) for rule in rules]),
        smallest_notional=np.array([0.0 if rule is None else float(rule.min_notional) for rule in rules]),
        largest=np.array([0.0 if rule is None else float(rule.max_market_quantity) for rule in rules]),
        stamp_at=np.concatenate(([0], np.cumsum([times.size for times, _ in stamps]))).astype(np.int64),
        stamp_times=np.concatenate([times for times, _ in stamps]).astype(np.int64),
        stamp_marks=np.concatenate(marks),
        stamp_rates=np.concatenate([rates for _, rates in stamps]).astype(np.float64),
    )


def _inverses(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 / step where that is a whole number, else 0."""
    inverses = np.rint(1.0 / steps)
    return np.where(np.abs(inverses * steps - 1.0) < 1e-12, inverses, 0.0)
