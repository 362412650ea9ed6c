"""The tick backtest against a replay in one process: options, limits, odd markets, on small recordings."""

import asyncio
import tempfile
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from breakwater_core.config import BreakwaterConfig
from breakwater_core.market import TradeBatch
from breakwater_core.report import Report
from breakwater_core.session import Session
from breakwater_recordings.funding import read_funding
from breakwater_recordings.parquet_file import write_trade_file
from breakwater_recordings.sources import open_recording
from breakwater_recordings.synthetic import write_synthetic
from breakwater_research.cost_records import CostRecords
from breakwater_research.tick_backtest import run_tick_backtest
from breakwater_runtime.logs import configure_logs
from tests.e2e.command import comparable
from tests.e2e.in_process_replay import InProcessReplay

FIRST = date(2024, 3, 1)
SYMBOLS = ("BTCUSDT", "DOGEUSDT", "LTCUSDT")
LIVELY: dict[str, Any] = {"strategy": {"ma_window": 2, "k_long": 0.2, "k_short": 0.2}}
DAY_MS = 86_400_000
MINUTE_MS = 60_000


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    configure_logs(service="test", run_id="", instance="", level="error")


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven synthetic days of three symbols."""
    folder = tmp_path_factory.mktemp("market")
    write_synthetic(
        folder, seed=11, first_day=FIRST, days=7, trades_per_day_total=2000, session=Session(), symbols=SYMBOLS
    )
    return folder


def with_values(*changes: dict[str, Any]) -> BreakwaterConfig:
    values: dict[str, Any] = {}
    for change in changes:
        for section, entries in change.items():
            values.setdefault(section, {}).update(entries)
    return BreakwaterConfig.parse(values)


def both(
    source: Path, config: BreakwaterConfig, *, span_ms: int | None = None, first: date | None = None
) -> tuple[Report, Report]:
    """Return the reports of the backtest and of the replay."""

    def recording() -> Any:
        return open_recording([str(source)], session=config.session.session(), symbols=config.portfolio.symbols or None)

    backtest = run_tick_backtest(recording(), config, first_day=first)
    with tempfile.TemporaryDirectory() as folder:
        replay = InProcessReplay(recording(), config, Path(folder), first_day=first, span_ms=span_ms)
        replayed = asyncio.run(replay.run())
    return backtest, replayed


def assert_equal(pair: tuple[Report, Report]) -> Report:
    backtest, replayed = pair
    assert comparable(backtest) == comparable(replayed)
    assert backtest["run_id"] == replayed["run_id"]
    return backtest


def reasons(report: Report) -> set[str]:
    return {refusal["reason"] for refusal in report["refused"]}


def kinds(report: Report) -> set[str]:
    return {fill["kind"] for fill in report["fills"]}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param({"strategy": {"stop_loss": 0.004}}, lambda r: "stop" in legs(r), id="stop loss"),
        pytest.param(
            {"strategy": {"noise_days": 2, "ma_price": "close", "direction": "short"}},
            lambda r: {o["side"] for o in r["orders"] if o["leg"] == "entry"} == {"sell"},
            id="noise, closes, short only",
        ),
        pytest.param(
            {"session": {"start": "09:00", "timezone": "America/New_York", "exit_lead": "1h"}},
            lambda r: len(r["days"]) == 6,
            id="another session",
        ),
        pytest.param({"costs": {"funding_rate": "0.001"}}, lambda r: kinds(r) == {"trade", "funding"}, id="funding"),
        pytest.param(
            {"costs": {"slippage_range_share": "0.5", "slippage_bps": 0}},
            lambda r: any(Decimal(order["slippage_bps"]) > 5 for order in r["orders"]),
            id="a share of the minute's range",
        ),
        pytest.param(
            {"costs": {"latency_ms": 60_000, "slippage_bps": 600}},
            lambda r: not r["fills"] and {o["status"] for o in r["orders"]} == {"cancelled"},
            id="beyond the price band",
        ),
        pytest.param(
            {"costs": {"taker_fee": "-0.0005", "slippage_bps": 0, "latency_ms": 0}},
            lambda r: all(fill["fee"].startswith("-") for fill in r["fills"]),
            id="rebate, no latency",
        ),
        pytest.param(
            {"risk": {"max_open_positions": 1}}, lambda r: reasons(r) == {"max_open_positions"}, id="one position"
        ),
        pytest.param(
            {"risk": {"max_order_notional": 60_000}}, lambda r: reasons(r) == {"max_order_notional"}, id="notional"
        ),
        pytest.param(
            {"risk": {"daily_loss_stop": 0.001}}, lambda r: reasons(r) == {"daily_loss_stop"}, id="daily loss"
        ),
        pytest.param(
            {"risk": {"drawdown_stop": 0.004}, "costs": {"funding_rate": "0.001"}},
            lambda r: reasons(r) == {"drawdown_stop"},
            id="drawdown",
        ),
        pytest.param(
            {"portfolio": {"initial_equity": 60, "accounts": ["first", "second"]}},
            lambda r: "below_min_quantity" in reasons(r) and len(r["days"]) == 14,
            id="two small accounts",
        ),
        pytest.param(
            {"portfolio": {"gross_leverage": 20}},
            lambda r: reasons(r) == {"insufficient_margin"} and bool(r["orders"]),
            id="too much leverage",
        ),
        pytest.param(
            {
                "portfolio": {"initial_equity": 3_000_000, "symbols": ["DOGEUSDT", "LTCUSDT"]},
                "session": {"exit_lead": "2s"},
                "costs": {"latency_ms": 700, "funding_rate": "0.001"},
            },
            lambda r: len({o["order_link_id"] for o in r["orders"]}) > 2 * r["counters"]["intents"],
            id="orders larger than the market allows, still closing at the funding stamp",
        ),
    ],
)
def test_the_backtest_reports_what_a_replay_reports(
    market: Path, change: dict[str, Any], expected: Callable[[Report], bool]
) -> None:
    report = assert_equal(both(market, with_values(LIVELY, change)))
    assert expected(report)


def legs(report: Report) -> set[str]:
    return {order["leg"] for order in report["orders"]}


CONFIGURATIONS = st.fixed_dictionaries(
    {
        "strategy": st.fixed_dictionaries(
            {
                "k_long": st.sampled_from([0.05, 0.2, 0.5]),
                "k_short": st.sampled_from([0.05, 0.3]),
                "ma_window": st.integers(1, 3),
                "ma_price": st.sampled_from(["open", "close"]),
                "filter": st.sampled_from(["trend", "contrarian", "none"]),
                "direction": st.sampled_from(["both", "long", "short"]),
                "stop_loss": st.sampled_from([None, 0.002, 0.02]),
                "noise_days": st.sampled_from([None, 1, 3]),
            }
        ),
        "portfolio": st.fixed_dictionaries(
            {
                "gross_leverage": st.sampled_from(["0.5", "2", "9", "12"]),
                "initial_equity": st.sampled_from(["40", "100000", "1000000.37"]),
                "accounts": st.sampled_from([["main"], ["main", "other"]]),
            }
        ),
        "session": st.fixed_dictionaries(
            {
                "start": st.sampled_from(["00:00", "07:59", "23:30"]),
                "timezone": st.sampled_from(["UTC", "Asia/Seoul"]),
                "exit_lead": st.sampled_from([0.2, 30.0, 3600.0]),
            }
        ),
        "costs": st.fixed_dictionaries(
            {
                "taker_fee": st.sampled_from(["-0.0002", "0", "0.00055", "0.02"]),
                "latency_ms": st.sampled_from([0, 50, 5000]),
                "slippage_bps": st.sampled_from(["0", "1", "30.5"]),
                "slippage_range_share": st.sampled_from(["0", "0.3"]),
                "funding_rate": st.sampled_from(["0", "0.0001", "-0.02"]),
            }
        ),
        "risk": st.fixed_dictionaries(
            {
                "max_open_positions": st.sampled_from([None, 1, 2]),
                "daily_loss_stop": st.sampled_from([None, "0.002"]),
                "drawdown_stop": st.sampled_from([None, "0.01"]),
            }
        ),
    }
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=CONFIGURATIONS, span_ms=st.sampled_from([None, 15 * MINUTE_MS, 360 * MINUTE_MS]))
def test_any_configuration_gives_the_same_report_with_windows_of_any_length(
    market: Path, values: dict[str, Any], span_ms: int | None
) -> None:
    assert_equal(both(market, BreakwaterConfig.parse(values), span_ms=span_ms))


@pytest.mark.parametrize("span_ms", [15 * MINUTE_MS, 360 * MINUTE_MS])
def test_recorded_funding_is_charged_alike(market: Path, tmp_path: Path, span_ms: int) -> None:
    """BTCUSDT settles every 4 hours and lacks some, LTCUSDT every 8, DOGEUSDT is not in the file."""
    path = tmp_path / "funding.csv"
    start_ms = Session().day_start_ms(FIRST)
    hours = [("BTCUSDT", hour) for hour in range(0, 168, 4) if not 40 < hour < 70]
    hours += [("LTCUSDT", hour) for hour in range(0, 168, 8)]
    rows = [f"{symbol},{start_ms + hour * 3_600_000 + hour % 7},{(hour % 5 - 2) / 1000}" for symbol, hour in hours]
    path.write_text("\n".join(["symbol,timestamp,funding_rate", *rows]) + "\n")
    config = with_values(LIVELY, {"costs": {"funding_rate": "0.0007"}})
    recording = open_recording([str(market)], session=Session())
    replay = InProcessReplay(recording, config, tmp_path, span_ms=span_ms, funding_file=path)
    records = CostRecords(funding=read_funding(path))
    backtest = run_tick_backtest(recording, config, run_id=replay.run_id, records=records)
    replayed = asyncio.run(replay.run())
    assert backtest["counters"].pop("settlements_without_record") > 0
    assert comparable(backtest) == comparable(replayed)
    assert {fill["symbol"] for fill in backtest["fills"] if fill["kind"] == "funding"} == set(SYMBOLS)
    assert run_tick_backtest(recording, config, records=records)["run_id"] != replay.run_id


def write_days(folder: Path, symbol: str, days: Iterable[list[float] | None]) -> None:
    """Write one file a day: prices at even distances over the day; None leaves the day out."""
    for number, prices in enumerate(days):
        if prices is None:
            continue
        day = FIRST + timedelta(days=number)
        start_ms = Session().day_start_ms(day)
        times = start_ms + np.linspace(0, DAY_MS - 1, len(prices)).astype(np.int64)
        batch = TradeBatch(symbol, times, np.array(prices), np.ones(len(prices)), np.ones(len(prices), dtype=np.int8))
        covered = [(start_ms, start_ms + DAY_MS)]
        path = folder / symbol / f"{day}.parquet"
        write_trade_file(path, [batch], symbol=symbol, venue="bybit", day=day, coverage=lambda covered=covered: covered)


QUIET_DAY = [100.0, 101.0, 99.0, 100.0]
RISING_DAY = [100.0, 101.0, 102.0, 102.5, 103.0]
CRASH = [100.0, *np.linspace(100.5, 103.0, 40), *np.linspace(103.0, 60.0, 300), *np.linspace(60.0, 99.0, 60)]
BREAKOUT_ANY_WAY: dict[str, Any] = {"strategy": {"ma_window": 1, "filter": "none", "direction": "long"}}


@pytest.mark.parametrize("funding_rate", ["0", "0.01", "-0.01"])
@pytest.mark.parametrize("span_ms", [MINUTE_MS, 360 * MINUTE_MS])
def test_a_position_that_the_exchange_closes_by_force_is_closed_alike(
    tmp_path: Path, funding_rate: str, span_ms: int
) -> None:
    write_days(tmp_path, "AAAUSDT", [QUIET_DAY, CRASH, QUIET_DAY, RISING_DAY])
    write_days(tmp_path, "BBBUSDT", [QUIET_DAY, RISING_DAY, QUIET_DAY, RISING_DAY])
    config = with_values(
        BREAKOUT_ANY_WAY, {"portfolio": {"gross_leverage": "9"}, "costs": {"funding_rate": funding_rate}}
    )
    report = assert_equal(both(tmp_path, config, span_ms=span_ms))
    assert "liquidation" in kinds(report)
    assert len(report["days"]) == 4


def test_a_day_without_data_and_one_that_begins_late_are_treated_alike(tmp_path: Path) -> None:
    write_days(tmp_path, "AAAUSDT", [QUIET_DAY, None, QUIET_DAY, RISING_DAY, RISING_DAY])
    write_days(tmp_path, "BBBUSDT", [QUIET_DAY, RISING_DAY, QUIET_DAY, None, RISING_DAY])
    for rule in ("skip", "trade"):
        config = with_values(BREAKOUT_ANY_WAY, {"session": {"incomplete_days": rule}})
        report = assert_equal(both(tmp_path, config))
        assert {order["symbol"] for order in report["orders"]} == {"AAAUSDT", "BBBUSDT"}


def test_days_before_the_first_only_warm_the_strategy_up(market: Path) -> None:
    first = FIRST + timedelta(days=4)
    report = assert_equal(both(market, with_values(LIVELY), first=first))
    assert report["days"][0]["day"] == first.isoformat()
    assert report["orders"]
