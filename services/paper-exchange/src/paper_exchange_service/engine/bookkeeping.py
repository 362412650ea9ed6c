"""Books a fill, a funding payment or a transfer: position, wallet, fees and the records of each."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Protocol

from breakwater_core.events import Side
from breakwater_core.venue_ids import event_id_of, exec_id_of
from breakwater_core.venue_rules import funding_payment, trading_fee
from paper_exchange_service.engine.accounts import Account, ClosedPnl, Transaction
from paper_exchange_service.engine.markets import Costs
from paper_exchange_service.engine.orders import Execution, Order, Status
from paper_exchange_service.engine.positions import Position

ZERO = Decimal(0)


class EngineListener(Protocol):
    """Is told what changed, at once and in order, with the time at which it happened."""

    def order_changed(self, account: Account, order: Order, time_ms: int) -> None:
        """An order has a new state."""

    def executed(self, account: Account, executions: Sequence[Execution], time_ms: int) -> None:
        """Fills, funding or liquidation fills of one cause."""

    def position_changed(self, account: Account, position: Position, time_ms: int) -> None:
        """An order of the position's symbol was created, changed or ended."""

    def wallet_changed(self, account: Account, time_ms: int) -> None:
        """The wallet balance changed."""


class Silence:
    """A listener that nobody is behind."""

    def order_changed(self, account: Account, order: Order, time_ms: int) -> None:
        """Ignore it."""

    def executed(self, account: Account, executions: Sequence[Execution], time_ms: int) -> None:
        """Ignore it."""

    def position_changed(self, account: Account, position: Position, time_ms: int) -> None:
        """Ignore it."""

    def wallet_changed(self, account: Account, time_ms: int) -> None:
        """Ignore it."""


def book_fill(
    account: Account,
    order: Order,
    *,
    quantity: Decimal,
    price: Decimal,
    mark: Decimal,
    time_ms: int,
    is_maker: bool,
    costs: Costs,
    kind: str = "Trade",
) -> Execution:
    """Fill a part of an open order and return the execution; the caller sets the order's final state."""
    rate = costs.maker_fee if is_maker else costs.taker_fee
    fee = trading_fee(quantity, price, rate)
    position = account.position(order.symbol, order.request.position_index)
    entry_price = position.average
    applied = position.apply(quantity * order.side.sign, price, fee, time_ms)
    order.filled += quantity
    order.filled_value += quantity * price
    order.fee += fee
    order.fills += 1
    order.updated_ms = time_ms
    order.status = Status.FILLED if order.filled >= order.quantity else Status.PARTIALLY_FILLED
    execution = Execution(
        exec_id=exec_id_of(order.order_id, order.fills),
        order=order,
        account=account.name,
        symbol=order.symbol,
        position_index=position.index,
        side=order.side,
        quantity=quantity,
        price=price,
        fee=fee,
        fee_rate=rate,
        is_maker=is_maker,
        kind=kind,
        time_ms=time_ms,
        sequence=account.next_sequence(order.symbol, time_ms),
        closed=applied.closed,
        pnl=applied.realised,
        leaves=order.quantity - order.filled,
        mark=mark,
    )
    position.sequence = execution.sequence
    account.wallet += applied.realised - fee
    account.realised += applied.realised
    account.fees += fee
    _hold(account, position)
    order.executions.append(execution)
    account.executions.add(execution)
    account.transactions.add(
        Transaction(
            time_ms=time_ms,
            record_id=execution.exec_id,
            sequence=execution.sequence,
            kind="TRADE",
            symbol=order.symbol,
            side=order.side,
            execution=execution,
            cash_flow=applied.realised,
            funding=ZERO,
            fee=fee,
            size=position.size,
        )
    )
    if applied.closed:
        pnl = applied.realised - applied.closing_fee - applied.entry_fees
        order.closed_pnl += pnl
        account.closed_pnl.add(
            ClosedPnl(
                order=order,
                time_ms=time_ms,
                sequence=execution.sequence,
                quantity=applied.closed,
                entry_value=applied.entry_value,
                exit_value=applied.closed * price,
                entry_price=entry_price,
                pnl=pnl,
                leverage=account.leverage_of(order.symbol),
                kind=kind,
            )
        )
    return execution


def book_funding(account: Account, position: Position, *, rate: Decimal, mark: Decimal, stamp_ms: int) -> Execution:
    """Settle funding of an open position: size * mark * rate, paid by longs when the rate is positive."""
    amount = funding_payment(position.size, mark, rate)
    side = Side.BUY if position.size > 0 else Side.SELL
    execution = Execution(
        exec_id=event_id_of("funding", account.name, position.symbol, position.index, stamp_ms),
        order=None,
        account=account.name,
        symbol=position.symbol,
        position_index=position.index,
        side=side,
        quantity=abs(position.size),
        price=mark,
        fee=amount,
        fee_rate=rate,
        is_maker=False,
        kind="Funding",
        time_ms=stamp_ms,
        sequence=account.next_sequence(position.symbol, stamp_ms),
        closed=ZERO,
        pnl=ZERO,
        leaves=ZERO,
        mark=mark,
    )
    position.pay(amount, stamp_ms)
    account.wallet -= amount
    account.funding -= amount
    account.executions.add(execution)
    account.transactions.add(
        Transaction(
            time_ms=stamp_ms,
            record_id=execution.exec_id,
            sequence=execution.sequence,
            kind="SETTLEMENT",
            symbol=position.symbol,
            side=side,
            execution=execution,
            cash_flow=ZERO,
            funding=-amount,
            fee=ZERO,
            size=position.size,
        )
    )
    return execution


def book_transfer(account: Account, amount: Decimal, time_ms: int) -> None:
    """Move money in (positive) or out (negative)."""
    account.transfers += 1
    account.wallet += amount
    account.deposits += amount
    account.transactions.add(
        Transaction(
            time_ms=time_ms,
            record_id=event_id_of("transfer", account.name, "", account.transfers, time_ms),
            sequence=account.transfers,
            kind="TRANSFER_IN" if amount >= 0 else "TRANSFER_OUT",
            symbol="",
            side=None,
            execution=None,
            cash_flow=amount,
            funding=ZERO,
            fee=ZERO,
            size=ZERO,
        )
    )


def _hold(account: Account, position: Position) -> None:
    key = (position.symbol, position.index)
    if position.size:
        account.held[key] = position
    else:
        account.held.pop(key, None)
