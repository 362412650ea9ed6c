"""What may come soon: symbols near an entry and exits that fall due; the days are those of `desk`."""

from datetime import timedelta

import pytest
from desk import DAY, EXIT, START, Desk
from hypothesis import given
from hypothesis import strategies as st
from scenarios import closed_bar, open_bar

from breakwater_core.config import BreakwaterConfig
from breakwater_core.day_plan import Targets, entry_zones
from breakwater_core.events import Leg, Side


@pytest.mark.parametrize(
    ("price", "ratio", "is_near"),
    [
        (109.5, 0.005, True),  # 0.5 is less than half a per cent of the price from 110
        (109.4, 0.005, False),
        (90.4, 0.005, True),
        (90.5, 0.005, False),
        (100.0, 0.1, True),
        (100.0, 0.099, False),
    ],
)
def test_a_symbol_is_near_if_either_target_is_within_the_share_of_its_price(
    price: float, ratio: float, *, is_near: bool
) -> None:
    desk = Desk()
    desk.trade((1, 100.0), (2, price))
    assert desk.portfolio.near_entry(ratio) == (("AAA",) if is_near else ())


def test_a_symbol_that_has_entered_is_not_near_any_more() -> None:
    desk = Desk()
    assert desk.trade((1, 100.0), (2, 109.9)) == []
    assert desk.portfolio.near_entry(0.005) == ("AAA",)
    assert len(desk.trade((3, 110.0))) == 1
    assert desk.portfolio.near_entry(0.005) == ()


def test_a_symbol_outside_its_targets_is_near_only_once_its_price_has_come_back() -> None:
    desk = Desk()
    desk.trade((1, 110.1))
    assert desk.reason() == "outside_targets"
    assert desk.portfolio.near_entry(0.005) == ()
    desk.trade((2, 109.9))
    assert desk.portfolio.near_entry(0.005) == ("AAA",)


@pytest.mark.parametrize(("direction", "price"), [("long", 90.1), ("short", 109.9)])
def test_a_target_of_a_side_that_is_not_traded_does_not_count(direction: str, price: float) -> None:
    desk = Desk({"direction": direction})
    desk.trade((1, 100.0), (2, price))
    assert desk.portfolio.near_entry(0.05) == ()


@pytest.mark.parametrize(
    ("rule", "price", "is_near"),
    [
        # the moving average is 120, the long target 110, the short one 90
        ("trend", 110.0, False),
        ("trend", 119.9, True),
        ("trend", 90.1, True),
        ("contrarian", 109.9, True),
        ("contrarian", 90.1, False),
    ],
)
def test_a_target_that_the_filter_bars_does_not_count(rule: str, price: float, *, is_near: bool) -> None:
    desk = Desk({"filter": rule, "ma_window": 1, "ma_price": "close"}, opens=False)
    desk.portfolio.feed_bar(closed_bar("AAA", DAY - timedelta(days=1), (110.0, 120.0, 100.0, 120.0)))
    desk.portfolio.feed_bar(open_bar("AAA", DAY, 100.0))
    desk.trade((1, 100.0), (2, price))
    assert desk.portfolio.near_entry(0.005) == (("AAA",) if is_near else ())


def test_nothing_is_near_once_the_exit_window_has_opened_until_the_next_day_is_open() -> None:
    desk = Desk()
    desk.trade((1, 100.0), (2, 109.9))
    assert desk.until(EXIT) == []
    assert desk.portfolio.near_entry(0.005) == ("AAA",)
    desk.until(EXIT + 1)
    assert desk.portfolio.near_entry(0.005) == ()
    assert desk.reason() == "waiting_for_open"


def test_exits_are_due_from_the_lead_before_the_exit_window_until_their_positions_are_gone() -> None:
    desk = Desk(symbols=("AAA", "BBB"))
    desk.trade((1, 100.0), (2, 110.0))
    desk.tell(Leg.ENTRY, Side.BUY, "110")
    desk.until(EXIT - 300_001)
    assert desk.portfolio.exits_due(300_000) == ()
    desk.until(EXIT - 300_000)
    assert desk.portfolio.exits_due(300_000) == (("AAA", DAY),)
    (exit_,) = desk.until(EXIT + 1)
    assert exit_.leg is Leg.EXIT
    assert desk.portfolio.exits_due(0) == (("AAA", DAY),)
    desk.tell(Leg.EXIT, None)
    assert desk.portfolio.exits_due(300_000) == ()


def test_an_entry_of_which_nothing_is_known_counts_as_an_exit_to_come_and_one_that_left_nothing_does_not() -> None:
    desk = Desk()
    desk.trade((1, 100.0), (2, 110.0))
    desk.until(EXIT - 1)
    assert desk.portfolio.exits_due(60_000) == (("AAA", DAY),)
    desk.tell(Leg.ENTRY, None)
    assert desk.portfolio.exits_due(60_000) == ()


def test_nothing_is_due_before_the_clock_is_known() -> None:
    desk = Desk()
    assert desk.portfolio.now_ms == START
    fresh = type(desk.portfolio)(desk.config, ("AAA",))
    assert fresh.now_ms is None
    assert fresh.exits_due(86_400_000) == ()
    assert fresh.near_entry(1.0) == ()


@given(
    average=st.floats(1, 200),
    price=st.floats(1, 200),
    rule=st.sampled_from(["trend", "contrarian", "none"]),
    direction=st.sampled_from(["both", "long", "short"]),
)
def test_the_distance_is_zero_just_where_a_trade_is_an_entry(
    average: float, price: float, rule: str, direction: str
) -> None:
    settings = BreakwaterConfig.parse({"strategy": {"filter": rule, "direction": direction}}).strategy
    zones = entry_zones(Targets(110.0, 90.0, average), settings)
    above = {"trend": price > average, "contrarian": price <= average, "none": True}[rule]
    below = {"trend": price < average, "contrarian": price >= average, "none": True}[rule]
    enters = (direction != "short" and price >= 110.0 and above) or (direction != "long" and price <= 90.0 and below)
    assert (zones.distance(price) == 0) is enters
