"""Recorded best bids and asks: half the spread as of a time, and rows that are refused."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from breakwater_core.errors import InvalidInputError
from breakwater_recordings.spread import OLDEST_MS, read_spreads

HEADER = "local_ns,event_ms,update_id,bid_price,bid_qty,ask_price,ask_qty"
START_MS = 1_696_896_000_000  # 2023-10-10T00:00Z


def row(offset_ms: int, bid: str, ask: str) -> str:
    return f"1,{START_MS + offset_ms},7,{bid},1,{ask},1"


def test_half_the_spread_is_that_of_the_last_record_that_is_not_after_the_time(write_csv: Callable[..., Path]) -> None:
    path = write_csv("BTCUSDT_bookticker.csv.gz", [HEADER, row(0, "99", "101"), row(50, "99.5", "100.5")])
    records = read_spreads(str(path))
    assert records.symbols == ("BTCUSDT",)
    found = [records.half_spread_at("BTCUSDT", START_MS + offset_ms) for offset_ms in (-1, 0, 49, 50, 50 + OLDEST_MS)]
    assert found == [None, Decimal("0.01"), Decimal("0.01"), Decimal("0.005"), Decimal("0.005")]


def test_a_record_that_is_too_old_says_nothing_nor_does_another_symbol_s(write_csv: Callable[..., Path]) -> None:
    path = write_csv("book.csv", [HEADER, row(0, "99", "101")])
    records = read_spreads(f"BTCUSDT={path}")
    assert records.half_spread_at("BTCUSDT", START_MS + OLDEST_MS + 1) is None
    assert records.half_spread_at("ETHUSDT", START_MS) is None


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (row(9, "101", "100"), "row 3: ask_price is below bid_price"),
        (row(9, "0", "100"), "row 3: bid_price must be finite and above 0"),
        (row(9, "99", "inf"), "row 3: ask_price must be finite and above 0"),
        (row(-1, "99", "101"), "row 3: event_ms is before that of the row above"),
        ("1,,7,99,1,101,1", "row 3: event_ms is missing"),
        ("1,9,7,99,1,101,1", "row 3: event_ms is not milliseconds since 1970"),
    ],
)
def test_a_row_that_is_no_book_is_named(write_csv: Callable[..., Path], line: str, fault: str) -> None:
    path = write_csv("BTCUSDT.csv", [HEADER, row(0, "99", "101"), line])
    with pytest.raises(InvalidInputError, match=fault) as caught:
        read_spreads(str(path))
    assert str(path) in str(caught.value)


def test_a_book_needs_its_columns_a_symbol_and_stands_once(write_csv: Callable[..., Path]) -> None:
    path = write_csv("BTCUSDT.csv", [HEADER, row(0, "99", "101")])
    with pytest.raises(InvalidInputError, match="the book of BTCUSDT was given already"):
        read_spreads(str(path), str(path))
    with pytest.raises(InvalidInputError, match="the symbol cannot be told from the name"):
        read_spreads(str(write_csv("book.csv", [HEADER, row(0, "99", "101")])))
    with pytest.raises(InvalidInputError, match="row 1: lacks the columns event_ms"):
        read_spreads(str(write_csv("ETHUSDT.csv", ["bid_price,ask_price", "1,2"])))


def test_the_spread_of_a_recorded_minute_is_a_tick_of_the_price(shared: Path) -> None:
    path = shared / "data/ticks/binance_usdm_BTCUSDT_20240808_bookticker.csv.gz"
    half_spread = read_spreads(str(path)).half_spread_at("BTCUSDT", 1_723_161_300_000)
    assert half_spread is not None
    assert float(half_spread) == pytest.approx(0.05 / 61_806, rel=1e-3)
