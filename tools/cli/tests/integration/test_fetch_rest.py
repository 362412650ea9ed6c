"""Candles and funding rates over REST: paging, faults, kills, and the paper exchange as the other side."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from fetch_servers import MINUTE_MS, STEPS_MS, Fault, Listing, Served, bar_of, rate_at, serve_rest
from typer.testing import CliRunner

from breakwater_bybit.client import BybitClient
from breakwater_bybit.model import Interval
from breakwater_cli.app import app
from breakwater_cli.fetching.candles import CandleCounts, CandleFetch
from breakwater_cli.fetching.funding import FundingCounts, fetch_funding
from breakwater_cli.fetching.periods import DAY_MS, day_start_ms
from breakwater_cli.fetching.retries import Retries
from breakwater_core.errors import InvalidInputError, TransientError
from breakwater_core.market import TradeBatch
from breakwater_core.session import Session
from breakwater_recordings.candle_file import read_candle_table
from breakwater_recordings.klines import Bars, trades_of_bars
from breakwater_recordings.sources import open_recording
from breakwater_runtime.errors import DependencyError
from paper_exchange_service.engine.markets import Costs
from paper_exchange_service.playback import GeneratedDay, Playback
from paper_exchange_service.server import Options, PaperExchange

COMMAND = Path(sys.executable).with_name("breakwater")
KLINE, FUNDING, TIME = "/v5/market/kline", "/v5/market/funding/history", "/v5/market/time"
MARCH_30 = day_start_ms(date(2024, 3, 30))
SPAN = (MARCH_30, MARCH_30 + 4 * DAY_MS)
NOW_MS = day_start_ms(date(2024, 6, 1))
LISTINGS = {"BTCUSDT": Listing(from_ms=0), "NEWUSDT": Listing(from_ms=MARCH_30 + DAY_MS + 9 * 3_600_000)}
RUNNER = CliRunner()


def quick(pauses: list[float] | None = None) -> Retries:
    async def pause(pause_s: float) -> None:
        if pauses is not None:
            pauses.append(pause_s)

    return Retries(4, sleep=pause)


def fetch(
    served: Served, directory: Path, symbol: str = "BTCUSDT", *, interval: str = "1", span: tuple[int, int] = SPAN
) -> CandleCounts:
    async def run() -> CandleCounts:
        async with BybitClient(served.url) as client:
            return await CandleFetch(client, Interval(interval), directory, quick()).fetch(symbol, span)

    return asyncio.run(run())


def bars_in(directory: Path, symbol: str = "BTCUSDT") -> Bars:
    """Return the bars of a folder, in the order of its files' names."""
    tables = [read_candle_table(path).bars for path in sorted((directory / symbol).glob("*.parquet"))]
    names = ("open_times_ms", "opens", "highs", "lows", "closes", "volumes")
    return Bars(
        symbol, tables[0].step_ms, *(np.concatenate([getattr(bars, name) for bars in tables]) for name in names)
    )


def assert_bars(bars: Bars, starts_ms: range | list[int]) -> None:
    assert bars.open_times_ms.tolist() == list(starts_ms)
    wanted = np.array([[float(text) for text in bar_of(bars.symbol, start, bars.step_ms)[1:6]] for start in starts_ms])
    found = np.stack([bars.opens, bars.highs, bars.lows, bars.closes, bars.volumes], axis=1)
    assert np.array_equal(found, wanted)


def pages(served: Served) -> list[dict[str, str]]:
    return [query for path, query, _ in served.requests if path == KLINE and query["interval"] != "D"]


def test_minutes_go_to_a_file_per_month_each_bar_once(tmp_path: Path) -> None:
    with serve_rest(LISTINGS, now_ms=NOW_MS) as served:
        counts = fetch(served, tmp_path)

    assert [path.name for path in sorted((tmp_path / "BTCUSDT").iterdir())] == [
        "BTCUSDT-1m-2024-03.parquet",
        "BTCUSDT-1m-2024-04.parquet",
    ]
    assert_bars(bars_in(tmp_path), range(*SPAN, MINUTE_MS))
    assert counts == CandleCounts(bars=5760, pages=6, files=2)


