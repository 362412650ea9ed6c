"""The research benchmark compares what it says it compares."""

import asyncio
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import research
from bench.backtest_command import candle_sources, command_figures
from bench.common_trades import ParameterSet, TradePlanner, Trades, difference, parameter_sets
from bench.effort import Effort
from bench.minute_bars import (
    BARS_PER_DAY,
    QUIET_VOLUME,
    MinuteBars,
    _with_quiet_minutes,
    recorded_bars,
    synthetic_bars,
)
from bench.report import section_text
from bench.research_engine import BreakwaterEngine
from bench.research_runs import OWN, Plan, Run
from breakwater_core.session import Session

BARS = synthetic_bars(days=8, seed=3)
SETS = [ParameterSet(0.3, 3), ParameterSet(0.5, 5)]


def made_bars(moves: dict[tuple[int, int], tuple[float, float, float, float]]) -> MinuteBars:
    """Return three days of one symbol at 100 with a range from 99 to 101 on the first, and some bars as given."""
    columns = np.full((5, 1, 3, BARS_PER_DAY), 100.0)
    columns[1, 0, 0, 700], columns[2, 0, 0, 700] = 101.0, 99.0
    for (day, minute), prices in moves.items():
        columns[:4, 0, day, minute] = prices
    return MinuteBars(("BTCUSDT",), date(2023, 1, 1), *columns)


def trades_of(bars: MinuteBars, folder: Path, sets: list[ParameterSet]) -> Trades:
    bars.save(folder)
    return BreakwaterEngine(MinuteBars.load(folder), folder).trades(sets)


def planned(bars: MinuteBars, sets: list[ParameterSet]) -> Trades:
    """Return what is planned for the peers, with the net return by the fee's definition."""
    parts = []
    for number, chosen in enumerate(sets):
        plan = TradePlanner(bars).planned_trades(chosen)
        ratio = plan.exit_prices / plan.entry_prices
        columns = plan._asdict() | {
            "sets": np.full(plan.sides.size, number),
            "net_returns": plan.sides * (ratio - 1) - 0.00055 * (1 + ratio),
        }
        parts.append(Trades(**columns))
    return Trades.joined(parts)


def test_synthetic_bars_are_bars_on_their_ticks_and_the_same_for_the_same_seed() -> None:
    assert (BARS.highs >= np.maximum(BARS.opens, BARS.closes)).all()
    assert (BARS.lows <= np.minimum(BARS.opens, BARS.closes)).all()
    assert (BARS.lows > 0).all()
    assert (BARS.volumes > 0).all()
    btc = BARS.highs[BARS.symbols.index("BTCUSDT")]
    assert (np.rint(btc * 10) / 10 == btc).all()
    longer = synthetic_bars(days=9, seed=3)
    assert (longer.first_days(8).closes == BARS.closes).all()
    assert (longer.opens[:, 8, 0] == BARS.closes[:, 7, -1]).all()
    assert (synthetic_bars(days=1, seed=4).closes != BARS.closes[:, :1]).any()


def test_sets_are_different_and_the_first_of_few_is_the_first_of_many() -> None:
    assert len(set(parameter_sets(100))) == 100
    assert len(parameter_sets(7)) == 7


def test_breakwater_makes_the_trades_that_are_planned_for_the_peers(tmp_path: Path) -> None:
    ours = trades_of(BARS, tmp_path, SETS)
    assert len(ours.first_sets(1)) > 10
    assert difference(ours, planned(BARS, SETS)) is None


@pytest.mark.parametrize(
    ("prices", "side", "price"),
    [
        ((100.0, 100.6, 99.4, 100.2), -1, 99.4),  # it rose, so the low came first
        ((100.0, 100.6, 99.4, 99.8), 1, 100.6),
        ((100.7, 100.9, 100.6, 100.8), 1, 100.7),  # opened beyond the target
        ((100.0, 100.2, 99.5, 99.9), -1, 99.5),  # reached to the tick
    ],
)
def test_an_entry_is_at_the_first_price_of_the_bar_that_reaches_a_target(
    prices: tuple[float, float, float, float], side: int, price: float, tmp_path: Path
) -> None:
    bars = made_bars({(1, 60): prices, (1, BARS_PER_DAY - 1): (100.3, 102.0, 98.0, 100.0)})
    sets = [ParameterSet(0.25, 2)]
    plan = planned(bars, sets).first_sets(1)
    assert [plan.sides[0], plan.entry_bars[0], plan.entry_prices[0]] == [side, BARS_PER_DAY + 60, price]
    assert [plan.exit_bars[0], plan.exit_prices[0]] == [2 * BARS_PER_DAY - 1, 100.3]
    assert difference(trades_of(bars, tmp_path, sets), plan) is None


