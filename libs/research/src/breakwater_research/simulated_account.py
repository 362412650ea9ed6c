"""An account at the modelled exchange, for market orders: wallet, positions, funding, margin, liquidation.

The counterpart of the paper exchange without its wires. Prices, fees, margins and ids are the functions of
`breakwater_core.venue_rules` and `breakwater_core.venue_ids` that the paper exchange uses too; what is here is the
order in which they are applied. Money is quote currency, quantities base units, times milliseconds UTC.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

import numpy as np

from breakwater_core.config import CostSettings
from breakwater_core.events import Fill, FillKind, Side
from breakwater_core.ledger import SymbolBook
from breakwater_core.venue_ids import event_id_of, exec_id_of, order_id_of
from breakwater_core.venue_rules import (
    BAND_RATIO,
    MAINTENANCE_RATIO,
    Exposure,
    first_breach,
    funding_payment,
    funding_stamps,
    order_margin,
    position_initial_margin,
    price_limits,
    range_slippage,
    taker_fills,
    trading_fee,
)
from breakwater_research.cost_records import NO_RECORDS, CostRecords
from breakwater_research.simulated_market import Market

MARGIN_LEVERAGE = Decimal(10)
"""Leverage that the executor sets for each symbol unless told otherwise; it bounds the margin, not the size."""

_AVERAGE_STEP = Decimal("1E-10")
_ZERO = Decimal(0)


class Rejection(StrEnum):
    """Why the exchange refuses an order, in the words that the executor gives its return codes."""

    BELOW_MIN_NOTIONAL = "below_min_notional"
    INSUFFICIENT_MARGIN = "insufficient_margin"
    NOT_TRADABLE = "not_tradable"


@dataclass(frozen=True, slots=True)
class MarketOrder:
    """What is sent to the exchange; a reducing order only shrinks a position."""

    symbol: str
    side: Side
    quantity: Decimal
    order_link_id: str
    reduce_only: bool


@dataclass(frozen=True, slots=True)
class EndedOrder:
    """A market order after its matching.

    Attributes:
        is_filled: The exchange calls it filled; otherwise it was cancelled, perhaps with fills.
        average_price: Rounded to 10 decimals; None without a fill.
    """

    is_filled: bool
    filled_quantity: Decimal
    average_price: Decimal | None
    updated_ms: int


class SimulatedAccount:
    """One account; whoever asks states the time, which per symbol never falls.

    Attributes:
        name: Name of the account.
        fills: Every execution, in the order in which they were booked.
        constant_settlements: Funding settlements at the constant rate because the funding records say nothing.
        matches: Orders matched.
        book_matches: Those whose slippage the recorded spread gave.
    """

    def __init__(
        self,
        name: str,
        *,
        run_id: str,
        deposit: Decimal,
        market: Market,
        costs: CostSettings,
        records: CostRecords = NO_RECORDS,
    ) -> None:
        """Open the account with a first deposit.

        Args:
            name: Name of the account.
            run_id: Written in each fill.
            deposit: Quote currency.
            market: Trading rules and prices.
            costs: What is charged.
            records: Recorded funding and spreads, which go before what `costs` says of either.
        """
        self.name = name
        self.constant_settlements = 0
        self.book_matches = 0
        self.matches = 0
        self.fills: list[Fill] = []
        self._run_id = run_id
        self._market = market
        self._costs = costs
        self._records = records
        self._wallet = deposit
        self._books: dict[str, SymbolBook] = {}
        self._held: dict[str, SymbolBook] = {}
        self._settled_ms: dict[str, int] = {}
        self._margin_ms = -1

    # -- what it is asked ------------------------------------------------------------------------------------------

    def position_size(self, symbol: str, at_ms: int) -> Decimal:
        """Return the position as of the time, negative when short."""
        self._market.read_through(at_ms)
        self.advance(at_ms)
        held = self._held.get(symbol)
        return _ZERO if held is None else held.size

    def open_symbols(self, at_ms: int) -> frozenset[str]:
        """Return the symbols with an open position as of the time."""
        self.advance(at_ms)
        return frozenset(self._held)

    def equity(self, at_ms: int) -> Decimal:
        """Return wallet balance and open profit as of the time."""
        self.advance(at_ms)
        return self._value(at_ms)[0]

    def send(self, order: MarketOrder, at_ms: int) -> EndedOrder | Rejection:
        """Accept an order stamped with the time and match it after the latency."""
        match_ms = at_ms + self._costs.latency_ms
        self._market.read_through(match_ms)
        if order.reduce_only:
            self._advance_symbol(order.symbol, at_ms)
        else:
            self.advance(at_ms)
            rejection = self._rejection(order, at_ms)
            if rejection is not None:
                return rejection
        if order.reduce_only:
            self._advance_symbol(order.symbol, match_ms)
        else:
            self.advance(match_ms)
            self._settle(order.symbol, match_ms)
        return self._match(order, match_ms)

    # -- time ------------------------------------------------------------------------------------------------------

    def advance(self, through_ms: int) -> None:
        """Settle funding of every position through the time; the margin is checked up to each stamp before it."""
        stamps = {stamp for symbol in self._held for stamp, _ in self._funding_due(symbol, self._margin_ms, through_ms)}
        for until_ms in [*(stamp - 1 for stamp in sorted(stamps)), through_ms]:
            for symbol in sorted(self._held):
                self._settle(symbol, until_ms)
            self._check_margin(until_ms)

    def _advance_symbol(self, symbol: str, through_ms: int) -> None:
        self._settle(symbol, through_ms)
        self._check_margin(through_ms)

    def _settle(self, symbol: str, through_ms: int) -> None:
        after_ms = self._settled_ms.get(symbol, through_ms)
        self._settled_ms[symbol] = max(after_ms, through_ms)
        book = self._held.get(symbol)
        if book is None:
            return
        for stamp, rate in self._funding_due(symbol, after_ms, through_ms):
            if self._records.funding is not None:
                self.constant_settlements += self._records.funding.missing(symbol, stamp - 1, stamp)
            if rate:
                self._pay_funding(symbol, book, stamp, rate)

    def _funding_due(self, symbol: str, after_ms: int, through_ms: int) -> Iterator[tuple[int, Decimal]]:
        """Yield stamp and rate of each settlement with `after_ms < stamp <= through_ms`, oldest first."""
        constant = self._costs.funding_rate
        if self._records.funding is not None:
            yield from self._records.funding.due(symbol, after_ms, through_ms, otherwise=constant)
            return
        for stamp in funding_stamps(after_ms, through_ms):
            yield stamp, constant

    def _pay_funding(self, symbol: str, book: SymbolBook, stamp_ms: int, rate: Decimal) -> None:
        mark = self._market.last_at(symbol, stamp_ms)
        if mark is None:
            return
        amount = funding_payment(book.size, mark, rate)
        self._wallet -= amount
        identity = event_id_of("funding", self.name, symbol, 0, stamp_ms)
        self.fills.append(
            Fill(
                exec_id=identity,
                run_id=self._run_id,
                account=self.name,
                symbol=symbol,
                order_id=identity,
                order_link_id="",
                side=_side_of(book),
                quantity=abs(book.size),
                price=mark,
                fee=amount,
                fee_rate=rate,
                is_maker=False,
                kind=FillKind.FUNDING,
                exec_time_ms=stamp_ms,
            )
        )

    def _check_margin(self, through_ms: int) -> None:
        after_ms, self._margin_ms = self._margin_ms, max(self._margin_ms, through_ms)
        if not self._held or after_ms >= through_ms:
            return
        exposures = [self._exposure(symbol, max(after_ms, 0), through_ms) for symbol in sorted(self._held)]
        rate = MAINTENANCE_RATIO + max(_ZERO, self._costs.taker_fee)
        breach_ms = first_breach(self._wallet, exposures, rate=rate, through_ms=through_ms)
        if breach_ms is not None:
            self._liquidate(breach_ms)

    def _exposure(self, symbol: str, after_ms: int, through_ms: int) -> Exposure:
        book, history = self._held[symbol], self._market.history(symbol)
        slices = list(history.between(after_ms, through_ms))
        start = history.price_at(after_ms)
        return Exposure(
            size=float(book.size),
            cost=float(book.cost),
            first=float(book.average_price) if start is None else start,
            times=np.concatenate([part[0] for part in slices]) if slices else np.empty(0, dtype=np.int64),
            prices=np.concatenate([part[1] for part in slices]) if slices else np.empty(0),
        )

    def _liquidate(self, at_ms: int) -> None:
        """Close every position at its mark."""
        for symbol in sorted(self._held):
            book = self._held[symbol]
            mark = self._market.last_at(symbol, at_ms) or book.average_price
            order_id = event_id_of("liquidation", self.name, symbol, 0, at_ms)
            order = MarketOrder(symbol, _side_of(book).opposite, abs(book.size), "", reduce_only=True)
            self._book(order, order_id, 1, (mark, order.quantity), at_ms, FillKind.LIQUIDATION)

    # -- orders ----------------------------------------------------------------------------------------------------

    def _rejection(self, order: MarketOrder, at_ms: int) -> Rejection | None:
        last = self._market.last_at(order.symbol, at_ms)
        if last is None:
            return Rejection.NOT_TRADABLE
        if order.quantity * last < self._market.instrument(order.symbol).min_notional:
            return Rejection.BELOW_MIN_NOTIONAL
        held = self._held.get(order.symbol)
        reducible = abs(held.size) if held is not None and _side_of(held) is order.side.opposite else _ZERO
        opening = order.quantity - reducible
        needed = order_margin(opening, last, MARGIN_LEVERAGE, self._costs.taker_fee) if opening > 0 else _ZERO
        if needed > _ZERO:
            equity, tied_up = self._value(at_ms)
            if needed > max(_ZERO, equity - tied_up):
                return Rejection.INSUFFICIENT_MARGIN
        return None

    def _value(self, at_ms: int) -> tuple[Decimal, Decimal]:
        """Return equity and the initial margin of all positions at the last trades of the time."""
        unrealised = tied_up = _ZERO
        for symbol, book in self._held.items():
            mark = self._market.last_at(symbol, at_ms) or book.average_price
            unrealised += book.size * mark - book.cost
            tied_up += position_initial_margin(abs(book.size) * mark, MARGIN_LEVERAGE, self._costs.taker_fee)
        return self._wallet + unrealised, tied_up

    def _match(self, order: MarketOrder, match_ms: int) -> EndedOrder:
        last = self._market.last_at(order.symbol, match_ms)
        wanted = self._fitted(order)
        if last is None or not wanted:
            return EndedOrder(is_filled=False, filled_quantity=_ZERO, average_price=None, updated_ms=match_ms)
        rules = self._market.instrument(order.symbol)
        highest, lowest = price_limits(last, BAND_RATIO, rules.tick_size)
        order_id = order_id_of(self.name, order.order_link_id, 0)
        ratio, distance = self._slippage(order.symbol, match_ms)
        levels = taker_fills(
            order.side,
            wanted,
            last=last,
            bound=highest if order.side is Side.BUY else lowest,
            slippage_ratio=ratio,
            slippage_distance=distance,
            tick=rules.tick_size,
            step=rules.quantity_step,
        )
        filled = value = _ZERO
        for number, (price, quantity) in enumerate(levels, start=1):
            self._book(order, order_id, number, (price, quantity), match_ms, FillKind.TRADE)
            filled += quantity
            value += quantity * price
        return EndedOrder(
            is_filled=filled >= wanted,
            filled_quantity=filled,
            average_price=(value / filled).quantize(_AVERAGE_STEP) if filled else None,
            updated_ms=match_ms,
        )

    def _slippage(self, symbol: str, match_ms: int) -> tuple[Decimal, Decimal]:
        """Return how far from the last trade a taker fills, as a share of it and in quote currency: both are added."""
        self.matches += 1
        spreads = self._records.spreads
        half_spread = None if spreads is None else spreads.half_spread_at(symbol, match_ms)
        if half_spread is not None:
            self.book_matches += 1
            return half_spread, _ZERO
        history, share = self._market.history(symbol), self._costs.slippage_range_share
        return self._costs.slippage_bps / 10_000, range_slippage(history, match_ms, share)

    def _fitted(self, order: MarketOrder) -> Decimal:
        """Return the quantity, for a reducing order no more than what is left of the position."""
        if not order.reduce_only:
            return order.quantity
        held = self._held.get(order.symbol)
        room = abs(held.size) if held is not None and _side_of(held) is order.side.opposite else _ZERO
        return min(order.quantity, room)

    def _book(
        self,
        order: MarketOrder,
        order_id: str,
        number: int,
        level: tuple[Decimal, Decimal],
        time_ms: int,
        kind: FillKind,
    ) -> None:
        """Book fill `number` of an order: `level` is its price and quantity."""
        price, quantity = level
        rate = self._costs.taker_fee
        fee = trading_fee(quantity, price, rate)
        book = self._books.setdefault(order.symbol, SymbolBook())
        _, realised = book.trade(quantity * order.side.sign, price)
        self._wallet += realised - fee
        if book.size:
            self._held[order.symbol] = book
        else:
            self._held.pop(order.symbol, None)
        self.fills.append(
            Fill(
                exec_id=exec_id_of(order_id, number),
                run_id=self._run_id,
                account=self.name,
                symbol=order.symbol,
                order_id=order_id,
                order_link_id=order.order_link_id,
                side=order.side,
                quantity=quantity,
                price=price,
                fee=fee,
                fee_rate=rate,
                is_maker=False,
                kind=kind,
                exec_time_ms=time_ms,
            )
        )


def record_counters(records: CostRecords, accounts: Iterable[SimulatedAccount]) -> dict[str, int]:
    """Return how often the records were used and how often a constant stood in: counters of a run that had records."""
    each = list(accounts)
    counters: dict[str, int] = {}
    if records.funding is not None:
        counters["settlements_without_record"] = sum(account.constant_settlements for account in each)
    if records.spreads is not None:
        counters["orders_priced_by_book"] = sum(account.book_matches for account in each)
        counters["orders_priced_without_book"] = sum(account.matches - account.book_matches for account in each)
    return counters


def _side_of(book: SymbolBook) -> Side:
    return Side.BUY if book.size > 0 else Side.SELL