@pytest.mark.parametrize(("interval", "files"), [("5", 2), ("60", 1), ("D", 1)])
def test_other_lengths_are_fetched_alike(interval: str, files: int, tmp_path: Path) -> None:
    with serve_rest(LISTINGS, now_ms=NOW_MS) as served:
        assert fetch(served, tmp_path, interval=interval).files == files

    assert_bars(bars_in(tmp_path), range(*SPAN, STEPS_MS[interval]))


def test_what_is_fetched_is_a_recording_whose_trades_stand_for_the_bars(tmp_path: Path) -> None:
    with serve_rest(LISTINGS, now_ms=NOW_MS) as served:
        fetch(served, tmp_path)

    recording = open_recording([str(tmp_path)], session=Session())
    batch = recording.reader("BTCUSDT").take_until(2**61)

    assert len(recording.complete_days("BTCUSDT")) == 4
    expected: TradeBatch = trades_of_bars(bars_in(tmp_path))
    assert np.array_equal(batch.times_ms, expected.times_ms)
    assert np.array_equal(batch.prices, expected.prices)
    assert {part.step_ms for part in recording.parts_of("BTCUSDT")} == {MINUTE_MS}


def test_a_second_fetch_asks_for_no_bar_and_a_longer_one_for_the_rest(tmp_path: Path) -> None:
    with serve_rest(LISTINGS, now_ms=NOW_MS) as served:
        fetch(served, tmp_path)
        served.requests.clear()
        assert fetch(served, tmp_path) == CandleCounts(files_kept=2)
        assert pages(served) == []

        counts = fetch(served, tmp_path, span=(SPAN[0] - 2 * 3_600_000, SPAN[1] + 3_600_000))

    assert (counts.bars, counts.pages) == (180, 2)
    assert_bars(bars_in(tmp_path), range(SPAN[0] - 2 * 3_600_000, SPAN[1] + 3_600_000, MINUTE_MS))


def test_two_fetches_apart_are_joined_by_what_lies_between(tmp_path: Path) -> None:
    hour = 3_600_000
    with serve_rest(LISTINGS, now_ms=NOW_MS) as served:
        fetch(served, tmp_path, span=(MARCH_30, MARCH_30 + hour))
        fetch(served, tmp_path, span=(MARCH_30 + 5 * hour, MARCH_30 + 6 * hour))

    assert_bars(bars_in(tmp_path), range(MARCH_30, MARCH_30 + 6 * hour, MINUTE_MS))


def test_the_open_candle_is_left_out_and_comes_once_it_is_closed(tmp_path: Path) -> None:
    now_ms = MARCH_30 + 90 * MINUTE_MS + 30_000
    for minutes in (0, 5):
        with serve_rest(LISTINGS, now_ms=now_ms + minutes * MINUTE_MS) as served:
            fetch(served, tmp_path)
        assert_bars(bars_in(tmp_path), range(MARCH_30, MARCH_30 + (90 + minutes) * MINUTE_MS, MINUTE_MS))


def test_nothing_is_asked_for_before_a_symbol_was_listed(tmp_path: Path) -> None:
    with serve_rest(LISTINGS, now_ms=NOW_MS) as served:
        fetch(served, tmp_path, "NEWUSDT", span=(day_start_ms(date(2021, 1, 1)), SPAN[1]))
        asked = pages(served)

    assert min(int(query["start"]) for query in asked) == MARCH_30 + DAY_MS
    assert_bars(bars_in(tmp_path, "NEWUSDT"), range(LISTINGS["NEWUSDT"].from_ms, SPAN[1], MINUTE_MS))


