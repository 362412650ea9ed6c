"""`breakwater backtest` against `breakwater replay` with all its processes, as a user runs them."""

import json
from datetime import date
from pathlib import Path

import pytest

from breakwater_bybit.errors import Rejected, RequestKind, error_of_code
from breakwater_core.session import Session
from breakwater_recordings.synthetic import write_synthetic
from breakwater_research.simulated_account import MARGIN_LEVERAGE, Rejection
from executor_service.settings import ExecutorSettings
from tests.e2e.command import backtest_report, breakwater, comparable, replay_report

SYMBOLS = ("ADAUSDT", "BTCUSDT", "DOTUSDT", "ETHUSDT", "SOLUSDT")
FASTER = ("--set", "strategy.ma_window=3", "--set", "costs.funding_rate=0.0001", "--set", "strategy.stop_loss=0.02")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recording")
    write_synthetic(
        folder,
        seed=5,
        first_day=date(2024, 2, 27),
        days=7,
        trades_per_day_total=15_000,
        session=Session(),
        symbols=SYMBOLS,
    )
    return folder


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("filter_name", "executors"), [("trend", 4), ("contrarian", 1), ("none", 4)])
def test_the_report_is_that_of_a_replay_with_any_number_of_executors(
    recording: Path, tmp_path: Path, filter_name: str, executors: int
) -> None:
    settings = ("--set", f"strategy.filter={filter_name}", *FASTER)
    backtest = backtest_report(tmp_path / "backtest", recording, *settings)
    replay = replay_report(tmp_path / "replay", recording, *settings, "--executors", str(executors))
    assert backtest["orders"]
    assert comparable(backtest) == comparable(replay)
    assert backtest["run_id"] == replay["run_id"]


def test_a_backtest_writes_report_and_page_where_it_is_told(recording: Path, tmp_path: Path) -> None:
    file, page = tmp_path / "made" / "first.json", tmp_path / "pages" / "first.html"
    finished = breakwater("backtest", "--recording", recording, "--engine", "tick", "--output", file, "--html", page)
    assert finished.returncode == 0, finished.stderr
    assert "MDD" in finished.stdout
    assert "<svg" in page.read_text()
    again = backtest_report(tmp_path / "folder", recording, "--first-day", "2024-02-29", "--last-day", "2024-03-02")
    assert [day["day"] for day in again["days"]] == ["2024-02-29", "2024-03-01", "2024-03-02"]
    assert len(json.loads(file.read_text())["days"]) == 7
    assert "<svg" in (tmp_path / "folder" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no recording was given"),
        (("nowhere",), "no such file or folder"),
        (("nowhere", "--engine", "clock"), ", was 'clock'"),
        (("nowhere", "--start", "tomorrow"), "--start takes a day"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: tuple[str, ...], said: str) -> None:
    finished = breakwater("backtest", *arguments)
    assert finished.returncode == 2
    assert said in finished.stderr
    assert len(finished.stderr.splitlines()) == 1


def test_rejections_are_worded_as_the_executor_words_the_exchange_s_codes() -> None:
    codes = {
        Rejection.NOT_TRADABLE: 110074,
        Rejection.BELOW_MIN_NOTIONAL: 110094,
        Rejection.INSUFFICIENT_MARGIN: 110007,
    }
    assert set(codes) == set(Rejection)
    for rejection, code in codes.items():
        error = error_of_code(code, "", endpoint="order/create", kind=RequestKind.CHANGE)
        assert isinstance(error, Rejected)
        assert error.reason.value == rejection.value


def test_the_margin_is_that_of_the_leverage_which_the_executor_sets() -> None:
    assert ExecutorSettings.model_fields["margin_leverage"].default == MARGIN_LEVERAGE


def test_recorded_costs_are_charged_and_the_last_line_says_how_far_the_records_reached(
    recording: Path, tmp_path: Path
) -> None:
    start_ms = Session().day_start_ms(date(2024, 2, 27))
    funding, book = tmp_path / "funding.csv", tmp_path / "book.csv"
    funding.write_text(f"symbol,timestamp,funding_rate\nBTCUSDT,{start_ms + 4},0.001\nETHUSDT,{start_ms},0.001\n")
    book.write_text(f"event_ms,bid_price,ask_price\n{start_ms},99.9,100.1\n")
    finished = breakwater("backtest", recording, "--funding", funding, "--book", f"BTCUSDT={book}", "--out", tmp_path)
    assert finished.returncode == 0, finished.stderr
    counters = json.loads((tmp_path / "report.json").read_text())["counters"]
    assert counters["settlements_without_record"] > 0
    assert counters["orders_priced_by_book"] == 0
    assert f"{counters['settlements_without_record']} settlements of funding at costs.funding_rate" in finished.stdout
    assert f"0 orders priced by the book, {counters['orders_priced_without_book']} without" in finished.stdout
    refused = breakwater("backtest", recording, "--funding", book)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert f"{book}, row 1: lacks the columns symbol" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "is_told"),
    [
        ((), True),
        (("--start", "2024-02-28"), True),
        (("--end", "2024-02-28"), True),
        (("--start", "2024-02-29"), False),
        (("--end", "2024-02-27"), False),
    ],
)
def test_a_day_that_lacks_minutes_is_told_where_it_is_asked_for(
    tmp_path: Path, arguments: tuple[str, ...], is_told: bool
) -> None:
    start_ms = Session().day_start_ms(date(2024, 2, 27))
    rows = [f"{start_ms + minute * 60_000},100,101,99,100,5" for minute in range(4 * 1440) if minute != 2000]
    candles = tmp_path / "BTCUSDT_1m.csv"
    candles.write_text("\n".join(["timestamp,open,high,low,close,volume", *rows, ""]))
    finished = breakwater("backtest", f"BTCUSDT={candles}", *arguments)
    assert finished.returncode == 0, finished.stderr
    assert ("incomplete days: BTCUSDT 1;" in finished.stderr) == is_told
