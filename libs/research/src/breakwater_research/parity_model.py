"""What a comparison of two reports finds: differences, each with its cause and its cost, and the tolerance for them."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

from breakwater_core.decimals import to_text
from breakwater_core.errors import InvalidInputError

_ZERO = Decimal(0)

Side = Literal["a", "b"]
"""One of the two reports."""


class Cause(StrEnum):
    """Why two reports differ; B is compared with A."""

    LATE_SIGNAL = "late_signal"
    """The same decision, its trigger is later in B."""
    EARLY_SIGNAL = "early_signal"
    """The same decision, its trigger is earlier in B."""
    DECISION = "decision"
    """Side, target or trigger price differ though the trigger's time does not."""
    SLIPPAGE = "slippage"
    """The same decision, another average price."""
    QUANTITY = "quantity"
    """Another quantity was ordered or filled."""
    STATUS = "status"
    """The order ended in another state."""
    LATE_FILL = "late_fill"
    """The last execution is later in B."""
    EARLY_FILL = "early_fill"
    """The last execution is earlier in B."""
    FILLS = "fills"
    """The same sums, made of other executions."""
    FEE = "fee"
    """Another rate of fees."""
    MISSED = "missed"
    """In A alone, and B does not say why."""
    EXTRA = "extra"
    """In B alone, and A does not say why."""
    REFUSED = "refused"
    """A rule refused the decision in the report that lacks the order."""
    EXPIRED = "expired"
    """The entry was too old in the report that lacks the order."""
    RATE_LIMITED = "rate_limited"
    """The request budget or the exchange's limit left no time for the order."""
    REJECTED = "rejected"
    """The exchange rejected the order in the report that lacks it."""
    UNKNOWN = "unknown"
    """What became of the order was never learnt."""
    FUNDING = "funding"
    """Other funding payments."""
    OTHER_FILL = "other_fill"
    """An execution without an order of the report: a liquidation, or one that someone else caused."""
    DAY = "day"
    """A figure of a closed day."""
    CONFIG = "config"
    """A setting."""
    COUNT = "count"
    """A counter of the run."""
    IDENTITY = "identity"
    """Ids that follow from the same run and decision, and do not agree."""

    @property
    def mirrored(self) -> "Cause":
        """What the difference is called with the reports exchanged."""
        return _MIRROR.get(self, self)


_MIRROR = {
    Cause.LATE_SIGNAL: Cause.EARLY_SIGNAL,
    Cause.EARLY_SIGNAL: Cause.LATE_SIGNAL,
    Cause.LATE_FILL: Cause.EARLY_FILL,
    Cause.EARLY_FILL: Cause.LATE_FILL,
    Cause.MISSED: Cause.EXTRA,
    Cause.EXTRA: Cause.MISSED,
}


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What is not listed as a difference; it counts in the total nevertheless.

    Attributes:
        bps: Prices, fee rates and figures of a day may differ by this much, basis points.
        time_ms: Executions may be apart by this much, milliseconds.
    """

    bps: Decimal = _ZERO
    time_ms: int = 0

    def __post_init__(self) -> None:
        if not (self.bps.is_finite() and self.bps >= 0 and self.time_ms >= 0):
            raise InvalidInputError(
                f"a tolerance must be finite and not negative, was {self.bps} bps and {self.time_ms} ms"
            )

    @property
    def is_exact(self) -> bool:
        """Whether nothing may differ."""
        return not self.bps and not self.time_ms


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which two reports differ.

    Attributes:
        cause: Why.
        field: Which value differs, by its name in the report.
        a: The value in A; empty if A has none.
        b: The value in B; empty if B has none.
        only_in: The report that alone has the order, day or execution; None: both have it.
        cost: What B paid more because of it, quote currency.
        cost_bps: The same of the order's filled value, basis points; None where there is no value to relate it to.
    """

    cause: Cause
    field: str
    a: str
    b: str
    account: str = ""
    symbol: str = ""
    day: date | None = None
    leg: str = ""
    attempt: int | None = None
    child: int | None = None
    only_in: Side | None = None
    cost: Decimal = _ZERO
    cost_bps: Decimal | None = None

    @property
    def subject(self) -> str:
        """What differs, for a person: `BTCUSDT entry`, with attempt and child where they are not the first."""
        number = "" if self.attempt in {None, 1} else f" attempt {self.attempt}"
        child = "" if not self.child else f" order {self.child + 1}"
        return f"{self.symbol} {self.leg}{number}{child}".strip()

    def as_values(self) -> dict[str, Any]:
        """Return the difference as plain values, decimals as text."""
        return {
            "cause": self.cause.value,
            "account": self.account,
            "symbol": self.symbol,
            "day": None if self.day is None else self.day.isoformat(),
            "leg": self.leg,
            "attempt": self.attempt,
            "child": self.child,
            "subject": self.subject,
            "only_in": self.only_in,
            "field": self.field,
            "a": self.a,
            "b": self.b,
            "cost": to_text(self.cost),
            "cost_bps": None if self.cost_bps is None else to_text(self.cost_bps),
        }


@dataclass(frozen=True, slots=True)
class Parity:
    """The result of a comparison.

    Attributes:
        differences: By account, day, symbol and order, then the rest; empty: the reports are equal.
        orders_equal: Orders of which no difference is listed.
        orders_different: Orders of which one is, those that one report alone has included.
        cost: What B's orders and funding cost more than A's, quote currency; also what is within the tolerance.
        total_bps: The same in basis points of the equity at the day's open, summed over accounts and days.
    """

    differences: tuple[Difference, ...]
    orders_equal: int
    orders_different: int
    cost: Decimal
    total_bps: Decimal

    @property
    def is_equal(self) -> bool:
        """Whether no difference was found."""
        return not self.differences

    def as_values(self) -> dict[str, Any]:
        """Return the result as plain values, decimals as text."""
        return {
            "equal": self.is_equal,
            "orders_equal": self.orders_equal,
            "orders_different": self.orders_different,
            "cost": to_text(self.cost),
            "total_bps": to_text(self.total_bps),
            "differences": [difference.as_values() for difference in self.differences],
        }
