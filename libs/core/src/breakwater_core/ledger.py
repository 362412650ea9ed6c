"""The ledger of one run and account: fills in, positions, realised result and wallet balance out, to the last decimal.

One-way netting: a symbol has one position; a fill against it reduces, closes or turns it. Money is quote currency,
quantities base units, prices quote currency per 1 base unit.

How the exchange rounds average prices is not published, so the ledger never divides money. A position carries its
`cost`, the exact sum of signed quantity times price. Closing all of it realises proceeds - cost: once an account is
flat its wallet is the exact sum of its cash flows. Only a partial close needs an average price; it realises
closed quantity * (price - average price), the average rounded to 10 decimals (half even) when the position last grew,
and what that rounding leaves over stays in `cost` until the position is closed. So equity = wallet + size * mark - cost
is exact at any time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow

from breakwater_core.errors import InvalidInputError, InvariantError
from breakwater_core.events import Fill, FillKind

AVERAGE_PRICE_STEP = Decimal("1E-10")
"""Average prices are rounded to this, half to even."""

_EXACT = Context(prec=120, traps=[InvalidOperation, DivisionByZero, Overflow, Inexact])
_DIVISION = Context(prec=120, rounding=ROUND_HALF_EVEN)
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class AppliedFill:
    """A fill and what it did.

    Attributes:
        fill: As reported.
        closed_quantity: How much of the position before it was closed, base units, not negative.
        realised_pnl: Result of that, fees not counted.
    """

    fill: Fill
    closed_quantity: Decimal
    realised_pnl: Decimal


@dataclass(slots=True)
class SymbolBook:
    """The books of one symbol.

    Attributes:
        size: Position, base units; negative is short.
        cost: Signed sum of quantity * price still carried by the position; 0 when flat.
        average_price: Average entry price, 0 when flat.
        realised_pnl: Sum of results, fees and funding not counted.
        fees: Sum of trading fees, positive is paid.
        funding: Sum of funding, positive is paid.
    """

    size: Decimal = _ZERO
    cost: Decimal = _ZERO
    average_price: Decimal = _ZERO
    realised_pnl: Decimal = _ZERO
    fees: Decimal = _ZERO
    funding: Decimal = _ZERO

    def unrealised_pnl(self, mark_price: Decimal) -> Decimal:
        """Return size * mark price - cost."""
        return _EXACT.subtract(_EXACT.multiply(self.size, mark_price), self.cost)

    def trade(self, signed_quantity: Decimal, price: Decimal) -> tuple[Decimal, Decimal]:
        """Book a trade; return the closed quantity (not negative) and the result realised."""
        if self.size * signed_quantity >= 0:
            self._grow(signed_quantity, price)
            return _ZERO, _ZERO
        held = self.size.copy_abs()  # unlike abs() it never rounds
        closed = min(held, signed_quantity.copy_abs())
        closing = closed.copy_sign(self.size)  # signed part of the position that goes
        released = self.cost if closed == held else _EXACT.multiply(closing, self.average_price)
        result = _EXACT.subtract(_EXACT.multiply(closing, price), released)
        self.realised_pnl = _EXACT.add(self.realised_pnl, result)
        self.cost = _EXACT.subtract(self.cost, released)
        self.size = _EXACT.subtract(self.size, closing)
        if self.size == 0:
            self.size = self.cost = self.average_price = _ZERO
        rest = _EXACT.add(signed_quantity, closing)
        if rest != 0:
            self._grow(rest, price)
        return closed, result

    def _grow(self, signed_quantity: Decimal, price: Decimal) -> None:
        self.size = _EXACT.add(self.size, signed_quantity)
        self.cost = _EXACT.add(self.cost, _EXACT.multiply(signed_quantity, price))
        self.average_price = _DIVISION.divide(self.cost, self.size).quantize(
            AVERAGE_PRICE_STEP, rounding=ROUND_HALF_EVEN, context=_DIVISION
        )


@dataclass(slots=True)
class Ledger:
    """The books of one account in one run.

    Attributes:
        run_id: Run that every fill must belong to.
        account: Account that every fill must belong to.
        initial_balance: Wallet before the first fill.
    """

    run_id: str
    account: str
    initial_balance: Decimal
    _books: dict[str, SymbolBook] = field(default_factory=dict)
    _applied: dict[str, AppliedFill] = field(default_factory=dict)
    _transfers: dict[str, Decimal] = field(default_factory=dict)

    def apply(self, fill: Fill) -> bool:
        """Book a fill exactly once; return False if it is known already.

        Funding moves the wallet by `fee` alone; every other kind changes the position.

        Raises:
            InvariantError: If the fill belongs to another run or account, or its id is known with other content.
            InvalidInputError: If quantity or price is not above 0.
        """
        known = self._applied.get(fill.exec_id)
        if known is not None:
            if known.fill != fill:
                raise InvariantError(
                    f"execution {fill.exec_id} came twice with different content: {known.fill} and {fill}; "
                    "compare both with the exchange's execution list before trading on"
                )
            return False
        if (fill.run_id, fill.account) != (self.run_id, self.account):
            raise InvariantError(
                f"execution {fill.exec_id} is of run {fill.run_id!r}, account {fill.account!r}; this ledger keeps "
                f"run {self.run_id!r}, account {self.account!r}"
            )
        if not (fill.quantity > 0 and fill.price > 0):
            raise InvalidInputError(
                f"execution {fill.exec_id}: quantity and price must be above 0, were {fill.quantity} and {fill.price}"
            )
        book = self._books.setdefault(fill.symbol, SymbolBook())
        closed, result = _ZERO, _ZERO
        if fill.kind is FillKind.FUNDING:
            book.funding = _EXACT.add(book.funding, fill.fee)
        else:
            closed, result = book.trade(_EXACT.multiply(fill.quantity, Decimal(fill.side.sign)), fill.price)
            book.fees = _EXACT.add(book.fees, fill.fee)
        self._applied[fill.exec_id] = AppliedFill(fill, closed, result)
        return True

    def apply_transfer(self, transfer_id: str, amount: Decimal) -> bool:
        """Book a deposit (positive) or withdrawal (negative) exactly once; return False if it is known already.

        Raises:
            InvariantError: If the id is known with another amount.
        """
        known = self._transfers.get(transfer_id)
        if known is not None and known != amount:
            raise InvariantError(f"transfer {transfer_id} came twice with different amounts: {known} and {amount}")
        self._transfers[transfer_id] = amount
        return known is None

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols that ever had a fill, sorted."""
        return tuple(sorted(self._books))

    @property
    def open_symbols(self) -> tuple[str, ...]:
        """Symbols with an open position, sorted."""
        return tuple(symbol for symbol in self.symbols if self._books[symbol].size != 0)

    @property
    def fills_total(self) -> int:
        """Number of fills booked."""
        return len(self._applied)

    def book(self, symbol: str) -> SymbolBook:
        """Return the books of a symbol; an empty one if it never had a fill."""
        return self._books.get(symbol, SymbolBook())

    def applied(self, exec_id: str) -> AppliedFill | None:
        """Return what a fill did, or None if it is not known."""
        return self._applied.get(exec_id)

    @property
    def realised_pnl(self) -> Decimal:
        """Sum of realised results over all symbols, fees and funding not counted."""
        return _total(book.realised_pnl for book in self._books.values())

    @property
    def fees(self) -> Decimal:
        """Sum of trading fees, positive is paid."""
        return _total(book.fees for book in self._books.values())

    @property
    def funding(self) -> Decimal:
        """Sum of funding, positive is paid."""
        return _total(book.funding for book in self._books.values())

    @property
    def net_deposits(self) -> Decimal:
        """Deposits - withdrawals."""
        return _total(self._transfers.values())

    @property
    def wallet_balance(self) -> Decimal:
        """Initial balance + net deposits + realised results - fees - funding."""
        gained = _total((self.initial_balance, self.net_deposits, self.realised_pnl))
        return _EXACT.subtract(gained, _EXACT.add(self.fees, self.funding))

    def equity(self, mark_prices: Mapping[str, Decimal]) -> Decimal:
        """Return the wallet balance plus the unrealised result of all open positions.

        Args:
            mark_prices: Price per symbol; every open one must be named.

        Raises:
            InvalidInputError: If the price of an open symbol is missing.
        """
        missing = [symbol for symbol in self.open_symbols if symbol not in mark_prices]
        if missing:
            raise InvalidInputError(f"no mark price for {', '.join(missing)}, whose position is open")
        open_results = [self._books[symbol].unrealised_pnl(mark_prices[symbol]) for symbol in self.open_symbols]
        return _total((self.wallet_balance, *open_results))


def _total(amounts: Iterable[Decimal]) -> Decimal:
    total = _ZERO
    for amount in amounts:
        total = _EXACT.add(total, amount)
    return total