def test_bars_that_the_exchange_does_not_have_are_counted_and_make_their_day_incomplete(tmp_path: Path) -> None:
    without = frozenset({MARCH_30 + 61 * MINUTE_MS, MARCH_30 + 62 * MINUTE_MS})
    with serve_rest({"BTCUSDT": Listing(0, without)}, now_ms=NOW_MS) as served:
        assert fetch(served, tmp_path).missing_bars == 2

    recording = open_recording([str(tmp_path)], session=Session())
    assert not recording.is_complete("BTCUSDT", date(2024, 3, 30))
    assert recording.is_complete("BTCUSDT", date(2024, 3, 31))


@pytest.mark.parametrize(
    "faults",
    [
        [Fault("code", 10006), Fault("code", 10006)],
        [Fault("status", 500), Fault("status", 502)],
        [Fault("drop", 100), Fault("drop", 0)],
        [Fault("short", 50), Fault("code", 10016)],
    ],
    ids=["too many requests", "5xx", "dropped", "truncated"],
)
def test_faults_that_pass_cost_neither_a_bar_nor_double_one(faults: list[Fault], tmp_path: Path) -> None:
    with serve_rest(LISTINGS, now_ms=NOW_MS) as served:
        served.faults[KLINE] = list(faults)
        fetch(served, tmp_path)
        assert served.faults[KLINE] == []

    assert_bars(bars_in(tmp_path), range(*SPAN, MINUTE_MS))


def test_a_page_that_cannot_be_had_leaves_the_finished_files_and_the_next_fetch_the_rest(tmp_path: Path) -> None:
    with serve_rest(LISTINGS, now_ms=NOW_MS) as served:
        fetch(served, tmp_path, span=(SPAN[0], SPAN[0] + DAY_MS))
        before = sorted(path.read_bytes() for path in (tmp_path / "BTCUSDT").iterdir())
        served.faults[KLINE] = [Fault("status", 500)] * 30
        with pytest.raises(TransientError, match="HTTP 500"):
            fetch(served, tmp_path)
        assert sorted(path.read_bytes() for path in (tmp_path / "BTCUSDT").iterdir()) == before
        served.faults.clear()
        fetch(served, tmp_path)

    assert_bars(bars_in(tmp_path), range(*SPAN, MINUTE_MS))


def test_a_symbol_that_the_exchange_does_not_know_is_refused(tmp_path: Path) -> None:
    with serve_rest(LISTINGS, now_ms=NOW_MS) as served, pytest.raises(InvalidInputError, match="check its spelling"):
        fetch(served, tmp_path, "NOSUCHUSDT")


def test_a_file_with_the_bars_of_another_symbol_is_not_overwritten(tmp_path: Path) -> None:
    with serve_rest(LISTINGS, now_ms=NOW_MS) as served:
        fetch(served, tmp_path)
        path = tmp_path / "NEWUSDT" / "NEWUSDT-1m-2024-03.parquet"
        path.parent.mkdir()
        path.write_bytes((tmp_path / "BTCUSDT" / "BTCUSDT-1m-2024-03.parquet").read_bytes())
        with pytest.raises(InvalidInputError, match="holds bars of BTCUSDT"):
            fetch(served, tmp_path, "NEWUSDT")


def command(served: Served, kind: str, directory: Path, *more: str) -> list[str]:
    days = ["--start", "2024-03-30", "--end", "2024-04-02"]
    return [str(COMMAND), "fetch", kind, "BTCUSDT", *days, "--out", str(directory), "--rest-url", served.url, *more]


def test_killed_in_the_middle_and_run_again_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    with serve_rest(LISTINGS, now_ms=NOW_MS) as served:
        answers = 1 + 3  # the daily probe, the three pages of March
        served.faults[KLINE] = [Fault("none")] * (answers + 1) + [Fault("hold", 40)]
        with subprocess.Popen(command(served, "candles", tmp_path, "--connections", "1")) as process:
            assert served.held.wait(60)
            os.kill(process.pid, signal.SIGKILL)
            assert process.wait(30) == -signal.SIGKILL
        served.release.set()
        folder = tmp_path / "candles-1m"
        assert [path.name for path in (folder / "BTCUSDT").iterdir()] == ["BTCUSDT-1m-2024-03.parquet"]
        served.requests.clear()
        counts = fetch(served, folder)

    assert counts == CandleCounts(bars=2880, pages=3, files=1, files_kept=1)
    assert_bars(bars_in(folder), range(*SPAN, MINUTE_MS))


