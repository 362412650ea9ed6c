"""Bybit's trade archive."""

import logging
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.errors import InvalidInputError
from breakwater_core.session import Session
from breakwater_recordings.recording import Recording
from breakwater_recordings.sources import open_recording

HEADER = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"
DAY_S = 1_696_896_000  # 2023-10-10T00:00Z
END_MS = 2**61


def row(
    time: object, trade_id: str, *, symbol: str = "BTCUSDT", side: str = "Buy", size: object = 1, price: object = 9
) -> str:
    return f"{time},{symbol},{side},{size},{price},PlusTick,{trade_id},1e+08,1,9"


GOOD = [row(f"{DAY_S}.0001", "a"), row(f"{DAY_S + 1}.5", "b", side="Sell"), row(f"{DAY_S + 1}.5", "c")]


def opened(path: Path | str, **options: object) -> Recording:
    return open_recording([str(path)], session=Session(), **options)  # type: ignore[arg-type]  # options vary by test


@pytest.mark.parametrize("name", ["BTCUSDT2023-10-10.csv", "BTCUSDT2023-10-10.csv.gz"])
def test_rows_become_trades_with_times_floored_to_milliseconds(name: str, write_csv: Callable[..., Path]) -> None:
    batch = opened(write_csv(name, [HEADER, *GOOD])).reader("BTCUSDT").take_until(END_MS)

    assert batch.times_ms.tolist() == [DAY_S * 1000, DAY_S * 1000 + 1500, DAY_S * 1000 + 1500]
    assert batch.taker_sides.tolist() == [1, -1, 1]
    assert batch.prices.tolist() == [9.0, 9.0, 9.0]
    assert batch.sizes.tolist() == [1.0, 1.0, 1.0]


@given(st.integers(DAY_S * 10_000, (DAY_S + 86_400) * 10_000 - 1))
def test_no_time_is_moved_by_float_rounding(tmp_path_factory: pytest.TempPathFactory, ten_thousandths: int) -> None:
    path = tmp_path_factory.mktemp("archive") / "BTCUSDT.csv"
    time = f"{ten_thousandths // 10_000}.{ten_thousandths % 10_000:04d}"
    path.write_text(f"{HEADER}\n{row(time, 'a')}\n")

    assert opened(path).first_ms == ten_thousandths // 10


def test_further_columns_and_another_order_of_columns_are_read_by_name(write_csv: Callable[..., Path]) -> None:
    path = write_csv(
        "BTCUSDT2023-10-10.csv",
        ["RPI,trdMatchID,price,size,side,symbol,timestamp,new", f"0,a,7.5,2,Sell,BTCUSDT,{DAY_S}.25,x"],
    )

    batch = opened(path).reader("BTCUSDT").take_until(END_MS)

    assert (batch.prices[0], batch.sizes[0], batch.taker_sides[0]) == (7.5, 2.0, -1)


def test_a_file_named_by_a_day_covers_that_day_however_few_its_trades(write_csv: Callable[..., Path]) -> None:
    recording = opened(write_csv("BTCUSDT2023-10-10.csv", [HEADER, *GOOD]))

    assert recording.is_complete("BTCUSDT", date(2023, 10, 10))
    assert recording.days == [date(2023, 10, 10)]
    assert not recording.is_complete("BTCUSDT", date(2023, 10, 9))


def test_another_file_covers_first_to_last_trade_without_silent_gaps(write_csv: Callable[..., Path]) -> None:
    seconds = [*range(0, 3 * 86_400, 600)]
    gap = [second for second in seconds if not 86_400 + 3_000 < second < 86_400 + 6_000]
    path = write_csv("BTCUSDT_trades.csv", [HEADER, *(row(DAY_S + second, str(second)) for second in gap)])

    recording = opened(path)

    assert recording.coverage["BTCUSDT"].intervals == (
        (DAY_S * 1000, (DAY_S + 86_400 + 3_000) * 1000 + 1),
        ((DAY_S + 86_400 + 6_000) * 1000, (DAY_S + seconds[-1]) * 1000 + 1),
    )
    assert recording.complete_days("BTCUSDT") == [date(2023, 10, 10)]
    assert opened(path, max_silence_ms=3_000_000).complete_days("BTCUSDT") == [date(2023, 10, 10), date(2023, 10, 11)]


def test_a_short_pause_from_file_to_file_is_covered(write_csv: Callable[..., Path]) -> None:
    first = write_csv("BTCUSDT_1.csv", [HEADER, row(DAY_S, "a"), row(DAY_S + 900, "b")])
    second = write_csv("BTCUSDT_2.csv", [HEADER, row(DAY_S + 1800, "c")])

    recording = open_recording([str(second), str(first)], session=Session())

    assert recording.coverage["BTCUSDT"].intervals == ((DAY_S * 1000, (DAY_S + 1800) * 1000 + 1),)
    assert len(recording.reader("BTCUSDT").take_until(END_MS)) == 3


