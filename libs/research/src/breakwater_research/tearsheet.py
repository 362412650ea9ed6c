"""The tearsheet: a report as one HTML file that needs nothing else, for a phone or a screen, light or dark.

The page has its style and its charts inside, runs no script and loads nothing; a policy in its head makes browsers hold
to that. Every text of the report is escaped.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from breakwater_core.events import Side
from breakwater_core.report import Report
from breakwater_research.charts import Chart, Scale
from breakwater_research.figures import AccountFigures, RunFigures, SymbolFigures, run_figures
from breakwater_research.heat_maps import Calendar, HeatMap, day_calendar, month_map
from breakwater_research.number_text import NONE, basis_points, day_text, fixed, percent, price, time_text
from breakwater_research.page_parts import (
    ENVIRONMENT,
    LARGEST_TABLE,
    Column,
    Headline,
    Strips,
    Table,
    TradeList,
    counted,
    cut_table,
    strips,
    tone_of,
    trade_list,
)
from breakwater_research.report_rows import DayRow, OrderRow, ReportRows, read_rows
from breakwater_research.returns import ReturnSeries, day_number
from breakwater_research.round_trips import RoundTrip, round_trips
from breakwater_research.run_charts import daily_return_charts, drawdown_chart, equity_chart, slippage_chart

__all__ = ["LARGEST_TABLE", "render_html"]

FOOTER = (
    "Money in quote currency. Days as the session defines them, times in UTC. Slippage in basis points of the target "
    "price, positive is worse."
)

_MOST_DAY_BARS = 400
"""Days that bars can show beside each other; of longer runs the calendar shows them."""
_LARGEST_RETURN = 1e6  # beyond it an average month says nothing


@dataclass(frozen=True, slots=True)
class SymbolBar:
    """Trades and result of a symbol as widths and positions in a strip 100 wide."""

    symbol: str
    longs: int
    shorts: int
    long_width: float
    short_width: float
    result: str
    result_x: float
    result_width: float
    zero: float
    tone: str


def render_html(report: Report) -> str:
    """Return the tearsheet of a report as HTML; the same report gives the same text.

    Raises:
        InvalidInputError: If a row lacks a key or a value is not what the report's format says.
    """
    rows = read_rows(report)
    figures = run_figures(rows)
    trips = round_trips(rows.fills)
    config = _mapping(report.get("config"))
    return ENVIRONMENT.get_template("tearsheet.html.jinja").render(
        brand="Breakwater tearsheet",
        title=rows.run_id or "unnamed run",
        footer=FOOTER,
        facts=[_period(figures), *_facts(rows, figures, _mapping(report.get("counters")))],
        headlines=_headlines(rows, figures),
        curves=_present(equity_chart(rows), drawdown_chart(rows), *_daily_bars(rows)),
        maps=_maps(rows),
        costs=_costs(rows, figures, trips),
        slippage=slippage_chart(rows, figures),
        symbol_bars=_symbol_bars(figures.symbols),
        accounts=_account_table(figures.accounts) if len(rows.accounts) > 1 else None,
        symbols=_symbol_table(figures.symbols),
        days=_day_table(rows),
        trades=_trade_list(rows, trips),
        orders=_order_table(rows),
        refused=_refused_table(rows),
        settings=_settings_table(config),
    )


def _present(*charts: Chart | None) -> list[Chart]:
    return [chart for chart in charts if chart is not None]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _period(figures: RunFigures) -> str:
    if figures.first_day is None or figures.last_day is None:
        return "no closed day"
    if figures.first_day == figures.last_day:
        return day_text(figures.first_day)
    return f"{day_text(figures.first_day)} – {day_text(figures.last_day)}"


def _facts(rows: ReportRows, figures: RunFigures, counters: Mapping[str, Any]) -> list[str]:
    """Return the short facts under the page's title."""
    facts = [counted(len(figures.symbols), "symbol traded", "symbols traded")]
    if len(rows.accounts) > 1:
        facts.append(counted(len(rows.accounts), "account", "accounts"))
    facts.append(counted(len(rows.orders), "order", "orders"))
    facts.append(counted(len(rows.fills), "fill", "fills"))
    trades, seconds = counters.get("trades"), counters.get("wall_seconds")
    if isinstance(trades, int) and trades > 0:
        seen = f"{counted(trades, 'market trade', 'market trades')} seen"
        facts.append(f"{seen} in {fixed(float(seconds), 1)} s" if isinstance(seconds, int | float) else seen)
    return facts


