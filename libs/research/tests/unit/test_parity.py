"""Parity finds each difference, names its cause and says what it cost; equal reports have none."""

import copy
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError
from breakwater_core.events import DailyPerformance, Fill, FillKind, Leg, OrderEvent, OrderStatus, Side
from breakwater_core.identities import intent_id, order_link_id
from breakwater_core.report import build_report
from breakwater_research.parity import Cause, Parity, Tolerance, compare

DAY = date(2024, 3, 1)
DAY_MS = 1_709_251_200_000
CONFIG = BreakwaterConfig.parse({"portfolio": {"symbols": ["BTCUSDT", "ETHUSDT"]}})
RATE = Decimal("0.00055")


def made_order(
    run: str = "replay-1",
    symbol: str = "BTCUSDT",
    leg: Leg = Leg.ENTRY,
    *,
    account: str = "main",
    day: date = DAY,
    side: Side = Side.BUY,
    quantity: str = "1",
    price: str | None = "100",
    status: OrderStatus = OrderStatus.FILLED,
    at_ms: int = 36_000_000,
    trigger: str = "99.9",
    child: int = 0,
    version: str = "0123456789ab",
    reason: str = "",
) -> OrderEvent:
    intent = intent_id(
        run_id=run, account=account, strategy_version=version, symbol=symbol, day=day, leg=leg, attempt=1
    )
    time_ms = DAY_MS + (day - DAY).days * 86_400_000 + at_ms
    return OrderEvent(
        event_id=f"{intent}#{child}",
        run_id=run,
        account=account,
        symbol=symbol,
        day=day,
        strategy_version=version,
        intent_id=intent,
        order_link_id=order_link_id(intent, child) if status.has_order else "",
        child=child,
        status=status,
        leg=leg,
        side=side,
        reduce_only=leg.reduces,
        quantity=Decimal(quantity),
        filled_quantity=Decimal(quantity) if price else Decimal(0),
        average_price=Decimal(price) if price else None,
        target_price=Decimal("99.5"),
        trigger_price=Decimal(trigger),
        trigger_time_ms=time_ms,
        intent_closed=True,
        event_time_ms=time_ms + 60,
        reason=reason,
    )


def fill_of(order: OrderEvent, number: int = 1, **changes: Any) -> Fill:
    quantity = changes.pop("quantity", order.quantity)
    price = changes.pop("price", order.average_price)
    values: dict[str, Any] = {
        "exec_id": f"{order.order_link_id}-{number}",
        "run_id": order.run_id,
        "account": order.account,
        "symbol": order.symbol,
        "order_id": f"x-{order.order_link_id}",
        "order_link_id": order.order_link_id,
        "side": order.side,
        "quantity": quantity,
        "price": price,
        "fee": quantity * price * RATE,
        "fee_rate": RATE,
        "is_maker": False,
        "kind": FillKind.TRADE,
        "exec_time_ms": order.trigger_time_ms + 50,
    }
    return Fill(**values | changes)


def made_day(day: date = DAY, account: str = "main", equity: str = "101000") -> DailyPerformance:
    growth = Decimal(equity) / 100_000
    return DailyPerformance("r", account, day, Decimal(equity), Decimal(0), growth, growth, Decimal(0), Decimal(0))


def made_report(
    orders: list[OrderEvent],
    fills: list[Fill] | None = None,
    days: list[DailyPerformance] | None = None,
    run: str = "replay-1",
    extra: list[Fill] | None = None,
) -> dict[str, Any]:
    made = [fill_of(order) for order in orders if order.average_price is not None] if fills is None else fills
    return build_report(
        run_id=run,
        config=CONFIG.as_values(),
        outcomes=orders,
        fills=[*made, *(extra or ())],
        days=[made_day()] if days is None else days,
        trades=1000,
        wall_seconds=1.5,
    )


def causes(parity: Parity) -> list[tuple[str, str]]:
    return [(difference.subject, difference.cause.value) for difference in parity.differences]


def round_trip(run: str = "replay-1", entry: str = "100", leave: str = "110", **changes: Any) -> list[OrderEvent]:
    return [
        made_order(run, price=entry, **changes),
        made_order(run, leg=Leg.EXIT, side=Side.SELL, price=leave, at_ms=86_370_000, **changes),
    ]


def test_the_same_decisions_of_other_runs_are_equal_though_every_id_differs() -> None:
    live = made_report(round_trip("live", version="ffffffffffff"), run="live")
    parity = compare(made_report(round_trip()), live)
    assert parity.is_equal, parity.differences
    assert (parity.orders_equal, parity.orders_different, parity.total_bps) == (2, 0, 0)


