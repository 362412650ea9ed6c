"""What an inventory tells of files with gaps, repeats and faults."""

from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breakwater_core.errors import InvalidInputError
from breakwater_core.market import TradeBatch
from breakwater_core.session import Session
from breakwater_recordings.candle_file import CandleTable, read_candle_table, write_candle_file
from breakwater_recordings.inventory import Inventory, Repeat, take_inventory
from breakwater_recordings.klines import Bars
from breakwater_recordings.parquet import RecordingWriter

type WriteText = Callable[[str, Iterable[str]], Path]

DAY_MS = 1_696_896_000_000  # 2023-10-10T00:00Z
MINUTE_MS = 60_000
HEADER = "timestamp,open,high,low,close,volume"
ARCHIVE = "timestamp,symbol,side,size,price,trdMatchID"


def lines_of(minutes: Iterable[int]) -> list[str]:
    return [HEADER, *(f"{DAY_MS + minute * MINUTE_MS},1,1,1,1,1" for minute in minutes)]


def looked_at(*paths: Path, session: Session | None = None) -> Inventory:
    return take_inventory([str(path) for path in paths], session=session or Session())


def bars_of(minutes: list[int], symbol: str = "BTCUSDT") -> CandleTable:
    times_ms = DAY_MS + np.array(minutes, dtype=np.int64) * MINUTE_MS
    ones = np.ones(times_ms.size)
    bars = Bars(symbol, MINUTE_MS, times_ms, ones, ones, ones, ones, ones)
    return CandleTable(bars, ones, (int(times_ms[0]), int(times_ms[-1]) + MINUTE_MS))


def test_a_whole_day_of_candles_has_neither_gap_nor_incomplete_day(write_csv: WriteText) -> None:
    inventory = looked_at(write_csv("BTCUSDT_1m.csv", lines_of(range(1440))))

    (holding,) = inventory.holdings
    assert (holding.symbol, holding.kind, holding.step_ms) == ("BTCUSDT", "candles (CSV)", MINUTE_MS)
    assert (holding.files, holding.rows, holding.first_ms) == (1, 1440, DAY_MS)
    assert holding.last_ms == DAY_MS + 86_400_000 - 1
    assert (holding.gaps, holding.incomplete_days, holding.repeats, inventory.faults) == ((), (), (), ())


@settings(max_examples=40)
@given(st.sets(st.integers(0, 200), min_size=2).filter(lambda minutes: 1 in np.diff(sorted(minutes))))
def test_bars_and_gaps_make_up_the_time_from_first_to_last(
    tmp_path_factory: pytest.TempPathFactory, minutes: set[int]
) -> None:
    path = tmp_path_factory.mktemp("inventory") / "BTCUSDT.csv"
    path.write_text("\n".join(lines_of(sorted(minutes))))

    (holding,) = looked_at(path).holdings

    missing = [time for start, end in holding.gaps for time in range(start, end, MINUTE_MS)]
    held = [DAY_MS + minute * MINUTE_MS for minute in minutes]
    assert holding.rows == len(minutes)
    assert sorted([*held, *missing]) == list(range(holding.first_ms, holding.last_ms + 1, MINUTE_MS))


def test_repeated_minutes_are_listed_with_their_rows_beside_the_fault(write_csv: WriteText) -> None:
    lines = lines_of([0, 1, 2, 2, 3, 1, 7])
    lines.insert(3, "")
    path = write_csv("BTCUSDT_1m.csv", lines)

    inventory = looked_at(path)

    (holding,) = inventory.holdings
    assert holding.repeats == (
        Repeat(path, 6, DAY_MS + 2 * MINUTE_MS),
        Repeat(path, 8, DAY_MS + MINUTE_MS),
    )
    assert holding.rows == 7
    assert holding.gaps == ((DAY_MS + 4 * MINUTE_MS, DAY_MS + 7 * MINUTE_MS),)
    assert inventory.faults[0].startswith(f"{path}, row 6: the bar's time stands twice")


def test_every_faulty_file_is_listed_and_the_others_are_read(tmp_path: Path, write_csv: WriteText) -> None:
    write_csv("BTCUSDT.csv", lines_of(range(10)))
    write_csv("ETHUSDT.csv", [HEADER, "x,1,1,1,1,1"])
    write_csv("notes.csv", ["a,b", "1,2"])
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1 nothing")

    inventory = looked_at(tmp_path)

    assert [holding.symbol for holding in inventory.holdings] == ["BTCUSDT"]
    assert len(inventory.faults) == 3
    assert all(str(tmp_path) in fault and "; " in fault for fault in inventory.faults)


