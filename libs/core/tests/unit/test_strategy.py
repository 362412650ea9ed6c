"""Hand-computed days, one option at a time.

The days before have open 100, high 110, low 90 and close 104 unless said otherwise, so with k = 0.5 and an open of 100
the targets are 110 and 90, and the moving average of opens is 100.
"""

import json
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from scenarios import closed_bar, open_bar, trade_batch

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError
from breakwater_core.events import Leg, Side
from breakwater_core.holding import Phase
from breakwater_core.market import TradeBatch
from breakwater_core.portfolio import Decision, PortfolioStrategy

DAY = date(2023, 7, 4)
START = 1_688_428_800_000
EXIT = START + 86_400_000 - 30_000
USUAL = (100.0, 110.0, 90.0, 104.0)


class Desk:
    """The strategy on one symbol or more, with the days before `DAY` fed and `DAY` opened at 100."""

    def __init__(
        self,
        strategy: dict[str, Any] | None = None,
        *,
        symbols: tuple[str, ...] = ("AAA",),
        session: dict[str, Any] | None = None,
        opens: bool = True,
    ) -> None:
        settings = {"ma_window": 1, "filter": "none"} | (strategy or {})
        self.config = BreakwaterConfig.parse({"strategy": settings, "session": session or {}})
        self.portfolio = PortfolioStrategy(self.config, symbols)
        for symbol in symbols:
            for back in range(5, 0, -1):
                self.portfolio.feed_bar(closed_bar(symbol, DAY - timedelta(days=back), USUAL))
            if opens:
                self.portfolio.feed_bar(open_bar(symbol, DAY, 100.0))
        self.portfolio.advance(START)

    def trade(self, *trades: tuple[int, float], symbol: str = "AAA") -> list[Decision]:
        """Feed trades at (seconds into the day, price), advance past them and return what was decided."""
        self.feed(*trades, symbol=symbol)
        return self.until(START + trades[-1][0] * 1000 + 1)

    def feed(self, *trades: tuple[int, float], symbol: str = "AAA") -> None:
        self.portfolio.feed_trades(trade_batch(symbol, [(START + second * 1000, price) for second, price in trades]))

    def until(self, now_ms: int) -> list[Decision]:
        self.portfolio.advance(now_ms)
        decided: list[Decision] = []
        while decisions := self.portfolio.next_decisions():
            decided.extend(decisions)
        return decided

    def tell(
        self,
        leg: Leg,
        side: Side | None,
        price: str | None = None,
        *,
        second: int = 0,
        attempt: int = 1,
        day: date = DAY,
        symbol: str = "AAA",
    ) -> bool:
        return self.portfolio.apply_outcome(
            symbol,
            day,
            leg,
            attempt,
            position_side=side,
            average_price=None if price is None else Decimal(price),
            at_ms=START + second * 1000,
        )

    def reason(self, symbol: str = "AAA") -> str | None:
        return self.portfolio.status()[symbol].blocked_reason


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


# -- exits and stops --------------------------------------------------------------------------------------------------


def test_exit_is_decided_by_the_clock_at_the_last_price_before_the_window() -> None:
    desk = Desk()
    desk.trade((1, 100.0), (2, 111.0))
    desk.tell(Leg.ENTRY, Side.BUY, "111", second=2)
    assert desk.trade((3, 112.5)) == []
    desk.feed((86_371, 50.0))
    assert desk.until(EXIT) == []
    (leave,) = desk.until(EXIT + 1)
    assert leave == Decision("AAA", DAY, Leg.EXIT, Side.SELL, Decimal("112.5"), Decimal("112.5"), EXIT, attempt=1)
    assert desk.portfolio.positions_possible() == ("AAA",)
    desk.tell(Leg.EXIT, None)
    assert desk.portfolio.positions_possible() == ()


def test_exit_is_decided_for_an_entry_whose_outcome_never_came() -> None:
    desk = Desk({"stop_loss": 0.01})
    desk.trade((1, 100.0), (2, 111.0))
    assert desk.trade((3, 50.0)) == [], "without an entry price there is no stop"
    (leave,) = desk.until(EXIT + 1)
    assert (leave.leg, leave.trigger_price) == (Leg.EXIT, Decimal("50.0"))