def test_a_worse_price_is_slippage_with_its_cost() -> None:
    worse = round_trip("live", entry="100.012")
    parity = compare(made_report(round_trip()), made_report(worse, run="live"))
    (found,) = parity.differences
    assert (found.subject, found.cause, found.a, found.b) == ("BTCUSDT entry", Cause.SLIPPAGE, "100", "100.012")
    assert (found.cost, found.cost_bps) == (Decimal("0.012"), Decimal("1.2"))
    assert parity.cost == Decimal("0.012") + Decimal("0.012") * RATE  # the fee of the dearer purchase counts too
    assert (parity.orders_equal, parity.orders_different) == (1, 1)


def test_a_better_price_has_a_negative_cost_for_sells_too() -> None:
    better = round_trip("live", leave="110.11")
    (found,) = compare(made_report(round_trip()), made_report(better, run="live")).differences
    assert (found.subject, found.cost_bps) == ("BTCUSDT exit", Decimal(-10))


def test_a_late_trigger_takes_its_share_of_the_cost_and_slippage_the_rest() -> None:
    late = [made_order("live", price="100.5", trigger="100.3", at_ms=36_000_700)]
    parity = compare(made_report([made_order()]), made_report(late, run="live"), tolerance=Tolerance(time_ms=1000))
    assert [(found.cause, found.cost) for found in parity.differences] == [
        (Cause.LATE_SIGNAL, Decimal("0.4")),
        (Cause.SLIPPAGE, Decimal("0.1")),
    ]


@pytest.mark.parametrize(
    ("reason", "status", "cause"),
    [
        ("daily_loss_stop", OrderStatus.REFUSED, Cause.REFUSED),
        ("halted", OrderStatus.REFUSED, Cause.REFUSED),
        ("expired", OrderStatus.EXPIRED, Cause.EXPIRED),
        ("insufficient_margin", OrderStatus.REJECTED, Cause.REJECTED),
        ("EC_NoImmediateQtyToFill", OrderStatus.REJECTED, Cause.REJECTED),
        ("rate_limited", OrderStatus.REFUSED, Cause.RATE_LIMITED),
    ],
)
def test_an_order_that_the_other_run_refused_is_listed_once_with_the_reason(
    reason: str, status: OrderStatus, cause: Cause
) -> None:
    refused = [made_order("live", status=status, price=None, reason=reason)]
    parity = compare(made_report(round_trip()), made_report(refused, run="live"))
    found = parity.differences[0]
    assert (found.subject, found.cause, found.only_in, found.b) == ("BTCUSDT entry", cause, "a", reason)
    assert causes(parity)[1] == ("BTCUSDT exit", "missed")
    assert sum(difference.leg == "entry" for difference in parity.differences) == 1


def test_a_missed_round_trip_costs_what_it_would_have_brought_after_fees() -> None:
    parity = compare(made_report(round_trip()), made_report([], run="live"))
    assert causes(parity)[:2] == [("BTCUSDT entry", "missed"), ("BTCUSDT exit", "missed")]
    result = Decimal(10) - (100 + 110) * RATE
    assert parity.cost == result
    assert parity.total_bps == round(result / 10, 4)


def test_an_extra_order_that_lost_is_a_cost() -> None:
    parity = compare(made_report([]), made_report(round_trip("live", leave="90"), run="live"))
    assert causes(parity)[:2] == [("BTCUSDT entry", "extra"), ("BTCUSDT exit", "extra")]
    assert parity.cost == 10 + (100 + 90) * RATE


def test_an_entry_whose_fate_is_unknown_is_named() -> None:
    lost = [made_order("live", status=OrderStatus.UNKNOWN, price=None)]
    found = causes(compare(made_report([made_order()]), made_report(lost, run="live")))
    assert ("BTCUSDT entry", "unknown") in found
    assert ("BTCUSDT entry", "quantity") in found


def test_an_exit_in_more_orders_than_planned_shows_the_additional_one() -> None:
    parts = [
        made_order("live", leg=Leg.EXIT, side=Side.SELL, quantity="0.4"),
        made_order("live", leg=Leg.EXIT, side=Side.SELL, quantity="0.6", child=1),
    ]
    parity = compare(
        made_report([made_order(leg=Leg.EXIT, side=Side.SELL)]), made_report(parts, run="live", days=[made_day()])
    )
    assert ("BTCUSDT exit order 2", "extra") in causes(parity)
    assert parity.cost == 0


