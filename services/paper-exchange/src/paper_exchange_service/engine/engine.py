"""The exchange without its wires: accounts, orders, markets. Every call states the time it happens at.

An order is accepted by `place` (checked, stored, acknowledged) and matched by `execute`, so that the caller may
let time pass in between, as the real exchange does.
"""

from collections.abc import Callable, Iterable
from decimal import Decimal

from breakwater_core.errors import InvalidInputError
from breakwater_core.market import Instrument, TradeBatch
from breakwater_core.venue_ids import order_id_of
from breakwater_core.venue_rules import RANGE_SPAN_MS, order_margin
from paper_exchange_service.engine.accounts import Account, Credentials
from paper_exchange_service.engine.bookkeeping import EngineListener, Silence, book_transfer
from paper_exchange_service.engine.margin import Valuation, valuation
from paper_exchange_service.engine.markets import Costs, Market
from paper_exchange_service.engine.matching import Matcher
from paper_exchange_service.engine.order_faults import NoOrderFaults, OrderFaults
from paper_exchange_service.engine.orders import (
    NEVER_MS,
    Order,
    OrderRequest,
    OrderType,
    Status,
    TimeInForce,
)
from paper_exchange_service.engine.positions import Position
from paper_exchange_service.engine.refusal import (
    Refusal,
    bad_parameter,
    duplicate_link_id,
    not_enough_balance,
    order_gone,
    reduce_only,
)
from paper_exchange_service.engine.settlement import Settlement

ZERO = Decimal(0)
MAX_ACTIVE_ORDERS = 500
MAX_CONDITIONAL_ORDERS = 10

InstrumentSource = Callable[[str, float], Instrument]
"""Gives the trading rules of a symbol whose first trade has the price."""


