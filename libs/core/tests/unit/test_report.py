"""The report: its exact form, its fixed order, and what stands where."""

import json
import random
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError
from breakwater_core.events import DailyPerformance, Fill, FillKind, Leg, OrderEvent, OrderStatus, Side
from breakwater_core.identities import order_link_id
from breakwater_core.report import build_report

RUN = "replay-1"
DAY = date(2023, 7, 4)


def order(number: int = 1, **changes: Any) -> OrderEvent:
    intent = changes.get("intent_id", f"{RUN}/main/v1/BTCUSDT/2023-07-04/entry/{number}")
    values: dict[str, Any] = {
        "event_id": f"e{number}",
        "run_id": RUN,
        "account": "main",
        "symbol": "BTCUSDT",
        "day": DAY,
        "strategy_version": "v1",
        "intent_id": intent,
        "order_link_id": order_link_id(intent, 0),
        "child": 0,
        "status": OrderStatus.FILLED,
        "leg": Leg.ENTRY,
        "side": Side.BUY,
        "reduce_only": False,
        "quantity": Decimal("1.500"),
        "filled_quantity": Decimal("1.500"),
        "average_price": Decimal(30030),
        "target_price": Decimal("30000.00"),
        "trigger_price": Decimal("3.0001E+4"),
        "trigger_time_ms": 1_000 + number,
        "intent_closed": True,
        "event_time_ms": 2_000,
    }
    return OrderEvent(**values | changes)


def fill(number: int = 1, **changes: Any) -> Fill:
    values: dict[str, Any] = {
        "exec_id": f"x{number}",
        "run_id": RUN,
        "account": "main",
        "symbol": "BTCUSDT",
        "order_id": "o",
        "order_link_id": "bw-1",
        "side": Side.BUY,
        "quantity": Decimal("1.50"),
        "price": Decimal("30030.0"),
        "fee": Decimal("24.774750"),
        "fee_rate": Decimal("0.00055"),
        "is_maker": False,
        "kind": FillKind.TRADE,
        "exec_time_ms": 1_050 + number,
    }
    return Fill(**values | changes)


def closed_day(day: date = DAY, account: str = "main") -> DailyPerformance:
    return DailyPerformance(
        run_id=RUN,
        account=account,
        day=day,
        equity=Decimal("101000.50"),
        net_deposits=Decimal(0),
        ror=Decimal("1.010005000000"),
        cumulative=Decimal("1.010005000000"),
        drawdown=Decimal("0E-12"),
        mdd=Decimal("0E-12"),
    )


def report(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "run_id": RUN,
        "config": BreakwaterConfig().as_values(),
        "outcomes": [],
        "fills": [],
        "days": [],
        "trades": 0,
        "wall_seconds": 0.0,
    }
    return build_report(**values | changes)


def test_report_has_exactly_the_agreed_keys_with_decimals_as_plain_text() -> None:
    made = report(outcomes=[order()], fills=[fill()], days=[closed_day()], trades=1_000, wall_seconds=2.0004)
    assert list(made) == ["run_id", "config", "orders", "fills", "refused", "days", "counters"]
    assert made["orders"] == [
        {
            "order_link_id": order().order_link_id,
            "intent_id": order().intent_id,
            "account": "main",
            "symbol": "BTCUSDT",
            "side": "buy",
            "leg": "entry",
            "reduce_only": False,
            "qty": "1.5",
            "status": "filled",
            "target_price": "30000",
            "trigger_price": "30001",
            "trigger_time_ms": 1_001,
            "avg_price": "30030",
            "slippage_bps": "10",
        }
    ]
    assert made["fills"] == [
        {
            "exec_id": "x1",
            "order_link_id": "bw-1",
            "symbol": "BTCUSDT",
            "side": "buy",
            "qty": "1.5",
            "price": "30030",
            "fee": "24.77475",
            "exec_time_ms": 1_051,
            "kind": "trade",
        }
    ]
    assert made["days"] == [
        {
            "day": "2023-07-04",
            "account": "main",
            "equity": "101000.5",
            "net_deposits": "0",
            "ror": "1.010005",
            "cumulative": "1.010005",
            "drawdown": "0",
            "mdd": "0",
        }
    ]
    assert made["counters"] == {
        "trades": 1_000,
        "intents": 1,
        "orders": 1,
        "fills": 1,
        "wall_seconds": 2.0,
        "trades_per_second": 499.9,
    }
    assert json.loads(json.dumps(made)) == made


