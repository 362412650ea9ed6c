"""Positions: the books of `breakwater_core.ledger` with what the exchange shows beside them.

The wallet changes when a position shrinks, by exactly what the ledger's `SymbolBook` realises. So whoever applies the
same executions to a ledger has the same wallet, to the last decimal.
"""

from dataclasses import dataclass, field
from decimal import Decimal

from breakwater_core.events import Side
from breakwater_core.ledger import SymbolBook

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Applied:
    """What a fill did to a position.

    Attributes:
        closed: Quantity that shrank it.
        realised: Profit of the closed part before fees.
        entry_value: Entry value of the closed part.
        entry_fees: Fees that were paid for opening the closed part.
        closing_fee: Share of the fill's fee that belongs to the closed part.
    """

    closed: Decimal
    realised: Decimal
    entry_value: Decimal
    entry_fees: Decimal
    closing_fee: Decimal


@dataclass(slots=True)
class Position:
    """One side of one symbol (hedge mode) or its net (one-way).

    Attributes:
        book: Size (negative when short), cost and average price.
        entry_fees: Fees paid for opening what is open.
        realised: Since the position was opened, fees and funding included.
        realised_total: Since the account began, fees and funding included.
    """

    symbol: str
    index: int
    book: SymbolBook = field(default_factory=SymbolBook)
    entry_fees: Decimal = ZERO
    realised: Decimal = ZERO
    realised_total: Decimal = ZERO
    created_ms: int = 0
    updated_ms: int = 0
    sequence: int = 0
    take_profit: Decimal | None = None
    stop_loss: Decimal | None = None
    protection: dict[str, str] = field(default_factory=dict)
    """Order ids of the take-profit and stop-loss orders, by kind."""

    @property
    def size(self) -> Decimal:
        """Base units; negative when short."""
        return self.book.size

    @property
    def average(self) -> Decimal:
        """Average entry price, rounded to 10 decimals; 0 when flat."""
        return self.book.average_price

    @property
    def entry_value(self) -> Decimal:
        """Value of what is open, as entered, quote currency."""
        return abs(self.book.cost)

    @property
    def side(self) -> Side | None:
        """Side that is held, or None when flat."""
        if not self.book.size:
            return None
        return Side.BUY if self.book.size > 0 else Side.SELL

    def unrealised(self, mark: Decimal) -> Decimal:
        """Return the profit that closing at the mark would realise, before fees."""
        return self.book.size * mark - self.book.cost

    def apply(self, signed_quantity: Decimal, price: Decimal, fee: Decimal, time_ms: int) -> Applied:
        """Book a fill: positive quantities buy. The fee is positive when paid."""
        before, quantity = abs(self.size), abs(signed_quantity)
        if not before:
            self.created_ms = time_ms
            self.realised = ZERO
        closed, realised = self.book.trade(signed_quantity, price)
        released_fees = entry_value = closing_fee = ZERO
        if closed:
            whole = closed == before
            closing_fee = fee if closed == quantity else fee * closed / quantity
            released_fees = self.entry_fees if whole else self.entry_fees * closed / before
            entry_value = closed * price - realised if signed_quantity < 0 else closed * price + realised
            self.entry_fees -= released_fees
        self.entry_fees += fee - closing_fee
        self.realised += realised - fee
        self.realised_total += realised - fee
        self.updated_ms = time_ms
        return Applied(closed, realised, entry_value, released_fees, closing_fee)

    def pay(self, amount: Decimal, time_ms: int) -> None:
        """Book a payment that belongs to the position, e.g. funding; positive is paid."""
        self.realised -= amount
        self.realised_total -= amount
        self.updated_ms = time_ms
