"""A market with its days in another order: what moves, what stays, and that nothing else changes."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from made_candles import candle_table

from breakwater_core.session import Session
from breakwater_recordings.sources import open_recording
from breakwater_research.bars.bar_table import BarTable, open_bar_table
from breakwater_research.search.shuffled_days import shuffled_order, with_days_in_order


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> BarTable:
    return candle_table(tmp_path_factory.mktemp("candles"), days=30, seed=3)


def paths_of_days(table: BarTable, symbol: int) -> list[list[float]]:
    """Each day's bars relative to its open."""
    return [
        (table.paths.prices[start:stop] / table.paths.prices[start]).tolist()
        for start, stop in pairwise(table.trade_at[symbol])
    ]


def test_days_left_in_place_give_the_same_table(table: BarTable) -> None:
    same = with_days_in_order(table, np.arange(30))
    assert (same.paths.times == table.paths.times).all()
    assert (same.trade_at == table.trade_at).all()
    for mine, theirs in zip(same.daily, table.daily, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)
    assert (same.running_highs.trades == table.running_highs.trades).all()
    assert (same.running_lows.trades == table.running_lows.trades).all()


def test_every_day_keeps_its_path_and_all_symbols_move_together(table: BarTable) -> None:
    order = shuffled_order(table, 30, np.random.default_rng(1))
    assert sorted(order) == list(range(30))
    assert (order != np.arange(30)).sum() > 20
    shuffled = with_days_in_order(table, order)
    for symbol in range(len(table.symbols)):
        before, after = paths_of_days(table, symbol), paths_of_days(shuffled, symbol)
        for place, day in enumerate(order):
            np.testing.assert_allclose(after[place], before[day], rtol=1e-12)


def test_steps_between_days_move_with_the_day_they_lead_to(table: BarTable) -> None:
    order = shuffled_order(table, 30, np.random.default_rng(2))
    shuffled = with_days_in_order(table, order)
    steps, moved = (item.daily.opens[:, 1:] / item.daily.closes[:, :-1] for item in (table, shuffled))
    for place, day in enumerate(order[1:]):
        expected = steps[:, day - 1] if day else np.ones(len(steps))
        np.testing.assert_allclose(moved[:, place], expected, rtol=1e-12)


def test_times_rise_and_lie_in_their_days(table: BarTable) -> None:
    shuffled = with_days_in_order(table, shuffled_order(table, 30, np.random.default_rng(2)))
    for symbol in range(len(table.symbols)):
        bars = shuffled.trade_at[symbol] // 4
        times = shuffled.paths.times[bars[0] : bars[-1]]
        assert (np.diff(times) > 0).all()
        days = np.searchsorted(shuffled.day_starts_ms, times, side="right") - 1
        assert (np.bincount(days, minlength=30) == np.diff(bars)).all()


def test_days_that_are_held_out_keep_their_places(table: BarTable) -> None:
    order = shuffled_order(table, 20, np.random.default_rng(1))
    assert (order[20:] == np.arange(20, 30)).all()
    assert sorted(order[:20]) == list(range(20))


def test_a_day_changes_places_only_with_days_as_complete_as_itself(tmp_path: Path) -> None:
    path = tmp_path / "candles"
    candle_table(path, days=20, seed=5)
    file = path / "BBBUSDT_1h.csv"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(line for number, line in enumerate(lines, start=-1) if number not in {100, 101, 300}))
    table = open_bar_table(open_recording([str(path)], session=Session()), Session())
    damaged = {100 // 24, 300 // 24}
    order = shuffled_order(table, 20, np.random.default_rng(1))
    assert {int(order[day]) for day in damaged} == damaged
    assert (with_days_in_order(table, order).complete == table.complete).all()