def test_no_exit_for_an_entry_that_left_nothing() -> None:
    desk = Desk()
    desk.trade((1, 100.0), (2, 111.0))
    desk.tell(Leg.ENTRY, None)
    assert desk.until(EXIT + 1) == []


def test_all_exits_of_a_window_come_together_by_symbol() -> None:
    desk = Desk(symbols=("CCC", "AAA", "BBB"))
    for second, symbol in ((2, "CCC"), (3, "AAA"), (4, "BBB")):
        desk.trade((1, 100.0), (second, 111.0), symbol=symbol)
    desk.tell(Leg.ENTRY, None, symbol="BBB")
    desk.portfolio.advance(EXIT + 1)
    assert [(one.symbol, one.leg) for one in desk.portfolio.next_decisions()] == [("AAA", Leg.EXIT), ("CCC", Leg.EXIT)]
    assert desk.portfolio.next_decisions() == ()


@pytest.mark.parametrize(
    ("entry", "fill", "level", "before", "after"),
    [(111.0, "110", "108.90", 108.91, 108.9), (89.0, "90", "90.90", 90.89, 90.9)],
)
def test_stop_is_hit_at_its_share_of_the_average_entry_price(
    entry: float, fill: str, level: str, before: float, after: float
) -> None:
    desk = Desk({"stop_loss": 0.01})
    (bought,) = desk.trade((1, 100.0), (2, entry))
    desk.tell(Leg.ENTRY, bought.side, fill, second=3)
    assert desk.trade((4, before)) == []
    (stop,) = desk.trade((5, after))
    assert (stop.leg, stop.side, stop.attempt) == (Leg.STOP, bought.side.opposite, 1)
    assert stop.target_price == Decimal(level)
    assert stop.trigger_price == Decimal(str(after))


def test_stop_counts_trades_after_the_fill_only_even_if_it_is_told_late() -> None:
    desk = Desk({"stop_loss": 0.01})
    desk.trade((1, 100.0), (2, 111.0), (3, 100.0), (4, 99.0))
    desk.tell(Leg.ENTRY, Side.BUY, "111", second=3)
    (stop,) = desk.until(START + 5_000)
    assert (stop.trigger_time_ms, stop.trigger_price) == (START + 4_000, Decimal("99.0"))


def test_after_a_stop_nothing_more_is_decided_that_day() -> None:
    desk = Desk({"stop_loss": 0.01})
    desk.trade((1, 100.0), (2, 111.0))
    desk.tell(Leg.ENTRY, Side.BUY, "111", second=2)
    desk.trade((3, 100.0))
    desk.tell(Leg.STOP, None, second=3)
    assert desk.trade((4, 111.0), (5, 80.0)) == []
    assert desk.until(EXIT + 1) == []


def test_exit_follows_a_stop_whose_outcome_never_came() -> None:
    desk = Desk({"stop_loss": 0.01})
    desk.trade((1, 100.0), (2, 111.0))
    desk.tell(Leg.ENTRY, Side.BUY, "111", second=2)
    assert [one.leg for one in desk.trade((3, 100.0))] == [Leg.STOP]
    assert [one.leg for one in desk.until(EXIT + 1)] == [Leg.EXIT]


def test_stop_that_left_a_position_is_tried_again() -> None:
    desk = Desk({"stop_loss": 0.01})
    desk.trade((1, 100.0), (2, 111.0))
    desk.tell(Leg.ENTRY, Side.BUY, "111", second=2)
    desk.trade((3, 100.0))
    desk.tell(Leg.STOP, Side.BUY, second=4)
    assert [(one.leg, one.attempt) for one in desk.trade((4, 99.0), (5, 98.0))] == [(Leg.STOP, 2)]


def test_exit_that_left_a_position_is_tried_again_and_blocks_the_next_day_meanwhile() -> None:
    desk = Desk()
    tomorrow = DAY + timedelta(days=1)
    desk.trade((1, 100.0), (2, 111.0))
    desk.tell(Leg.ENTRY, Side.BUY, "111", second=2)
    desk.until(EXIT + 1)
    desk.tell(Leg.EXIT, Side.BUY, second=86_399)
    desk.portfolio.feed_bar(closed_bar("AAA", DAY, USUAL))
    desk.portfolio.feed_bar(open_bar("AAA", tomorrow, 100.0))
    (again,) = desk.trade((86_400, 100.0), (86_402, 111.0))
    assert (again.day, again.leg, again.attempt, again.trigger_time_ms) == (DAY, Leg.EXIT, 2, START + 86_400_000)
    assert desk.reason() == "position_open"
    desk.tell(Leg.EXIT, None, second=86_403, attempt=2)
    (entry,) = desk.trade((86_404, 100.0), (86_405, 111.0))
    assert (entry.day, entry.leg) == (tomorrow, Leg.ENTRY)


