"""What one account should hold: its fills and the other movements of its wallet, added up; no I/O.

A position is the sum of its fills, in the exchange's order, since it was flat. The wallet is the exact sum of all
cash flows plus the cost of what is open, which `breakwater_core.ledger` keeps: order matters only while a position that
was closed in part is open. Quantities are base units, negative when sold; money is quote currency; times are
milliseconds of the exchange.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any

from breakwater_bybit.model import PositionState, TransactionEntry
from breakwater_core.decimals import MONEY, from_text, to_text
from breakwater_core.errors import InvariantError
from breakwater_core.events import Fill, FillKind, Position
from breakwater_core.ledger import SymbolBook

_ZERO = Decimal(0)
_OF_FILLS = frozenset({"TRADE", "SETTLEMENT", "LIQUIDATION", "ADL", "DELIVERY"})
"""Types of wallet entries that come with an execution, which books them."""
_LATE_MS = 3_600_000
"""A fill may arrive so long after later ones and still find its place."""


class Owner(StrEnum):
    """Who ordered a fill."""

    OWN = "own"
    """An intent of this run."""
    ADOPTED = "adopted"
    """Somebody else; counted as ours since."""
    NOBODY = "nobody"
    """Somebody else, for certain."""
    UNCERTAIN = "uncertain"
    """It cannot be told."""
    CLOSING = "closing"
    """The account role, to close what nobody ordered."""
    FORCED = "forced"
    """The exchange: liquidation, auto-deleveraging, settlement."""


OwnerOf = Callable[[str], Owner]
"""Tells who sent the order with a link id."""

_HOLDERS = (Owner.OWN, Owner.ADOPTED, Owner.NOBODY, Owner.UNCERTAIN)
_REDUCES_FIRST: dict[Owner, tuple[Owner, ...]] = {
    Owner.OWN: (Owner.OWN, Owner.ADOPTED, Owner.NOBODY, Owner.UNCERTAIN),
    Owner.UNCERTAIN: (Owner.UNCERTAIN, Owner.NOBODY, Owner.ADOPTED, Owner.OWN),
}
_FOREIGN_FIRST = (Owner.NOBODY, Owner.ADOPTED, Owner.UNCERTAIN, Owner.OWN)


class Claim(StrEnum):
    """Why a fill's owner does not follow from its order."""

    NONE = ""
    FORCED = "forced"
    ADOPTED = "adopted"
    OPENING = "opening"
    """No fill, but what was held when the books were opened."""


@dataclass(frozen=True, slots=True)
class BookedFill:
    """A fill as the books keep it; `quantity` is signed."""

    symbol: str
    time_ms: int
    sequence: int
    exec_id: str
    link_id: str
    quantity: Decimal
    price: Decimal
    claim: Claim = Claim.NONE

    def owner(self, owner_of: OwnerOf) -> Owner:
        """Return who ordered it."""
        match self.claim:
            case Claim.FORCED:
                return Owner.FORCED
            case Claim.ADOPTED:
                return Owner.ADOPTED
            case Claim.OPENING:
                return Owner.UNCERTAIN
        return owner_of(self.link_id)

    @property
    def place(self) -> tuple[int, int, str]:
        """Its place in the exchange's order."""
        return self.time_ms, self.sequence, self.exec_id

    def as_values(self) -> list[Any]:
        """Return it for JSON."""
        return [
            self.symbol,
            self.time_ms,
            self.sequence,
            self.exec_id,
            self.link_id,
            to_text(self.quantity),
            to_text(self.price),
            self.claim.value,
        ]

    @classmethod
    def of_values(cls, values: list[Any]) -> "BookedFill":
        """Return what `as_values` gave."""
        symbol, time_ms, sequence, exec_id, link_id, quantity, price, claim = values
        return cls(
            symbol, int(time_ms), int(sequence), exec_id, link_id, from_text(quantity), from_text(price), Claim(claim)
        )


