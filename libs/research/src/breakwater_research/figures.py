"""The figures of a run that stand at the head of its tearsheet, per account and per symbol.

Money is quote currency, slippage basis points; returns and drawdowns are shares (0.01 is 1 %).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import numpy as np

from breakwater_core.decimals import MONEY
from breakwater_core.events import FillKind, Side
from breakwater_research.report_rows import DayRow, FillRow, OrderRow, ReportRows
from breakwater_research.return_figures import ReturnFigures, return_figures
from breakwater_research.round_trips import RoundTrip, round_trips

_ONE = Decimal(1)
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class AccountFigures:
    """What an account made.

    Attributes:
        total_return: As its last row states it, less 1.
        max_drawdown: As its last row states it.
        best_day: Largest return of one day; `worst_day` the smallest.
        returns: Figures of its daily returns.
        exposure: Share of the time of its days in which it held a position, in [0, 1].
    """

    account: str
    days: int
    equity: Decimal
    total_return: Decimal
    max_drawdown: Decimal
    best_day: DayRow
    worst_day: DayRow
    returns: ReturnFigures
    exposure: float


@dataclass(frozen=True, slots=True)
class SymbolFigures:
    """Trades of a symbol by direction, open ones included; results after fees and funding.

    Attributes:
        fees: Trading fees, positive is paid.
        funding: Positive is paid.
        slippage: What fills cost beyond their targets, as in `RunFigures`.
    """

    symbol: str
    long_trades: int
    short_trades: int
    long_result: Decimal
    short_result: Decimal
    closed_trades: int
    won_trades: int
    fees: Decimal
    funding: Decimal
    slippage: Decimal
    average_slippage_bps: Decimal | None

    @property
    def result(self) -> Decimal:
        """Result of both directions."""
        return MONEY.add(self.long_result, self.short_result)

    @property
    def trades(self) -> int:
        """Trades of both directions."""
        return self.long_trades + self.short_trades


@dataclass(frozen=True, slots=True)
class RunFigures:
    """The run as a whole.

    Attributes:
        days: Calendar days with a row, each counted once however many accounts have it.
        first_day: None in a run without a closed day.
        closed_trades: Trades whose position came back to zero.
        open_trades: Trades whose position is still open.
        win_rate: Won trades as a share of closed ones; None if none is closed.
        fees: Trading fees, positive is paid.
        funding: Positive is paid.
        slippage: What fills cost beyond the targets of their orders; positive is worse. Results contain it. An entry's
            target is the breakout price, so this counts the jump across it, the latency and the modelled slippage.
        average_slippage_bps: Mean over orders with a fill and a target; None without any.
        median_slippage_bps: As above, the median.
    """

    accounts: tuple[AccountFigures, ...]
    symbols: tuple[SymbolFigures, ...]
    days: int
    first_day: date | None
    last_day: date | None
    closed_trades: int
    open_trades: int
    win_rate: Decimal | None
    fees: Decimal
    funding: Decimal
    slippage: Decimal
    average_slippage_bps: Decimal | None
    median_slippage_bps: Decimal | None


def run_figures(rows: ReportRows) -> RunFigures:
    """Return the figures of a run.

    Raises:
        InvalidInputError: If the fills make no trades; see `round_trips`.
    """
    trips = round_trips(rows.fills)
    closed = sum(trip.is_closed for trip in trips)
    days = sorted({row.day for row in rows.days})
    slippages = _slippages(rows.orders)
    last_ms = max((fill.exec_time_ms for fill in rows.fills), default=0)
    return RunFigures(
        accounts=tuple(
            _account(account, days_of, _share_held(trips, account, len(days_of), last_ms))
            for account in rows.accounts
            if (days_of := rows.days_of(account))
        ),
        symbols=_symbols(rows, trips),
        days=len(days),
        first_day=days[0] if days else None,
        last_day=days[-1] if days else None,
        closed_trades=closed,
        open_trades=len(trips) - closed,
        win_rate=MONEY.divide(Decimal(sum(trip.is_won for trip in trips)), Decimal(closed)) if closed else None,
        fees=_fees(rows.fills),
        funding=_funding(rows.fills),
        slippage=_slippage_cost(rows.orders, rows.fills),
        average_slippage_bps=_mean(slippages),
        median_slippage_bps=_median(slippages),
    )


def _account(account: str, days: Sequence[DayRow], exposure: float) -> AccountFigures:
    return AccountFigures(
        account=account,
        days=len(days),
        equity=days[-1].equity,
        total_return=MONEY.subtract(days[-1].cumulative, _ONE),
        max_drawdown=days[-1].mdd,
        best_day=max(days, key=lambda row: row.ror),
        worst_day=min(days, key=lambda row: row.ror),
        returns=return_figures(np.array([float(MONEY.subtract(row.ror, _ONE)) for row in days])),
        exposure=exposure,
    )


def _share_held(trips: Iterable[RoundTrip], account: str, days: int, last_ms: int) -> float:
    """Return the share of the days in which the account held anything; what is open is held up to the last fill."""
    held_ms = reached_ms = 0
    for trip in sorted((trip for trip in trips if trip.account == account), key=lambda trip: trip.opened_ms):
        until_ms = last_ms if trip.closed_ms is None else trip.closed_ms
        held_ms += max(0, until_ms - max(trip.opened_ms, reached_ms))
        reached_ms = max(reached_ms, until_ms)
    return min(1.0, held_ms / (days * _DAY_MS))


def _symbols(rows: ReportRows, trips: Iterable[RoundTrip]) -> tuple[SymbolFigures, ...]:
    """Return the figures per symbol with an order or a fill, sorted by name."""
    names = sorted({order.symbol for order in rows.orders} | {fill.symbol for fill in rows.fills})
    trips_of: dict[str, list[RoundTrip]] = {name: [] for name in names}
    fills_of: dict[str, list[FillRow]] = {name: [] for name in names}
    orders_of: dict[str, list[OrderRow]] = {name: [] for name in names}
    for trip in trips:
        trips_of[trip.symbol].append(trip)
    for fill in rows.fills:
        fills_of[fill.symbol].append(fill)
    for order in rows.orders:
        orders_of[order.symbol].append(order)
    return tuple(_symbol(name, trips_of[name], fills_of[name], orders_of[name]) for name in names)


def _symbol(
    name: str, trips: Sequence[RoundTrip], fills: Sequence[FillRow], orders: Sequence[OrderRow]
) -> SymbolFigures:
    longs = [trip for trip in trips if trip.direction is Side.BUY]
    shorts = [trip for trip in trips if trip.direction is Side.SELL]
    return SymbolFigures(
        symbol=name,
        long_trades=len(longs),
        short_trades=len(shorts),
        long_result=_total(trip.result for trip in longs),
        short_result=_total(trip.result for trip in shorts),
        closed_trades=sum(trip.is_closed for trip in trips),
        won_trades=sum(trip.is_won for trip in trips),
        fees=_fees(fills),
        funding=_funding(fills),
        slippage=_slippage_cost(orders, fills),
        average_slippage_bps=_mean(_slippages(orders)),
    )


def _slippages(orders: Iterable[OrderRow]) -> list[Decimal]:
    return [order.slippage_bps for order in orders if order.slippage_bps is not None]


def _fees(fills: Iterable[FillRow]) -> Decimal:
    return _total(fill.fee for fill in fills if fill.kind is not FillKind.FUNDING)


def _funding(fills: Iterable[FillRow]) -> Decimal:
    return _total(fill.fee for fill in fills if fill.kind is FillKind.FUNDING)


def _slippage_cost(orders: Iterable[OrderRow], fills: Iterable[FillRow]) -> Decimal:
    targets = {order.order_link_id: order.target_price for order in orders if order.target_price > 0}
    return _total(
        MONEY.multiply(MONEY.subtract(fill.price, targets[fill.order_link_id]), fill.quantity * fill.side.sign)
        for fill in fills
        if fill.kind is FillKind.TRADE and fill.order_link_id in targets
    )


def _total(amounts: Iterable[Decimal]) -> Decimal:
    total = Decimal(0)
    for amount in amounts:
        total = MONEY.add(total, amount)
    return total


def _mean(values: Sequence[Decimal]) -> Decimal | None:
    return MONEY.divide(_total(values), Decimal(len(values))) if values else None


def _median(values: Sequence[Decimal]) -> Decimal | None:
    ordered = sorted(values)
    middle = len(ordered) // 2
    if not ordered:
        return None
    return ordered[middle] if len(ordered) % 2 else _mean(ordered[middle - 1 : middle + 1])
