"""Trades of a run: what happened between a symbol's position leaving zero and coming back to it.

Money is quote currency. A result counts fees and funding.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Context, Decimal, DecimalException

from breakwater_core.decimals import MONEY
from breakwater_core.errors import InvalidInputError
from breakwater_core.events import FillKind, Side
from breakwater_core.ledger import SymbolBook
from breakwater_research.report_rows import FillRow

_AVERAGES = Context(prec=28)
"""For average prices, which are shown and not booked."""


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """One trade.

    Attributes:
        direction: BUY if the position was long, SELL if it was short.
        opened_ms: Time of the first fill.
        closed_ms: Time of the fill that closed the position; None while it is open.
        result: Realised so far, after fees and funding.
        quantity: Base units opened in all.
        entry_price: Average price of the fills that opened it.
        exit_price: Average price of the fills that closed it; None before the first.
        costs: Fees and funding so far, positive is paid.
    """

    account: str
    symbol: str
    direction: Side
    opened_ms: int
    closed_ms: int | None
    result: Decimal
    quantity: Decimal = Decimal(0)
    entry_price: Decimal | None = None
    exit_price: Decimal | None = None
    costs: Decimal = Decimal(0)

    @property
    def is_closed(self) -> bool:
        """Whether the position came back to zero."""
        return self.closed_ms is not None

    @property
    def is_won(self) -> bool:
        """Whether the trade is closed and earned more than its costs."""
        return self.is_closed and self.result > 0


def round_trips(fills: Iterable[FillRow]) -> tuple[RoundTrip, ...]:
    """Return the trades that the fills make, in the order in which they were opened.

    A fill that turns a position closes one trade and opens the next, its fee shared by quantity. Funding that arrives
    after a position was closed belongs to the symbol's last trade; before the first trade it belongs to none.

    Args:
        fills: Of all accounts and symbols, in order of time.

    Raises:
        InvalidInputError: If a quantity or price is not above 0, or a result has more digits than a ledger keeps.
    """
    trackers: dict[tuple[str, str], _Tracker] = {}
    trips: list[_Trip] = []
    for fill in fills:
        if not (fill.quantity > 0 and fill.price > 0):
            raise InvalidInputError(
                f"fills: {fill.symbol!r:.80}: quantity and price must be above 0, were {fill.quantity} and {fill.price}"
            )
        tracker = trackers.setdefault((fill.account, fill.symbol), _Tracker(trips))
        try:
            tracker.apply(fill)
        except DecimalException as error:
            raise InvalidInputError(f"fills: {fill.symbol!r:.80} has numbers of too many digits to add up") from error
    return tuple(trip.finished() for trip in trips)


@dataclass(slots=True)
class _Trip:
    """A trade in the making."""

    first: FillRow
    closed_ms: int | None = None
    result: Decimal = Decimal(0)
    costs: Decimal = Decimal(0)
    opened: Decimal = Decimal(0)
    opened_value: Decimal = Decimal(0)
    closed: Decimal = Decimal(0)
    closed_value: Decimal = Decimal(0)

    def add(self, amount: Decimal) -> None:
        self.result = MONEY.add(self.result, amount)

    def charge(self, cost: Decimal) -> None:
        self.add(cost.copy_negate())
        self.costs = MONEY.add(self.costs, cost)

    def open(self, quantity: Decimal, price: Decimal) -> None:
        self.opened = _AVERAGES.add(self.opened, quantity)
        self.opened_value = _AVERAGES.add(self.opened_value, _AVERAGES.multiply(quantity, price))

    def close(self, quantity: Decimal, price: Decimal) -> None:
        self.closed = _AVERAGES.add(self.closed, quantity)
        self.closed_value = _AVERAGES.add(self.closed_value, _AVERAGES.multiply(quantity, price))

    def finished(self) -> RoundTrip:
        first = self.first
        return RoundTrip(
            account=first.account,
            symbol=first.symbol,
            direction=first.side,
            opened_ms=first.exec_time_ms,
            closed_ms=self.closed_ms,
            result=self.result,
            quantity=self.opened,
            entry_price=_AVERAGES.divide(self.opened_value, self.opened) if self.opened else None,
            exit_price=_AVERAGES.divide(self.closed_value, self.closed) if self.closed else None,
            costs=self.costs,
        )


@dataclass(slots=True)
class _Tracker:
    """The position of one account and symbol and the trade that it belongs to."""

    trips: list[_Trip]
    book: SymbolBook = field(default_factory=SymbolBook)
    trip: _Trip | None = None

    def apply(self, fill: FillRow) -> None:
        if fill.kind is FillKind.FUNDING:
            if self.trip is not None:
                self.trip.charge(fill.fee)
            return
        was_flat = self.book.size == 0
        signed = fill.quantity if fill.side is Side.BUY else fill.quantity.copy_negate()  # unlike -x it never rounds
        closed, realised = self.book.trade(signed, fill.price)
        closing_fee = (
            fill.fee if closed == fill.quantity else MONEY.multiply(fill.fee, MONEY.divide(closed, fill.quantity))
        )
        if self.trip is not None and not was_flat:
            self.trip.add(realised)
            self.trip.charge(closing_fee)
            self.trip.close(closed, fill.price)
            if closed and (self.book.size == 0 or closed < fill.quantity):
                self.trip.closed_ms = fill.exec_time_ms
        if closed == fill.quantity:
            return
        if self.trip is None or was_flat or closed:
            self.trip = _Trip(fill)
            self.trips.append(self.trip)
        self.trip.charge(MONEY.subtract(fill.fee, closing_fee))
        self.trip.open(MONEY.subtract(fill.quantity, closed), fill.price)