@pytest.mark.parametrize("name", ["sides", "entry_bars", "entry_prices", "exit_bars", "exit_prices", "net_returns"])
def test_a_single_deviation_is_named(name: str) -> None:
    trades = planned(BARS, SETS)
    changed = getattr(trades, name).copy()
    changed[4] += np.asarray(1).astype(changed.dtype) if changed.dtype.kind == "i" else 1e-8 * abs(changed[4])
    if name == "net_returns":
        changed[4] += 1e-8
    fault = difference(trades, replace(trades, **{name: changed}))
    assert fault is not None
    assert fault.startswith(f"{name} of trade 4 ")


def test_a_missing_trade_is_a_difference() -> None:
    trades = planned(BARS, SETS)
    assert difference(trades, trades.first_sets(1)) is not None


def run_of(title: str, trades: Trades, traded: int) -> Run:
    plan = Plan(title, 1, traded, 1)
    return Run(plan, "1.0", (1.0,), (100.0,), 1.0, 1.0, 100.0, 50.0, trades)


def test_engines_with_different_trades_are_told_apart_in_the_sets_that_both_listed() -> None:
    trades = planned(BARS, SETS)
    changed = replace(trades, exit_prices=trades.exit_prices * np.where(trades.sets == 1, 1.001, 1.0))
    assert research.compare([run_of(OWN, trades, 2), run_of("peer", changed, 1)], "synthetic", []) == []
    faults = research.compare([run_of(OWN, trades, 2), run_of("peer", changed, 2)], "synthetic", [])
    assert len(faults) == 1
    assert faults[0].startswith("UNEQUAL: Breakwater and peer")


def test_the_recorded_month_has_whole_days_of_ten_symbols() -> None:
    sources = candle_sources()
    if not sources:
        pytest.skip("the recorded candles are not there")
    from breakwater_recordings.sources import open_recording

    bars = recorded_bars(open_recording(sources, session=Session()))
    assert len(bars.symbols) == 10
    assert bars.days >= 25
    assert (bars.highs >= np.maximum(bars.opens, bars.closes)).all()


def test_the_timed_command_is_one_that_the_program_knows(tmp_path: Path) -> None:
    sources = candle_sources()
    if not sources:
        pytest.skip("the recorded candles are not there")
    figures = command_figures(Effort(tmp_path, 0, is_quick=True), sources[:1], tmp_path)  # once each, not timed
    assert [figure.values for figure in figures] == [(), ()]


def test_a_minute_in_which_nobody_traded_stays_at_the_close_before() -> None:
    minutes = np.array([0, 1, 4])
    prices = [np.array([10.0, 11.0, 14.0]) + number for number in range(4)]
    filled = _with_quiet_minutes(minutes, 6, prices, np.array([5.0, 6.0, 7.0]))
    opens, _, _, closes, volumes = filled
    assert opens.tolist() == [10.0, 11.0, 14.0, 14.0, 14.0, 17.0]
    assert closes.tolist() == [13.0, 14.0, 14.0, 14.0, 17.0, 17.0]
    assert volumes.tolist() == [5.0, 6.0, QUIET_VOLUME, QUIET_VOLUME, 7.0, QUIET_VOLUME]


def test_a_peer_that_is_not_installed_is_named_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answers(effort: Effort, plan: Plan, folder: Path) -> Any:
        return "no module" if plan.title != OWN else run_of(OWN, planned(BARS, SETS), 1)

    monkeypatch.setattr(research, "run_engine", answers)
    notes: list[str] = []
    effort = Effort(tmp_path, 1, is_quick=True)
    plans = [Plan(OWN, 1, 1, 1), Plan("vectorbt", 1, 1, 1)]
    runs = asyncio.run(research.runs_of(effort, tmp_path, plans, notes))
    assert [run.title for run in runs] == [OWN]
    assert notes == ["vectorbt was not measured: no module; `uv sync --group bench` installs it."]
    assert "UNEQUAL" not in section_text("research", research.Section("t", tuple(research.speed(runs))))