def _headlines(rows: ReportRows, figures: RunFigures) -> list[Headline]:
    returns = [account.total_return for account in figures.accounts]
    drawdowns = [account.max_drawdown for account in figures.accounts]
    several = f"{len(figures.accounts)} accounts" if len(figures.accounts) > 1 else ""
    last_equity = f"{fixed(figures.accounts[0].equity)} at the end" if len(figures.accounts) == 1 else several
    still_open = f"{figures.open_trades:,} still open" if figures.open_trades else "entry to flat"
    notes = [f"median {basis_points(figures.median_slippage_bps)}"] if rows.orders else [""]
    return [
        Headline("Total return", _range(returns, signed=True), last_equity, tone_of(*returns)),
        Headline("Max drawdown", _range(drawdowns, signed=False), several),
        *(_growth_and_risk(figures.accounts[0]) if len(figures.accounts) == 1 else ()),
        Headline("Days", f"{figures.days:,}", _best_and_worst(figures)),
        Headline("Trades", f"{figures.closed_trades:,}", still_open),
        Headline("Win rate", percent(figures.win_rate, 1), "after costs" if figures.win_rate is not None else ""),
        Headline("Fees paid", fixed(figures.fees), f"{fixed(figures.funding)} funding" if figures.funding else ""),
        Headline("Average slippage", basis_points(figures.average_slippage_bps), *notes),
        Headline("Refused", f"{len(rows.refused):,}", "decisions without an order"),
    ]


def _growth_and_risk(account: AccountFigures) -> tuple[Headline, ...]:
    """Return the annual figures of an account; one that its days do not define is a dash."""
    returns = account.returns
    return (
        Headline("Growth a year", percent(returns.cagr, signed=True), f"volatility {percent(returns.volatility, 1)}"),
        Headline("Sharpe ratio", fixed(returns.sharpe), "annual, no risk-free rate"),
        Headline("Sortino ratio", fixed(returns.sortino), "annual"),
        Headline("Calmar ratio", fixed(returns.calmar), f"{percent(account.exposure, 1)} of the time in a position"),
    )


def _best_and_worst(figures: RunFigures) -> str:
    if not figures.accounts:
        return ""
    best = max(account.best_day.ror for account in figures.accounts) - 1
    worst = min(account.worst_day.ror for account in figures.accounts) - 1
    return f"daily {percent(worst, signed=True)} to {percent(best, signed=True)}"


def _range(shares: Sequence[Decimal], *, signed: bool) -> str:
    """Return one share, or the smallest and the largest of several."""
    if not shares:
        return NONE
    ends = dict.fromkeys(percent(share, signed=signed) for share in (min(shares), max(shares)))
    return " to ".join(ends)


def _symbol_bars(symbols: Sequence[SymbolFigures]) -> list[SymbolBar]:
    """Return the strips of the symbols, all on the same scales."""
    if not any(row.trades for row in symbols):
        return []
    most = max(row.trades for row in symbols)
    results = [float(row.result) for row in symbols]
    low, high = min(0.0, *results), max(0.0, *results)
    scale = Scale(low, high if high > low else low + 1)
    zero = scale.at(0)
    bars = []
    for row, result in zip(symbols, results, strict=True):
        end = scale.at(result)
        bars.append(
            SymbolBar(
                symbol=row.symbol,
                longs=row.long_trades,
                shorts=row.short_trades,
                long_width=round(100 * row.long_trades / most, 3),
                short_width=round(100 * row.short_trades / most, 3),
                result=fixed(row.result, 0 if abs(result) >= 100 else 2, signed=True),
                result_x=min(zero, end),
                result_width=round(abs(end - zero), 3),
                zero=zero,
                tone=tone_of(row.result),
            )
        )
    return bars


