"""What time does to an account: funding, triggers, resting fills, liquidation, in event time and per symbol.

Everything of one symbol depends on that symbol's trades and requests alone, so requests of different symbols may
arrive in any order. Liquidation looks at the whole account and is the one exception.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from breakwater_core.events import Side
from breakwater_core.venue_ids import event_id_of
from breakwater_core.venue_rules import Exposure, first_breach
from paper_exchange_service.engine.accounts import Account
from paper_exchange_service.engine.bookkeeping import book_funding
from paper_exchange_service.engine.markets import Market
from paper_exchange_service.engine.matching import Matcher
from paper_exchange_service.engine.orders import Order, OrderRequest, OrderType, Status, TimeInForce
from paper_exchange_service.engine.positions import Position

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class _Slice:
    """Trades of one symbol in a stretch of time."""

    times: NDArray[np.int64]
    prices: NDArray[np.float64]
    low: float
    high: float


class Settlement:
    """Carries accounts forward in event time."""

    def __init__(self, markets: dict[str, Market], matcher: Matcher) -> None:
        self._markets = markets
        self._matcher = matcher
        self._costs = matcher.costs

    def advance_account(self, account: Account, through_ms: int) -> None:
        """Settle every symbol of the account through the time, and check its margin on the way.

        The margin is checked up to each funding stamp before the stamp is settled. So it does not matter in how many
        steps the time is reached.
        """
        stamps = {
            stamp
            for symbol, _ in account.held
            for stamp, _ in self._costs.funding_due(symbol, account.margin_ms, through_ms)
        }
        for until_ms in [*(stamp - 1 for stamp in sorted(stamps)), through_ms]:
            symbols = {symbol for symbol, orders in account.open_orders.items() if orders}
            symbols.update(symbol for symbol, _ in account.held)
            for symbol in sorted(symbols):
                self._advance(account, symbol, until_ms)
            self._check_margin(account, until_ms)

    def advance_symbol(self, account: Account, symbol: str, through_ms: int) -> None:
        """Settle one symbol of the account through the time, then check the account's margin."""
        self._advance(account, symbol, through_ms)
        self._check_margin(account, through_ms)

    def _advance(self, account: Account, symbol: str, through_ms: int) -> None:
        after_ms = account.seen_ms.get(symbol, through_ms)
        account.seen_ms[symbol] = max(after_ms, through_ms)
        if after_ms >= through_ms:
            return
        market = self._markets[symbol]
        if account.open_orders.get(symbol) or self._holds(account, symbol):
            for stamp, rate in self._costs.funding_due(symbol, after_ms, through_ms):
                self._match_open_orders(account, market, after_ms, stamp - 1)
                self._settle_funding(account, market, stamp, rate)
        self._match_open_orders(account, market, after_ms, through_ms)

    def _match_open_orders(self, account: Account, market: Market, after_ms: int, through_ms: int) -> None:
        if not account.open_orders.get(market.symbol):
            return
        slices = [
            _Slice(times, prices, float(prices.min()), float(prices.max()))
            for times, prices in market.prices.between(after_ms, through_ms)
        ]
        while slices and (event := self._next_event(account, market.symbol, slices)) is not None:
            time_ms, order = event
            if order.status is Status.UNTRIGGERED:
                self.trigger(account, order, market, time_ms)
            else:
                self._matcher.fill_resting(account, order, market, time_ms)

    def trigger(self, account: Account, order: Order, market: Market, time_ms: int) -> None:
        """Trigger a conditional order and match it at once."""
        order.status = Status.TRIGGERED
        order.updated_ms = time_ms
        self._matcher.listener.order_changed(account, order, time_ms)
        order.status = Status.NEW
        self._matcher.match(account, order, market, time_ms)

    def _next_event(self, account: Account, symbol: str, slices: list[_Slice]) -> tuple[int, Order] | None:
        found: tuple[int, int, str, Order] | None = None
        for order in account.open_orders[symbol].values():
            if order.status is Status.UNTRIGGERED:
                level, rises = order.trigger_price, order.request.trigger_direction == 1
            elif order.is_market:
                continue
            else:
                level, rises = order.bound, order.side is Side.SELL
            if level is None:
                continue
            time_ms = _first_reach(slices, float(level), rises=rises, after_ms=order.active_ms)
            if time_ms is not None and (found is None or (time_ms, order.created_ms, order.order_id) < found[:3]):
                found = (time_ms, order.created_ms, order.order_id, order)
        return None if found is None else (found[0], found[3])

    def _settle_funding(self, account: Account, market: Market, stamp_ms: int, rate: Decimal) -> None:
        mark = market.last_at(stamp_ms)
        if not rate or mark is None:
            return
        for position in self._holds(account, market.symbol):
            execution = book_funding(account, position, rate=rate, mark=mark, stamp_ms=stamp_ms)
            listener = self._matcher.listener
            listener.executed(account, [execution], stamp_ms)
            listener.position_changed(account, position, stamp_ms)
            listener.wallet_changed(account, stamp_ms)

    @staticmethod
    def _holds(account: Account, symbol: str) -> list[Position]:
        return [position for (name, _), position in account.held.items() if name == symbol]

    def _check_margin(self, account: Account, through_ms: int) -> None:
        after_ms, account.margin_ms = account.margin_ms, max(account.margin_ms, through_ms)
        if not account.held or after_ms >= through_ms:
            return
        breach_ms = self._first_breach(account, max(after_ms, 0), through_ms)
        if breach_ms is not None:
            self._liquidate(account, breach_ms)

    def _first_breach(self, account: Account, after_ms: int, through_ms: int) -> int | None:
        """Return when equity first was at or below the maintenance margin."""
        rate = self._costs.maintenance_ratio + max(ZERO, self._costs.taker_fee)
        exposures = []
        for position in sorted(account.held.values(), key=lambda held: (held.symbol, held.index)):
            prices = self._markets[position.symbol].prices
            slices = list(prices.between(after_ms, through_ms))
            start = prices.price_at(after_ms)
            exposures.append(
                Exposure(
                    size=float(position.size),
                    cost=float(position.book.cost),
                    first=float(position.average) if start is None else start,
                    times=np.concatenate([part[0] for part in slices]) if slices else np.empty(0, dtype=np.int64),
                    prices=np.concatenate([part[1] for part in slices]) if slices else np.empty(0),
                )
            )
        return first_breach(account.wallet, exposures, rate=rate, through_ms=through_ms)

    def _liquidate(self, account: Account, at_ms: int) -> None:
        """Cancel what is open and close every position at its mark."""
        for orders in list(account.open_orders.values()):
            for order in list(orders.values()):
                self._matcher.close(account, order, Status.CANCELLED, at_ms, cancel_type="CancelAllBeforeLiq")
        for position in sorted(account.held.values(), key=lambda held: (held.symbol, held.index)):
            market = self._markets[position.symbol]
            mark = market.last_at(at_ms) or position.average
            side = Side.SELL if position.size > 0 else Side.BUY
            request = OrderRequest(
                symbol=position.symbol,
                side=side,
                order_type=OrderType.MARKET,
                quantity=abs(position.size),
                time_in_force=TimeInForce.IOC,
                reduce_only=True,
                position_index=position.index,
            )
            order = Order(
                account=account.name,
                order_id=event_id_of("liquidation", account.name, position.symbol, position.index, at_ms),
                request=request,
                quantity=request.quantity,
                bound=mark,
                created_ms=at_ms,
                updated_ms=at_ms,
                active_ms=at_ms,
                last_price_on_created=mark,
                create_type="CreateByLiq",
            )
            account.orders[order.order_id] = order
            account.order_log.add(order)
            self._matcher.liquidate(account, order, mark, at_ms)


def _first_reach(slices: list[_Slice], level: float, *, rises: bool, after_ms: int) -> int | None:
    """Return the time of the first trade after `after_ms` at or beyond the level."""
    for part in _reaching(slices, level, rises=rises):
        start = int(np.searchsorted(part.times, after_ms, side="right"))
        prices = part.prices[start:]
        hits = np.flatnonzero(prices >= level if rises else prices <= level)
        if hits.size:
            return int(part.times[start + int(hits[0])])
    return None


def _reaching(slices: list[_Slice], level: float, *, rises: bool) -> Iterator[_Slice]:
    for part in slices:
        if part.high >= level if rises else part.low <= level:
            yield part