@dataclass(slots=True)
class _Position:
    """One symbol: fills since it was flat some time ago, and sums over all fills; `cash` is what they brought in."""

    fills: list[BookedFill] = field(default_factory=list)
    cash: Decimal = _ZERO
    fees: Decimal = _ZERO
    funding: Decimal = _ZERO

    @property
    def size(self) -> Decimal:
        return sum((fill.quantity for fill in self.fills), _ZERO)

    @property
    def cost(self) -> Decimal:
        book = SymbolBook()
        for fill in self.fills:
            book.trade(fill.quantity, fill.price)
        return book.cost

    @property
    def wallet_part(self) -> Decimal:
        paid = MONEY.add(self.fees, self.funding)
        return MONEY.subtract(MONEY.add(self.cash, self.cost), paid)

    def add(self, fill: BookedFill) -> None:
        self.cash = MONEY.subtract(self.cash, MONEY.multiply(fill.quantity, fill.price))
        self.fills.append(fill)
        self.fills.sort(key=lambda known: known.place)
        self._forget(self.fills[-1].time_ms - _LATE_MS)

    def _forget(self, before_ms: int) -> None:
        """Drop the fills up to the last moment before a time at which the position was flat."""
        size, settled = _ZERO, 0
        for count, fill in enumerate(self.fills, start=1):
            size += fill.quantity
            if fill.time_ms >= before_ms:
                break
            if size == 0:
                settled = count
        del self.fills[:settled]


