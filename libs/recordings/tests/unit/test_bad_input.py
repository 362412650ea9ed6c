"""Every fault of every reader: refused with file, row and remedy, and the same whichever way the file is opened."""

import gzip
import json
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from breakwater_core.errors import InvalidInputError
from breakwater_core.market import TradeBatch
from breakwater_core.session import Session
from breakwater_recordings import candle_file, parquet_file
from breakwater_recordings.sources import open_recording

type WriteText = Callable[[str, Iterable[str]], Path]

DAY_MS = 1_696_896_000_000  # 2023-10-10T00:00Z
MINUTE_MS = 60_000
PLAIN = "timestamp,open,high,low,close,volume"
LONG = f"symbol,{PLAIN}"
BINANCE = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
ARCHIVE = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"


def plain(minute: object, prices: str = "10,14,8,12", volume: object = 4) -> str:
    time = DAY_MS + minute * MINUTE_MS if isinstance(minute, int) else minute
    return f"{time},{prices},{volume}"


def long(minute: object, prices: str = "10,14,8,12", volume: object = 4, *, symbol: str = "BTCUSDT") -> str:
    return f"{symbol},{plain(minute, prices, volume)}"


def binance(minute: object, prices: str = "10,14,8,12", volume: object = 4, *, span_ms: int = MINUTE_MS) -> str:
    time = DAY_MS + minute * MINUTE_MS if isinstance(minute, int) else minute
    end = time + span_ms - 1 if isinstance(time, int) else DAY_MS
    return f"{time},{prices},{volume},{end},1,1,1,1,0"


LAYOUTS = {
    "plain": (PLAIN, plain, "BTCUSDT_1m.csv"),
    "long": (LONG, long, "group.csv"),
    "binance": (BINANCE, binance, "BTCUSDT-1m.csv"),
    "binance without header": (None, binance, "BTCUSDT-1m.csv"),
}
BAR_FAULTS = {
    "duplicated minute": ((1,), "the bar's time stands twice"),
    "wrong order": ((0,), "before that of the row above"),
    "seconds": (("1696896120",), "is not milliseconds since 1970"),
    "microseconds": (("1696896120000000",), "is not milliseconds since 1970"),
    "text time among numbers": (("2023-10-10 00:02:00",), "which is not a whole number"),
    "underscore in a number": (("1_696_896_120_000",), "which is not a whole number"),
    "time beyond any": (("99999999999999999999",), "which is not a whole number"),
    "zero open": ((2, "0,14,0,12"), "open must be finite and above 0"),
    "negative low": ((2, "10,14,-8,12"), "low must be finite and above 0"),
    "infinite high": ((2, "10,inf,8,12"), "high must be finite and above 0"),
    "close that is no number": ((2, "10,14,8,NaN"), "close is missing or not a number"),
    "text in a price": ((2, "10,14,eight,12"), "low is 'eight', which is not a number"),
    "comma as decimal point": ((2, '10,"14,5",8,12'), "high is '14,5', which is not a number"),
    "digits that are grouped": ((2, "1_0,14,8,12"), "open is '1_0', which is not a number"),
    "empty price": ((2, "10,,8,12"), "high is missing"),
    "high below low": ((2, "10,8,14,12"), "high is below low"),
    "open above high": ((2, "15,14,8,12"), "open lies outside"),
    "close below low": ((2, "10,14,8,7"), "close lies outside"),
    "negative volume": ((2, "10,14,8,12", -1), "volume must be finite and not negative"),
    "volume that is no number": ((2, "10,14,8,12", "much"), "volume is 'much', which is not a number"),
    "missing field": ((2, "10,14,8"), "fields instead of"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("fault", BAR_FAULTS)
def test_a_faulty_row_of_candles_is_named_in_every_layout(layout: str, fault: str, write_csv: WriteText) -> None:
    header, make, name = LAYOUTS[layout]
    values, what = BAR_FAULTS[fault]
    lines = [*([] if header is None else [header]), make(0), make(1), make(*values)]
    path = write_csv(name, lines)

    with pytest.raises(InvalidInputError) as raised:
        open_recording([str(path)], session=Session())

    message = str(raised.value)
    assert message.startswith(f"{path}, row {len(lines)}: ")
    assert what in message
    assert "; " in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("BTCUSDT.csv", [PLAIN, plain("2023-10-10 00:00:00"), plain("2023-10-10 00:01:00Z")], "row 3: timestamp is"),
        ("BTCUSDT.csv", [PLAIN, plain("2023-10-10 00:00:00Z"), plain("2023-10-10 00:01:00")], "row 3: timestamp is"),
        ("BTCUSDT.csv", [PLAIN, plain("2023-10-10 00:00 KST"), plain("2023-10-10 00:01 KST")], "row 2: timestamp"),
        ("BTCUSDT.csv", [PLAIN, plain("10/10/2023 00:00"), plain("10/10/2023 00:01")], "row 2: timestamp is"),
        ("BTCUSDT.csv", [PLAIN, plain(0)], "row 2: a single bar does not show its span"),
        ("BTCUSDT.csv", [PLAIN], "row 2: there is no row of data"),
        ("BTCUSDT.csv", [], "row 1: the file is empty"),
        ("BTCUSDT.csv", [PLAIN.replace("volume", "amount"), plain(0)], "row 1: unknown format"),
        ("BTCUSDT.csv", [LONG, long(0), long(1), long(1, symbol="ETHUSDT")], "row 4: symbol is 'ETHUSDT'"),
        ("BTCUSDT.csv", [LONG, long(0, symbol="ETHUSDT"), long(1, symbol="ETHUSDT")], "row 2: symbol is 'ETHUSDT'"),
        ("group.csv", [LONG, long(0), long(1), long(2, symbol="")], "row 4: symbol is '', which is no name"),
        ("group.csv", [LONG, long(0), long(1, symbol="BTC USDT"), long(2)], "row 3: symbol is 'BTC USDT'"),
        ("BTCUSDT.csv", [BINANCE, binance(0), binance(1), binance(2, span_ms=5 * MINUTE_MS)], "row 4: the bar ends"),
        ("BTCUSDT.csv", [BINANCE, binance(0, span_ms=0), binance(1)], "row 2: the bar ends 0 ms after it opens"),
        ("BTCUSDT.csv", [BINANCE, *(binance(n, span_ms=7 * MINUTE_MS) for n in (0, 1))], "row 3: the bar opens 60000"),
        ("BTCUSDT.csv", [PLAIN, plain(0), plain(1), plain(f"{DAY_MS + 150_000}")], "row 4: the bar opens 90000 ms"),
    ],
)  # fmt: skip
def test_a_file_of_candles_that_cannot_be_meant_is_refused(
    name: str, lines: list[str], message: str, write_csv: WriteText
) -> None:
    with pytest.raises(InvalidInputError) as raised:
        open_recording([str(write_csv(name, lines))], session=Session())

    assert message in str(raised.value)


