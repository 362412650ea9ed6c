"""The durable record of one intent: which orders it may have sent, and how it ended.

It is written before the first request of each order, so whoever takes the intent over knows every id that may be at
the exchange. Quantities are base units, prices quote currency per 1 base unit.
"""

import json
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any

from breakwater_core.decimals import from_text, to_text
from breakwater_core.errors import InvariantError
from breakwater_core.events import OrderStatus, Side
from breakwater_core.identities import order_link_id


class ChildState(StrEnum):
    """How far an order of an intent is."""

    PLANNED = "planned"
    """Never sent."""
    SENT = "sent"
    """May be at the exchange."""
    ENDED = "ended"
    """Nothing more happens to it."""


@dataclass(frozen=True, slots=True)
class Child:
    """One order of an intent.

    Attributes:
        closes_all: It closes the whole position, however small; `quantity` is then what the position was.
        after_ms: In event mode its requests are stamped no earlier than this; 0: with the intent's own time.
        ended_ms: Venue time of its end, 0 before.
    """

    number: int
    order_link_id: str
    side: Side
    quantity: Decimal
    state: ChildState
    after_ms: int = 0
    filled_quantity: Decimal = Decimal(0)
    ended_ms: int = 0
    closes_all: bool = False

    def ended(self, *, filled_quantity: Decimal, at_ms: int) -> "Child":
        """Return the order as one to which nothing more happens."""
        return replace(self, state=ChildState.ENDED, filled_quantity=filled_quantity, ended_ms=at_ms)

    def sent(self, *, side: Side, quantity: Decimal, after_ms: int, closes_all: bool = False) -> "Child":
        """Return the order as one that is about to be sent."""
        return replace(
            self, state=ChildState.SENT, side=side, quantity=quantity, after_ms=after_ms, closes_all=closes_all
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an intent ended: what its last order event says besides the intent's own facts.

    Attributes:
        flat_at_ms: Venue time as of which the exchange reported the position as 0; 0 if that was not asked.
    """

    status: OrderStatus
    child: int
    order_link_id: str
    side: Side
    quantity: Decimal
    filled_quantity: Decimal
    average_price: Decimal | None
    event_time_ms: int
    reason: str = ""
    detail: str = ""
    flat_at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The oldest orders of an intent, of which only the sum is kept: an exit may need thousands before it succeeds."""

    count: int = 0
    filled_quantity: Decimal = Decimal(0)


_KEPT_ORDERS = 16
"""Orders that a record names; of those before, the ones that have ended are summed up."""


@dataclass(frozen=True, slots=True)
class IntentRecord:
    """What is known durably of one intent; `outcome` is None while it is open."""

    intent_id: str
    children: tuple[Child, ...] = ()
    outcome: Outcome | None = None
    forgotten: Forgotten = field(default_factory=Forgotten)

    @property
    def is_closed(self) -> bool:
        """Whether the intent has its outcome."""
        return self.outcome is not None

    @property
    def filled_quantity(self) -> Decimal:
        """Base units that the ended orders have filled."""
        return sum((child.filled_quantity for child in self.children), self.forgotten.filled_quantity)

    @property
    def next_number(self) -> int:
        """Number of the next order."""
        return self.forgotten.count + len(self.children)

    @property
    def fruitless_rounds(self) -> int:
        """Ended orders in a row, the last ones, that filled nothing."""
        ended = [child for child in self.children if child.state is ChildState.ENDED]
        return next((place for place, child in enumerate(reversed(ended)) if child.filled_quantity), len(ended))

    def child_in_state(self, state: ChildState) -> Child | None:
        """Return the first order in the state."""
        return next((child for child in self.children if child.state is state), None)

    def with_new_child(
        self,
        side: Side,
        quantity: Decimal,
        *,
        state: ChildState = ChildState.SENT,
        after_ms: int = 0,
        closes_all: bool = False,
    ) -> "IntentRecord":
        """Return the record with one more order, under the next number."""
        number = self.next_number
        link_id = order_link_id(self.intent_id, number)
        child = Child(number, link_id, side, quantity, state, after_ms, closes_all=closes_all)
        kept, forgotten = self.children, self.forgotten
        while len(kept) >= _KEPT_ORDERS and kept[0].state is ChildState.ENDED:
            forgotten = Forgotten(forgotten.count + 1, forgotten.filled_quantity + kept[0].filled_quantity)
            kept = kept[1:]
        return replace(self, children=(*kept, child), forgotten=forgotten)

    def with_child(self, child: Child) -> "IntentRecord":
        """Return the record with the order of this number replaced."""
        children = tuple(child if known.number == child.number else known for known in self.children)
        return replace(self, children=children)

    def closed(self, outcome: Outcome) -> "IntentRecord":
        """Return the record with its outcome."""
        return replace(self, outcome=outcome)

    def encode(self) -> bytes:
        """Return the record as JSON."""
        values: dict[str, Any] = {
            "intent_id": self.intent_id,
            "children": [
                {
                    "child": child.number,
                    "order_link_id": child.order_link_id,
                    "side": child.side.value,
                    "quantity": to_text(child.quantity),
                    "state": child.state.value,
                    "after_ms": child.after_ms,
                    "filled_quantity": to_text(child.filled_quantity),
                    "ended_ms": child.ended_ms,
                    "closes_all": child.closes_all,
                }
                for child in self.children
            ],
        }
        if self.forgotten.count:
            filled = to_text(self.forgotten.filled_quantity)
            values["forgotten"] = {"count": self.forgotten.count, "filled_quantity": filled}
        if self.outcome is not None:
            outcome = self.outcome
            average = outcome.average_price
            values["outcome"] = {
                "status": outcome.status.value,
                "child": outcome.child,
                "order_link_id": outcome.order_link_id,
                "side": outcome.side.value,
                "quantity": to_text(outcome.quantity),
                "filled_quantity": to_text(outcome.filled_quantity),
                "average_price": None if average is None else to_text(average),
                "event_time_ms": outcome.event_time_ms,
                "reason": outcome.reason,
                "detail": outcome.detail,
                "flat_at_ms": outcome.flat_at_ms,
            }
        return json.dumps(values, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, payload: bytes) -> "IntentRecord":
        """Return the record that `encode` wrote.

        Raises:
            InvariantError: If it is not one.
        """
        try:
            values = json.loads(payload)
            outcome, forgotten = values.get("outcome"), values.get("forgotten")
            return cls(
                intent_id=values["intent_id"],
                children=tuple(_child(child) for child in values["children"]),
                outcome=None if outcome is None else _outcome(outcome),
                forgotten=Forgotten()
                if forgotten is None
                else Forgotten(forgotten["count"], from_text(forgotten["filled_quantity"])),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvariantError(
                f"the record of an intent cannot be read ({type(error).__name__}: {error}); look at it in the "
                "bucket 'intents' and at the orders of its id before removing it"
            ) from error


def _child(values: dict[str, Any]) -> Child:
    return Child(
        number=values["child"],
        order_link_id=values["order_link_id"],
        side=Side(values["side"]),
        quantity=from_text(values["quantity"]),
        state=ChildState(values["state"]),
        after_ms=values["after_ms"],
        filled_quantity=from_text(values["filled_quantity"]),
        ended_ms=values["ended_ms"],
        closes_all=values.get("closes_all", False),
    )


def _outcome(values: dict[str, Any]) -> Outcome:
    average = values["average_price"]
    return Outcome(
        status=OrderStatus(values["status"]),
        child=values["child"],
        order_link_id=values["order_link_id"],
        side=Side(values["side"]),
        quantity=from_text(values["quantity"]),
        filled_quantity=from_text(values["filled_quantity"]),
        average_price=None if average is None else from_text(average),
        event_time_ms=values["event_time_ms"],
        reason=values["reason"],
        detail=values["detail"],
        flat_at_ms=values.get("flat_at_ms", 0),
    )
