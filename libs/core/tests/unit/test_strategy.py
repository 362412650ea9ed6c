"""Hand-computed entries, one option at a time, and what blocks them; the days are those of `desk`."""

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from desk import DAY, START, USUAL, Desk
from scenarios import closed_bar, open_bar

from breakwater_core.events import Leg, Side
from breakwater_core.portfolio import Decision

# -- entries ----------------------------------------------------------------------------------------------------------


def test_first_trade_at_the_long_target_enters_long() -> None:
    (entry,) = Desk().trade((1, 100.0), (2, 109.9), (3, 110.0), (4, 115.0))
    assert entry == Decision(
        "AAA", DAY, Leg.ENTRY, Side.BUY, Decimal("110.0"), Decimal("110.0"), START + 3_000, attempt=1
    )


def test_first_trade_through_the_short_target_enters_short() -> None:
    (entry,) = Desk().trade((1, 100.0), (2, 89.5))
    assert (entry.side, entry.target_price, entry.trigger_price) == (Side.SELL, Decimal("90.0"), Decimal("89.5"))


def test_a_symbol_is_entered_once_a_day_even_if_the_entry_left_nothing() -> None:
    desk = Desk()
    assert len(desk.trade((1, 100.0), (2, 111.0))) == 1
    desk.tell(Leg.ENTRY, None)
    assert desk.trade((3, 100.0), (4, 112.0), (5, 85.0)) == []
    assert desk.reason() == "entered"


def test_each_side_has_its_own_k() -> None:
    desk = Desk({"k_long": 0.25, "k_short": 0.75})
    status = desk.portfolio.status()["AAA"]
    assert (status.target_long, status.target_short) == (105.0, 85.0)


def test_targets_are_computed_in_float64_as_written() -> None:
    desk = Desk({"k_long": 0.3, "k_short": 0.7}, opens=False)
    desk.portfolio.feed_bar(closed_bar("AAA", DAY - timedelta(days=1), (0.1, 0.7, 0.1, 0.3)))
    desk.portfolio.feed_bar(open_bar("AAA", DAY, 0.3))
    status = desk.portfolio.status()["AAA"]
    assert (status.target_long, status.target_short) == (0.3 + 0.3 * (0.7 - 0.1), 0.3 - 0.7 * (0.7 - 0.1))


@pytest.mark.parametrize(
    ("direction", "price", "enters"),
    [("long", 89.0, False), ("long", 111.0, True), ("short", 111.0, False), ("short", 89.0, True)],
)
def test_direction_allows_its_side_only(direction: str, price: float, *, enters: bool) -> None:
    assert bool(Desk({"direction": direction}).trade((1, 100.0), (2, price))) is enters


@pytest.mark.parametrize(
    ("rule", "price", "enters"),
    [
        # the moving average is 120: above the long target, so the trend filter only lets prices above 120 through
        ("trend", 120.0, False),
        ("trend", 120.5, True),
        ("trend", 90.0, True),
        ("contrarian", 120.0, True),
        ("contrarian", 120.5, False),
        ("contrarian", 90.0, False),
        ("none", 110.0, True),
    ],
)
def test_filter_compares_the_price_with_the_moving_average(rule: str, price: float, *, enters: bool) -> None:
    desk = Desk({"filter": rule, "ma_window": 1, "ma_price": "close"}, opens=False)
    desk.portfolio.feed_bar(closed_bar("AAA", DAY - timedelta(days=1), (110.0, 120.0, 100.0, 120.0)))
    desk.portfolio.feed_bar(open_bar("AAA", DAY, 100.0))
    assert bool(desk.trade((1, 100.0), (2, price))) is enters


def test_short_filter_is_the_mirror_of_the_long_one() -> None:
    for rule, price, enters in [("trend", 80.0, False), ("trend", 79.5, True), ("contrarian", 80.0, True)]:
        desk = Desk({"filter": rule, "ma_window": 1, "ma_price": "close"}, opens=False)
        desk.portfolio.feed_bar(closed_bar("AAA", DAY - timedelta(days=1), (90.0, 100.0, 80.0, 80.0)))
        desk.portfolio.feed_bar(open_bar("AAA", DAY, 100.0))
        assert bool(desk.trade((1, 100.0), (2, price))) is enters


def test_filtered_breakout_enters_later_once_the_filter_lets_it_through() -> None:
    desk = Desk({"filter": "trend", "ma_window": 2}, opens=False)
    desk.portfolio.feed_bar(closed_bar("AAA", DAY - timedelta(days=1), (130.0, 140.0, 120.0, 125.0)))
    desk.portfolio.feed_bar(open_bar("AAA", DAY, 100.0))  # average (100 + 130) / 2 = 115, target 110
    (entry,) = desk.trade((1, 100.0), (2, 112.0), (3, 115.0), (4, 115.5))
    assert (entry.trigger_time_ms, entry.target_price) == (START + 4_000, Decimal("110.0"))


