"""The rows of a report as typed values: orders, fills, days and refused intents, checked one by one.

Money is quote currency, quantities base units, prices quote currency per 1 base unit, slippage basis points (positive
is worse), times milliseconds since 1970-01-01T00:00Z. `ror` and `cumulative` are growth factors (1.01 is +1 %);
`drawdown` and `mdd` are shares.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

from breakwater_core.decimals import from_text
from breakwater_core.errors import InvalidInputError
from breakwater_core.events import FillKind, Leg, Side
from breakwater_core.report import Report

_LONGEST_NUMBER = 80
_SMALLEST_EXPONENT = -40
_LARGEST_EXPONENT = 30
_LAST_MS = 253_402_300_799_999  # the end of the year 9999


@dataclass(frozen=True, slots=True)
class OrderRow:
    """An order in its last state."""

    order_link_id: str
    account: str
    symbol: str
    side: Side
    leg: Leg
    quantity: Decimal
    status: str
    target_price: Decimal
    trigger_time_ms: int
    average_price: Decimal | None
    slippage_bps: Decimal | None


@dataclass(frozen=True, slots=True)
class FillRow:
    """An execution; `account` is that of its order, `fee` positive when paid.

    `order_link_id` is empty where nobody ordered it: funding and forced closing.
    """

    account: str
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    exec_time_ms: int
    kind: FillKind
    order_link_id: str = ""


@dataclass(frozen=True, slots=True)
class DayRow:
    """A closed day of an account."""

    day: date
    account: str
    equity: Decimal
    net_deposits: Decimal
    ror: Decimal
    cumulative: Decimal
    drawdown: Decimal
    mdd: Decimal


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """An intent that left no order at the exchange."""

    intent_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReportRows:
    """All rows of a report; days in order of time, the rest as the report has them."""

    run_id: str
    orders: tuple[OrderRow, ...]
    fills: tuple[FillRow, ...]
    days: tuple[DayRow, ...]
    refused: tuple[RefusedRow, ...]

    @property
    def accounts(self) -> tuple[str, ...]:
        """Accounts with a day or an order, sorted."""
        return tuple(sorted({row.account for row in self.days} | {row.account for row in self.orders}))

    def days_of(self, account: str) -> tuple[DayRow, ...]:
        """Return the days of one account, oldest first."""
        return tuple(row for row in self.days if row.account == account)


def read_rows(report: Report) -> ReportRows:
    """Return the rows of a report.

    Raises:
        InvalidInputError: If a key is missing or a value is not what the report's format says; names the row.
    """
    days = tuple(sorted(_rows(report, "days", _day), key=lambda row: (row.day, row.account)))
    if len({(row.day, row.account) for row in days}) != len(days):
        raise InvalidInputError("days: an account has the same day twice; make the report again from its database")
    orders = _rows(report, "orders", _order)
    accounts = {order.order_link_id: order.account for order in orders}
    known = {order.account for order in orders} | {row.account for row in days}
    otherwise = known.pop() if len(known) == 1 else ""
    return ReportRows(
        run_id=str(report.get("run_id", "")),
        orders=orders,
        fills=_rows(report, "fills", lambda row: _fill(row, accounts.get(str(row.get("order_link_id")), otherwise))),
        days=days,
        refused=_rows(report, "refused", lambda row: RefusedRow(_text(row, "intent_id"), _text(row, "reason"))),
    )


def _rows[Row](report: Report, key: str, parse: Callable[[Mapping[str, Any]], Row]) -> tuple[Row, ...]:
    values = report.get(key)
    if not isinstance(values, list):
        raise InvalidInputError(f"{key}: the report must have an array of this name")
    parsed = []
    for number, value in enumerate(values):
        if not isinstance(value, Mapping):
            raise InvalidInputError(f"{key}[{number}]: must be an object, was {value!r:.80}")
        try:
            parsed.append(parse(value))
        except InvalidInputError as error:
            raise InvalidInputError(f"{key}[{number}].{error}") from error
    return tuple(parsed)


def _order(row: Mapping[str, Any]) -> OrderRow:
    return OrderRow(
        order_link_id=_text(row, "order_link_id"),
        account=_text(row, "account"),
        symbol=_text(row, "symbol"),
        side=_one_of(Side, row, "side"),
        leg=_one_of(Leg, row, "leg"),
        quantity=_number(row, "qty"),
        status=_text(row, "status"),
        target_price=_number(row, "target_price"),
        trigger_time_ms=_time(row, "trigger_time_ms"),
        average_price=_optional_number(row, "avg_price"),
        slippage_bps=_optional_number(row, "slippage_bps"),
    )


def _fill(row: Mapping[str, Any], account: str) -> FillRow:
    return FillRow(
        account=account,
        symbol=_text(row, "symbol"),
        side=_one_of(Side, row, "side"),
        quantity=_number(row, "qty"),
        price=_number(row, "price"),
        fee=_number(row, "fee"),
        exec_time_ms=_time(row, "exec_time_ms"),
        kind=_one_of(FillKind, row, "kind"),
        order_link_id=_text(row, "order_link_id"),
    )


def _day(row: Mapping[str, Any]) -> DayRow:
    text = _text(row, "day")
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError(f"day: must be a date such as 2024-01-31, was {text!r:.80}") from error
    return DayRow(
        day=day,
        account=_text(row, "account"),
        equity=_number(row, "equity"),
        net_deposits=_number(row, "net_deposits"),
        ror=_number(row, "ror"),
        cumulative=_number(row, "cumulative"),
        drawdown=_number(row, "drawdown"),
        mdd=_number(row, "mdd"),
    )


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise InvalidInputError(f"{key}: must be text, was {value!r:.80}")
    return value


def _number(row: Mapping[str, Any], key: str) -> Decimal:
    text = _text(row, key)
    if len(text) > _LONGEST_NUMBER:
        raise InvalidInputError(f"{key}: a number of {len(text)} characters; at most {_LONGEST_NUMBER} are read")
    try:
        value = from_text(text)
    except InvalidInputError as error:
        raise InvalidInputError(f"{key}: {error}") from error
    if value and not _SMALLEST_EXPONENT <= value.adjusted() <= _LARGEST_EXPONENT:
        raise InvalidInputError(f"{key}: out of range: {text!r}")
    return value


def _optional_number(row: Mapping[str, Any], key: str) -> Decimal | None:
    return None if row.get(key) is None else _number(row, key)


def _time(row: Mapping[str, Any], key: str) -> int:
    value = row.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LAST_MS:
        raise InvalidInputError(f"{key}: must be milliseconds since 1970, was {value!r:.80}")
    return value


def _one_of[Choice: StrEnum](choices: type[Choice], row: Mapping[str, Any], key: str) -> Choice:
    text = _text(row, key)
    try:
        return choices(text)
    except ValueError as error:
        raise InvalidInputError(f"{key}: must be one of {', '.join(choices)}, was {text!r:.80}") from error
