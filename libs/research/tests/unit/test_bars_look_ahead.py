"""Nothing is known before its time: what comes later changes no decision, and a fair market gives no edge."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_bars import DAY_MS, FIRST_MS, Row, bar_recording, configurations, random_market

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError, InvariantError
from breakwater_core.session import Session
from breakwater_research.bars.bar_table import BarTable, open_bar_table
from breakwater_research.bars.bars_engine import run_bars_backtest
from breakwater_research.bars.sweep import sweep, sweep_trades

HOUR_MS = 3_600_000


def changed_from(rows: list[Row], time_ms: int, seed: int) -> list[Row]:
    """Return the bars with other prices in each that opens at the time or later."""
    draw = np.random.default_rng(seed)
    changed = []
    for time, *prices, volume in rows:
        if time >= time_ms:
            low, high = sorted(draw.integers(60, 160, size=2).tolist())
            opening, closing = draw.integers(low, high + 1, size=2).tolist()
            prices = [float(opening), float(high), float(low), float(closing)]
        changed.append((time, *prices, volume))
    return changed


def decisions_before(
    folder: Path, market: dict[str, list[Row]], config: BreakwaterConfig, time_ms: int
) -> tuple[dict[str, Any], list[Any]] | None:
    """Return what was decided before the time, by engine and sweep; None if no day can be played to its end."""
    session = config.session.session()
    recording = bar_recording(folder, market, session)
    try:
        report = run_bars_backtest(recording, config, run_id="same")
    except (InvalidInputError, InvariantError):  # no complete day; an exit that no price lets fill
        return None
    keys = ("symbol", "side", "leg", "target_price", "trigger_price", "trigger_time_ms")
    orders = {
        order["intent_id"]: [order[key] for key in keys]
        for order in report["orders"]
        if order["trigger_time_ms"] < time_ms
    }
    trades = sweep_trades(open_bar_table(recording, session), config)
    columns = ["symbol", "day", "side", "trigger_time_ms", "target_price", "trigger_price"]
    first_fill_ms = trades["trigger_time_ms"] + config.costs.latency_ms
    return orders, trades[first_fill_ms < time_ms][columns].to_numpy().tolist()


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), config=configurations, share=st.floats(0.1, 0.95))
def test_changing_any_bar_changes_no_decision_before_it(
    tmp_path: Path, seed: int, config: BreakwaterConfig, share: float
) -> None:
    market = random_market(seed)
    days = (max(rows[-1][0] for rows in market.values()) - FIRST_MS) / DAY_MS
    time_ms = FIRST_MS + round(share * days * DAY_MS)
    before = decisions_before(tmp_path, market, config, time_ms)
    later = {symbol: changed_from(rows, time_ms, seed) for symbol, rows in market.items()}
    after = decisions_before(tmp_path, later, config, time_ms)
    if before is not None and after is not None:
        assert after == before


def fair_table(folder: Path, *, days: int) -> BarTable:
    """Return five markets of hours whose prices move by as much up as down, whatever came before.

    Each bar is a straight line, so that the order of its four trades tells nothing either.
    """
    draw = np.random.default_rng(20)
    market = {}
    for name in ("AAAUSDT", "BBBUSDT", "CCCUSDT", "DDDUSDT", "EEEUSDT"):
        closes = 10_000.0 + np.cumsum(draw.choice([-8.0, -1.0, 1.0, 8.0], size=days * 24))
        opens = np.concatenate(([10_000.0], closes[:-1]))
        columns = (opens, np.maximum(opens, closes), np.minimum(opens, closes), closes)
        times = FIRST_MS + np.arange(days * 24) * HOUR_MS
        rows = zip(times.tolist(), *(column.tolist() for column in columns), [1.0] * times.size, strict=True)
        market[name] = list(rows)
    return open_bar_table(bar_recording(folder, market), Session())


FREE = {"costs": {"slippage_bps": 0, "taker_fee": "0"}}


def errors_from_zero(returns: np.ndarray) -> float:
    """Return how many standard errors the mean is away from zero."""
    return float(abs(returns.mean()) / (returns.std() / np.sqrt(returns.size)))


@pytest.mark.parametrize("filter_name", ["trend", "contrarian", "none"])
def test_a_market_without_memory_gives_no_edge(tmp_path: Path, filter_name: str) -> None:
    table = fair_table(tmp_path, days=400)
    strategy = {"k_long": 0.3, "k_short": 0.3, "ma_window": 3, "filter": filter_name, "stop_loss": 0.01}
    config = BreakwaterConfig.parse(FREE | {"strategy": strategy})
    result = sweep(table, [config])
    assert result.trades[0] > 250
    assert errors_from_zero(result.returns[0]) < 3


def test_shuffling_which_way_trades_went_leaves_nothing_and_knowing_it_would_show(tmp_path: Path) -> None:
    """Outcomes of a day are its moves after the entries; with their order shuffled the sides are worth nothing."""
    strategy = {"k_long": 0.3, "k_short": 0.3, "ma_window": 3, "filter": "none"}
    trades = sweep_trades(fair_table(tmp_path, days=400), BreakwaterConfig.parse(FREE | {"strategy": strategy}))
    moves = (trades["gross_return"] * trades["side"]).to_numpy()
    sides = trades["side"].to_numpy()
    draw = np.random.default_rng(3)
    shuffled = [errors_from_zero(sides * draw.permutation(moves)) for _ in range(200)]
    assert np.mean(np.array(shuffled) > 1.96) == pytest.approx(0.05, abs=0.04)
    assert errors_from_zero(np.sign(moves) * moves) > 10
