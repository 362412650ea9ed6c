"""Rows of a report: typed, checked, and named when they are wrong."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from made_reports import made_day, made_fill, made_order, made_report, made_run

from breakwater_core.errors import InvalidInputError
from breakwater_core.events import FillKind, Leg, Side
from breakwater_research.report_rows import read_rows


def test_rows_are_read_as_they_stand() -> None:
    rows = read_rows(made_run())
    assert rows.run_id == "replay-1"
    assert [order.leg for order in rows.orders[:4]] == [Leg.ENTRY, Leg.EXIT, Leg.ENTRY, Leg.STOP]
    assert rows.orders[5].average_price is None
    assert rows.orders[1].slippage_bps == Decimal(-2)
    assert (rows.fills[1].side, rows.fills[1].price, rows.fills[1].kind) == (Side.SELL, Decimal(110), FillKind.TRADE)
    assert [row.day for row in rows.days_of("main")] == [date(2023, 7, 4), date(2023, 7, 5), date(2023, 7, 6)]
    assert rows.refused[0].reason == "below_min_quantity"


def test_days_are_put_in_order_of_time() -> None:
    rows = read_rows(made_report(days=[made_day("2023-07-05"), made_day("2023-07-04", "b"), made_day("2023-07-04")]))
    assert [(row.day.day, row.account) for row in rows.days] == [(4, "b"), (4, "main"), (5, "main")]
    assert rows.accounts == ("b", "main")


def test_a_fill_belongs_to_the_account_of_its_order() -> None:
    orders = [made_order(1, account="a"), made_order(2, account="b")]
    rows = read_rows(made_report(orders=orders, fills=[made_fill(orders[1], "1"), made_fill(orders[0], "1")]))
    assert [fill.account for fill in rows.fills] == ["b", "a"]


def test_a_fill_without_an_order_belongs_to_the_only_account_there_is() -> None:
    funding = made_fill(made_order(1), "1", order_link_id="", kind="funding")
    assert read_rows(made_report(fills=[funding], days=[made_day("2023-07-04", "only")])).fills[0].account == "only"
    two = [made_day("2023-07-04", "a"), made_day("2023-07-04", "b")]
    assert read_rows(made_report(fills=[funding], days=two)).fills[0].account == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"orders": [made_order(1), made_order(2, side="up")]}, r"orders\[1\]\.side: must be one of buy, sell"),
        ({"orders": [made_order(1, leg=None)]}, r"orders\[0\]\.leg: must be text"),
        ({"orders": [made_order(1, trigger_time_ms=-1)]}, r"trigger_time_ms: must be milliseconds"),
        ({"orders": [made_order(1, trigger_time_ms=True)]}, r"trigger_time_ms: must be milliseconds"),
        ({"orders": [{}]}, r"orders\[0\]\.order_link_id: must be text"),
        ({"orders": ["x"]}, r"orders\[0\]: must be an object"),
        ({"orders": {}}, "orders: the report must have an array"),
        ({"fills": [made_fill(made_order(1), "a lot")]}, r"fills\[0\]\.price: not a decimal number"),
        ({"fills": [made_fill(made_order(1), "1e99")]}, r"fills\[0\]\.price: out of range"),
        ({"fills": [made_fill(made_order(1), "1" * 81)]}, r"fills\[0\]\.price: a number of 81 characters"),
        ({"days": [made_day("4 July")]}, r"days\[0\]\.day: must be a date"),
        ({"days": [made_day("2023-07-04", ror="NaN")]}, r"days\[0\]\.ror: not a finite number"),
        ({"days": [made_day("2023-07-04"), made_day("2023-07-04")]}, "an account has the same day twice"),
        ({"refused": [{"intent_id": "x"}]}, r"refused\[0\]\.reason: must be text"),
    ],
)
def test_a_wrong_value_is_named_with_its_row(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_rows(made_report(**changes))