def _daily_bars(rows: ReportRows) -> tuple[Chart, ...]:
    longest = max((len(rows.days_of(account)) for account in rows.accounts), default=0)
    return daily_return_charts(rows) if longest <= _MOST_DAY_BARS else ()


def _maps(rows: ReportRows) -> list[HeatMap | Calendar]:
    """Return months and calendar per account."""
    maps: list[HeatMap | Calendar] = []
    for index, account in enumerate(rows.accounts):
        series = _series(account, rows.days_of(account))
        if series is not None:
            of = f" of {account}" if len(rows.accounts) > 1 else ""
            maps.append(month_map(series, key=f"months-{index}", title=f"Monthly returns{of}"))
            maps.append(day_calendar(series, key=f"calendar-{index}", title=f"Daily returns by calendar{of}"))
    return maps


def _series(account: str, days: Sequence[DayRow]) -> ReturnSeries | None:
    if not days:
        return None
    returns = np.array([min(float(row.ror) - 1, _LARGEST_RETURN) for row in days])
    return ReturnSeries(account, np.array([day_number(row.day) for row in days], dtype=np.int64), returns)


def _costs(rows: ReportRows, figures: RunFigures, trips: Sequence[RoundTrip]) -> list[Strips]:
    """Return what the trades made before costs, what each kind of cost took, and what was left."""
    if not rows.fills:
        return []
    net = sum((trip.result for trip in trips), Decimal(0))
    values = (
        ("Before costs", net + figures.fees + figures.funding + figures.slippage),
        ("Fees", -figures.fees),
        ("Slippage", -figures.slippage),
        ("Funding", -figures.funding),
        ("Net result", net),
    )
    return [
        strips(
            "costs",
            "Cost breakdown",
            "What the trades made at their target prices, what costs took and what was left, quote currency. "
            "Slippage counts each order against its target price.",
            [(label, float(value), fixed(value, 2, signed=True)) for label, value in values],
        )
    ]


def _trade_list(rows: ReportRows, trips: Sequence[RoundTrip]) -> TradeList:
    several = len(rows.accounts) > 1
    columns = (
        "Opened, UTC",
        *(["Account"] if several else []),
        "Symbol",
        "Side",
        "Entry",
        "Exit",
        "Closed, UTC",
        "Costs",
        "Result",
    )
    cells = [_trade_cells(trip, several=several) for trip in sorted(trips, key=lambda trip: trip.opened_ms)]
    return trade_list(
        "Trades", columns, 4 if several else 3, cells, note="Every trade, entry to flat; costs are fees and funding."
    )


def _trade_cells(trip: RoundTrip, *, several: bool) -> tuple[str, ...]:
    return (
        time_text(trip.opened_ms),
        *([trip.account] if several else []),
        trip.symbol,
        "long" if trip.direction is Side.BUY else "short",
        price(trip.entry_price),
        price(trip.exit_price),
        NONE if trip.closed_ms is None else time_text(trip.closed_ms),
        fixed(trip.costs),
        fixed(trip.result, signed=True),
    )


def _account_table(accounts: Sequence[AccountFigures]) -> Table:
    columns = (
        Column("Account", is_text=True),
        Column("Return"),
        Column("Max drawdown"),
        Column("Equity"),
        Column("Days"),
        Column("Best day"),
        Column("Worst day"),
    )
    return cut_table(
        "Accounts",
        columns,
        [
            (
                row.account,
                percent(row.total_return, signed=True),
                percent(row.max_drawdown),
                fixed(row.equity),
                f"{row.days:,}",
                percent(row.best_day.ror - 1, signed=True),
                percent(row.worst_day.ror - 1, signed=True),
            )
            for row in accounts
        ],
    )