def test_a_rejected_child_does_not_shift_the_numbers_of_those_after_it() -> None:
    rejected = made_order("live", leg=Leg.EXIT, side=Side.SELL, status=OrderStatus.REJECTED, price=None, reason="other")
    after = made_order("live", leg=Leg.EXIT, side=Side.SELL, child=1)
    both = made_report([made_order(leg=Leg.EXIT, side=Side.SELL), made_order(leg=Leg.EXIT, side=Side.SELL, child=1)])
    parity = compare(both, made_report([rejected, after], run="live"))
    assert [subject for subject, cause in causes(parity) if cause == "rejected"] == ["BTCUSDT exit"]
    assert "BTCUSDT exit order 2" not in [subject for subject, _ in causes(parity)]


def test_other_fees_are_found_and_costed() -> None:
    order = made_order("live")
    dearer = made_report([order], [fill_of(order, fee=Decimal("0.06"))], run="live")
    (found,) = compare(made_report([made_order()]), dearer).differences
    assert (found.cause, found.cost, found.cost_bps) == (Cause.FEE, Decimal("0.005"), Decimal("0.5"))


def test_funding_that_one_run_paid_is_a_cost_of_its_own() -> None:
    orders = round_trip("live")
    paid = fill_of(orders[0], 9, order_link_id="", kind=FillKind.FUNDING, fee=Decimal(5), exec_id="f")
    parity = compare(made_report(round_trip()), made_report(orders, run="live", extra=[paid]))
    assert [(found.cause, found.only_in, found.cost) for found in parity.differences if found.symbol] == [
        (Cause.FUNDING, "b", Decimal(5))
    ]
    assert parity.total_bps == Decimal("0.5")


def test_what_is_within_the_tolerance_is_not_listed_and_still_counts_in_the_total() -> None:
    near = made_report(round_trip("live", entry="100.012"), run="live")
    parity = compare(made_report(round_trip()), near, tolerance=Tolerance(bps=Decimal("1.3")))
    assert parity.is_equal
    assert parity.cost > Decimal("0.012")
    assert compare(made_report(round_trip()), near, tolerance=Tolerance(bps=Decimal("1.1"))).differences


def test_results_of_a_day_are_compared() -> None:
    parity = compare(made_report([]), made_report([], days=[made_day(equity="101001")]))
    assert {found.field for found in parity.differences} == {"equity", "ror", "cumulative"}
    assert compare(
        made_report([]), made_report([], days=[made_day(equity="101001")]), tolerance=Tolerance(bps=Decimal(1))
    ).is_equal


def test_settings_that_differ_are_listed_by_name() -> None:
    other = made_report([])
    other["config"] = BreakwaterConfig.parse(
        {"portfolio": {"symbols": ["BTCUSDT", "ETHUSDT"]}, "strategy": {"k_long": 0.6}}
    ).as_values()
    (found,) = compare(made_report([]), other).differences
    assert (found.cause, found.field, found.a, found.b) == (Cause.CONFIG, "config.strategy.k_long", "0.5", "0.6")


def test_ids_of_one_run_must_agree() -> None:
    other = made_report(round_trip())
    other["fills"][0]["exec_id"] = "another"
    (found,) = compare(made_report(round_trip()), other).differences
    assert (found.cause, found.field) == (Cause.IDENTITY, "exec_id")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda report: report["orders"][0].update(intent_id="?"), "not an intent id"),
        (lambda report: report["orders"][0].update(qty="a lot"), r"orders\[0\]\.qty"),
        (lambda report: report["orders"][0].update(trigger_price=None), "trigger_price"),
        (lambda report: report["orders"][0].update(account="second"), "not those of its intent"),
        (lambda report: report["orders"].append(report["orders"][0]), "stands twice"),
        (lambda report: report.pop("days"), "days"),
    ],
)
def test_a_report_that_is_none_is_refused_with_its_row(spoil: Callable[[dict[str, Any]], Any], message: str) -> None:
    report = made_report(round_trip())
    spoil(report)
    with pytest.raises(InvalidInputError, match=message):
        compare(made_report([]), report)


def test_a_negative_tolerance_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="not negative"):
        Tolerance(bps=Decimal(-1))


# -- rules that hold for all reports -----------------------------------------------------------------------------------

prices = st.decimals(Decimal(1), Decimal(10_000), places=2)
quantities = st.decimals(Decimal("0.001"), Decimal(50), places=3)


@st.composite
def trips(draw: st.DrawFn, run: str) -> list[OrderEvent]:
    """Round trips of some symbols and accounts on some days: the same size in and out."""
    places = draw(
        st.lists(
            st.tuples(st.sampled_from(["main", "second"]), st.sampled_from(["BTCUSDT", "ETHUSDT"]), st.integers(0, 2)),
            max_size=5,
            unique=True,
        )
    )
    orders = []
    for account, symbol, number in places:
        day, side = DAY + timedelta(days=number), draw(st.sampled_from(Side))
        quantity = str(draw(quantities))
        common: dict[str, Any] = {"account": account, "day": day, "quantity": quantity}
        orders += [
            made_order(
                run,
                symbol,
                side=side,
                price=str(draw(prices)),
                trigger=str(draw(prices)),
                at_ms=draw(st.integers(1, 80_000_000)),
                **common,
            ),
            made_order(
                run,
                symbol,
                draw(st.sampled_from([Leg.EXIT, Leg.STOP])),
                side=Side.SELL if side is Side.BUY else Side.BUY,
                price=str(draw(prices)),
                trigger=str(draw(prices)),
                at_ms=86_370_000,
                **common,
            ),
        ]
    return orders