def test_times_with_a_zone_are_instants_and_times_without_are_utc(write_csv: WriteText) -> None:
    zoned = [PLAIN, plain("2023-10-10 09:00:00+09:00"), plain("2023-10-10 09:01:00+09:00")]
    naive = [PLAIN, plain("2023-10-10 00:00:00"), plain("2023-10-10 00:01:00")]

    for lines in (zoned, naive):
        assert open_recording([str(write_csv("BTCUSDT.csv", lines))], session=Session()).first_ms == DAY_MS


def test_the_span_of_bars_far_apart_is_what_their_ends_say(write_csv: WriteText) -> None:
    path = write_csv("BTCUSDT.csv", [BINANCE, binance(0), binance(7)])

    recording = open_recording([str(path)], session=Session())

    assert recording.coverage["BTCUSDT"].intervals == (
        (DAY_MS, DAY_MS + MINUTE_MS),
        (DAY_MS + 7 * MINUTE_MS, DAY_MS + 8 * MINUTE_MS),
    )


def test_a_gap_leaves_its_day_incomplete_and_no_other(write_csv: WriteText) -> None:
    lines = [plain(minute) for minute in range(3 * 1440) if minute != 1500]

    recording = open_recording([str(write_csv("BTCUSDT.csv", [PLAIN, *lines]))], session=Session())

    assert recording.complete_days("BTCUSDT") == [date(2023, 10, 10), date(2023, 10, 12)]