class AccountLedger:
    """The books of one account in one run."""

    def __init__(self) -> None:
        """Begin with empty books; they are open once the first wallet is known."""
        self._positions: dict[str, _Position] = {}
        self._initial: Decimal | None = None
        self._moved = _ZERO
        self._contained_ms = 0
        self._entries_from_ms = 0
        self._entries: dict[str, int] = {}
        self._unjudged: list[BookedFill] = []

    @property
    def is_open(self) -> bool:
        """Whether the wallet that the books begin with is known."""
        return self._initial is not None

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols with an open position, sorted."""
        return tuple(sorted(symbol for symbol, position in self._positions.items() if position.size))

    @property
    def wallet_balance(self) -> Decimal:
        """What the wallet should hold."""
        balance = MONEY.add(self._initial or _ZERO, self._moved)
        for position in self._positions.values():
            balance = MONEY.add(balance, position.wallet_part)
        return balance

    @property
    def unjudged(self) -> tuple[BookedFill, ...]:
        """Fills of which nobody has asked yet who ordered them."""
        return tuple(self._unjudged)

    def size(self, symbol: str) -> Decimal:
        """Return what should be held."""
        position = self._positions.get(symbol)
        return _ZERO if position is None else position.size

    def link_ids(self) -> set[str]:
        """Return the order link ids on whose owner something depends."""
        fills = [*self._unjudged, *(fill for position in self._positions.values() for fill in position.fills)]
        return {fill.link_id for fill in fills if fill.claim is Claim.NONE}

    # -- booking -----------------------------------------------------------------------------------------------------

    def open(self, *, wallet_balance: Decimal, positions: Iterable[PositionState | Position], at_ms: int) -> None:
        """Open the books with what the exchange states at a time, after the fills booked so far."""
        for state in positions:
            missing = state.size - self.size(state.symbol)
            if missing:
                price = state.average_price or _ZERO
                opening = BookedFill(
                    state.symbol, 0, 0, f"opening/{state.symbol}", "", missing, price, claim=Claim.OPENING
                )
                self._positions.setdefault(state.symbol, _Position()).add(opening)
                self._unjudged.append(opening)
        self._initial = MONEY.add(self._initial or _ZERO, MONEY.subtract(wallet_balance, self.wallet_balance))
        self._contained_ms = self._entries_from_ms = at_ms

    def apply(self, fill: Fill, sequence: int = 0) -> None:
        """Book a fill that was not booked before; `sequence` tells fills of one millisecond apart."""
        position = self._positions.setdefault(fill.symbol, _Position())
        if fill.kind is FillKind.FUNDING:
            position.funding = MONEY.add(position.funding, fill.fee)
            return
        position.fees = MONEY.add(position.fees, fill.fee)
        booked = BookedFill(
            symbol=fill.symbol,
            time_ms=fill.exec_time_ms,
            sequence=sequence,
            exec_id=fill.exec_id,
            link_id=fill.order_link_id,
            quantity=fill.quantity * fill.side.sign,
            price=fill.price,
            claim=Claim.NONE if fill.kind is FillKind.TRADE else Claim.FORCED,
        )
        position.add(booked)
        if booked.claim is Claim.NONE:
            self._unjudged.append(booked)

    def entries_from_ms(self, overlap_ms: int) -> int:
        """Return from when the wallet's entries are to be read next."""
        return max(0, self._entries_from_ms - overlap_ms)

    def book_entries(
        self, entries: Iterable[TransactionEntry], *, through_ms: int, overlap_ms: int
    ) -> list[TransactionEntry]:
        """Book transfers and whatever else moved the wallet without an execution; return those that are new.

        What happened before the books were opened is contained in their first wallet.
        """
        new = []
        for entry in entries:
            key = f"{entry.entry_id}/{entry.entry_type}"
            is_known = key in self._entries or entry.time_ms <= self._contained_ms
            if entry.entry_type in _OF_FILLS or is_known:
                continue
            self._entries[key] = entry.time_ms
            self._moved = MONEY.add(self._moved, entry.change)
            new.append(entry)
        self._entries_from_ms = max(self._entries_from_ms, through_ms)
        oldest_ms = self.entries_from_ms(overlap_ms)
        self._entries = {key: at_ms for key, at_ms in self._entries.items() if at_ms >= oldest_ms}
        return new

    # -- who ordered it ----------------------------------------------------------------------------------------------

    def judged(self, fills: Iterable[BookedFill]) -> None:
        """Take note that these fills were judged, and told of."""
        done = {(fill.exec_id, fill.quantity) for fill in fills}
        self._unjudged = [fill for fill in self._unjudged if (fill.exec_id, fill.quantity) not in done]

    def parts(self, symbol: str, owner_of: OwnerOf) -> dict[Owner, Decimal]:
        """Return the position by who ordered it: own, adopted, nobody, uncertain; all of one sign.

        Whoever reduces the position reduces what is theirs first; forced closes and closings take what nobody ordered.
        """
        held = dict.fromkeys(_HOLDERS, _ZERO)
        for fill in self._fills(symbol):
            owner = fill.owner(owner_of)
            left = fill.quantity
            for holder in _REDUCES_FIRST.get(owner, _FOREIGN_FIRST):
                if held[holder] * left < 0:
                    taken = min(abs(held[holder]), abs(left)).copy_sign(left)
                    held[holder] += taken
                    left -= taken
            if left:
                held[owner if owner in held else Owner.UNCERTAIN] += left
        return held

    def newest_of(self, symbol: str, owner: Owner, owner_of: OwnerOf) -> BookedFill | None:
        """Return the newest open fill of an owner."""
        found = [fill for fill in self._fills(symbol) if fill.owner(owner_of) is owner]
        return found[-1] if found else None

    def adopt(self, symbol: str, owner_of: OwnerOf) -> None:
        """Count what nobody ordered as ours from now on."""
        position = self._positions[symbol]
        position.fills = [
            replace(fill, claim=Claim.ADOPTED) if fill.owner(owner_of) is Owner.NOBODY else fill
            for fill in position.fills
        ]

    def _fills(self, symbol: str) -> list[BookedFill]:
        position = self._positions.get(symbol)
        return [] if position is None else position.fills

    # -- keeping -----------------------------------------------------------------------------------------------------

    def as_values(self) -> dict[str, Any]:
        """Return the books for JSON, decimals as text."""
        return {
            "initial": None if self._initial is None else to_text(self._initial),
            "moved": to_text(self._moved),
            "contained_ms": self._contained_ms,
            "entries_from_ms": self._entries_from_ms,
            "entries": self._entries,
            "unjudged": [fill.as_values() for fill in self._unjudged],
            "positions": {
                symbol: {
                    "cash": to_text(position.cash),
                    "fees": to_text(position.fees),
                    "funding": to_text(position.funding),
                    "fills": [fill.as_values() for fill in position.fills],
                }
                for symbol, position in sorted(self._positions.items())
            },
        }

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> "AccountLedger":
        """Return what `as_values` gave.

        Raises:
            InvariantError: If it is something else.
        """
        ledger = cls()
        try:
            initial = values["initial"]
            ledger._initial = None if initial is None else from_text(initial)
            ledger._moved = from_text(values["moved"])
            ledger._contained_ms = int(values["contained_ms"])
            ledger._entries_from_ms = int(values["entries_from_ms"])
            ledger._entries = {str(key): int(time_ms) for key, time_ms in values["entries"].items()}
            ledger._unjudged = [BookedFill.of_values(row) for row in values["unjudged"]]
            for symbol, row in values["positions"].items():
                ledger._positions[symbol] = _Position(
                    fills=[BookedFill.of_values(fill) for fill in row["fills"]],
                    cash=from_text(row["cash"]),
                    fees=from_text(row["fees"]),
                    funding=from_text(row["funding"]),
                )
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
            raise InvariantError(
                f"the books of an account cannot be read ({type(error).__name__}: {error}); look at its cursor in the "
                "bucket 'account'"
            ) from error
        return ledger
