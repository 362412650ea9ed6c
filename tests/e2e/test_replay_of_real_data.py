"""A replay of real candles through all processes, against an independent naive script over the same files."""

from decimal import Decimal
from pathlib import Path

import pytest

from tests.e2e.command import backtest_report, comparable, replay_report
from tests.e2e.naive_breakout import DAY_MS, Entry, naive_entries

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def candle_files(shared: Path) -> list[Path]:
    files = sorted((shared / "data" / "klines_1m").glob("binance_usdm_*_1m_2023JulAug.csv.gz"))
    if not files:
        pytest.skip("the shared data has no minute candles of 2023")
    return files


def entries_of(report: dict[str, list[dict[str, str]]]) -> list[Entry]:
    return sorted(
        Entry(
            int(order["trigger_time_ms"]),
            order["symbol"],
            int(order["trigger_time_ms"]) // DAY_MS,
            order["side"].lower(),
            float(Decimal(order["trigger_price"])),
        )
        for order in report["orders"]
        if order["leg"] == "entry"
    )


@pytest.mark.parametrize(("filter_name", "executors"), [("trend", 2), ("contrarian", 4), ("none", 1)])
def test_entries_are_those_of_the_naive_script_and_the_report_is_that_of_the_backtest(
    candle_files: list[Path], tmp_path: Path, filter_name: str, executors: int
) -> None:
    settings = ("--set", f"strategy.filter={filter_name}")
    report = replay_report(tmp_path / "replay", *candle_files, "--executors", str(executors), *settings, timeout_s=300)
    expected = naive_entries(candle_files, filter_name=filter_name)
    assert len(expected) > 50
    assert entries_of(report) == expected
    backtest = backtest_report(tmp_path / "backtest", *candle_files, *settings)
    assert comparable(backtest) == comparable(report)
    assert backtest["run_id"] == report["run_id"]


def test_every_position_is_closed_and_every_entry_filled(candle_files: list[Path], tmp_path: Path) -> None:
    report = replay_report(tmp_path, *candle_files[:4], "--executors", "2", timeout_s=300)
    positions: dict[str, Decimal] = {}
    for fill in report["fills"]:
        sign = 1 if fill["side"].lower() == "buy" else -1
        positions[fill["symbol"]] = positions.get(fill["symbol"], Decimal(0)) + sign * Decimal(fill["qty"])
    assert positions
    assert set(positions.values()) == {Decimal(0)}
    assert {order["status"].lower() for order in report["orders"]} == {"filled"}
    assert report["refused"] == []


def test_entries_fill_at_the_trade_that_triggered_them_plus_the_modelled_slippage(
    candle_files: list[Path], tmp_path: Path
) -> None:
    report = replay_report(tmp_path, candle_files[2], "--set", "costs.slippage_bps=2", timeout_s=300)
    entries = [order for order in report["orders"] if order["leg"] == "entry"]
    assert entries
    for order in entries:
        # The path of a minute candle has a trade every 15 s: 50 ms later the triggering one is still the last.
        price, trigger = Decimal(order["avg_price"]), Decimal(order["trigger_price"])
        against = price - trigger if order["side"] == "buy" else trigger - price
        assert trigger * Decimal("0.0002") <= against <= trigger * Decimal("0.0002") + Decimal("0.1")


def test_executors_and_speed_do_not_change_the_report(candle_files: list[Path], tmp_path: Path) -> None:
    one = replay_report(tmp_path / "one", *candle_files, "--executors", "1", timeout_s=300)
    four = replay_report(tmp_path / "four", *candle_files, "--executors", "4", "--speed", "150000", timeout_s=300)
    backtest = backtest_report(tmp_path / "backtest", *candle_files)
    assert comparable(one) == comparable(four) == comparable(backtest)
    assert one["run_id"] == four["run_id"] == backtest["run_id"]
