"""A strategy that is told each day's configuration: the same as one that always knew it, and clean changes."""

import json
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_strategy import Left, Row, decide
from scenarios import Feeding, Scenario, random_scenario

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError, InvariantError
from breakwater_core.events import Leg, Side
from breakwater_core.market import BarState, DailyBar, TradeBatch
from breakwater_core.portfolio import Decision, PortfolioStrategy

DAY = date(2024, 1, 6)
START_MS = 1_704_499_200_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
OLD = BreakwaterConfig.parse({"portfolio": {"symbols": ["AAA", "BBB"]}, "strategy": {"ma_window": 2}})
NEW = BreakwaterConfig.parse(
    {"portfolio": {"symbols": ["BBB", "CCC"]}, "strategy": {"ma_window": 4, "k_long": 0.25, "k_short": 9}}
)


class Feeder:
    """Feeds days on which every symbol goes from 100 up to a price; the previous day's range is 8."""

    def __init__(self, *configs: BreakwaterConfig, symbols: tuple[str, ...] = ("AAA", "BBB", "CCC")) -> None:
        self.configs = configs
        self.symbols = symbols
        self.strategy = PortfolioStrategy(configs[0], configs[0].portfolio.symbols, day_by_day=True)
        self.decisions: list[Decision] = []

    def decide(self, now_ms: int) -> list[Decision]:
        self.strategy.advance(now_ms)
        found: list[Decision] = []
        while True:
            decisions = self.strategy.next_decisions()
            found += decisions
            day = self.strategy.awaited_day
            if not decisions and day is None:
                self.decisions += found
                return found
            if not decisions and day is not None:
                number = min(max(0, (day - DAY).days), len(self.configs) - 1)
                self.strategy.begin_day(day, self.configs[number])

    def open_day(self, number: int) -> None:
        day = DAY + timedelta(days=number)
        self.decide(START_MS + number * DAY_MS)
        for symbol in self.strategy.symbols:
            for back in range(6, 0, -1):
                past = day - timedelta(days=back)
                self.strategy.feed_bar(DailyBar(symbol, past, BarState.CLOSED, 98, 104, 96, 100, 1, complete=True))
            self.strategy.feed_bar(DailyBar(symbol, day, BarState.OPEN, 100, 100, 100, 100, 0, complete=True))
        assert self.trade(number, 0, 100.0) == []

    def trade(self, number: int, hour: int, price: float) -> list[Decision]:
        at_ms = START_MS + number * DAY_MS + hour * HOUR_MS
        for symbol in self.strategy.symbols:
            batch = TradeBatch(symbol, np.array([at_ms]), np.array([price]), np.ones(1), np.ones(1, np.int8))
            self.strategy.feed_trades(batch)
        return self.decide(at_ms + 1)

    def filled(self, decision: Decision, *, flat: bool = False) -> None:
        self.strategy.apply_outcome(
            decision.symbol,
            decision.day,
            decision.leg,
            decision.attempt,
            position_side=None if flat else Side.BUY,
            average_price=None if flat else Decimal(105),
            at_ms=decision.trigger_time_ms + 50,
        )


def entered(decisions: list[Decision]) -> list[tuple[str, int]]:
    return [(one.symbol, int(one.target_price)) for one in decisions if one.leg is Leg.ENTRY]


def all_flat(scenario: Scenario) -> Scenario:
    """Return the scenario with every order filled at once, so that no day reaches into the next."""

    class Filled(Scenario):
        def answer(self, row: Row) -> Left | None:
            _, _, leg, side, _, trigger, time, _ = row
            return Left(side if leg is Leg.ENTRY else None, trigger, time)

    return Filled(scenario.config, scenario.symbols, scenario.days, scenario.salt, loses_outcomes=False)


SEEDS = st.integers(0, 2**32 - 1)
STRATEGIES = st.fixed_dictionaries(
    {
        "k_long": st.sampled_from([0.25, 0.5, 1.0]),
        "k_short": st.sampled_from([0.25, 0.5, 1.0]),
        "filter": st.sampled_from(["trend", "contrarian", "none"]),
        "direction": st.sampled_from(["both", "long", "short"]),
        "stop_loss": st.sampled_from([None, 0.005, 0.02]),
        "ma_window": st.just(2),
    }
)


def feeding(seed: int, *, runs_ahead: bool, restarts: bool) -> Feeding:
    return Feeding(seed, windows=10, longest_batch=100, runs_ahead=runs_ahead, restarts=restarts, days_are_told=True)