def test_moving_average_of_opens_includes_the_running_day() -> None:
    desk = Desk({"ma_window": 3}, opens=False)
    desk.portfolio.feed_bar(open_bar("AAA", DAY, 106.0))
    assert desk.portfolio.status()["AAA"].moving_average == (106.0 + 100.0 + 100.0) / 3
    assert desk.portfolio.min_bars_needed == 2


def test_moving_average_is_summed_without_rounding_in_between() -> None:
    desk = Desk({"ma_window": 3}, opens=False)
    for back, price in ((1, 0.2), (2, 0.3)):
        desk.portfolio.feed_bar(closed_bar("AAA", DAY - timedelta(days=back), (price, 1.0, 0.1, price)))
    desk.portfolio.feed_bar(open_bar("AAA", DAY, 0.1))
    assert desk.portfolio.status()["AAA"].moving_average == 0.6 / 3


def test_moving_average_of_closes_ends_the_day_before() -> None:
    desk = Desk({"ma_window": 3, "ma_price": "close"})
    assert desk.portfolio.status()["AAA"].moving_average == 104.0
    assert desk.portfolio.min_bars_needed == 3


def test_noise_ratio_replaces_k_on_both_sides() -> None:
    desk = Desk({"noise_days": 2, "k_long": 9.0, "k_short": 9.0}, opens=False)
    desk.portfolio.feed_bar(closed_bar("AAA", DAY - timedelta(days=2), (100.0, 110.0, 90.0, 110.0)))  # noise 0.5
    desk.portfolio.feed_bar(closed_bar("AAA", DAY - timedelta(days=1), (100.0, 110.0, 90.0, 100.0)))  # noise 1
    desk.portfolio.feed_bar(open_bar("AAA", DAY, 100.0))
    status = desk.portfolio.status()["AAA"]
    assert (status.target_long, status.target_short) == (115.0, 85.0)


# -- what blocks ------------------------------------------------------------------------------------------------------


def test_price_first_seen_outside_the_targets_blocks_until_it_is_back_inside() -> None:
    desk = Desk()
    assert desk.trade((1, 110.0), (2, 111.0)) == []
    assert desk.reason() == "outside_targets"
    assert desk.portfolio.distances() == {"AAA": 0.0}
    assert desk.trade((3, 109.0)) == []
    assert desk.reason() is None
    assert len(desk.trade((4, 110.0))) == 1


def test_block_looks_at_both_targets_even_if_only_one_side_may_be_entered() -> None:
    desk = Desk({"direction": "long"})
    assert desk.trade((1, 90.0), (2, 110.0)) == []
    assert desk.reason() == "outside_targets"


def test_after_a_gap_the_first_price_is_judged_again() -> None:
    desk = Desk()
    assert desk.trade((1, 100.0)) == []
    desk.portfolio.mark_gap("AAA")
    assert desk.trade((2, 111.0), (3, 112.0)) == []
    assert len(desk.trade((4, 100.0), (5, 111.0))) == 1


def test_a_gap_counts_after_the_trades_fed_before_it() -> None:
    desk = Desk()
    desk.feed((1, 100.0), (2, 111.0))
    desk.portfolio.mark_gap("AAA")
    assert len(desk.until(START + 3_000)) == 1


def test_no_entry_at_or_after_the_opening_of_the_exit_window() -> None:
    desk = Desk()
    assert desk.trade((1, 100.0), (86_370, 111.0)) == []
    desk = Desk()
    assert len(desk.trade((1, 100.0), (86_369, 111.0))) == 1


def test_without_enough_days_before_it_warms_up() -> None:
    desk = Desk({"ma_window": 7})
    assert desk.trade((1, 100.0), (2, 111.0)) == []
    assert desk.reason() == "warming_up"
    assert desk.portfolio.distances() == {}


def test_a_day_missing_in_between_is_named() -> None:
    desk = Desk({"ma_window": 3}, opens=False)
    tomorrow = DAY + timedelta(days=1)
    desk.portfolio.feed_bar(closed_bar("AAA", DAY - timedelta(days=1), USUAL))
    desk.portfolio.feed_bar(open_bar("AAA", tomorrow, 100.0))
    desk.until(START + 86_400_001)
    assert desk.reason() == "missing_day:2023-07-04"
    assert desk.trade((86_401, 100.0), (86_402, 111.0)) == []