def test_intents_that_left_no_order_stand_under_refused_with_their_reason() -> None:
    made = report(
        outcomes=[
            order(3, status=OrderStatus.EXPIRED, order_link_id="", reason="expired", average_price=None),
            order(1, status=OrderStatus.REFUSED, order_link_id="", reason="below_min_quantity", average_price=None),
            order(2, status=OrderStatus.REJECTED, reason="110007", average_price=None),
            order(4, status=OrderStatus.FLAT, order_link_id="", leg=Leg.EXIT, average_price=None),
        ]
    )
    assert made["orders"] == []
    assert [row["reason"] for row in made["refused"]] == ["below_min_quantity", "110007", "expired"]
    assert made["counters"]["intents"] == 4


def test_a_rejected_part_of_a_split_entry_is_refused_and_its_other_part_is_an_order() -> None:
    intent = order().intent_id
    parts = [
        order(1),
        order(
            2,
            intent_id=intent,
            order_link_id=order_link_id(intent, 1),
            child=1,
            status=OrderStatus.REJECTED,
            reason="110007",
        ),
    ]
    made = report(outcomes=parts)
    assert [row["status"] for row in made["orders"]] == ["filled"]
    assert made["refused"] == [{"intent_id": intent, "reason": "110007"}]
    assert made["counters"]["intents"] == 1


def test_an_order_without_fills_has_neither_average_price_nor_slippage() -> None:
    [row] = report(outcomes=[order(status=OrderStatus.CANCELLED, average_price=None)])["orders"]
    assert (row["avg_price"], row["slippage_bps"]) == (None, None)


def test_funding_rows_stand_among_the_fills_without_an_order() -> None:
    rows = report(fills=[fill(2, kind=FillKind.FUNDING, order_link_id="", fee=Decimal("-0.3")), fill(1)])["fills"]
    assert [(row["kind"], row["order_link_id"], row["fee"]) for row in rows] == [
        ("trade", "bw-1", "24.77475"),
        ("funding", "", "-0.3"),
    ]


def test_an_order_or_execution_handed_over_twice_is_an_error_that_names_it() -> None:
    with pytest.raises(InvalidInputError, match="execution x1 stands twice"):
        report(fills=[fill(), fill()])
    with pytest.raises(InvalidInputError, match=r"order bw-\w+ stands twice"):
        report(outcomes=[order(), order()])


@pytest.mark.parametrize(("trades", "wall_seconds"), [(-1, 0.0), (0, -0.1)])
def test_negative_counts_and_durations_are_refused(trades: int, wall_seconds: float) -> None:
    with pytest.raises(InvalidInputError, match="must not be negative"):
        report(trades=trades, wall_seconds=wall_seconds)


@given(seed=st.integers(0, 10_000))
def test_report_does_not_depend_on_the_order_of_its_input(seed: int) -> None:
    shuffler = random.Random(seed)
    outcomes = [
        order(number, trigger_time_ms=1_000 + number // 3, symbol=("BTCUSDT", "ETHUSDT")[number % 2])
        for number in range(6)
    ] + [order(10 + number, status=OrderStatus.REFUSED, order_link_id="", reason=f"r{number}") for number in range(3)]
    fills = [fill(number, exec_time_ms=1_100 + number // 2) for number in range(6)]
    days = [closed_day(date(2023, 7, 1 + number), account) for number in range(3) for account in ("main", "second")]
    first = report(outcomes=outcomes, fills=fills, days=days)
    for rows in (outcomes, fills, days):
        shuffler.shuffle(rows)
    assert json.dumps(report(outcomes=outcomes, fills=fills, days=days)) == json.dumps(first)
