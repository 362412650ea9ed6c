"""Parity: two reports compared order by order, with the cause of each difference and what it cost.

Report A is what should have happened (a backtest, a replay), report B what did (a live run, another replay). A cost is
what B paid more than A, so a positive one is to B's harm; it is the implementation shortfall of the orders (Perold,
"The Implementation Shortfall", 1988) with A as the paper portfolio:

    cost of an order = s (qB pB - qA pA) - s (qB - qA) M + feeB - feeA          quote currency
                     = s qB (pB - pA)  +  s (qB - qA) (pA - M)  +  feeB - feeA
                       price              quantity, missed, extra  fees

with s = +1 for buys and -1 for sells, q the filled quantity, p the average price, and M the price at which the symbol's
position of that day was closed (average of A's reducing orders; without any, B's; without any, of all orders). Where
both positions of a day were closed M cancels out, and the costs add up to the result of A minus that of B exactly. Of
the price part, s qB (trigger price of B - of A) is the signal's where B decided at another time; the rest is slippage.

Costs in basis points: of a difference, of the order's filled value in A (in B where A has none); in total, of the
account's equity at the day's open. Slippage and quantity carry no fees; those that follow from them count in the total.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import zip_longest
from typing import Any

from breakwater_core.decimals import MONEY, to_text
from breakwater_core.events import FillKind, Leg, Side
from breakwater_core.performance import SLIPPAGE_STEP
from breakwater_core.report import Report
from breakwater_research.parity_model import Cause, Difference, Parity, Tolerance
from breakwater_research.parity_model import Side as ReportSide
from breakwater_research.parity_orders import BPS, bps_of, cause_of_reason, compare_order, order_of_one, subject_of
from breakwater_research.parity_rows import (
    ComparedOrder,
    ComparedReport,
    DecisionKey,
    Execution,
    OrderKey,
    read_compared,
)

__all__ = ["Cause", "Difference", "Parity", "Tolerance", "compare"]

_ZERO = Decimal(0)
_RATIOS = ("ror", "cumulative", "drawdown", "mdd")
_AMOUNTS = ("equity", "net_deposits")

type _Position = tuple[str, str, date]
"""Account, symbol and day."""


def compare(report_a: Report, report_b: Report, *, tolerance: Tolerance | None = None) -> Parity:
    """Return in what report B differs from report A.

    Ids that must differ between two runs (the runs' own, those of orders and executions) are no difference; between
    two reports of the same decisions of the same run they are.

    Args:
        report_a: What should have happened, in the shape of `breakwater_core.report.build_report`.
        report_b: What did, in the same shape.
        tolerance: What is not listed; None: nothing may differ.

    Raises:
        InvalidInputError: If a report is not in that shape, or an intent id in it is none; names the row.
    """
    return _Comparison(read_compared(report_a), read_compared(report_b), tolerance or Tolerance()).result()


class _Comparison:
    def __init__(self, a: ComparedReport, b: ComparedReport, tolerance: Tolerance) -> None:
        self._a = a
        self._b = b
        self._tolerance = tolerance
        self._marks = _marks(a, b)
        self._costs: dict[tuple[str, date], Decimal] = {}
        self._told: set[DecisionKey] = set()
        """Decisions whose refusal stands with an order already."""

    def result(self) -> Parity:
        orders: list[Difference] = []
        different = 0
        keys = sorted(self._a.orders.keys() | self._b.orders.keys())
        for key in keys:
            found = self._order(key)
            different += bool(found)
            orders += found
        rest = [*self._refusals(), *self._loose(), *self._days(), *self._settings(), *self._counters()]
        return Parity(
            differences=(*orders, *rest),
            orders_equal=len(keys) - different,
            orders_different=different,
            cost=sum(self._costs.values(), _ZERO),
            total_bps=self._total_bps(),
        )

    def _order(self, key: OrderKey) -> tuple[Difference, ...]:
        a, b = self._a.orders.get(key), self._b.orders.get(key)
        decision = key.decision
        mark = self._marks.get((decision.account, decision.symbol, decision.day), _ZERO)
        if a is not None and b is not None:
            compared = compare_order(a, b, mark, self._tolerance)
        else:
            side: ReportSide = "b" if a is None else "a"
            only, other = (b, self._a) if a is None else (a, self._b)
            if only is None:  # the key stands in one of the two
                return ()
            reason = other.refusals.get(decision)
            if reason is not None:
                self._told.add(decision)
            compared = order_of_one(only, side, mark, reason)
        self._add_cost(decision.account, decision.day, compared.cost)
        return compared.differences

    def _refusals(self) -> Iterator[Difference]:
        for decision in sorted(self._a.refusals.keys() | self._b.refusals.keys()):
            a, b = self._a.refusals.get(decision), self._b.refusals.get(decision)
            if a == b or (decision in self._told and (a is None or b is None)):
                continue
            only_in: ReportSide | None = None if a is not None and b is not None else "b" if a is None else "a"
            reason = b if b is not None else a
            yield Difference(
                cause_of_reason(reason or ""),
                "reason",
                a or "",
                b or "",
                **subject_of(decision),
                only_in=only_in,
            )

    def _loose(self) -> Iterator[Difference]:
        for key in sorted(self._a.loose.keys() | self._b.loose.keys()):
            pairs = zip_longest(self._a.loose.get(key, ()), self._b.loose.get(key, ()))
            for a, b in pairs:
                yield from self._execution(key, a, b)

    def _execution(self, key: tuple[str, str, str], a: Execution | None, b: Execution | None) -> Iterator[Difference]:
        account, symbol, kind = key
        known = a or b
        if known is None:
            return
        day = self._a.session.day_of(known.row.exec_time_ms)
        mark = self._marks.get((account, symbol, day))
        cost = _cash_out(b, mark) - _cash_out(a, mark)
        self._add_cost(account, day, cost)
        if a is not None and b is not None and not self._executions_differ(a, b):
            return
        yield Difference(
            Cause.FUNDING if kind == FillKind.FUNDING else Cause.OTHER_FILL,
            "fills",
            _execution_text(a),
            _execution_text(b),
            account=account,
            symbol=symbol,
            day=day,
            only_in="b" if a is None else "a" if b is None else None,
            cost=cost,
            cost_bps=bps_of(cost, MONEY.multiply(known.row.quantity, known.row.price)),
        )

    def _executions_differ(self, a: Execution, b: Execution) -> bool:
        if self._tolerance.is_exact:
            return a.facts != b.facts
        late_ms = abs(a.row.exec_time_ms - b.row.exec_time_ms)
        if late_ms > self._tolerance.time_ms or (a.row.side, a.row.quantity) != (b.row.side, b.row.quantity):
            return True
        value = MONEY.multiply(a.row.quantity, a.row.price)
        apart = max(abs(MONEY.multiply(b.row.quantity, b.row.price) - value), abs(b.row.fee - a.row.fee))
        return apart > self._tolerance.bps / BPS * value

    def _days(self) -> Iterator[Difference]:
        for account, day in sorted(self._a.days.keys() | self._b.days.keys()):
            a, b = self._a.days.get((account, day)), self._b.days.get((account, day))
            if a is None or b is None:
                only_in: ReportSide = "b" if a is None else "a"
                of_a, of_b = ("" if row is None else to_text(row.equity) for row in (a, b))
                yield Difference(Cause.DAY, "equity", of_a, of_b, account=account, day=day, only_in=only_in)
                continue
            for field in (*_AMOUNTS, *_RATIOS):
                figure_a, figure_b = getattr(a, field), getattr(b, field)
                scale = max(abs(a.equity), Decimal(1)) if field in _AMOUNTS else Decimal(1)
                if abs(figure_b - figure_a) > self._tolerance.bps / BPS * scale:
                    yield Difference(Cause.DAY, field, to_text(figure_a), to_text(figure_b), account=account, day=day)

    def _settings(self) -> Iterator[Difference]:
        yield from _values(Cause.CONFIG, "config.", self._a.settings, self._b.settings)

    def _counters(self) -> Iterator[Difference]:
        yield from _values(Cause.COUNT, "counters.", self._a.counters, self._b.counters)

    def _add_cost(self, account: str, day: date, cost: Decimal) -> None:
        self._costs[account, day] = self._costs.get((account, day), _ZERO) + cost

    def _total_bps(self) -> Decimal:
        total = _ZERO
        for (account, day), cost in self._costs.items():
            equity = self._a.day_open_equity(account, day) or self._b.day_open_equity(account, day)
            if equity is not None and equity > 0:
                total += MONEY.divide(MONEY.multiply(cost, BPS), equity)
        return total.quantize(SLIPPAGE_STEP, rounding=ROUND_HALF_EVEN, context=MONEY)


def _marks(a: ComparedReport, b: ComparedReport) -> dict[_Position, Decimal]:
    """Return the price at which each position of a day was closed: M of the formula."""
    marks: dict[_Position, Decimal] = {}
    choices: tuple[tuple[ComparedReport, Callable[[ComparedOrder], bool]], ...] = (
        (a, _reduces),
        (b, _reduces),
        (a, lambda _order: True),
        (b, lambda _order: True),
    )
    for report, wanted in choices:
        for position, price in _average_prices(order for order in report.orders.values() if wanted(order)):
            marks.setdefault(position, price)
    return marks


def _reduces(order: ComparedOrder) -> bool:
    return order.row.leg is not Leg.ENTRY


def _average_prices(orders: Iterable[ComparedOrder]) -> Iterator[tuple[_Position, Decimal]]:
    filled: dict[_Position, Decimal] = {}
    values: dict[_Position, Decimal] = {}
    for order in orders:
        decision = order.key.decision
        position = (decision.account, decision.symbol, decision.day)
        filled[position] = filled.get(position, _ZERO) + order.filled
        values[position] = values.get(position, _ZERO) + order.value
    return ((position, MONEY.divide(values[position], size)) for position, size in filled.items() if size)


def _cash_out(execution: Execution | None, mark: Decimal | None) -> Decimal:
    """Return what an execution without an order cost: its fee, and where it traded, its price against the mark."""
    if execution is None:
        return _ZERO
    row = execution.row
    if row.kind is FillKind.FUNDING or mark is None:
        return row.fee
    sign = 1 if row.side is Side.BUY else -1
    return sign * MONEY.multiply(row.quantity, MONEY.subtract(row.price, mark)) + row.fee


def _execution_text(execution: Execution | None) -> str:
    if execution is None:
        return ""
    row = execution.row
    return f"{row.side} {to_text(row.quantity)} @ {to_text(row.price)}, fee {to_text(row.fee)}, {row.exec_time_ms}"


def _values(cause: Cause, prefix: str, a: Any, b: Any) -> Iterator[Difference]:
    for name in sorted(a.keys() | b.keys()):
        of_a, of_b = a.get(name), b.get(name)
        if of_a != of_b:
            yield Difference(cause, f"{prefix}{name}", str(of_a), str(of_b))