def test_unsorted_rows_of_old_files_are_sorted_stably_and_noted(
    write_csv: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    old_s = 1_585_180_800  # 2020-03-26
    rows = [row(old_s + 2, "a", price=3), row(old_s, "b", price=1), row(old_s, "c", price=2)]
    path = write_csv("BTCUSDT2020-03-26.csv", [HEADER, *rows])

    with caplog.at_level(logging.WARNING):
        recording = opened(path)

    assert recording.reader("BTCUSDT").take_until(END_MS).prices.tolist() == [1.0, 2.0, 3.0]
    assert "sorted" in recording.notes[0]
    assert "sorted" in caplog.text


def fault(
    rows: list[str], row_number: int, what: str, *, name: str = "BTCUSDT2023-10-10.csv", header: str = HEADER
) -> object:
    return pytest.param(name, [header, *rows], row_number, what, id=what)


@pytest.mark.parametrize(
    ("name", "lines", "row_number", "what"),
    [
        fault([*GOOD, row(DAY_S, "d")], 5, "before that of the row above"),
        fault([*GOOD, row(DAY_S + 9, "b")], 5, "trade id 'b' stands twice"),
        fault([*GOOD, row(DAY_S + 9, "d", price=-1)], 5, "price must be finite and above 0, was -1.0"),
        fault([*GOOD, row(DAY_S + 9, "d", price=0)], 5, "price must be finite and above 0, was 0.0"),
        fault([*GOOD, row(DAY_S + 9, "d", price="inf")], 5, "price must be finite and above 0, was inf"),
        fault([*GOOD, row(DAY_S + 9, "d", price="NaN")], 5, "price is missing or not a number"),
        fault([*GOOD, row(DAY_S + 9, "d", price="")], 5, "price is missing"),
        fault([*GOOD, row(DAY_S + 9, "d", price="nine")], 5, "price is 'nine', which is not a number"),
        fault([*GOOD, row(DAY_S + 9, "d", size=-2)], 5, "size must be finite and not negative"),
        fault([*GOOD, row("yesterday", "d")], 5, "timestamp is 'yesterday'"),
        fault([*GOOD, row(DAY_S + 9, "d", side="Hold")], 5, "side is 'Hold' instead of Buy or Sell"),
        fault([*GOOD, row(DAY_S + 9, "d", symbol="ETHUSDT")], 5, "symbol is 'ETHUSDT'"),
        fault([row(DAY_S, "a", symbol="ETHUSDT")], 2, "the file is taken for BTCUSDT"),
        fault([*GOOD, f"{DAY_S + 9},BTCUSDT,Bu"], 5, "has 3 fields instead of 10"),
        fault([*GOOD[:1], "", "", row(DAY_S + 9, "d", price=-5)], 5, "was -5.0"),
        fault([], 2, "no row of data"),
        fault(["1,2"], 1, "unknown format (a, b)", header="a,b"),
        fault(["1,2"], 1, "a column stands twice", header="a,a"),
    ],
)
def test_a_faulty_file_is_refused_with_file_row_and_remedy(
    name: str, lines: list[str], row_number: int, what: str, write_csv: Callable[..., Path]
) -> None:
    path = write_csv(name, lines)

    with pytest.raises(InvalidInputError) as raised:
        opened(path)

    message = str(raised.value)
    assert message.startswith(f"{path}, row {row_number}: ")
    assert what in message
    assert "; " in message
    assert "\n" not in message


@given(st.lists(st.uuids() | st.integers(0, 99), min_size=1, max_size=8, unique=True), st.data())
def test_an_id_is_refused_exactly_if_it_stands_twice(
    tmp_path_factory: pytest.TempPathFactory, ids: list[object], data: st.DataObject
) -> None:
    repeat = data.draw(st.none() | st.sampled_from(ids))
    rows = [row(DAY_S, str(trade_id)) for trade_id in [*ids, *([] if repeat is None else [repeat])]]
    path = tmp_path_factory.mktemp("archive") / "BTCUSDT.csv"
    path.write_text("\n".join([HEADER, *rows]))

    if repeat is None:
        assert opened(path).estimated_trades == len(ids)
    else:
        with pytest.raises(InvalidInputError, match=f"row {len(rows) + 1}: trade id '{repeat}' stands twice"):
            opened(path)


def test_a_file_named_by_another_day_than_its_trades_is_refused(write_csv: Callable[..., Path]) -> None:
    with pytest.raises(InvalidInputError, match=r"named by 2023-10-11 but holds trades of 2023-10-10"):
        opened(write_csv("BTCUSDT2023-10-11.csv", [HEADER, *GOOD]))


def test_a_given_symbol_that_disagrees_with_the_column_is_refused(write_csv: Callable[..., Path]) -> None:
    path = write_csv("trades.csv", [HEADER, *GOOD])

    with pytest.raises(InvalidInputError, match="row 2: symbol is 'BTCUSDT', but the file is taken for ETHUSDT"):
        opened(f"ETHUSDT={path}")


@pytest.mark.parametrize("damage", ["truncated", "no gzip", "flipped"])
def test_a_damaged_gzip_file_is_refused(damage: str, write_csv: Callable[..., Path]) -> None:
    rows = [row(DAY_S + second, f"{second * 7919 % 10_007:x}") for second in range(5_000)]
    path = write_csv("BTCUSDT2023-10-10.csv.gz", [HEADER, *rows])
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[len(content) // 2] ^= 0xFF
    else:
        content = bytearray(b"<html>404</html>")
    path.write_bytes(content)

    with pytest.raises(InvalidInputError, match=r"broken or truncated gzip file .*download or copy it again"):
        opened(path)


@pytest.mark.parametrize("name", ["BTCUSDT.csv", "BTCUSDT.csv.gz"])
def test_an_empty_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()

    with pytest.raises(InvalidInputError, match="the file is empty"):
        opened(tmp_path / name)
