"""What two reports have in common: their orders, refusals and other executions by keys that do not name the run.

The key of an order is taken from its intent id, without the run and the strategy's version, which differ between a
live run and its backtest. Money is quote currency, quantities base units, times milliseconds since 1970-01-01T00:00Z.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from breakwater_core.config import BreakwaterConfig
from breakwater_core.decimals import MONEY
from breakwater_core.errors import InvalidInputError
from breakwater_core.events import Side
from breakwater_core.identities import order_link_id, parse_intent_id
from breakwater_core.report import Report
from breakwater_core.session import Session
from breakwater_research.report_rows import DayRow, FillRow, OrderRow, read_rows

_ZERO = Decimal(0)
_REJECTED_CHILDREN = 64
"""Orders of one intent that the exchange may have rejected, and that a report therefore lacks, before numbering by
order link ids gives way to numbering by position."""


@dataclass(frozen=True, slots=True, order=True)
class DecisionKey:
    """A decision, whatever the run."""

    account: str
    symbol: str
    day: date
    leg: str
    attempt: int


@dataclass(frozen=True, slots=True, order=True)
class OrderKey:
    """An order of a decision; `child` counts its orders from 0."""

    decision: DecisionKey
    child: int


@dataclass(frozen=True, slots=True)
class Execution:
    """A row of the report's fills."""

    exec_id: str
    row: FillRow

    @property
    def facts(self) -> tuple[Any, ...]:
        """All of it but its id."""
        row = self.row
        return (row.exec_time_ms, row.side.value, row.symbol, row.quantity, row.price, row.fee, row.kind.value)


@dataclass(frozen=True, slots=True)
class ComparedOrder:
    """A row of the report's orders with its executions."""

    key: OrderKey
    intent_id: str
    reduce_only: bool
    trigger_price: Decimal
    row: OrderRow
    executions: tuple[Execution, ...]

    @property
    def sign(self) -> int:
        """+1 buys, -1 sells."""
        return 1 if self.row.side is Side.BUY else -1

    @property
    def filled(self) -> Decimal:
        """Base units filled."""
        return sum((fill.row.quantity for fill in self.executions), _ZERO)

    @property
    def value(self) -> Decimal:
        """Value filled, quote currency."""
        return value_of(self.executions)

    @property
    def fee(self) -> Decimal:
        """Fees paid, quote currency."""
        return fee_of(self.executions)

    @property
    def last_fill_ms(self) -> int | None:
        """Time of the last execution; None without one."""
        return max((fill.row.exec_time_ms for fill in self.executions), default=None)


@dataclass(frozen=True, slots=True)
class ComparedReport:
    """A report, ready to be compared.

    Attributes:
        run_id: The run.
        session: The session of its configuration; midnight UTC if it states none.
        orders: By key.
        refusals: Reason by decision.
        loose: Executions without an order of the report, such as funding, by account, symbol and kind, oldest first.
        days: By account and day.
        settings: Values of the configuration by dotted name.
        counters: Counts, the wall-clock figures left out.
        initial_equity: Equity that the configuration starts an account with; None if it states none.
    """

    run_id: str
    session: Session
    orders: Mapping[OrderKey, ComparedOrder]
    refusals: Mapping[DecisionKey, str]
    loose: Mapping[tuple[str, str, str], tuple[Execution, ...]]
    days: Mapping[tuple[str, date], DayRow]
    settings: Mapping[str, Any]
    counters: Mapping[str, Any]
    initial_equity: Decimal | None

    def day_open_equity(self, account: str, day: date) -> Decimal | None:
        """Return the account's equity at the day's open; None if neither days nor configuration tell it.

        It is that of the day's end before, or what the day's own growth factor (equity - net deposits) / equity
        before was computed from, or that which the account started with.
        """
        earlier = [row for (name, of_day), row in self.days.items() if name == account and of_day < day]
        if earlier:
            return max(earlier, key=lambda row: row.day).equity
        row = self.days.get((account, day))
        if row is not None and row.ror > 0:
            return MONEY.divide(MONEY.subtract(row.equity, row.net_deposits), row.ror)
        return self.initial_equity


def value_of(executions: Iterable[Execution]) -> Decimal:
    """Return quantity times price, summed, quote currency."""
    return sum((MONEY.multiply(fill.row.quantity, fill.row.price) for fill in executions), _ZERO)


def fee_of(executions: Iterable[Execution]) -> Decimal:
    """Return the fees, summed; positive is paid."""
    return sum((fill.row.fee for fill in executions), _ZERO)


