"""The figures of a run that stand at the head of its tearsheet, per account and per symbol.

Money is quote currency, slippage basis points; returns and drawdowns are shares (0.01 is 1 %).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from breakwater_core.decimals import MONEY
from breakwater_core.events import FillKind, Side
from breakwater_research.report_rows import DayRow, FillRow, OrderRow, ReportRows
from breakwater_research.round_trips import RoundTrip, round_trips

_ONE = Decimal(1)


@dataclass(frozen=True, slots=True)
class AccountFigures:
    """What an account made; the best and the worst day are returns of one day."""

    account: str
    days: int
    equity: Decimal
    total_return: Decimal
    max_drawdown: Decimal
    best_day: DayRow
    worst_day: DayRow


@dataclass(frozen=True, slots=True)
class SymbolFigures:
    """Trades of a symbol by direction, open ones included; results after fees and funding."""

    symbol: str
    long_trades: int
    short_trades: int
    long_result: Decimal
    short_result: Decimal
    closed_trades: int
    won_trades: int
    fees: Decimal
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
    return RunFigures(
        accounts=tuple(_account(account, days_of) for account in rows.accounts if (days_of := rows.days_of(account))),
        symbols=_symbols(rows, trips),
        days=len(days),
        first_day=days[0] if days else None,
        last_day=days[-1] if days else None,
        closed_trades=closed,
        open_trades=len(trips) - closed,
        win_rate=MONEY.divide(Decimal(sum(trip.is_won for trip in trips)), Decimal(closed)) if closed else None,
        fees=_fees(rows.fills),
        funding=_total(fill.fee for fill in rows.fills if fill.kind is FillKind.FUNDING),
        average_slippage_bps=_mean(slippages),
        median_slippage_bps=_median(slippages),
    )


def _account(account: str, days: Sequence[DayRow]) -> AccountFigures:
    return AccountFigures(
        account=account,
        days=len(days),
        equity=days[-1].equity,
        total_return=MONEY.subtract(days[-1].cumulative, _ONE),
        max_drawdown=days[-1].mdd,
        best_day=max(days, key=lambda row: row.ror),
        worst_day=min(days, key=lambda row: row.ror),
    )


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
        average_slippage_bps=_mean(_slippages(orders)),
    )


def _slippages(orders: Iterable[OrderRow]) -> list[Decimal]:
    return [order.slippage_bps for order in orders if order.slippage_bps is not None]


def _fees(fills: Iterable[FillRow]) -> Decimal:
    return _total(fill.fee for fill in fills if fill.kind is not FillKind.FUNDING)


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