def test_an_incomplete_day_in_the_window_is_named_and_a_better_bar_replaces_it() -> None:
    desk = Desk({"ma_window": 3}, opens=False)
    desk.portfolio.feed_bar(closed_bar("AAA", DAY - timedelta(days=2), USUAL, complete=False))
    desk.portfolio.feed_bar(open_bar("AAA", DAY, 100.0))
    assert desk.reason() == "incomplete_day:2023-07-02"
    assert desk.trade((1, 100.0), (2, 111.0)) == []
    desk.portfolio.feed_bar(closed_bar("AAA", DAY - timedelta(days=2), USUAL))
    assert desk.reason() is None
    assert desk.trade((3, 111.0)) == [], "seen first outside the targets, as after a late start"
    assert len(desk.trade((4, 100.0), (5, 111.0))) == 1


def test_a_day_outside_the_windows_may_be_incomplete() -> None:
    desk = Desk({"ma_window": 3}, opens=False)
    desk.portfolio.feed_bar(closed_bar("AAA", DAY - timedelta(days=3), USUAL, complete=False))
    desk.portfolio.feed_bar(open_bar("AAA", DAY, 100.0))
    assert desk.reason() is None


def test_running_day_marked_incomplete_is_skipped_unless_told_to_trade() -> None:
    for handling, count in (("skip", 0), ("trade", 1)):
        desk = Desk(opens=False, session={"incomplete_days": handling})
        desk.portfolio.feed_bar(open_bar("AAA", DAY, 100.0, complete=False))
        assert len(desk.trade((1, 100.0), (2, 111.0))) == count


def test_day_becoming_incomplete_stops_entries_from_then_on() -> None:
    desk = Desk()
    desk.trade((1, 100.0))
    desk.portfolio.feed_bar(open_bar("AAA", DAY, 100.0, complete=False))
    assert desk.reason() == "incomplete_day:2023-07-04"
    assert desk.trade((2, 111.0)) == []


def test_trades_wait_for_the_open_bar_of_their_day() -> None:
    desk = Desk(opens=False)
    assert desk.trade((1, 100.0), (2, 111.0)) == []
    assert desk.reason() == "waiting_for_open"
    assert desk.portfolio.buffered_from_ms == START + 1_000
    desk.portfolio.feed_bar(open_bar("AAA", DAY, 100.0))
    (entry,) = desk.until(START + 3_000)
    assert entry.trigger_time_ms == START + 2_000
    assert desk.portfolio.buffered_from_ms is None


def test_open_bar_sent_again_changes_nothing() -> None:
    desk = Desk()
    desk.trade((1, 100.0))
    before = json.dumps(desk.portfolio.snapshot())
    desk.portfolio.feed_bar(open_bar("AAA", DAY, 100.0))
    desk.portfolio.feed_bar(closed_bar("AAA", DAY - timedelta(days=1), USUAL))
    assert json.dumps(desk.portfolio.snapshot()) == before


def test_bar_that_moves_the_targets_counts_for_later_trades_and_once() -> None:
    desk = Desk()
    better = closed_bar("AAA", DAY - timedelta(days=1), (100.0, 104.0, 96.0, 100.0))  # targets 104 and 96
    desk.trade((1, 100.0))
    desk.feed((2, 105.0))
    desk.portfolio.feed_bar(better)
    assert desk.until(START + 3_000) == []
    assert desk.trade((3, 100.0)) == []
    desk.portfolio.feed_bar(better)
    (entry,) = desk.trade((4, 104.0))
    assert entry.target_price == 104


def test_trades_of_the_exit_window_do_not_count_for_the_next_day() -> None:
    desk = Desk()
    tomorrow = DAY + timedelta(days=1)
    desk.trade((1, 100.0), (86_380, 119.0))
    desk.portfolio.feed_bar(closed_bar("AAA", DAY, USUAL))
    desk.portfolio.feed_bar(open_bar("AAA", tomorrow, 100.0))
    (entry,) = desk.trade((86_401, 100.0), (86_402, 110.0))
    assert entry.day == tomorrow


def test_one_batch_may_reach_over_the_end_of_a_day() -> None:
    desk = Desk()
    tomorrow = DAY + timedelta(days=1)
    desk.portfolio.feed_bar(closed_bar("AAA", DAY, USUAL))
    desk.portfolio.feed_bar(open_bar("AAA", tomorrow, 100.0))
    (entry,) = desk.trade((1, 100.0), (86_380, 119.0), (86_399, 81.0), (86_400, 100.0), (86_401, 110.0))
    assert (entry.day, entry.trigger_time_ms) == (tomorrow, START + 86_401_000)


def test_repeated_and_older_trades_are_dropped() -> None:
    desk = Desk()
    desk.trade((5, 111.0))
    assert desk.trade((4, 100.0), (5, 111.0)) == [], "the older price must not lift the block"
    assert desk.reason() == "outside_targets"
