"""The bars engine against the tick engine on the same candles: the same report to the last byte."""

import json
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from made_bars import RandomRecording, configurations, without_clock
from made_recordings import made_recording

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError, InvariantError
from breakwater_core.report import Report
from breakwater_core.session import Session
from breakwater_recordings.funding import read_funding
from breakwater_recordings.recording import Recording
from breakwater_recordings.sources import open_recording
from breakwater_research.backtest_engines import ENGINES, EngineName, NoBarsError
from breakwater_research.bars.bar_table import open_bar_table
from breakwater_research.bars.bars_engine import run_bars_backtest
from breakwater_research.cost_records import CostRecords
from breakwater_research.tick_backtest import run_tick_backtest

SYMBOLS = tuple(f"{base}USDT" for base in ("ADA", "BNB", "BTC", "DOGE", "DOT", "ETH", "LTC", "MATIC", "SOL", "TRX"))


def outcome(run: Callable[..., Report], recording: Recording, config: BreakwaterConfig, **span: date | None) -> object:
    """Return the report, or what keeps it from being made: an exit that slippage lets no price fill."""
    try:
        return without_clock(run(recording, config, **span))
    except InvariantError as error:
        return str(error)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), config=configurations, cuts=st.tuples(st.booleans(), st.booleans()))
def test_both_engines_report_the_same_for_every_option(
    seed: int, config: BreakwaterConfig, cuts: tuple[bool, bool]
) -> None:
    with RandomRecording(seed, config.session.session()) as recording:
        days = sorted({day for symbol in recording.symbols for day in recording.complete_days(symbol)})
        assume(days)
        span = {"first_day": days[len(days) // 3] if cuts[0] else None, "last_day": days[-2:][0] if cuts[1] else None}
        expected = outcome(run_tick_backtest, recording, config, **span)
        assert outcome(run_bars_backtest, recording, config, **span) == expected


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({}, id="as it comes"),
        pytest.param(
            {
                "strategy": {"filter": "contrarian", "ma_price": "close", "stop_loss": 0.01, "noise_days": 3},
                "session": {"start": "09:00", "timezone": "America/New_York", "exit_lead": "10m"},
                "costs": {"slippage_range_share": "0.1"},
            },
            id="contrarian, stop, noise, another session",
        ),
        pytest.param(
            {
                "strategy": {"filter": "none", "k_long": 0.2, "k_short": 0.3, "ma_window": 1},
                "portfolio": {"gross_leverage": 20},
                "risk": {"daily_loss_stop": "0.05"},
            },
            id="leverage that is refused or liquidated",
        ),
    ],
)
def test_ten_symbols_of_real_minutes_are_reported_alike(shared: Path, values: dict[str, Any]) -> None:
    folder = shared / "data" / "klines_1m"
    config = BreakwaterConfig.parse(values)
    recording = open_recording(
        [str(folder / f"binance_usdm_{symbol}_1m_2023JulAug.csv.gz") for symbol in SYMBOLS],
        session=config.session.session(),
    )
    records = CostRecords(funding=read_funding(shared / "data/funding/binance_usdm_funding_2023_groupA.csv.gz"))
    expected = run_tick_backtest(recording, config, records=records)
    assert len(expected["days"]) >= 25
    assert len(expected["orders"]) >= 50
    assert without_clock(run_bars_backtest(recording, config, records=records)) == without_clock(expected)


def test_a_recording_of_trades_is_left_to_the_tick_engine(tmp_path: Path) -> None:
    day = Session().day_of(1_700_000_000_000)
    trades: Sequence[tuple[int, float]] = [(0, 100.0), (7, 101.0), (9, 99.0), (86_000_000, 100.0)]
    recording = made_recording(tmp_path, {day: {"AAAUSDT": trades}})
    with pytest.raises(NoBarsError, match=r"2023-11-14\.parquet \(AAAUSDT\) holds trades"):
        open_bar_table(recording, Session())


def test_the_engine_is_found_by_its_name_and_wants_days_that_are_there(tmp_path: Path) -> None:
    config = BreakwaterConfig()
    with RandomRecording(3, config.session.session()) as recording:
        report = ENGINES[EngineName("bars")](recording, config, run_id="mine")
        assert json.dumps(report)
        assert report["run_id"] == "mine"
        with pytest.raises(InvalidInputError, match="no complete day between 2030-01-01"):
            run_bars_backtest(recording, config, first_day=Session().day_of(1_893_456_000_000))
