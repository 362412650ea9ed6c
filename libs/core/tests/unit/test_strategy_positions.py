"""Hand-computed exits and stops, the order of decisions, and snapshots; the days are those of `desk`."""

import json
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest
from desk import DAY, EXIT, START, USUAL, Desk
from scenarios import closed_bar, open_bar, trade_batch

from breakwater_core.errors import InvalidInputError
from breakwater_core.events import Leg, Side
from breakwater_core.holding import Phase
from breakwater_core.market import TradeBatch
from breakwater_core.portfolio import Decision, PortfolioStrategy

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
