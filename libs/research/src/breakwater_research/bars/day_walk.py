"""One day of one parameter set by the exact account, and its trades as rows of the sweep's log.

For days on which something may be refused, split or liquidated. Positions are flat when a day opens, so a day can be
walked alone, given the equity that it opens with.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from breakwater_core.config import BreakwaterConfig
from breakwater_core.decimals import from_float
from breakwater_core.events import Fill, FillKind, Leg, OrderEvent
from breakwater_research.bars import kernels
from breakwater_research.bars.bar_market import BarMarket
from breakwater_research.bars.bar_table import BarTable
from breakwater_research.bars.bars_engine import BarsBacktest
from breakwater_research.bars.plans import PlanBook
from breakwater_research.cost_records import CostRecords
from breakwater_research.simulated_executor import Standing

_RUN_ID = "sweep"


@dataclass(frozen=True, slots=True)
class WalkedDay:
    """What a day brought.

    Attributes:
        equity: At the day's end, quote currency.
        rows: Shape (n_trades, kernels.COLUMNS), float64: the trades, by symbol.
    """

    equity: float
    rows: NDArray[np.float64]


def walk_day(
    table: BarTable,
    config: BreakwaterConfig,
    book: PlanBook,
    day: int,
    *,
    run: tuple[date, date],
    standing: tuple[float, float, float],
    records: CostRecords,
) -> WalkedDay:
    """Return what the exact account makes of a day.

    Args:
        table: The bars.
        config: Settings of the run, with its symbols.
        book: The table's plans.
        day: Index of the day.
        run: First and last day of the run.
        standing: Equity at the day's open, the largest at any day's open so far, and that of the first day.
        records: Recorded costs.
    """
    equity, peak, initial = standing
    portfolio = config.portfolio.model_copy(
        update={"initial_equity": from_float(equity), "accounts": config.portfolio.accounts[:1]}
    )
    played = table.days[day]
    backtest = BarsBacktest(
        table,
        config.model_copy(update={"portfolio": portfolio}),
        book,
        run_id=_RUN_ID,
        run=run,
        played=(played, played),
        records=records,
        standing=Standing(from_float(equity / initial), from_float(max(peak, initial) / initial)),
    )
    backtest.run()
    [executor] = backtest.executors.values()
    end_ms = int(table.day_starts_ms[day + 1])
    fills: dict[str, list[Fill]] = {}
    for fill in executor.account.fills:
        fills.setdefault(fill.symbol, []).append(fill)
    legs = {event.order_link_id: event for event in backtest.outcomes if event.order_link_id}
    rows = [_row(table, day, backtest.market, of_symbol, legs) for _, of_symbol in sorted(fills.items())]
    return WalkedDay(
        equity=float(executor.account.equity(end_ms)),
        rows=np.array(rows, dtype=np.float64).reshape(-1, kernels.COLUMNS),
    )


def _row(
    table: BarTable, day: int, market: BarMarket, fills: list[Fill], orders: dict[str, OrderEvent]
) -> NDArray[np.float64]:
    """Return the row of a symbol's only round trip of the day."""
    trades = [fill for fill in fills if fill.kind is not FillKind.FUNDING]
    entries = [fill for fill in trades if fill.order_link_id and orders[fill.order_link_id].leg is Leg.ENTRY]
    exits = [fill for fill in trades if fill not in entries]
    entry = orders[entries[0].order_link_id]
    row = np.zeros(kernels.COLUMNS)
    row[kernels.SYMBOL], row[kernels.DAY], row[kernels.SIDE] = table.index_of(entry.symbol), day, entry.side.sign
    row[kernels.TRIGGER_TIME] = entry.trigger_time_ms
    row[kernels.TARGET], row[kernels.TRIGGER_PRICE] = float(entry.target_price), float(entry.trigger_price)
    row[kernels.ENTRY_TIME], row[kernels.ENTRY_PRICE] = entries[-1].exec_time_ms, _mean_price(entries)
    row[kernels.EXIT_TIME], row[kernels.EXIT_PRICE] = exits[-1].exec_time_ms, _mean_price(exits)
    row[kernels.EXIT_LEG] = _leg_of(exits[-1], orders)
    row[kernels.QUANTITY] = float(sum((fill.quantity for fill in entries), Decimal(0)))
    row[kernels.FEE] = float(sum((fill.fee for fill in trades), Decimal(0)))
    row[kernels.FUNDING] = float(sum((fill.fee for fill in fills if fill.kind is FillKind.FUNDING), Decimal(0)))
    for fill in trades:
        last = market.last_at(fill.symbol, fill.exec_time_ms) or fill.price
        row[kernels.SLIPPAGE] += float((fill.price - last) * fill.quantity * fill.side.sign)
        row[kernels.GROSS] -= float(last * fill.quantity * fill.side.sign)
    return row


def _mean_price(fills: list[Fill]) -> float:
    quantity = sum((fill.quantity for fill in fills), Decimal(0))
    return float(sum((fill.quantity * fill.price for fill in fills), Decimal(0)) / quantity)


def _leg_of(fill: Fill, orders: dict[str, OrderEvent]) -> int:
    if fill.kind is FillKind.LIQUIDATION:
        return kernels.LEG_LIQUIDATION
    return kernels.LEG_STOP if orders[fill.order_link_id].leg is Leg.STOP else kernels.LEG_EXIT