@settings(max_examples=60)
@given(strategy=STRATEGIES, seed=SEEDS, runs_ahead=st.booleans(), restarts=st.booleans())
def test_told_the_same_configuration_each_day_it_decides_as_one_that_always_knew_it(
    strategy: dict[str, Any], seed: int, runs_ahead: bool, restarts: bool
) -> None:
    scenario = random_scenario(BreakwaterConfig.parse({"strategy": strategy}), seed, loses_outcomes=True)
    told = feeding(seed, runs_ahead=runs_ahead, restarts=restarts)
    expected = decide(scenario.config, scenario.symbols, scenario.days, scenario.answer)
    assert told.run(scenario) == expected


@settings(max_examples=100)
@given(before=STRATEGIES, after=STRATEGIES, seed=SEEDS, number=st.integers(0, 3), restarts=st.booleans())
def test_each_day_is_decided_by_its_own_configuration_and_nothing_of_another(
    before: dict[str, Any], after: dict[str, Any], seed: int, number: int, restarts: bool
) -> None:
    old, new = (BreakwaterConfig.parse({"strategy": values}) for values in (before, after))
    scenario = all_flat(random_scenario(old, seed))
    switch_day = scenario.days[min(number, len(scenario.days) - 1)]
    told = replace(feeding(seed, runs_ahead=False, restarts=restarts), switches_to=new, switch_day=switch_day)
    expected = [
        row
        for config, is_before in ((old, True), (new, False))
        for row in decide(config, scenario.symbols, scenario.days, scenario.answer)
        if (row[1] < switch_day) is is_before
    ]
    assert told.run(scenario) == expected


def test_symbols_and_a_longer_window_change_with_the_day() -> None:
    feeder = Feeder(OLD, NEW)
    feeder.open_day(0)
    assert entered(feeder.trade(0, 1, 105.0)) == [("AAA", 104), ("BBB", 104)]
    for decision in feeder.decisions[:]:
        feeder.filled(decision)
    exits = feeder.decide(START_MS + DAY_MS)
    assert [(one.symbol, one.leg, one.day) for one in exits] == [("AAA", Leg.EXIT, DAY), ("BBB", Leg.EXIT, DAY)]
    for decision in exits:
        feeder.filled(decision, flat=True)
    feeder.open_day(1)
    assert entered(feeder.trade(1, 2, 105.0)) == [("BBB", 102), ("CCC", 102)]


def test_a_position_that_outlives_its_day_is_exited_after_its_symbol_has_left_the_portfolio() -> None:
    feeder = Feeder(OLD, NEW, NEW)
    feeder.open_day(0)
    for decision in feeder.trade(0, 1, 105.0):
        feeder.filled(decision)
    left = next(one for one in feeder.decide(START_MS + DAY_MS) if one.symbol == "AAA")
    feeder.filled(left)
    assert feeder.strategy.status()["AAA"].blocked_reason == "position_open"
    snapshot = json.loads(json.dumps(feeder.strategy.snapshot()))
    feeder.strategy = PortfolioStrategy(NEW, NEW.portfolio.symbols, day_by_day=True)
    feeder.strategy.restore(snapshot)
    assert feeder.strategy.position_days == (DAY,)
    again = feeder.decide(left.trigger_time_ms + 50 + 1_001)
    assert [(one.symbol, one.day, one.attempt) for one in again] == [("AAA", DAY, 2)]
    feeder.filled(again[0], flat=True)
    assert feeder.strategy.status()["AAA"].blocked_reason == "not_in_portfolio"
    feeder.open_day(1)
    assert entered(feeder.trade(1, 2, 105.0)) == [("BBB", 102), ("CCC", 102)]
    feeder.decide(START_MS + 2 * DAY_MS)
    assert feeder.strategy.symbols == ("BBB", "CCC")


def test_without_days_to_be_told_a_snapshot_of_a_symbol_that_is_gone_is_refused() -> None:
    feeder = Feeder(OLD)
    feeder.open_day(0)
    for decision in feeder.trade(0, 1, 105.0):
        feeder.filled(decision)
    with pytest.raises(InvalidInputError, match="may hold a position in AAA"):
        PortfolioStrategy(NEW, NEW.portfolio.symbols).restore(feeder.strategy.snapshot())


def test_nothing_is_decided_or_kept_while_a_day_is_awaited() -> None:
    strategy = PortfolioStrategy(OLD, OLD.portfolio.symbols, day_by_day=True)
    strategy.advance(START_MS)
    assert strategy.awaited_day == DAY
    assert strategy.next_decisions() == ()
    with pytest.raises(InvariantError, match="is awaited"):
        strategy.snapshot()
    with pytest.raises(InvariantError, match="was begun while"):
        strategy.begin_day(DAY + timedelta(days=1), OLD)
    with pytest.raises(InvalidInputError, match="names no symbol"):
        strategy.begin_day(DAY, BreakwaterConfig())
    strategy.begin_day(DAY, NEW)
    assert strategy.symbols == ("BBB", "CCC")