@st.composite
def reports(draw: st.DrawFn, run: str = "replay-1") -> dict[str, Any]:
    orders = draw(trips(run))
    fills = []
    for order in orders:
        part = draw(st.sampled_from(["1", "0.5"]))
        first = order.quantity * Decimal(part)
        fills.append(fill_of(order, 1, quantity=first))
        if part != "1":
            fills.append(fill_of(order, 2, quantity=order.quantity - first))
    refused = [
        made_order(run, symbol, day=DAY + timedelta(days=9), status=OrderStatus.REFUSED, price=None, reason="halted")
        for symbol in draw(st.lists(st.sampled_from(["BTCUSDT", "ETHUSDT"]), unique=True))
    ]
    days = [made_day(account=account) for account in ("main", "second")]
    return made_report([*orders, *refused], fills, days, run)


def result_of(report: dict[str, Any]) -> Decimal:
    total = Decimal(0)
    for fill in report["fills"]:
        sign = -1 if fill["side"] == "buy" else 1
        total += sign * Decimal(fill["qty"]) * Decimal(fill["price"]) - Decimal(fill["fee"])
    return total


@given(reports())
def test_a_report_equals_itself(report: dict[str, Any]) -> None:
    parity = compare(report, copy.deepcopy(report))
    assert parity.is_equal, parity.differences
    assert (parity.cost, parity.total_bps, parity.orders_different) == (0, 0, 0)


@settings(max_examples=60)
@given(reports(), reports("live"))
def test_exchanged_reports_differ_in_the_same_things_mirrored(a: dict[str, Any], b: dict[str, Any]) -> None:
    def kinds(parity: Parity, *, mirrored: bool) -> list[tuple[Any, ...]]:
        other = {"a": "b", "b": "a", None: None}
        return sorted(
            (
                found.account,
                found.subject,
                str(found.day),
                found.field,
                (found.cause.mirrored if mirrored else found.cause).value,
                str(other[found.only_in] if mirrored else found.only_in),
                found.b if mirrored else found.a,
            )
            for found in parity.differences
        )

    assert kinds(compare(a, b), mirrored=False) == kinds(compare(b, a), mirrored=True)


@settings(max_examples=60)
@given(reports(), reports("live"))
def test_the_costs_add_up_to_the_result_of_a_minus_that_of_b(a: dict[str, Any], b: dict[str, Any]) -> None:
    parity = compare(a, b)
    assert abs(parity.cost - (result_of(a) - result_of(b))) < Decimal("1E-15")


def changed(value: Any) -> Any:
    """Return a value of the same kind that is another one."""
    words = {"buy": "sell", "sell": "buy", "entry": "exit", "exit": "stop", "stop": "exit", "trade": "liquidation"}
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case None:
            return "1"
        case str() if value in words:
            return words[value]
        case str() if value[:4].isdigit() and value.count("-") == 2:
            return "1999-01-01"
        case str() if value.replace(".", "").replace("-", "").isdigit():
            return str(Decimal(value) + 1)
        case _:
            return f"{value}x"


@settings(max_examples=150)
@given(reports(), st.data())
def test_every_changed_field_is_found(report: dict[str, Any], data: st.DataObject) -> None:
    places = [
        (part, number, field)
        for part in ("orders", "fills", "refused", "days")
        for number, row in enumerate(report[part])
        for field in row
    ]
    part, number, field = data.draw(st.sampled_from(places))
    other = copy.deepcopy(report)
    other[part][number][field] = changed(other[part][number][field])
    try:
        parity = compare(report, other)
    except InvalidInputError:
        return  # the change made it no report, and that was said
    assert not parity.is_equal, (part, field)


@given(reports(), st.sampled_from(["trades", "intents", "orders", "fills"]))
def test_every_changed_counter_is_found_and_the_wall_clock_is_none(report: dict[str, Any], name: str) -> None:
    other = copy.deepcopy(report)
    other["counters"] |= {"wall_seconds": 9.0, "trades_per_second": 1.0}
    assert compare(report, other).is_equal
    other["counters"][name] += 1
    assert [found.cause for found in compare(report, other).differences] == [Cause.COUNT]