def test_price_is_judged_anew_once_a_position_left_by_an_exit_is_gone() -> None:
    desk = Desk()
    desk.trade((1, 100.0), (2, 111.0))
    desk.until(EXIT + 1)
    desk.portfolio.feed_bar(closed_bar("AAA", DAY, USUAL))
    desk.portfolio.feed_bar(open_bar("AAA", DAY + timedelta(days=1), 100.0))
    assert desk.trade((86_400, 100.0)) == []
    desk.tell(Leg.EXIT, Side.BUY, second=86_399)  # told late: the next day has begun and its price was seen inside
    assert [one.attempt for one in desk.trade((86_402, 111.0))] == [2]
    desk.tell(Leg.EXIT, None, second=86_403, attempt=2)
    assert desk.trade((86_404, 112.0)) == []
    assert desk.reason() == "outside_targets"


def test_stop_told_late_does_not_undo_the_exit_decided_since() -> None:
    desk = Desk({"stop_loss": 0.01})
    desk.trade((1, 100.0), (2, 111.0))
    desk.tell(Leg.ENTRY, Side.BUY, "111", second=2)
    desk.trade((3, 100.0))
    desk.until(EXIT + 1)
    assert not desk.tell(Leg.STOP, Side.BUY, second=4)
    assert desk.tell(Leg.EXIT, None, second=86_371)
    assert desk.portfolio.positions_possible() == ()


def test_entry_told_filled_after_it_was_told_empty_is_exited() -> None:
    desk = Desk()
    desk.trade((1, 100.0), (2, 111.0))
    desk.tell(Leg.ENTRY, None)
    assert desk.until(EXIT + 1) == []
    assert desk.tell(Leg.ENTRY, Side.BUY, "111", second=86_380)
    (leave,) = desk.until(START + 86_390_000)
    assert (leave.leg, leave.day, leave.attempt) == (Leg.EXIT, DAY, 1)


def test_flattening_by_hand_ends_the_position() -> None:
    desk = Desk()
    desk.trade((1, 100.0), (2, 111.0))
    desk.tell(Leg.ENTRY, Side.BUY, "111", second=2)
    assert desk.tell(Leg.FLATTEN, None, second=3)
    assert desk.until(EXIT + 1) == []


def test_outcomes_repeated_or_out_of_turn_change_nothing() -> None:
    desk = Desk({"stop_loss": 0.01})
    desk.trade((1, 100.0), (2, 111.0))
    assert desk.tell(Leg.ENTRY, Side.BUY, "111", second=2)
    assert not desk.tell(Leg.ENTRY, Side.BUY, "111", second=2)
    assert not desk.tell(Leg.ENTRY, None, second=2)
    assert not desk.tell(Leg.EXIT, None, day=DAY - timedelta(days=1))
    assert desk.portfolio.positions_possible() == ("AAA",)
    assert desk.portfolio.status()["AAA"].position is Phase.OPEN


def test_outcome_told_before_its_decision_is_kept_for_it() -> None:
    desk = Desk()
    assert desk.tell(Leg.ENTRY, None)
    assert len(desk.trade((1, 100.0), (2, 111.0))) == 1
    assert desk.until(EXIT + 1) == []


# -- order, clock, snapshots ------------------------------------------------------------------------------------------


def test_decisions_come_in_order_of_time_and_ties_by_symbol() -> None:
    desk = Desk(symbols=("BBB", "AAA", "CCC"))
    desk.feed((1, 100.0), (9, 111.0), symbol="AAA")
    desk.feed((1, 100.0), (9, 111.0), symbol="BBB")
    desk.feed((1, 100.0), (8, 111.0), symbol="CCC")
    assert [one.symbol for one in desk.until(START + 10_000)] == ["CCC", "AAA", "BBB"]