def test_files_that_overlap_are_a_fault_and_counted_nevertheless(write_csv: WriteText) -> None:
    paths = [write_csv("BTCUSDT_a.csv", lines_of(range(10))), write_csv("BTCUSDT_b.csv", lines_of(range(5, 15)))]

    inventory = looked_at(*paths)

    (holding,) = inventory.holdings
    assert (holding.files, holding.rows, holding.gaps) == (2, 20, ())
    assert "overlap in time" in inventory.faults[0]


def test_each_kind_of_data_of_a_symbol_is_listed_apart(tmp_path: Path, write_csv: WriteText) -> None:
    write_csv("BTCUSDT_1m.csv", lines_of(range(3)))
    write_csv("BTCUSDT_1h.csv", [HEADER, *(f"{DAY_MS + hour * 3_600_000},1,1,1,1,1" for hour in range(24))])
    write_csv("BTCUSDT2023-10-10.csv.gz", [ARCHIVE, f"{DAY_MS // 1000 + 7},BTCUSDT,Buy,1,9,a"])
    write_csv(
        "funding.csv", ["symbol,timestamp,funding_rate", *(f"BTCUSDT,{DAY_MS + n * 28_800_000},0.1" for n in (0, 1, 5))]
    )
    write_candle_file(tmp_path / "BTCUSDT-1m.parquet", bars_of([0, 1, 2, 5]))
    with RecordingWriter(tmp_path / "own") as writer:
        times_ms = np.array([DAY_MS + 5, DAY_MS + 9])
        writer.write(TradeBatch("BTCUSDT", times_ms, np.ones(2), np.ones(2), np.ones(2, dtype=np.int8)))
        writer.cover("BTCUSDT", DAY_MS, DAY_MS + 3_600_000)

    inventory = looked_at(tmp_path)

    assert inventory.faults == ()
    assert [(holding.kind, holding.step_ms, holding.rows, len(holding.gaps)) for holding in inventory.holdings] == [
        ("candles (CSV)", MINUTE_MS, 3, 0),
        ("candles (CSV)", 3_600_000, 24, 0),
        ("candles (Parquet)", MINUTE_MS, 4, 1),
        ("funding", None, 3, 1),
        ("trades (Parquet)", None, 2, 0),
        ("trades (archive)", None, 1, 0),
    ]


def test_days_are_those_of_the_session(write_csv: WriteText) -> None:
    path = write_csv("BTCUSDT.csv", lines_of(range(2 * 1440)))

    assert looked_at(path).holdings[0].incomplete_days == ()
    seoul = Session(timezone="Asia/Seoul")
    assert looked_at(path, session=seoul).holdings[0].incomplete_days == (date(2023, 10, 10), date(2023, 10, 12))


def test_an_inventory_of_nothing_is_refused(tmp_path: Path) -> None:
    for sources, what in (
        ([], "no source"),
        ([str(tmp_path / "x")], "no such file"),
        ([str(tmp_path)], "no recording"),
    ):
        with pytest.raises(InvalidInputError, match=what):
            take_inventory(sources, session=Session())


def test_a_file_of_candles_gives_back_what_was_written(tmp_path: Path) -> None:
    path, table = tmp_path / "new" / "a.parquet", bars_of([3, 4, 9])
    write_candle_file(path, table)

    read = read_candle_table(path)

    assert np.array_equal(read.bars.open_times_ms, table.bars.open_times_ms)
    assert (read.asked, read.bars.symbol, read.bars.step_ms) == (table.asked, "BTCUSDT", MINUTE_MS)
    assert [entry.name for entry in path.parent.iterdir()] == ["a.parquet"]


def test_candles_that_break_a_rule_are_not_written(tmp_path: Path) -> None:
    for name, table, what in (
        ("a.csv", bars_of([1, 2]), "must end in .parquet"),
        ("a.parquet", bars_of([2, 1]), "row 2: the bar's time is before"),
        ("a.parquet", bars_of([1, 1]), "row 2: the bar's time stands twice"),
    ):
        with pytest.raises(InvalidInputError, match=what):
            write_candle_file(tmp_path / name, table)
    assert list(tmp_path.iterdir()) == []
