"""Candles and the trades that stand for them."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.errors import InvalidInputError
from breakwater_core.session import Session
from breakwater_recordings.klines import Bars, trades_of_bars
from breakwater_recordings.recording import Recording
from breakwater_recordings.sources import open_recording

HEADER = "timestamp,open,high,low,close,volume"
DAY_MS = 1_696_896_000_000  # 2023-10-10T00:00Z
MINUTE_MS = 60_000
END_MS = 2**61

RISING = f"{DAY_MS},10,14,8,12,4"
FALLING = f"{DAY_MS + MINUTE_MS},12,13,9,10,2"


def opened(path: Path | str, **options: object) -> Recording:
    return open_recording([str(path)], session=Session(), **options)  # type: ignore[arg-type]  # options vary by test


def test_a_bar_becomes_four_trades_low_before_high_if_it_rose(write_csv: Callable[..., Path]) -> None:
    batch = opened(write_csv("BTCUSDT_1m.csv", [HEADER, RISING, FALLING])).reader("BTCUSDT").take_until(END_MS)

    assert batch.prices.tolist() == [10.0, 8.0, 14.0, 12.0, 12.0, 13.0, 9.0, 10.0]
    assert (batch.times_ms - DAY_MS).tolist() == [0, 15_000, 30_000, 45_000, 60_000, 75_000, 90_000, 105_000]
    assert batch.sizes.tolist() == [1.0] * 4 + [0.5] * 4
    assert batch.taker_sides.tolist() == [0] * 8


def test_a_bar_without_volume_gives_no_trade_but_is_covered(write_csv: Callable[..., Path]) -> None:
    silent = f"{DAY_MS + 2 * MINUTE_MS},10,10,10,10,0"
    recording = opened(write_csv("BTCUSDT_1m.csv.gz", [HEADER, RISING, FALLING, silent]))

    assert recording.estimated_trades == len(recording.reader("BTCUSDT").take_until(END_MS)) == 8
    assert recording.coverage["BTCUSDT"].intervals == ((DAY_MS, DAY_MS + 3 * MINUTE_MS),)


def test_a_day_is_complete_only_if_each_of_its_bars_is_there(write_csv: Callable[..., Path]) -> None:
    times_ms = [DAY_MS + index * MINUTE_MS for index in range(3 * 1440) if index != 2000]
    recording = opened(write_csv("BTCUSDT_1m.csv", [HEADER, *(f"{time},1,1,1,1,1" for time in times_ms)]))

    assert recording.complete_days("BTCUSDT") == [date(2023, 10, 10), date(2023, 10, 12)]
    assert recording.days == [date(2023, 10, 10), date(2023, 10, 11), date(2023, 10, 12)]
    assert (recording.first_ms, recording.last_ms) == (DAY_MS, DAY_MS + 3 * 86_400_000 - 1)


BINANCE_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
BINANCE_ROWS = [f"{start},1,1,1,1,1,{start + 59_999},1,1,1,1,0" for start in (DAY_MS, DAY_MS + MINUTE_MS)]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("BTCUSDT_1m.csv", [HEADER, "2023-10-10 00:00:00,1,1,1,1,1", "2023-10-10 00:01:00,1,1,1,1,1"]),
        ("BTCUSDT_1m.csv", [HEADER, "2023-10-10T00:00:00Z,1,1,1,1,1", "2023-10-10T00:01:00Z,1,1,1,1,1"]),
        ("BTCUSDT_1m.csv", [HEADER, "2023-10-10 09:00:00+09:00,1,1,1,1,1", "2023-10-10 09:01:00+09:00,1,1,1,1,1"]),
        ("x.csv", [f"symbol,{HEADER}", f"BTCUSDT,{DAY_MS},1,1,1,1,1", f"BTCUSDT,{DAY_MS + MINUTE_MS},1,1,1,1,1"]),
        ("x_BTCUSDT.csv", [f"{HEADER},turnover", f"{DAY_MS},1,1,1,1,1,9", f"{DAY_MS + MINUTE_MS},1,1,1,1,1,9"]),
        ("BTCUSDT-1m.csv", [BINANCE_HEADER, *BINANCE_ROWS]),
        ("BTCUSDT-1m.csv", BINANCE_ROWS),
    ],
    ids=["text", "text with Z", "text with offset", "long", "further column", "archive", "archive without header"],
)
def test_each_layout_gives_the_same_trades(name: str, lines: list[str], write_csv: Callable[..., Path]) -> None:
    batch = opened(write_csv(name, lines)).reader("BTCUSDT").take_until(END_MS)

    assert (batch.times_ms - DAY_MS).tolist() == [0, 15_000, 30_000, 45_000, 60_000, 75_000, 90_000, 105_000]


def test_a_single_bar_of_the_archive_layout_takes_its_span_from_the_close_time(write_csv: Callable[..., Path]) -> None:
    line = f"{DAY_MS},1,1,1,1,1,{DAY_MS + 299_999},1,1,1,1,0"

    recording = opened(write_csv("BTCUSDT-5m.csv", [line]))

    assert recording.coverage["BTCUSDT"].intervals == ((DAY_MS, DAY_MS + 300_000),)


def test_a_long_file_holds_each_of_its_symbols(write_csv: Callable[..., Path]) -> None:
    lines = [
        f"{symbol},{DAY_MS + index * MINUTE_MS},1,1,1,1,1" for symbol in ("ETHUSDT", "BTCUSDT") for index in range(3)
    ]
    path = write_csv("group.csv", [f"symbol,{HEADER}", *lines])

    assert opened(path).symbols == ("BTCUSDT", "ETHUSDT")
    assert opened(path, symbols=["ETHUSDT"]).symbols == ("ETHUSDT",)


CANDLES = st.tuples(st.lists(st.floats(1, 1e6), min_size=4, max_size=4), st.integers(0, 10**12))


@given(st.lists(CANDLES, min_size=1, max_size=20))
def test_the_trades_of_a_bar_give_the_bar_back(bars: list[tuple[list[float], int]]) -> None:
    corners = np.array([[prices[0], max(prices), min(prices), prices[1]] for prices, _ in bars])
    volumes = np.array([volume / 1000 for _, volume in bars])
    times_ms = DAY_MS + np.arange(len(bars), dtype=np.int64) * MINUTE_MS

    trades = trades_of_bars(Bars("BTCUSDT", MINUTE_MS, times_ms, *corners.T, volumes))

    assert (np.diff(trades.times_ms) > 0).all()
    prices = trades.prices.reshape(-1, 4)
    traded = volumes > 0
    rebuilt = np.stack([prices[:, 0], prices.max(axis=1), prices.min(axis=1), prices[:, 3]], axis=1)
    assert np.array_equal(rebuilt, corners[traded])
    assert np.array_equal(trades.sizes.reshape(-1, 4).sum(axis=1), volumes[traded])


def bar(minute: int, values: str) -> str:
    return f"{DAY_MS + minute * MINUTE_MS},{values}"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (bar(1, "1,1,1,1,1"), "the bar's time stands twice"),
        (bar(0, "1,1,1,1,1"), "before that of the row above"),
        (bar(2, "1,1,2,1,1"), "high is below low"),
        (bar(2, "3,2,1,1,1"), "open lies outside"),
        (bar(2, "1,2,1,3,1"), "close lies outside"),
        (bar(2, "0,2,0,1,1"), "open must be finite and above 0"),
        (bar(2, "1,2,-1,1,1"), "low must be finite and above 0"),
        (bar(2, "1,inf,1,1,1"), "high must be finite and above 0"),
        (bar(2, "1,2,1,NaN,1"), "close is missing"),
        (bar(2, "1,1,1,1,-1"), "volume must be finite and not negative"),
        (bar(2, "1,1,1,1,"), "volume is missing"),
        (bar(2, "1,1,1,1"), "has 5 fields instead of 6"),
        (f"{DAY_MS + 100_000},1,1,1,1,1", None),
        ("1696896120,1,1,1,1,1", "is not milliseconds since 1970"),
        ("later,1,1,1,1,1", "timestamp is 'later', which is not a whole number"),
    ],
)
def test_a_faulty_bar_is_refused_with_its_row(line: str, what: str | None, write_csv: Callable[..., Path]) -> None:
    path = write_csv("BTCUSDT_1m.csv", [HEADER, RISING, FALLING, line])

    with pytest.raises(InvalidInputError) as raised:
        opened(path)

    assert str(raised.value).startswith(f"{path}, row {3 if what is None else 4}: ")
    assert (what or "no multiple of the file's step") in str(raised.value)


def test_a_fault_in_a_long_file_names_the_row_of_the_file(write_csv: Callable[..., Path]) -> None:
    lines = [f"BTCUSDT,{RISING}", f"ETHUSDT,{RISING}", f"BTCUSDT,{FALLING}", f"ETHUSDT,{DAY_MS + MINUTE_MS},1,1,2,1,1"]

    with pytest.raises(InvalidInputError, match="row 5: high is below low"):
        opened(write_csv("group.csv", [f"symbol,{HEADER}", *lines]))


@pytest.mark.parametrize("source", ["ETHUSDT={path}", "{path}"])
def test_a_symbol_column_that_disagrees_with_the_file_is_refused(source: str, write_csv: Callable[..., Path]) -> None:
    path = write_csv("ETHUSDT.csv", [f"symbol,{HEADER}", f"BTCUSDT,{RISING}", f"BTCUSDT,{FALLING}"])

    with pytest.raises(InvalidInputError, match="row 2: symbol is 'BTCUSDT', but the file is taken for ETHUSDT"):
        opened(source.format(path=path))


def test_a_single_bar_without_close_time_is_refused(write_csv: Callable[..., Path]) -> None:
    with pytest.raises(InvalidInputError, match="a single bar does not show its span"):
        opened(write_csv("BTCUSDT_1m.csv", [HEADER, RISING]))


def test_a_file_whose_name_holds_no_symbol_is_read_when_the_symbol_is_given(write_csv: Callable[..., Path]) -> None:
    path = write_csv("candles.csv", [HEADER, RISING, FALLING])

    assert opened(f"BTC-PERP={path}").symbols == ("BTC-PERP",)
    with pytest.raises(InvalidInputError, match="SYMBOL=FILE"):
        opened(path)