def fetch_rates(served: Served, directory: Path, span: tuple[int, int]) -> FundingCounts:
    async def run() -> FundingCounts:
        async with BybitClient(served.url) as client:
            return await fetch_funding(client, "BTCUSDT", span, directory, retries=quick())

    return asyncio.run(run())


def rates_in(directory: Path) -> dict[int, Decimal]:
    header, *rows = (directory / "BTCUSDT.csv").read_text().splitlines()
    assert header == "symbol,timestamp,funding_rate"
    fields = [row.split(",") for row in rows]
    assert all(symbol == "BTCUSDT" for symbol, _, _ in fields)
    assert [int(stamp) for _, stamp, _ in fields] == sorted({int(stamp) for _, stamp, _ in fields})
    return {int(stamp): Decimal(rate) for _, stamp, rate in fields}


def expected_rates(start_ms: int, end_ms: int) -> dict[int, Decimal]:
    return {stamp: Decimal(rate_at(stamp)) for stamp in range(start_ms, end_ms, 8 * 3_600_000)}


def test_funding_rates_are_fetched_over_many_pages_and_grow_at_both_ends(tmp_path: Path) -> None:
    start_ms = day_start_ms(date(2023, 6, 1))
    with serve_rest(LISTINGS, now_ms=NOW_MS) as served:
        served.faults[FUNDING] = [Fault("code", 10006), Fault("none"), Fault("drop", 20), Fault("status", 503)]
        counts = fetch_rates(served, tmp_path, (start_ms, MARCH_30))
        assert counts.fetched == counts.held == 3 * (MARCH_30 - start_ms) // DAY_MS
        assert rates_in(tmp_path) == expected_rates(start_ms, MARCH_30)

        served.requests.clear()
        wider = (start_ms - 5 * DAY_MS, MARCH_30 + 5 * DAY_MS)
        assert fetch_rates(served, tmp_path, wider).fetched == 30
        assert len([path for path, _, _ in served.requests if path == FUNDING]) == 2

    assert rates_in(tmp_path) == expected_rates(*wider)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("ETHUSDT,1696896000000,0.1", "row 2: symbol is 'ETHUSDT' instead of BTCUSDT"),
        ("BTCUSDT,noon,0.1", "row 2: 'BTCUSDT,noon,0.1' is no funding rate"),
        ("BTCUSDT,1696896000000", "row 2: 'BTCUSDT,1696896000000' is no funding rate"),
        ("BTCUSDT,5,0.1\nBTCUSDT,5,0.1", "row 3: its time is not after that of the row above"),
    ],
)
def test_a_damaged_funding_file_is_not_added_to(row: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "BTCUSDT.csv").write_text(f"symbol,timestamp,funding_rate\n{row}\n")

    with serve_rest(LISTINGS, now_ms=NOW_MS) as served, pytest.raises(InvalidInputError, match=what):
        fetch_rates(served, tmp_path, SPAN)


def test_the_commands_print_what_was_done_and_end_with_0(tmp_path: Path) -> None:
    with serve_rest(LISTINGS, now_ms=NOW_MS) as served:
        candles = RUNNER.invoke(app, command(served, "candles", tmp_path, "--json")[1:], catch_exceptions=False)
        funding = RUNNER.invoke(app, command(served, "funding", tmp_path, "--json")[1:], catch_exceptions=False)

    assert (candles.exit_code, funding.exit_code) == (0, 0)
    assert json.loads(candles.stdout)["symbols"]["BTCUSDT"]["bars"] == 5760
    assert json.loads(funding.stdout) == {"symbols": {"BTCUSDT": {"fetched": 12, "held": 12}}, "failures": []}


