"""The tick backtest on markets small enough to work out by hand."""

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from made_recordings import DAY_MS, made_recording

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError
from breakwater_core.identities import replay_run_id
from breakwater_core.session import Session
from breakwater_recordings.recording import Recording
from breakwater_research.backtest_engines import ENGINES, EngineName
from breakwater_research.simulated_market import SimulatedMarket
from breakwater_research.tick_backtest import run_tick_backtest

FIRST = date(2024, 3, 1)
SECOND, THIRD = FIRST + timedelta(days=1), FIRST + timedelta(days=2)
NOON_MS = DAY_MS // 2
RANGE_OF_TEN = [(0, 100.0), (1_000, 105.0), (2_000, 95.0), (DAY_MS - 1, 100.0)]
QUIET = [(0, 100.0), (1_000, 101.0), (DAY_MS - 1, 100.0)]
UP_BY_SIX = [(0, 100.0), (NOON_MS, 106.0), (NOON_MS + 50, 107.0), (DAY_MS - 20_000, 110.0)]
ONE_DAY_OF_AVERAGE: dict[str, Any] = {
    "strategy": {"ma_window": 1},
    "costs": {"slippage_bps": 0, "taker_fee": "0.001"},
    "portfolio": {"initial_equity": 10_000, "gross_leverage": 1},
}


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return made_recording(
        tmp_path, {FIRST: {"AAAUSDT": RANGE_OF_TEN}, SECOND: {"AAAUSDT": UP_BY_SIX}, THIRD: {"AAAUSDT": QUIET}}
    )


def test_a_breakout_is_bought_after_the_latency_and_sold_at_the_day_s_end(recording: Recording) -> None:
    report = run_tick_backtest(recording, BreakwaterConfig.parse(ONE_DAY_OF_AVERAGE))
    bought, sold = report["fills"]
    # 10,000 / 106 = 94.33 -> 94.33, bought at the trade 50 ms later; the exit is decided 30 s before the day ends
    assert (bought["side"], bought["qty"], bought["price"], bought["fee"]) == ("buy", "94.33", "107", "10.09331")
    assert (sold["side"], sold["qty"], sold["price"]) == ("sell", "94.33", "107")
    assert sold["exec_time_ms"] == Session().day_end_ms(SECOND) - 30_000 + 50
    assert [day["equity"] for day in report["days"]] == ["10000", "9979.81338", "9979.81338"]
    assert report["counters"]["trades"] == 11
    assert report["counters"]["intents"] == report["counters"]["orders"] == 2


def test_the_run_has_the_id_of_a_replay_of_the_same(recording: Recording) -> None:
    config = BreakwaterConfig.parse(ONE_DAY_OF_AVERAGE)
    report = run_tick_backtest(recording, config, first_day=SECOND)
    portfolio = config.portfolio.model_copy(update={"symbols": ("AAAUSDT",)})
    filled = config.model_copy(update={"portfolio": portfolio})
    assert report["run_id"] == replay_run_id(
        fingerprint=recording.fingerprint, strategy_version=filled.version, first_day=SECOND, last_day=THIRD
    )
    assert run_tick_backtest(recording, config, run_id="mine")["run_id"] == "mine"


def test_each_day_is_told_when_it_is_done(recording: Recording) -> None:
    told: list[tuple[date, int]] = []
    run_tick_backtest(
        recording, BreakwaterConfig.parse(ONE_DAY_OF_AVERAGE), on_day=lambda day, trades: told.append((day, trades))
    )
    assert told == [(FIRST, 4), (SECOND, 8), (THIRD, 11)]


def test_an_account_that_lost_everything_is_not_traded_and_gets_no_further_return(tmp_path: Path) -> None:
    crash = [(0, 100.0), (NOON_MS, 106.0), (NOON_MS + 1_000, 60.0), (DAY_MS - 1, 60.0)]
    days = {FIRST: RANGE_OF_TEN, SECOND: crash, THIRD: RANGE_OF_TEN, THIRD + timedelta(days=1): UP_BY_SIX}
    recording = made_recording(tmp_path, {day: {"AAAUSDT": trades} for day, trades in days.items()})
    values = ONE_DAY_OF_AVERAGE | {"portfolio": {"initial_equity": 10_000, "gross_leverage": 9}}
    report = run_tick_backtest(recording, BreakwaterConfig.parse(values))
    assert Decimal(report["days"][1]["equity"]) < 0
    assert [fill["kind"] for fill in report["fills"]] == ["trade", "liquidation"]
    assert [refusal["reason"] for refusal in report["refused"]] == ["no_equity"]


def test_symbols_that_the_portfolio_does_not_name_are_refused_with_the_way_out(recording: Recording) -> None:
    values = ONE_DAY_OF_AVERAGE | {"portfolio": {"symbols": ["BBBUSDT"]}}
    with pytest.raises(InvalidInputError, match=r"open the recording with portfolio\.symbols"):
        run_tick_backtest(recording, BreakwaterConfig.parse(values))


def test_the_engine_is_found_by_its_name() -> None:
    assert ENGINES[EngineName("tick")] is run_tick_backtest


def test_trades_behind_the_clock_are_forgotten(tmp_path: Path) -> None:
    days = {
        FIRST + timedelta(days=number): {"AAAUSDT": [(offset, 100.0) for offset in range(0, DAY_MS, 2_000)]}
        for number in range(6)
    }
    recording = made_recording(tmp_path, days)
    end_ms = Session().day_end_ms(max(days))
    market = SimulatedMarket(recording, start_ms=Session().day_start_ms(FIRST), end_ms=end_ms)
    most = 0
    for window in market.windows():
        market.forget_before(window.end_ms)
        known = market.history("AAAUSDT").last_trades(10**9, end_ms)
        most = max(most, sum(map(len, known)))
    assert market.history("AAAUSDT").total == 6 * 43_200
    assert most < 43_200
