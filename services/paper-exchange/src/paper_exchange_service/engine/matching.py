"""Matches orders against the last trade: takers walk price levels, resting orders fill when a trade reaches them.

The first level is the last trade at or before the matching time, moved against the taker by the slippage: a share of
the price, and of the range of the minute before. Without a depth it holds any quantity; with one, each level holds that
value and the levels step by one tick. A resting order fills whole, as maker and at its own price, on the first later
trade at or through that price.
"""

from collections.abc import Iterator
from decimal import Decimal

from breakwater_core.decimals import floor_to_step
from breakwater_core.events import Side
from breakwater_core.venue_rules import range_slippage, taker_fills
from paper_exchange_service.engine.accounts import Account
from paper_exchange_service.engine.bookkeeping import EngineListener, book_fill
from paper_exchange_service.engine.markets import Costs, Market
from paper_exchange_service.engine.orders import AS_IT_IS, Execution, Order, Status, TimeInForce
from paper_exchange_service.engine.positions import Position

ZERO = Decimal(0)


class Matcher:
    """Turns open orders into fills and closed orders."""

    def __init__(self, costs: Costs, listener: EngineListener) -> None:
        self.costs = costs
        self.listener = listener

    def match(self, account: Account, order: Order, market: Market, at_ms: int) -> None:
        """Match a new or triggered order as of the time: fill, rest or cancel it."""
        last = market.last_at(at_ms)
        if last is None:
            self.close(account, order, Status.CANCELLED, at_ms, reason="EC_NoImmediateQtyToFill")
            return
        order.active_ms = at_ms
        if not self._fit_to_position(account, order, at_ms):
            return
        outcome, order.outcome = order.outcome, AS_IT_IS
        if outcome.rejected:
            self.close(account, order, Status.REJECTED, at_ms, reason=outcome.rejected)
            return
        levels = self._levels(order, market, last, at_ms)
        if outcome.share is not None:
            levels = _first(levels, _part(order.leaves, outcome.share, market.rules.step))
        request = order.request
        if request.time_in_force is TimeInForce.POST_ONLY:
            if next(levels, None) is not None:
                self.close(account, order, Status.CANCELLED, at_ms, reason="EC_PostOnlyWillTakeLiquidity")
                return
            levels = iter(())
        elif request.time_in_force is TimeInForce.FOK and not order.is_market:
            found = tuple(levels)
            if sum((quantity for _, quantity in found), ZERO) < order.leaves:
                self.close(account, order, Status.CANCELLED, at_ms, reason="EC_CancelForNoFullFill")
                return
            levels = iter(found)
        executions = [
            book_fill(
                account,
                order,
                quantity=quantity,
                price=price,
                mark=last,
                time_ms=at_ms,
                is_maker=False,
                costs=self.costs,
            )
            for price, quantity in levels
        ]
        self._settle_taker(account, order, at_ms, executions)

    def fill_resting(self, account: Account, order: Order, market: Market, at_ms: int) -> None:
        """Fill a resting order whole, as maker, at its own price."""
        if not self._fit_to_position(account, order, at_ms):
            return
        last = market.last_at(at_ms) or order.bound
        execution = book_fill(
            account,
            order,
            quantity=order.leaves,
            price=order.bound,
            mark=last,
            time_ms=at_ms,
            is_maker=True,
            costs=self.costs,
        )
        self._finish(account, order)
        self.announce(account, order, at_ms, [execution])

    def close(
        self,
        account: Account,
        order: Order,
        status: Status,
        at_ms: int,
        *,
        reason: str = "EC_NoError",
        cancel_type: str = "UNKNOWN",
    ) -> None:
        """End an order without a further fill."""
        order.status = status
        order.reject_reason = reason
        order.cancel_type = cancel_type
        order.updated_ms = at_ms
        self._finish(account, order)
        self.announce(account, order, at_ms, [])

    def announce(self, account: Account, order: Order, at_ms: int, executions: list[Execution]) -> None:
        """Tell the listener about an order's new state and its fills."""
        listener = self.listener
        if executions:
            listener.executed(account, executions, at_ms)
        listener.order_changed(account, order, at_ms)
        position = account.position(order.symbol, order.request.position_index)
        listener.position_changed(account, position, at_ms)
        if executions:
            listener.wallet_changed(account, at_ms)
            if not position.size:
                self.drop_protection(account, position, at_ms)

    def drop_protection(self, account: Account, position: Position, at_ms: int) -> None:
        """Cancel the take-profit and stop-loss orders of a position."""
        position.take_profit = position.stop_loss = None
        ids = list(position.protection.values())
        position.protection.clear()
        for order_id in ids:
            order = account.orders[order_id]
            if order.status.is_open:
                self.close(account, order, Status.CANCELLED, at_ms, cancel_type="CancelByTpSlTsClear")

    def liquidate(self, account: Account, order: Order, mark: Decimal, at_ms: int) -> Execution:
        """Fill a liquidation order whole at the mark."""
        execution = book_fill(
            account,
            order,
            quantity=order.leaves,
            price=mark,
            mark=mark,
            time_ms=at_ms,
            is_maker=False,
            costs=self.costs,
            kind="BustTrade",
        )
        self._finish(account, order)
        self.announce(account, order, at_ms, [execution])
        return execution

    def _settle_taker(self, account: Account, order: Order, at_ms: int, executions: list[Execution]) -> None:
        if order.status is not Status.FILLED:
            rests = not order.is_market and order.request.time_in_force in {TimeInForce.GTC, TimeInForce.POST_ONLY}
            if rests:
                order.status = Status.PARTIALLY_FILLED if order.filled else Status.NEW
            else:
                order.status = Status.CANCELLED
                order.reject_reason = "EC_NoImmediateQtyToFill"
            order.updated_ms = at_ms
        if not order.status.is_open:
            self._finish(account, order)
        self.announce(account, order, at_ms, executions)

    def _fit_to_position(self, account: Account, order: Order, at_ms: int) -> bool:
        """Shrink a reducing order to what is left of the position; False: nothing is, and the order ended."""
        position, reduces = account.resolve(order.request)
        if not reduces:
            return True
        room = abs(position.size) if position.side is order.side.opposite else ZERO
        if not room:
            self.close(account, order, Status.CANCELLED, at_ms, reason="EC_Others", cancel_type="CancelByReduceOnly")
            return False
        if order.closes_all or order.filled + room < order.quantity:
            order.quantity = order.filled + room
        return True

    def _levels(self, order: Order, market: Market, last: Decimal, at_ms: int) -> Iterator[tuple[Decimal, Decimal]]:
        """Return price and quantity of what the order takes, best price first."""
        return taker_fills(
            order.side,
            order.leaves,
            last=last,
            bound=self._bound(order, market, last),
            slippage_ratio=self.costs.slippage_ratio,
            slippage_distance=range_slippage(market.prices, at_ms, self.costs.slippage_range_share),
            tick=market.rules.tick,
            step=market.rules.step,
            depth_notional=self.costs.depth_notional,
        )

    def _bound(self, order: Order, market: Market, last: Decimal) -> Decimal:
        if not order.is_market:
            return order.bound
        bound = market.rules.bound(order.side, last)
        request = order.request
        distance = None
        if request.slippage_ratio is not None:
            distance = last * request.slippage_ratio
        elif request.slippage_ticks is not None:
            distance = market.rules.tick * request.slippage_ticks
        if distance is not None:
            narrow = last + order.side.sign * distance
            bound = min(bound, narrow) if order.side is Side.BUY else max(bound, narrow)
        order.bound = bound
        return bound

    def _finish(self, account: Account, order: Order) -> None:
        account.order_margin -= order.margin
        order.margin = ZERO
        orders = account.open_orders.get(order.symbol)
        if orders is not None:
            orders.pop(order.order_id, None)


def _part(quantity: Decimal, share: Decimal, step: Decimal) -> Decimal:
    """Return the share of the quantity on the step: at least one step unless the share is 0, and never all of it."""
    return min(max(step, floor_to_step(quantity * share, step)), quantity - step) if share else ZERO


def _first(levels: Iterator[tuple[Decimal, Decimal]], quantity: Decimal) -> Iterator[tuple[Decimal, Decimal]]:
    """Yield price and quantity of the levels until the quantity is reached."""
    left = quantity
    for price, offered in levels:
        if left <= 0:
            return
        yield price, min(offered, left)
        left -= offered