def test_the_command_ends_with_1_if_a_symbol_cannot_be_had(tmp_path: Path) -> None:
    with serve_rest(LISTINGS, now_ms=NOW_MS) as served:
        served.faults[KLINE] = [Fault("status", 500)] * 9
        result = RUNNER.invoke(app, command(served, "candles", tmp_path, "--tries", "1")[1:])

    assert result.exit_code == 1
    assert "BTCUSDT: market/kline: HTTP 500" in result.stderr


@pytest.mark.parametrize("fault", [Fault("status", 403), Fault("code", 10018)])
def test_an_address_that_is_refused_ends_the_command_at_once(fault: Fault, tmp_path: Path) -> None:
    with serve_rest(LISTINGS, now_ms=NOW_MS) as served:
        served.faults[KLINE] = [fault]
        with pytest.raises(DependencyError, match="too many requests of this address"):
            RUNNER.invoke(app, command(served, "candles", tmp_path)[1:], catch_exceptions=False)

        assert len(served.requests) == 2


def test_an_exchange_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    with serve_rest(LISTINGS) as served:
        pass
    with pytest.raises(DependencyError, match="no connection to the exchange"):
        RUNNER.invoke(app, command(served, "funding", tmp_path, "--tries", "1")[1:], catch_exceptions=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--start", "2024-03-31", "--end", "2024-03-30"], "the range is empty"),
        (["--start", "2024-03-31", "--interval", "7"], "--interval takes 1, 3, 5"),
        (["--start", "2024-03-31", "--interval", "W"], "--interval must be a day at most"),
        (["--start", "2024-03-31", "--rest-url", "api.bybit.com"], "--rest-url must start with http"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(arguments: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=message):
        RUNNER.invoke(app, ["fetch", "candles", "BTCUSDT", "--out", str(tmp_path), *arguments], catch_exceptions=False)


async def test_candles_and_funding_of_the_paper_exchange_are_those_of_its_trades(tmp_path: Path) -> None:
    today = datetime.now(UTC).date()
    first = today - timedelta(days=2)

    def open_day(symbol: str, day: date) -> GeneratedDay:
        times_ms = np.arange(day_start_ms(day), day_start_ms(day) + DAY_MS, 15_000, dtype=np.int64)
        prices = 30_000 + (times_ms // 15_000 * 7919 % 1009) / 10
        return GeneratedDay(
            TradeBatch(symbol, times_ms, prices, np.full(times_ms.size, 0.5), np.ones(times_ms.size, dtype=np.int8))
        )

    options = Options(rate_limits=True, costs=Costs(funding_rate=Decimal("0.0001")))
    async with (
        PaperExchange(options, Playback(("BTCUSDT",), open_day, first)) as exchange,
        BybitClient(exchange.rest_url) as client,
    ):
        span = (day_start_ms(first), day_start_ms(today))
        counts = await CandleFetch(client, Interval.MINUTE, tmp_path / "candles", quick()).fetch("BTCUSDT", span)
        rates = await fetch_funding(client, "BTCUSDT", span, tmp_path / "funding", retries=quick())

    bars = bars_in(tmp_path / "candles")
    assert (counts.bars, counts.missing_bars) == (2880, 0)
    prices = open_day("BTCUSDT", first).take_until(2**61).prices.reshape(-1, 4)
    assert np.array_equal(bars.opens[:1440], prices[:, 0])
    assert np.array_equal(bars.highs[:1440], prices.max(axis=1))
    assert np.array_equal(bars.lows[:1440], prices.min(axis=1))
    assert np.array_equal(bars.closes[:1440], prices[:, 3])
    assert bars.volumes.tolist() == [2.0] * 2880
    assert rates.held >= 5
    assert set(rates_in(tmp_path / "funding").values()) == {Decimal("0.0001")}
