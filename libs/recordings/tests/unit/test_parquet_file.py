"""The Parquet files of own recordings."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from breakwater_core.errors import InvalidInputError
from breakwater_core.market import TradeBatch
from breakwater_core.session import Session
from breakwater_recordings.coverage import Interval
from breakwater_recordings.parquet_file import ROWS_PER_GROUP, SCHEMA, read_trade_file, write_trade_file
from breakwater_recordings.sources import open_recording

DAY = date(2024, 1, 1)
DAY_MS = 1_704_067_200_000
END_MS = 2**61


def write(path: Path, batches: list[TradeBatch], coverage: list[Interval] | None = None) -> int:
    return write_trade_file(
        path, batches, symbol="BTCUSDT", venue="bybit", day=DAY, coverage=lambda: coverage or [(DAY_MS, DAY_MS + 1000)]
    )


def test_a_file_gives_back_what_was_written(tmp_path: Path, make_batch: Callable[..., TradeBatch]) -> None:
    batches = [make_batch(range(DAY_MS, DAY_MS + 5)), make_batch([DAY_MS + 4, DAY_MS + 9])]

    assert write(tmp_path / "trades.parquet", batches) == 7
    part = read_trade_file(tmp_path / "trades.parquet")

    (batch,) = part.read(0)
    assert (part.symbol, part.trades, part.covered) == ("BTCUSDT", 7, ((DAY_MS, DAY_MS + 1000),))
    for name in ("times_ms", "prices", "sizes", "taker_sides"):
        assert np.array_equal(getattr(batch, name), np.concatenate([getattr(given, name) for given in batches]))


def test_many_small_batches_become_row_groups_of_even_size(
    tmp_path: Path, make_batch: Callable[..., TradeBatch]
) -> None:
    rows = 2 * ROWS_PER_GROUP + 500
    batches = [make_batch(range(DAY_MS + start, DAY_MS + min(start + 3_000, rows))) for start in range(0, rows, 3_000)]

    write(tmp_path / "trades.parquet", batches)

    footer = pq.read_metadata(tmp_path / "trades.parquet")
    sizes = [footer.row_group(index).num_rows for index in range(footer.num_row_groups)]
    assert sizes == [ROWS_PER_GROUP, ROWS_PER_GROUP, 500]
    read = [batch.times_ms for batch in read_trade_file(tmp_path / "trades.parquet").read(0)]
    assert np.array_equal(np.concatenate(read), DAY_MS + np.arange(rows))


def test_row_groups_before_the_wanted_time_are_not_read(tmp_path: Path, make_batch: Callable[..., TradeBatch]) -> None:
    write(tmp_path / "trades.parquet", [make_batch(range(DAY_MS, DAY_MS + 2 * ROWS_PER_GROUP))])

    chunks = list(read_trade_file(tmp_path / "trades.parquet").read(DAY_MS + ROWS_PER_GROUP))

    assert [len(chunk) for chunk in chunks] == [ROWS_PER_GROUP]


def test_no_other_file_is_left_beside_a_written_one(tmp_path: Path, make_batch: Callable[..., TradeBatch]) -> None:
    write(tmp_path / "trades.parquet", [make_batch([DAY_MS])])

    assert [path.name for path in tmp_path.iterdir()] == ["trades.parquet"]


def test_a_file_cut_short_is_refused(tmp_path: Path, make_batch: Callable[..., TradeBatch]) -> None:
    path = tmp_path / "trades.parquet"
    write(path, [make_batch(range(DAY_MS, DAY_MS + 100))])
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(InvalidInputError, match=r"trades.parquet: is no complete Parquet file; .*record it again"):
        open_recording([str(path)], session=Session())


def test_a_parquet_file_of_another_program_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"time": [1], "price": [2.0]}), tmp_path / "other.parquet")

    with pytest.raises(InvalidInputError, match="unknown format"):
        read_trade_file(tmp_path / "other.parquet")


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        ({"breakwater.format": "2"}, "has format version 2; this program reads version 1"),
        ({"breakwater.coverage": "everything"}, "coverage in its metadata is unreadable"),
        ({"breakwater.coverage": "[[5, 1]]"}, "coverage in its metadata is unreadable"),
    ],
)
def test_metadata_that_cannot_be_understood_is_refused(facts: dict[str, str], what: str, tmp_path: Path) -> None:
    known = {"breakwater.format": "1", "breakwater.symbol": "BTCUSDT", "breakwater.coverage": "[]"}
    table = pa.table([[1], [2.0], [3.0], pa.array([1], pa.int8())], schema=SCHEMA)
    pq.write_table(table.replace_schema_metadata(known | facts), tmp_path / "trades.parquet")

    with pytest.raises(InvalidInputError, match=what):
        read_trade_file(tmp_path / "trades.parquet")


@pytest.mark.parametrize(
    ("times_ms", "prices", "what"),
    [
        ([3, 5, 4], [1, 1, 1], "row 3: time 4 is before that of the row above, 5"),
        ([3, 4, 5], [1, 0, 1], "row 2: price must be finite and above 0, was 0.0"),
        ([3, 4, 5], [1, 1, float("nan")], "row 3: price must be finite and above 0, was nan"),
    ],
)
def test_a_faulty_trade_is_refused_when_it_is_read(
    times_ms: list[int], prices: list[float], what: str, tmp_path: Path, make_batch: Callable[..., TradeBatch]
) -> None:
    write(tmp_path / "trades.parquet", [make_batch(times_ms, prices=prices)])
    reader = open_recording([str(tmp_path / "trades.parquet")], session=Session()).reader("BTCUSDT")

    with pytest.raises(InvalidInputError, match=what):
        reader.take_until(END_MS)


def test_a_given_symbol_that_disagrees_with_the_metadata_is_refused(
    tmp_path: Path, make_batch: Callable[..., TradeBatch]
) -> None:
    write(tmp_path / "trades.parquet", [make_batch([DAY_MS])])

    with pytest.raises(InvalidInputError, match="holds BTCUSDT, not ETHUSDT"):
        open_recording([f"ETHUSDT={tmp_path / 'trades.parquet'}"], session=Session())
