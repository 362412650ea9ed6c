"""One order in two reports: what differs, why, and what it cost; see `parity` for the formula."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from breakwater_core.decimals import MONEY, to_text
from breakwater_core.events import OrderStatus
from breakwater_core.performance import SLIPPAGE_STEP
from breakwater_research.parity_model import Cause, Difference, Side, Tolerance
from breakwater_research.parity_rows import ComparedOrder, DecisionKey

BPS = Decimal(10_000)
_ZERO = Decimal(0)
_REJECTIONS = frozenset(
    {
        "bad_parameter",
        "insufficient_margin",
        "reduce_only",
        "price_out_of_range",
        "trigger_price",
        "too_many_orders",
        "position_limit",
        "not_tradable",
        "mode_locked",
        "account_restricted",
        "bad_endpoint",
        "other",
    }
)
"""Reasons that only the exchange gives; those of its own engine begin with `EC_` (Bybit v5 docs, "rejectReason")."""


@dataclass(frozen=True, slots=True)
class OrderComparison:
    """What became of one order in two reports.

    Attributes:
        differences: Those beyond the tolerance.
        cost: What B paid more, quote currency, within the tolerance or not.
    """

    differences: tuple[Difference, ...]
    cost: Decimal


def cause_of_reason(reason: str) -> Cause:
    """Return the cause that the reason of a refusal stands for."""
    if reason == "expired":
        return Cause.EXPIRED
    if "rate_limit" in reason or "budget" in reason:
        return Cause.RATE_LIMITED
    if reason in {"not_found_out", "unknown"}:
        return Cause.UNKNOWN
    if reason in _REJECTIONS or reason.startswith("EC_"):
        return Cause.REJECTED
    return Cause.REFUSED


def bps_of(cost: Decimal, value: Decimal) -> Decimal | None:
    """Return a cost in basis points of a value, rounded to 0.0001; None of no value."""
    if not value > 0:
        return None
    ratio = MONEY.divide(MONEY.multiply(cost, BPS), value)
    return ratio.quantize(SLIPPAGE_STEP, rounding=ROUND_HALF_EVEN, context=MONEY)


def compare_order(a: ComparedOrder, b: ComparedOrder, mark: Decimal, tolerance: Tolerance) -> OrderComparison:
    """Compare an order that both reports have.

    Args:
        a: The order in A.
        b: The order in B.
        mark: Price at which the day's position was closed; see `parity`.
        tolerance: What is not listed.
    """
    pair = _Pair(a, b, mark, tolerance)
    found = [*pair.signal(), *pair.decision(), *pair.quantity(), *pair.status(), *pair.price()]
    found += [*pair.fee(), *pair.time()]
    if tolerance.is_exact:
        found += [*pair.fills(found), *pair.identity()]
    return OrderComparison(tuple(found), pair.cost)


def order_of_one(order: ComparedOrder, side: Side, mark: Decimal, reason: str | None) -> OrderComparison:
    """Return the difference that an order of one report alone is.

    Args:
        order: The order.
        side: The report that has it.
        mark: Price at which the day's position was closed.
        reason: Why the other report refused the decision; None: it does not say.
    """
    cost = MONEY.multiply(order.sign, MONEY.subtract(order.value, MONEY.multiply(order.filled, mark)))
    cost = MONEY.add(cost, order.fee)
    if side == "a":
        cost = -cost
    cause = Cause.MISSED if side == "a" else Cause.EXTRA
    if reason is not None:
        cause = cause_of_reason(reason)
    text = _summary(order)
    other = "" if reason is None else reason
    difference = Difference(
        cause,
        "order",
        text if side == "a" else other,
        text if side == "b" else other,
        **subject_of(order.key.decision, order.key.child),
        only_in=side,
        cost=cost,
        cost_bps=bps_of(cost, order.value),
    )
    return OrderComparison((difference,), cost)


def subject_of(decision: DecisionKey, child: int | None = None) -> dict[str, Any]:
    """Return the fields of a difference that name a decision."""
    return {
        "account": decision.account,
        "symbol": decision.symbol,
        "day": decision.day,
        "leg": decision.leg,
        "attempt": decision.attempt,
        "child": child,
    }


@dataclass(frozen=True, slots=True)
class _Pair:
    a: ComparedOrder
    b: ComparedOrder
    mark: Decimal
    tolerance: Tolerance

    @property
    def cost(self) -> Decimal:
        gross = MONEY.subtract(MONEY.multiply(self.b.sign, self.b.value), MONEY.multiply(self.a.sign, self.a.value))
        moved = MONEY.subtract(MONEY.multiply(self.b.sign, self.b.filled), MONEY.multiply(self.a.sign, self.a.filled))
        return gross - MONEY.multiply(moved, self.mark) + self.b.fee - self.a.fee

    @property
    def signal_cost(self) -> Decimal:
        if self.a.row.trigger_time_ms == self.b.row.trigger_time_ms or not self.a.filled:
            return _ZERO
        moved = MONEY.subtract(self.b.trigger_price, self.a.trigger_price)
        return MONEY.multiply(MONEY.multiply(self.b.sign, self.b.filled), moved)

    @property
    def price_cost(self) -> Decimal:
        """What another average price cost, s qB (pB - pA); 0 where one of the two has no fill."""
        a, b = self.a, self.b
        if not a.filled or not b.filled or MONEY.multiply(a.value, b.filled) == MONEY.multiply(b.value, a.filled):
            return _ZERO
        as_in_a = MONEY.multiply(self.b.filled, MONEY.divide(self.a.value, self.a.filled))
        return MONEY.multiply(self.b.sign, MONEY.subtract(self.b.value, as_in_a))

    def difference(self, cause: Cause, field: str, a: object, b: object, cost: Decimal = _ZERO) -> Difference:
        return Difference(
            cause,
            field,
            _text(a),
            _text(b),
            **subject_of(self.a.key.decision, self.a.key.child),
            cost=cost,
            cost_bps=bps_of(cost, self.a.value or self.b.value),
        )

    def signal(self) -> Iterator[Difference]:
        a, b = self.a.row.trigger_time_ms, self.b.row.trigger_time_ms
        if a != b:
            cause = Cause.LATE_SIGNAL if b > a else Cause.EARLY_SIGNAL
            yield self.difference(cause, "trigger_time_ms", a, b, self.signal_cost)

    def decision(self) -> Iterator[Difference]:
        a, b = self.a, self.b
        values = [
            ("side", a.row.side, b.row.side),
            ("reduce_only", a.reduce_only, b.reduce_only),
            ("target_price", a.row.target_price, b.row.target_price),
        ]
        if a.row.trigger_time_ms == b.row.trigger_time_ms:
            values.append(("trigger_price", a.trigger_price, b.trigger_price))
        for field, of_a, of_b in values:
            if of_a != of_b:
                yield self.difference(Cause.DECISION, field, of_a, of_b)

    def quantity(self) -> Iterator[Difference]:
        a, b = self.a, self.b
        if a.filled != b.filled:
            cost = self.cost - self.price_cost - (b.fee - a.fee)
            yield self.difference(Cause.QUANTITY, "filled", a.filled, b.filled, cost)
        if a.row.quantity != b.row.quantity:
            yield self.difference(Cause.QUANTITY, "qty", a.row.quantity, b.row.quantity)

    def status(self) -> Iterator[Difference]:
        a, b = self.a.row.status, self.b.row.status
        if a != b:
            is_unknown = OrderStatus.UNKNOWN.value in {a, b}
            yield self.difference(Cause.UNKNOWN if is_unknown else Cause.STATUS, "status", a, b)

    def price(self) -> Iterator[Difference]:
        a, b = self.a.row, self.b.row
        cost = self.price_cost - self.signal_cost
        reference = self.a.value or self.b.value
        stated = _distance_bps(a.average_price, b.average_price)
        filled = abs(bps_of(self.price_cost, reference) or _ZERO) if self.a.filled and self.b.filled else _ZERO
        differs = a.average_price != b.average_price or bool(self.price_cost)
        if differs and (stated is None or max(stated, filled) > self.tolerance.bps or self.tolerance.is_exact):
            yield self.difference(Cause.SLIPPAGE, "avg_price", a.average_price, b.average_price, cost)
        elif not differs and _apart(a.slippage_bps, b.slippage_bps) > self.tolerance.bps:
            yield self.difference(Cause.SLIPPAGE, "slippage_bps", a.slippage_bps, b.slippage_bps)

    def fee(self) -> Iterator[Difference]:
        a, b = self.a, self.b
        if not a.value or not b.value:
            return
        cost = b.fee - MONEY.divide(MONEY.multiply(a.fee, b.value), a.value)
        if abs(cost) <= _SMALLEST_SHARE * b.value:
            return
        if self.tolerance.is_exact or abs(cost) > self.tolerance.bps / BPS * b.value:
            yield self.difference(Cause.FEE, "fee", a.fee, b.fee, cost)

    def time(self) -> Iterator[Difference]:
        a, b = self.a.last_fill_ms, self.b.last_fill_ms
        if a is not None and b is not None and abs(b - a) > self.tolerance.time_ms:
            cause = Cause.LATE_FILL if b > a else Cause.EARLY_FILL
            yield self.difference(cause, "exec_time_ms", a, b)

    def fills(self, found: list[Difference]) -> Iterator[Difference]:
        a, b = self.a.executions, self.b.executions
        if not found and [fill.facts for fill in a] != [fill.facts for fill in b]:
            yield self.difference(Cause.FILLS, "fills", len(a), len(b))

    def identity(self) -> Iterator[Difference]:
        if self.a.intent_id != self.b.intent_id:
            return
        if self.a.row.order_link_id != self.b.row.order_link_id:
            yield self.difference(Cause.IDENTITY, "order_link_id", self.a.row.order_link_id, self.b.row.order_link_id)
        ids = [sorted(fill.exec_id for fill in order.executions) for order in (self.a, self.b)]
        if ids[0] != ids[1] and len(ids[0]) == len(ids[1]):
            yield self.difference(Cause.IDENTITY, "exec_id", " ".join(ids[0]), " ".join(ids[1]))


_SMALLEST_SHARE = Decimal("1E-20")
"""Share of the value below which a difference of fees is the rounding of the rate."""


def _distance_bps(a: Decimal | None, b: Decimal | None) -> Decimal | None:
    """Return how far two prices are apart, basis points of the first; None where one is absent and the other not."""
    if a is None or b is None:
        return _ZERO if a is b else None
    if a == b:
        return _ZERO
    return abs(MONEY.divide(MONEY.multiply(MONEY.subtract(b, a), BPS), a)) if a else None


def _apart(a: Decimal | None, b: Decimal | None) -> Decimal:
    """Return how far two values are apart; endless where one is absent and the other not."""
    if a is None or b is None:
        return _ZERO if a is b else Decimal("Infinity")
    return abs(b - a)


def _summary(order: ComparedOrder) -> str:
    price = "" if order.row.average_price is None else f" @ {to_text(order.row.average_price)}"
    return f"{order.row.side} {to_text(order.row.quantity)}{price} {order.row.status}"


def _text(value: object) -> str:
    if value is None:
        return ""
    return to_text(value) if isinstance(value, Decimal) else str(value)