def _symbol_table(symbols: Sequence[SymbolFigures]) -> Table:
    columns = (
        Column("Symbol", is_text=True),
        Column("Long"),
        Column("Long result"),
        Column("Short"),
        Column("Short result"),
        Column("Win rate"),
        Column("Fees"),
        Column("Slippage"),
        Column("Result"),
    )
    return cut_table(
        "Symbols",
        columns,
        [_symbol_cells(row) for row in symbols],
        note="Results after fees and funding; slippage is the mean, positive is worse.",
        is_open=True,
    )


def _symbol_cells(row: SymbolFigures) -> tuple[str, ...]:
    won = Decimal(row.won_trades) / row.closed_trades if row.closed_trades else None
    return (
        row.symbol,
        f"{row.long_trades:,}",
        fixed(row.long_result, signed=True),
        f"{row.short_trades:,}",
        fixed(row.short_result, signed=True),
        percent(won, 1),
        fixed(row.fees),
        basis_points(row.average_slippage_bps),
        fixed(row.result, signed=True),
    )


def _day_table(rows: ReportRows) -> Table:
    several = len(rows.accounts) > 1
    columns = (
        Column("Day", is_text=True),
        *([Column("Account", is_text=True)] if several else []),
        Column("Return"),
        Column("Since start"),
        Column("Drawdown"),
        Column("Max drawdown"),
        Column("Equity"),
        Column("Deposits"),
    )
    return cut_table("Days", columns, [_day_cells(row, several=several) for row in rows.days])


def _day_cells(row: DayRow, *, several: bool) -> tuple[str, ...]:
    return (
        row.day.isoformat(),
        *([row.account] if several else []),
        percent(row.ror - 1, signed=True),
        percent(row.cumulative - 1, signed=True),
        percent(row.drawdown),
        percent(row.mdd),
        fixed(row.equity),
        fixed(row.net_deposits, signed=True),
    )


def _order_table(rows: ReportRows) -> Table:
    several = len(rows.accounts) > 1
    columns = (
        Column("Time, UTC", is_text=True),
        *([Column("Account", is_text=True)] if several else []),
        Column("Symbol", is_text=True),
        Column("Leg", is_text=True),
        Column("Side", is_text=True),
        Column("Quantity"),
        Column("Target"),
        Column("Average"),
        Column("Slippage"),
        Column("Status", is_text=True),
    )
    return cut_table("Orders", columns, [_order_cells(row, several=several) for row in rows.orders])


def _order_cells(row: OrderRow, *, several: bool) -> tuple[str, ...]:
    return (
        time_text(row.trigger_time_ms),
        *([row.account] if several else []),
        row.symbol,
        row.leg.value,
        "buy" if row.side is Side.BUY else "sell",
        price(row.quantity),
        price(row.target_price),
        price(row.average_price),
        basis_points(row.slippage_bps),
        row.status.replace("_", " "),
    )


def _refused_table(rows: ReportRows) -> Table:
    columns = (Column("Intent", is_text=True), Column("Reason", is_text=True))
    prefix = f"{rows.run_id}/"
    return cut_table(
        "Refused intents",
        columns,
        [(row.intent_id.removeprefix(prefix), row.reason.replace("_", " ")) for row in rows.refused],
        note="Intents that left no order at the exchange.",
    )


def _settings_table(config: Mapping[str, Any]) -> Table:
    columns = (Column("Setting", is_text=True), Column("Value", is_text=True))
    cells: list[tuple[str, ...]] = []
    for section, values in config.items():
        if isinstance(values, Mapping):
            cells += [(f"{section}.{key}", _plain(value)) for key, value in values.items()]
        else:
            cells.append((str(section), _plain(values)))
    return cut_table("Settings", columns, cells)


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return ", ".join(_plain(entry) for entry in value) or "none"
    return value if isinstance(value, str) else json.dumps(value)
