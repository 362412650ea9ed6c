"""One request and its answer, and what the gateway knows about an endpoint."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from paper_exchange_service.api.forms import Params
from paper_exchange_service.engine.accounts import Account
from paper_exchange_service.engine.engine import Engine
from paper_exchange_service.engine.orders import Order
from paper_exchange_service.engine.refusal import Refusal

Result = dict[str, Any]


class Desk(Protocol):
    """What an endpoint needs of the venue behind it."""

    engine: Engine

    def now_ms(self) -> int:
        """Return the venue's time."""

    def server_ms(self) -> int:
        """Return the time that the servers tell."""

    def submit(self, order: Order, at_ms: int) -> None:
        """Have an accepted order matched after the venue's latency."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: `result` and, for batches, the codes of the items."""

    result: Result
    items: tuple[tuple[int, str], ...] | None = None

    @property
    def extra(self) -> Result:
        """Bybit's `retExtInfo`."""
        return {} if self.items is None else {"list": [{"code": code, "msg": text} for code, text in self.items]}


@dataclass(frozen=True, slots=True)
class Call:
    """A request that passed the gateway.

    Attributes:
        at_ms: Time at which it happens: its arrival, or in a replay its stamp.
        allowed: How many items of a batch the rate limit lets through; None: all.
        key: Which of the account's keys signed it; empty: the first.
    """

    desk: Desk
    params: Params
    at_ms: int
    signed_by: Account | None = None
    allowed: int | None = None
    key: str = ""

    @property
    def engine(self) -> Engine:
        """The engine behind the desk."""
        return self.desk.engine

    @property
    def account(self) -> Account:
        """The account that signed the request.

        Raises:
            Refusal: If nobody did.
        """
        if self.signed_by is None:
            raise Refusal(10003, "API key is invalid.")
        return self.signed_by


class Waits(StrEnum):
    """How far prices must reach before a replay answers."""

    NOT = "not"
    STAMP = "stamp"
    MATCH = "match"


class Settles(StrEnum):
    """What is carried forward to the time of the request before it is answered."""

    NOTHING = "nothing"
    SYMBOL = "symbol"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An operation of the API.

    Attributes:
        handler: Gives the answer, or raises a Refusal.
        private: Needs a signature.
        changes: Needs a key that is not read-only.
        limit: Requests per second and account; 0: only the limit per address.
        group: Name under which the limit is counted.
        batch: Counts each item of `request` against the limit.
        needs: Right of the key that it needs.
    """

    handler: Callable[[Call], Answer]
    private: bool = False
    changes: bool = False
    limit: int = 0
    group: str = ""
    batch: bool = False
    waits: Waits = Waits.NOT
    settles: Settles = Settles.NOTHING
    needs: str = field(default="")


OTHER_CATEGORIES = frozenset({"spot", "inverse", "option"})
"""Categories that exist at Bybit and have nothing in them here."""


def listing(handler: Callable[[Call], Answer]) -> Callable[[Call], Answer]:
    """Return a query that answers other categories than linear with an empty list."""

    def answer(call: Call) -> Answer:
        category = call.params.get("category")
        if category in OTHER_CATEGORIES:
            return Answer({"nextPageCursor": "", "category": category, "list": []})
        return handler(call)

    return answer