def read_compared(report: Report) -> ComparedReport:
    """Return a report ready to be compared.

    Raises:
        InvalidInputError: If it is not in the format of a report, or a decision or order stands in it twice.
    """
    rows = read_rows(report)
    executions: dict[str, list[Execution]] = {}
    for raw, fill in zip(report["fills"], rows.fills, strict=True):
        executions.setdefault(str(raw.get("order_link_id", "")), []).append(
            Execution(str(raw.get("exec_id", "")), fill)
        )
    orders = _orders(report["orders"], rows.orders, executions)
    known = {order.row.order_link_id for order in orders.values()}
    config = report.get("config")
    parsed = _configuration(config)
    return ComparedReport(
        run_id=rows.run_id,
        session=Session() if parsed is None else parsed.session.session(),
        orders=orders,
        refusals=_refusals([(refused.intent_id, refused.reason) for refused in rows.refused]),
        loose=_loose(fill for link, fills in executions.items() if link not in known for fill in fills),
        days={(row.account, row.day): row for row in rows.days},
        settings=dict(_flat("", config)) if isinstance(config, Mapping) else {},
        counters=_counters(report.get("counters")),
        initial_equity=None if parsed is None else parsed.portfolio.initial_equity,
    )


def _orders(
    raw: Sequence[Mapping[str, Any]], rows: Sequence[OrderRow], executions: Mapping[str, Sequence[Execution]]
) -> dict[OrderKey, ComparedOrder]:
    of_intent: dict[str, list[tuple[Mapping[str, Any], OrderRow]]] = {}
    for values, row in zip(raw, rows, strict=True):
        of_intent.setdefault(str(values.get("intent_id", "")), []).append((values, row))
    orders: dict[OrderKey, ComparedOrder] = {}
    for intent, members in of_intent.items():
        decision = _decision(intent)
        children = _children(intent, [row.order_link_id for _, row in members])
        for child, (values, row) in zip(children, members, strict=True):
            key = OrderKey(decision, child)
            if (row.account, row.symbol, row.leg.value) != (decision.account, decision.symbol, decision.leg):
                raise InvalidInputError(
                    f"order {row.order_link_id}: account, symbol or leg are not those of its intent {intent}"
                )
            if key in orders:
                raise InvalidInputError(f"order {row.order_link_id}: order {child} of {intent} stands twice")
            orders[key] = ComparedOrder(
                key=key,
                intent_id=intent,
                reduce_only=bool(values.get("reduce_only")),
                trigger_price=_price(values, row),
                row=row,
                executions=tuple(sorted(executions.get(row.order_link_id, ()), key=lambda fill: fill.facts)),
            )
    return orders


def _children(intent: str, links: Sequence[str]) -> list[int]:
    """Return the number of each order of an intent: what its link id was made of, else its position."""
    numbers = {order_link_id(intent, number): number for number in range(len(links) + _REJECTED_CHILDREN)}
    found = [numbers.get(link) for link in links]
    numbered = [number for number in found if number is not None]
    return numbered if len(numbered) == len(links) else list(range(len(links)))


def _decision(intent: str) -> DecisionKey:
    parts = parse_intent_id(intent)
    return DecisionKey(parts.account, parts.symbol, parts.day, parts.leg.value, parts.attempt)


def _price(values: Mapping[str, Any], row: OrderRow) -> Decimal:
    text = values.get("trigger_price")
    try:
        price = Decimal(str(text))
    except ArithmeticError as error:
        raise InvalidInputError(f"order {row.order_link_id}: trigger_price is no number: {text!r:.80}") from error
    if not price.is_finite():
        raise InvalidInputError(f"order {row.order_link_id}: trigger_price is no finite number: {text!r:.80}")
    return price


def _refusals(refused: Iterable[tuple[str, str]]) -> dict[DecisionKey, str]:
    reasons: dict[DecisionKey, str] = {}
    for intent, reason in refused:
        decision = _decision(intent)
        if decision in reasons:
            raise InvalidInputError(f"refused: {intent} stands twice")
        reasons[decision] = reason
    return reasons


def _loose(executions: Iterable[Execution]) -> dict[tuple[str, str, str], tuple[Execution, ...]]:
    found: dict[tuple[str, str, str], list[Execution]] = {}
    for fill in executions:
        found.setdefault((fill.row.account, fill.row.symbol, fill.row.kind.value), []).append(fill)
    return {key: tuple(sorted(fills, key=lambda fill: fill.facts)) for key, fills in found.items()}


def _configuration(values: object) -> BreakwaterConfig | None:
    try:
        return BreakwaterConfig.parse(values)
    except InvalidInputError:
        return None  # a report of another program, or made by hand: compared as far as it goes


def _flat(name: str, value: object) -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from _flat(f"{name}.{key}" if name else str(key), part)
    else:
        yield name, value


def _counters(values: object) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        return {}
    return {str(key): value for key, value in values.items() if key not in {"wall_seconds", "trades_per_second"}}