def test_trades_at_the_clock_are_not_decided_yet() -> None:
    desk = Desk()
    desk.feed((1, 100.0), (2, 111.0))
    assert desk.until(START + 2_000) == []
    assert desk.until(START + 1_000) == [], "the clock never goes back"
    assert len(desk.until(START + 2_001)) == 1


def test_distance_is_the_share_of_price_to_the_nearest_target() -> None:
    desk = Desk()
    desk.trade((1, 104.0))
    assert desk.portfolio.distances() == {"AAA": 6.0 / 104.0}


def test_days_pass_without_any_data() -> None:
    desk = Desk()
    assert desk.until(START + 40 * 86_400_000) == []
    assert desk.portfolio.day == DAY + timedelta(days=40)


def test_days_kept_are_bounded() -> None:
    desk = Desk({"ma_window": 3})
    for offset in range(100):
        day = DAY + timedelta(days=offset)
        desk.portfolio.feed_bar(closed_bar("AAA", day, USUAL))
        desk.portfolio.feed_bar(open_bar("AAA", day + timedelta(days=1), 100.0))
        desk.until(START + (offset + 1) * 86_400_000)
    state = desk.portfolio.snapshot()["symbols"]["AAA"]
    assert len(state["bars"]["closed"]) == desk.portfolio.min_bars_needed + 2
    assert len(state["bars"]["opened"]) <= 2
    assert len(state["plans"]) <= 2


def test_trades_held_for_an_outcome_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("breakwater_core.strategy.MAXIMUM_HELD_TRADES", 100)
    desk = Desk({"stop_loss": 0.01})
    desk.trade((1, 100.0), (2, 111.0))
    for second in range(3, 503):
        desk.trade((second, 111.0))
    assert desk.portfolio.buffered_from_ms == START + (503 - 100) * 1000


def test_snapshot_carries_bars_and_positions_over_to_another_configuration() -> None:
    desk = Desk()
    desk.trade((1, 100.0), (2, 111.0))
    desk.tell(Leg.ENTRY, Side.BUY, "111", second=2)
    other = Desk({"k_long": 0.25})
    other.portfolio.restore(json.loads(json.dumps(desk.portfolio.snapshot())))
    assert other.portfolio.status()["AAA"].target_long == 105.0
    (leave,) = other.until(EXIT + 1)
    assert leave.leg is Leg.EXIT


def test_snapshot_with_a_position_in_a_symbol_no_longer_traded_is_refused() -> None:
    desk = Desk()
    desk.trade((1, 100.0), (2, 111.0))
    with pytest.raises(InvalidInputError, match="may hold a position in AAA"):
        Desk(symbols=("BBB",)).portfolio.restore(desk.portfolio.snapshot())


def test_snapshot_of_another_format_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="format 99"):
        Desk().portfolio.restore({"format": 99})


def test_unknown_symbols_and_impossible_bars_are_refused() -> None:
    desk = Desk()
    with pytest.raises(InvalidInputError, match="ZZZ is not in the portfolio"):
        desk.trade((1, 100.0), symbol="ZZZ")
    with pytest.raises(InvalidInputError, match="must enclose"):
        desk.portfolio.feed_bar(closed_bar("AAA", DAY, (100.0, 99.0, 90.0, 95.0)))
    with pytest.raises(InvalidInputError, match="finite and above 0"):
        desk.portfolio.feed_bar(open_bar("AAA", DAY, float("nan")))
    with pytest.raises(InvalidInputError, match="each named once"):
        PortfolioStrategy(desk.config, ("AAA", "AAA"))


@pytest.mark.parametrize("count", [3, 300])
def test_trades_whose_times_fall_or_columns_differ_are_refused(count: int) -> None:
    desk = Desk()
    with pytest.raises(InvalidInputError, match="never fall"):
        desk.portfolio.feed_trades(trade_batch("AAA", [(START - index, 100.0) for index in range(count)]))
    good = trade_batch("AAA", [(START, 100.0)] * count)
    uneven = TradeBatch("AAA", good.times_ms, np.ones(count + 1), good.sizes, good.taker_sides)
    with pytest.raises(InvalidInputError, match="columns must match"):
        desk.portfolio.feed_trades(uneven)