@pytest.mark.parametrize("layout", ["plain", "archive"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "no gzip"])
def test_damaged_gzip_is_refused_by_every_reader_of_csv(layout: str, damage: str, tmp_path: Path) -> None:
    second = DAY_MS // 1000
    bars = [PLAIN, *(plain(minute, f"10,{14 + minute % 97},8,12") for minute in range(5_000))]
    trades = [ARCHIVE, *(f"{second + n},BTCUSDT,Buy,1,{9 + n % 97},PlusTick,{n * 7919:x},1,1,1" for n in range(5_000))]
    content = bytearray(gzip.compress("\n".join(bars if layout == "plain" else trades).encode()))
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[len(content) // 2] ^= 0xFF
    else:
        content = bytearray(b"<html>not found</html>")
    path = tmp_path / "BTCUSDT2023-10-10.csv.gz"
    path.write_bytes(content)

    with pytest.raises(InvalidInputError, match=r"BTCUSDT2023-10-10.csv.gz: broken or truncated gzip file"):
        open_recording([str(path)], session=Session())


GOOD_TRADES = [f"{DAY_MS // 1000 + n},BTCUSDT,Buy,1,9,PlusTick,id{n},1,1,1" for n in range(2)]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("2023-10-10 00:00:02,BTCUSDT,Buy,1,9,PlusTick,x,1,1,1", "timestamp is '2023-10-10 00:00:02'"),
        (f"{DAY_MS + 2},BTCUSDT,Buy,1,9,PlusTick,x,1,1,1", "which is not a time in seconds"),
        (f"{DAY_MS // 1000 + 2},BTCUSDT,Buy,1,1_0,PlusTick,x,1,1,1", "price is '1_0', which is not a number"),
        (f"{DAY_MS // 1000 + 2},ETHUSDT,Buy,1,9,PlusTick,x,1,1,1", "symbol is 'ETHUSDT'"),
        (f"{DAY_MS // 1000 + 2},BTCUSDT,Buy,1,0,PlusTick,x,1,1,1", "price must be finite and above 0"),
        (f"{DAY_MS // 1000 + 2},BTCUSDT,buy,1,9,PlusTick,x,1,1,1", "side is 'buy' instead of Buy or Sell"),
        (f"{DAY_MS // 1000},BTCUSDT,Buy,1,9,PlusTick,x,1,1,1", "before that of the row above"),
        (f"{DAY_MS // 1000 + 2},BTCUSDT,Buy,1,9,PlusTick,id1,1,1,1", "trade id 'id1' stands twice"),
    ],
)
def test_a_faulty_row_of_an_archive_is_named(row: str, what: str, write_csv: WriteText) -> None:
    path = write_csv("BTCUSDT2023-10-10.csv", [ARCHIVE, *GOOD_TRADES, row])

    with pytest.raises(InvalidInputError) as raised:
        open_recording([str(path)], session=Session())

    assert str(raised.value).startswith(f"{path}, row 4: ")
    assert what in str(raised.value)


def candles(**changes: object) -> pa.Table:
    """Return a table of three bars as a file holds it, with columns or facts changed."""
    columns: dict[str, list[object]] = {
        "open_time_ms": [DAY_MS + minute * MINUTE_MS for minute in range(3)],
        "open": [10.0] * 3,
        "high": [14.0] * 3,
        "low": [8.0] * 3,
        "close": [12.0] * 3,
        "volume": [4.0] * 3,
        "turnover": [44.0] * 3,
    }
    facts = {
        "breakwater.kind": "candles",
        "breakwater.format": "1",
        "breakwater.symbol": "BTCUSDT",
        "breakwater.venue": "bybit",
        "breakwater.step_ms": str(MINUTE_MS),
        "breakwater.asked": json.dumps([DAY_MS, DAY_MS + 3 * MINUTE_MS]),
    }
    for name, value in changes.items():
        if name in columns:
            columns[name] = [*columns[name][:-1], value]
        else:
            facts[f"breakwater.{name}"] = str(value)
    return pa.table(columns, schema=candle_file.SCHEMA).replace_schema_metadata(facts)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"open_time_ms": DAY_MS + MINUTE_MS}, "row 3: the bar's time stands twice"),
        ({"open_time_ms": DAY_MS}, "row 3: the bar's time is before that of the row above"),
        ({"open_time_ms": DAY_MS + 2 * MINUTE_MS + 1}, "row 3: the bar opens 60001 ms after the one above"),
        ({"open_time_ms": 1_696_896_120}, "row 3: time 1696896120 is not milliseconds since 1970"),
        ({"open_time_ms": DAY_MS + 3 * MINUTE_MS}, "row 3: the bar lies outside of what the exchange was asked for"),
        ({"open": 0.0}, "row 3: open must be finite and above 0"),
        ({"low": -1.0}, "row 3: low must be finite and above 0"),
        ({"high": float("inf")}, "row 3: high must be finite and above 0"),
        ({"close": float("nan")}, "row 3: close must be finite and above 0"),
        ({"high": 7.0}, "row 3: high is below low"),
        ({"volume": -1.0}, "row 3: volume must be finite and not negative"),
        ({"turnover": float("nan")}, "row 3: turnover must be finite and not negative"),
        ({"format": "2"}, "holds candles of format 2; this program reads candles of format 1"),
        ({"step_ms": "a minute"}, "its metadata is unreadable"),
        ({"step_ms": "0"}, "a bar's span must be above 0"),
        ({"asked": "[5]"}, "its metadata is unreadable"),
        ({"symbol": "BTC USDT"}, "its metadata is unreadable"),
    ],
)
def test_a_faulty_file_of_fetched_candles_is_refused_with_its_row(
    changes: dict[str, object], what: str, tmp_path: Path
) -> None:
    path = tmp_path / "candles.parquet"
    pq.write_table(candles(**changes), path)

    with pytest.raises(InvalidInputError) as raised:
        open_recording([str(path)], session=Session())

    assert str(raised.value).startswith(f"{path}")
    assert what in str(raised.value)