class Engine:
    """All markets and accounts."""

    def __init__(
        self,
        costs: Costs,
        *,
        instruments: Iterable[Instrument] = (),
        instrument_source: InstrumentSource | None = None,
        listener: EngineListener | None = None,
        retention_ms: int = 3_600_000,
        order_faults: OrderFaults | None = None,
    ) -> None:
        """Open the exchange.

        Args:
            costs: What it charges and how it fills.
            instruments: Symbols that can be traded.
            instrument_source: Rules for symbols that only appear in the trades; None: they are passed over.
            listener: Is told about every change.
            retention_ms: How long trades are kept.
            order_faults: Decides what goes wrong with orders; None: nothing does.
        """
        self.costs = costs
        self.markets: dict[str, Market] = {}
        self.accounts: dict[str, Account] = {}
        self.keys: dict[str, Account] = {}
        self._instrument_source = instrument_source
        self._retention_ms = retention_ms
        self.order_faults = order_faults or NoOrderFaults()
        self.matcher = Matcher(costs, listener or Silence())
        self.settlement = Settlement(self.markets, self.matcher)
        for instrument in instruments:
            self.markets[instrument.symbol] = Market(instrument, costs, retention_ms)

    def add_account(self, name: str, credentials: Credentials, deposit: Decimal, at_ms: int) -> Account:
        """Open an account with a first deposit, quote currency."""
        account = Account(name, len(self.accounts) + 1, credentials)
        self.accounts[name] = account
        self.keys[credentials.key] = account
        if deposit:
            book_transfer(account, deposit, at_ms)
        return account

    def add_key(self, account: Account, credentials: Credentials) -> None:
        """Give an account a further key.

        Raises:
            InvalidInputError: If the key is another account's.
        """
        if self.keys.get(credentials.key, account) is not account:
            raise InvalidInputError("the key is another account's")
        if credentials.key == account.credentials.key:
            account.credentials = credentials
        else:
            account.more_keys[credentials.key] = credentials
        self.keys[credentials.key] = account

    def revoke_key(self, key: str) -> None:
        """Let nobody use a key any more; one that is not known stays unknown."""
        account = self.keys.pop(key, None)
        if account is not None:
            account.more_keys.pop(key, None)

    def feed(self, batch: TradeBatch) -> None:
        """Take in trades; they follow the symbol's known ones."""
        if not len(batch):
            return
        market = self.markets.get(batch.symbol)
        if market is None:
            if self._instrument_source is None:
                return
            instrument = self._instrument_source(batch.symbol, float(batch.prices[0]))
            market = self.markets[batch.symbol] = Market(instrument, self.costs, self._retention_ms)
        market.feed(batch)

    def forget_before(self, time_ms: int) -> None:
        """Drop trades that no account needs any more and that are beyond the retention."""
        for market in self.markets.values():
            market.prices.drop_before(time_ms - RANGE_SPAN_MS)

    def market(self, symbol: object) -> Market:
        """Return a market.

        Raises:
            Refusal: If there is no such symbol.
        """
        market = self.markets.get(symbol) if isinstance(symbol, str) else None
        if market is None:
            raise bad_parameter("params error: symbol invalid")
        return market

    def transfer(self, account: Account, amount: Decimal, at_ms: int) -> None:
        """Move money in (positive) or out (negative), quote currency."""
        book_transfer(account, amount, at_ms)
        self.matcher.listener.wallet_changed(account, at_ms)

    def value(self, account: Account, at_ms: int) -> Valuation:
        """Return what the account is worth with its positions at the marks of the time."""
        return valuation(account, lambda symbol: self.markets[symbol].last_at(at_ms), self.costs)

    def place(self, account: Account, request: OrderRequest, at_ms: int) -> Order:
        """Accept an order without matching it.

        Raises:
            Refusal: If the exchange would refuse it; nothing is left behind then.
        """
        market = self.market(request.symbol)
        if request.order_link_id and request.order_link_id in account.links:
            raise duplicate_link_id()
        self.order_faults.refuse(account.name, request, at_ms)
        position, reduces = account.resolve(request)
        last = market.last_at(at_ms)
        if last is None:
            raise Refusal(110074, "This contract is not live")
        quantity = self._check_form(request, market, position, reduces=reduces, last=last)
        self._check_trigger(request, last)
        self._check_count(account, request)
        bound = self._bound(request, market, last)
        margin = ZERO
        if not reduces and request.trigger_price is None:
            margin = self._margin_needed(account, position, request, quantity, bound if request.price else last)
            if margin > ZERO and margin > self.value(account, at_ms).available:
                raise not_enough_balance()
        account.order_counter += 1
        order = Order(
            account=account.name,
            order_id=order_id_of(account.name, request.order_link_id, account.order_counter),
            request=request,
            quantity=quantity,
            bound=bound,
            created_ms=at_ms,
            updated_ms=at_ms,
            active_ms=NEVER_MS,
            last_price_on_created=last,
            status=Status.NEW if request.trigger_price is None else Status.UNTRIGGERED,
            margin=margin,
            trigger_price=request.trigger_price,
            stop_order_type="" if request.trigger_price is None else "Stop",
            closes_all=request.quantity == ZERO,
        )
        order.outcome = self.order_faults.outcome(order, market.rules.step)
        self.register(account, order)
        return order

    def register(self, account: Account, order: Order) -> None:
        """Store a new order among the account's open ones."""
        account.order_margin += order.margin
        account.orders[order.order_id] = order
        if order.link_id:
            account.links[order.link_id] = order
        account.order_log.add(order)
        account.open_orders.setdefault(order.symbol, {})[order.order_id] = order

    def execute(self, order: Order, at_ms: int) -> None:
        """Match an accepted order as of the time, unless it ended in between."""
        account = self.accounts[order.account]
        if order.active_ms != NEVER_MS or not order.status.is_open:
            return
        if account.resolve(order.request)[1]:
            self.settlement.advance_symbol(account, order.symbol, at_ms)
        else:
            self.settlement.advance_account(account, at_ms)
        order.active_ms = at_ms
        if order.status is Status.UNTRIGGERED:
            self.matcher.announce(account, order, at_ms, [])
            return
        self.matcher.match(account, order, self.markets[order.symbol], at_ms)
        self.protect_entry(account, order, at_ms)

    def find_open(self, account: Account, symbol: str, order_id: str, link_id: str, action: str) -> Order:
        """Return the open order with the id; the exchange's id wins over the client's.

        Raises:
            Refusal: If there is none.
        """
        order = account.orders.get(order_id) if order_id else account.links.get(link_id)
        if order is None or order.symbol != symbol or not order.status.is_open:
            raise order_gone(action)
        return order

    def cancel(self, account: Account, order: Order, at_ms: int) -> None:
        """Cancel an open order at the client's wish."""
        self.matcher.close(
            account, order, Status.CANCELLED, at_ms, cancel_type="CancelByUser", reason="EC_PerCancelRequest"
        )

    def amend(
        self,
        account: Account,
        order: Order,
        *,
        price: Decimal | None,
        quantity: Decimal | None,
        trigger: Decimal | None,
        at_ms: int,
    ) -> None:
        """Change price, quantity or trigger of an open order; it is matched again at its new price.

        Raises:
            Refusal: If nothing changes or a value is out of range.
        """
        market = self.markets[order.symbol]
        new_price = order.bound if price is None or order.is_market else price
        new_quantity = order.quantity if quantity is None else quantity
        new_trigger = order.trigger_price if trigger is None else trigger
        if (new_price, new_quantity, new_trigger) == (order.bound, order.quantity, order.trigger_price):
            raise bad_parameter("The order remains unchanged as the parameters entered match the existing ones.")
        market.rules.check_quantity(new_quantity, market=order.is_market)
        if new_quantity <= order.filled:
            raise bad_parameter("Qty invalid")
        if not order.is_market:
            market.rules.check_price(new_price)
        position, reduces = account.resolve(order.request)
        margin = ZERO
        if not reduces and order.status is not Status.UNTRIGGERED:
            margin = self._margin_needed(account, position, order.request, new_quantity - order.filled, new_price)
            if margin - order.margin > self.value(account, at_ms).available:
                raise not_enough_balance()
        account.order_margin += margin - order.margin
        order.margin = margin
        order.bound, order.quantity, order.trigger_price = new_price, new_quantity, new_trigger
        order.updated_ms = order.active_ms = at_ms
        if order.status is Status.UNTRIGGERED:
            self.matcher.announce(account, order, at_ms, [])
        else:
            self.matcher.match(account, order, market, at_ms)

    def set_leverage(self, account: Account, symbol: str, leverage: Decimal) -> None:
        """Set the leverage of a symbol.

        Raises:
            Refusal: If it is out of range or unchanged.
        """
        market = self.market(symbol)
        greatest = market.instrument.max_leverage
        if leverage < 1:
            raise bad_parameter("leverage invalid")
        if leverage > greatest:
            raise Refusal(110013, f"cannot set leverage [{leverage:f}] gt maxLeverage [{greatest:f}] by risk limit")
        if leverage == account.leverage_of(symbol):
            raise Refusal(110043, "leverage not modified")
        account.leverage[symbol] = leverage

    def switch_mode(self, account: Account, symbols: Iterable[str], *, hedged: bool, whole_coin: bool) -> None:
        """Set one-way or hedge mode.

        Raises:
            Refusal: If a position or an order is open, or nothing changes.
        """
        names = list(symbols)
        if whole_coin:
            if account.hedge_default == hedged and all(account.is_hedged(name) == hedged for name in names):
                raise Refusal(110025, "Position mode is not modified")
        elif all(account.is_hedged(name) == hedged for name in names):
            raise Refusal(110025, "Position mode is not modified")
        if any(symbol in names for symbol, _ in account.held):
            raise Refusal(110024, "You have an existing position, so the position mode cannot be switched")
        if any(account.open_orders.get(name) for name in names):
            raise Refusal(110028, "You have existing open orders, so the position mode cannot be switched")
        if whole_coin:
            account.hedge_default = hedged
            account.hedge_symbols.clear()
        else:
            account.hedge_symbols.update(dict.fromkeys(names, hedged))

    def protect_entry(self, account: Account, order: Order, at_ms: int) -> None:
        """Set the take-profit and stop-loss that came with a filled order."""
        request = order.request
        if order.filled and (request.take_profit or request.stop_loss):
            position = account.position(order.symbol, request.position_index)
            if position.side is order.side:
                self.protect(account, position, request.take_profit, request.stop_loss, at_ms)

    def protect(
        self, account: Account, position: Position, take_profit: Decimal | None, stop_loss: Decimal | None, at_ms: int
    ) -> None:
        """Replace the take-profit and stop-loss orders of an open position; None leaves none."""
        self.matcher.drop_protection(account, position, at_ms)
        side = position.side
        if side is None:
            return
        position.take_profit, position.stop_loss = take_profit, stop_loss
        levels = {
            "TakeProfit": (take_profit, 1 if side.sign > 0 else 2),
            "StopLoss": (stop_loss, 2 if side.sign > 0 else 1),
        }
        for kind, (level, direction) in levels.items():
            if level is None:
                continue
            account.order_counter += 1
            request = OrderRequest(
                symbol=position.symbol,
                side=side.opposite,
                order_type=OrderType.MARKET,
                quantity=ZERO,
                time_in_force=TimeInForce.IOC,
                reduce_only=True,
                close_on_trigger=True,
                position_index=position.index,
                trigger_price=level,
                trigger_direction=direction,
                trigger_by="LastPrice",
            )
            order = Order(
                account=account.name,
                order_id=order_id_of(account.name, "", account.order_counter),
                request=request,
                quantity=abs(position.size),
                bound=level,
                created_ms=at_ms,
                updated_ms=at_ms,
                active_ms=at_ms,
                last_price_on_created=self.markets[position.symbol].last_at(at_ms) or level,
                status=Status.UNTRIGGERED,
                trigger_price=level,
                closes_all=True,
                stop_order_type=kind,
                create_type=f"CreateBy{kind}",
            )
            position.protection[kind] = order.order_id
            self.register(account, order)
            self.matcher.announce(account, order, at_ms, [])

    def _check_form(
        self, request: OrderRequest, market: Market, position: Position, *, reduces: bool, last: Decimal
    ) -> Decimal:
        """Check quantity, price and value; return the quantity, capped to the position for a reducing order."""
        rules, market_order = market.rules, request.order_type is OrderType.MARKET
        if request.price is not None:
            rules.check_price(request.price)
        closes_all = request.quantity == ZERO and request.reduce_only and request.close_on_trigger
        if not closes_all:
            rules.check_quantity(request.quantity, market=market_order)
        if not reduces:
            rules.check_value(request.quantity, request.price or request.trigger_price or last)
            return request.quantity
        if request.take_profit or request.stop_loss:
            raise bad_parameter("params error: tp/sl are not allowed with reduceOnly")
        if request.trigger_price is not None and not position.size:
            return request.quantity
        if not position.size:
            raise reduce_only("current position is zero, cannot fix reduce-only order qty")
        if position.side is request.side:
            raise reduce_only("reduce-only order has same side with current position")
        held = abs(position.size)
        return held if closes_all else min(request.quantity, held)

    @staticmethod
    def _check_trigger(request: OrderRequest, last: Decimal) -> None:
        trigger = request.trigger_price
        if trigger is None:
            return
        scaled, current = int(trigger * 10000), int(last * 10000)
        if request.trigger_direction == 1 and trigger <= last:
            raise Refusal(110092, f"expect Rising, but trigger_price[{scaled}] <= current[{current}]??LastPrice")
        if request.trigger_direction == 2 and trigger >= last:
            raise Refusal(110093, f"expect Falling, but trigger_price[{scaled}] >= current[{current}]??LastPrice")

    @staticmethod
    def _check_count(account: Account, request: OrderRequest) -> None:
        conditional = request.trigger_price is not None
        most = MAX_CONDITIONAL_ORDERS if conditional else MAX_ACTIVE_ORDERS
        open_orders = account.open_orders.get(request.symbol, {})
        if len(open_orders) >= most and account.open_count(request.symbol, conditional=conditional) >= most:
            raise Refusal(
                110020, f"Not allowed to have more than {most} {'conditional' if conditional else 'active'} orders"
            )

    @staticmethod
    def _bound(request: OrderRequest, market: Market, last: Decimal) -> Decimal:
        """Return the worst fill price; a limit beyond the price band is moved to it, as Bybit does for futures."""
        if request.price is None:
            return market.rules.bound(request.side, last)
        highest, lowest = market.rules.limits(last)
        if request.trigger_price is not None:
            return request.price
        return min(request.price, highest) if request.side.sign > 0 else max(request.price, lowest)

    def _margin_needed(
        self, account: Account, position: Position, request: OrderRequest, quantity: Decimal, price: Decimal
    ) -> Decimal:
        reducible = abs(position.size) if position.side is request.side.opposite else ZERO
        opening = quantity - reducible
        if opening <= 0:
            return ZERO
        return order_margin(opening, price, account.leverage_of(request.symbol), self.costs.taker_fee)
