"""The strategy against the naive one, over random days and the whole option space."""

from datetime import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from naive_strategy import decide
from scenarios import Feeding, Scenario, random_scenario

from breakwater_core.config import BreakwaterConfig

SEEDS = st.integers(0, 2**32 - 1)
SETTINGS = settings(deadline=None, max_examples=200)


def configs() -> st.SearchStrategy[BreakwaterConfig]:
    factor = st.sampled_from([0.25, 0.3, 0.5, 1.0])
    strategy = st.fixed_dictionaries(
        {
            "k_long": factor,
            "k_short": factor,
            "ma_window": st.integers(1, 5),
            "ma_price": st.sampled_from(["open", "close"]),
            "filter": st.sampled_from(["trend", "contrarian", "none"]),
            "direction": st.sampled_from(["both", "both", "long", "short"]),
            "stop_loss": st.sampled_from([None, 0.005, 0.01, 0.02]),
            "noise_days": st.sampled_from([None, None, 1, 3]),
        }
    )
    session = st.sampled_from(
        [
            {},
            {"incomplete_days": "trade"},
            {"start": time(9, 0), "timezone": "Asia/Seoul"},
            {"start": time(0, 30), "timezone": "Europe/Berlin", "exit_lead": 3600.0},
        ]
    )

    def build(strategy_values: dict[str, Any], session_values: dict[str, Any]) -> BreakwaterConfig:
        return BreakwaterConfig.parse({"strategy": strategy_values, "session": session_values})

    return st.builds(build, strategy, session)


def feedings() -> st.SearchStrategy[Feeding]:
    return st.builds(
        Feeding,
        seed=SEEDS,
        windows=st.sampled_from([0, 2, 10, 40]),
        longest_batch=st.sampled_from([1, 7, 100, 1000]),
        runs_ahead=st.booleans(),
        restarts=st.booleans(),
    )


def expected(scenario: Scenario) -> list[Any]:
    return decide(scenario.config, scenario.symbols, scenario.days, scenario.answer)


@SETTINGS
@given(config=configs(), seed=SEEDS, feeding=feedings())
def test_decisions_are_those_of_the_description_however_trades_are_fed(
    config: BreakwaterConfig, seed: int, feeding: Feeding
) -> None:
    scenario = random_scenario(config, seed)
    assert feeding.run(scenario) == expected(scenario)


@SETTINGS
@given(config=configs(), seed=SEEDS, feeding=feedings())
def test_an_exit_is_decided_for_whatever_may_be_open_when_outcomes_are_lost(
    config: BreakwaterConfig, seed: int, feeding: Feeding
) -> None:
    scenario = random_scenario(config, seed, loses_outcomes=True)
    assert feeding.run(scenario) == expected(scenario)


def test_random_days_exercise_every_leg() -> None:
    config = BreakwaterConfig.parse({"strategy": {"filter": "none", "stop_loss": 0.01, "ma_window": 1}})
    rows = [row for seed in range(40) for row in expected(random_scenario(config, seed))]
    seen = {(row[2].value, row[3].value, row[7] > 1) for row in rows}
    assert {("entry", "buy", False), ("entry", "sell", False), ("stop", "sell", False), ("stop", "buy", True)} <= seen
    assert {("exit", "buy", False), ("exit", "sell", False), ("exit", "sell", True)} <= seen