def test_fetched_candles_with_other_columns_or_none_are_refused(tmp_path: Path) -> None:
    for number, table in enumerate((candles().drop_columns("turnover"), candles().slice(0, 0))):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(table, path)
        with pytest.raises(InvalidInputError, match="rows of open_time_ms, open"):
            open_recording([str(path)], session=Session())


@pytest.mark.parametrize("cut", [1, 20, 400])
def test_a_truncated_file_of_fetched_candles_is_refused(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "candles.parquet"
    pq.write_table(candles(), path)
    path.write_bytes(path.read_bytes()[:-cut])

    with pytest.raises(InvalidInputError, match=r"candles.parquet: is no complete Parquet file"):
        open_recording([str(path)], session=Session())


def test_fetched_candles_are_taken_for_the_symbol_that_they_state_alone(tmp_path: Path) -> None:
    path = tmp_path / "candles.parquet"
    pq.write_table(candles(), path)

    with pytest.raises(InvalidInputError, match="holds BTCUSDT, not ETHUSDT"):
        open_recording([f"ETHUSDT={path}"], session=Session())


def test_files_that_overlap_are_refused_by_name_whatever_they_are(tmp_path: Path, write_csv: WriteText) -> None:
    path = tmp_path / "candles.parquet"
    pq.write_table(candles(), path)
    other = write_csv("BTCUSDT_1m.csv", [PLAIN, plain(2), plain(3)])

    with pytest.raises(InvalidInputError, match=r"BTCUSDT: .*candles.parquet and .*BTCUSDT_1m.csv overlap in time"):
        open_recording([str(path), str(other)], session=Session())


@pytest.mark.parametrize(
    ("times_ms", "prices", "sizes", "what"),
    [
        ([5, 4], [9.0, 9.0], [1.0, 1.0], "row 2: time 4 is before that of the row above, 5"),
        ([5, 6], [9.0, -1.0], [1.0, 1.0], "row 2: price must be finite and above 0"),
        ([5, 6], [9.0, 9.0], [1.0, float("nan")], "row 2: size must be finite and not negative"),
    ],
)
def test_a_faulty_row_of_an_own_recording_is_named_when_it_is_read(
    times_ms: list[int], prices: list[float], sizes: list[float], what: str, tmp_path: Path
) -> None:
    batch = TradeBatch("BTCUSDT", np.array(times_ms), np.array(prices), np.array(sizes), np.zeros(2, dtype=np.int8))
    path = tmp_path / "trades.parquet"
    day = date(1970, 1, 1)
    parquet_file.write_trade_file(path, [batch], symbol="BTCUSDT", venue="bybit", day=day, coverage=lambda: [(0, 10)])

    with pytest.raises(InvalidInputError) as raised:
        open_recording([str(path)], session=Session()).reader("BTCUSDT").take_until(2**61)

    assert str(raised.value).startswith(f"{path}, {what}")
