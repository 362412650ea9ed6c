"""Recorded funding rates: which settlement a row belongs to, what is missing, and what is refused."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.errors import InvalidInputError
from breakwater_core.venue_rules import FUNDING_INTERVAL_MS, funding_stamps
from breakwater_recordings.funding import FundingRecords, read_funding

HEADER = "symbol,timestamp,funding_rate"
HOUR_MS = 3_600_000
START_MS = 1_696_896_000_000  # 2023-10-10T00:00Z
CONSTANT = Decimal("0.0003")


def due(records: FundingRecords, symbol: str, first_hour: int, last_hour: int) -> list[tuple[int, str]]:
    """Return hour and rate of what is due after the first hour and through the last."""
    found = records.due(symbol, START_MS + first_hour * HOUR_MS, START_MS + last_hour * HOUR_MS, otherwise=CONSTANT)
    return [((stamp - START_MS) // HOUR_MS, str(rate)) for stamp, rate in found]


def hourly(rates: dict[int, str]) -> FundingRecords:
    return FundingRecords.of({"BTCUSDT": {START_MS + hour * HOUR_MS: Decimal(rate) for hour, rate in rates.items()}})


def test_late_and_early_stamps_belong_to_the_full_hour_next_to_them(write_csv: Callable[..., Path]) -> None:
    path = write_csv(
        "funding.csv.gz",
        [
            HEADER,
            f"BTCUSDT,{START_MS + 8 * HOUR_MS + 5},-9.089e-05",
            f"ETHUSDT,{START_MS + 8 * HOUR_MS},0.0002",
            f"BTCUSDT,{START_MS + 3},0.0001",
            f"BTCUSDT,{START_MS + 16 * HOUR_MS - 59_000},0",
        ],
    )
    records = read_funding(path)
    assert records.symbols == ("BTCUSDT", "ETHUSDT")
    assert due(records, "BTCUSDT", -1, 16) == [(0, "0.0001"), (8, "-0.00009089"), (16, "0.0")]
    assert (records.by_symbol["BTCUSDT"].stamps_ms - START_MS).tolist() == [0, 8 * HOUR_MS, 16 * HOUR_MS]


def test_a_stamp_at_the_end_of_a_stretch_is_in_it_and_one_at_its_start_is_not() -> None:
    records = hourly({8: "0.001", 16: "0.002"})
    assert due(records, "BTCUSDT", 8, 16) == [(16, "0.002")]


def test_intervals_are_those_of_the_records_even_where_they_change() -> None:
    records = hourly({0: "0.001", 8: "0.002", 12: "0.003", 16: "0.004", 17: "0.005"})
    assert [hour for hour, _ in due(records, "BTCUSDT", 0, 17)] == [8, 12, 16, 17]


def test_a_settlement_of_which_the_records_say_nothing_has_the_constant() -> None:
    records = hourly({8: "0.001", 12: "0.002", 40: "0.003"})
    assert due(records, "BTCUSDT", -1, 49) == [
        (0, "0.0003"), (8, "0.001"), (12, "0.002"), (16, "0.0003"), (24, "0.0003"), (32, "0.0003"), (40, "0.003"),
        (48, "0.0003"),
    ]  # fmt: skip
    assert records.missing("BTCUSDT", START_MS - HOUR_MS, START_MS + 49 * HOUR_MS) == 5
    assert due(records, "XRPUSDT", -1, 16) == [(0, "0.0003"), (8, "0.0003"), (16, "0.0003")]
    assert due(hourly({4: "0.001", 12: "0.002"}), "BTCUSDT", 3, 12) == [(4, "0.001"), (12, "0.002")]  # 8 hours apart
    assert records.missing("XRPUSDT", START_MS - HOUR_MS, START_MS + 16 * HOUR_MS) == 3


@given(
    hours=st.sets(st.integers(0, 100)),
    bounds=st.tuples(st.integers(-20, 130), st.integers(-20, 130)).map(sorted),
    cut=st.integers(-20, 130),
)
def test_what_is_due_does_not_depend_on_the_steps_in_which_it_is_asked_for(
    hours: set[int], bounds: list[int], cut: int
) -> None:
    records = hourly(dict.fromkeys(hours, "0.001"))
    first, last = bounds
    middle = min(max(cut, first), last)
    whole = due(records, "BTCUSDT", first, last)
    assert whole == due(records, "BTCUSDT", first, middle) + due(records, "BTCUSDT", middle, last)
    asked = [hour for hour, _ in whole]
    assert asked == sorted(set(asked))
    assert {hour for hour in hours if first < hour <= last} <= set(asked)
    grid = funding_stamps(START_MS + first * HOUR_MS, START_MS + last * HOUR_MS)
    for hour in {(stamp - START_MS) // HOUR_MS for stamp in grid} - set(asked):
        assert max(known for known in hours if known < hour) + 8 >= min(known for known in hours if known > hour)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (f"BTCUSDT,{START_MS},0.0001", r"row 3: the settlement of BTCUSDT stands twice"),
        (f"BTCUSDT,{START_MS + 61_000},0.0001", r"row 3: timestamp is more than a minute from a full hour"),
        (f"BTCUSDT,{START_MS // 1000 + 8 * 3600},0.0001", r"row 3: timestamp is not milliseconds since 1970"),
        (f"BTCUSDT,{START_MS + 8 * HOUR_MS},0.5", r"row 3: funding_rate is beyond 0\.1; give rates as fractions"),
        (f"BTCUSDT,{START_MS + 8 * HOUR_MS},inf", r"row 3: funding_rate is not finite"),
        (f"BTCUSDT,{START_MS + 8 * HOUR_MS},", r"row 3: funding_rate is missing"),
        ("BTCUSDT,soon,0.0001", r"row 3: timestamp is 'soon', which is not a whole number"),
    ],
)
def test_a_row_that_is_no_settlement_is_named(write_csv: Callable[..., Path], row: str, fault: str) -> None:
    path = write_csv("funding.csv", [HEADER, f"BTCUSDT,{START_MS + 1},0.0001", row])
    with pytest.raises(InvalidInputError, match=fault) as caught:
        read_funding(path)
    assert str(path) in str(caught.value)


def test_several_files_are_joined_unless_they_state_a_settlement_twice(write_csv: Callable[..., Path]) -> None:
    first = write_csv("first.csv", [HEADER, f"BTCUSDT,{START_MS + FUNDING_INTERVAL_MS},0.0002"])
    second = write_csv("second.csv", [HEADER, f"BTCUSDT,{START_MS},0.0001"])
    assert due(read_funding(first, second), "BTCUSDT", -1, 8) == [(0, "0.0001"), (8, "0.0002")]
    assert read_funding(first, second).fingerprint == read_funding(second, first).fingerprint
    assert read_funding(first).fingerprint != read_funding(second).fingerprint
    with pytest.raises(InvalidInputError, match=f"two funding files hold the settlement of BTCUSDT at {START_MS} ms"):
        read_funding(second, first, second)


def test_a_file_without_the_columns_is_refused(write_csv: Callable[..., Path]) -> None:
    with pytest.raises(InvalidInputError, match=r"row 1: lacks the columns symbol, funding_rate; its columns are"):
        read_funding(write_csv("other.csv", ["timestamp,open", f"{START_MS},1"]))


def test_recorded_rates_of_two_exchanges_are_read_whole(shared: Path) -> None:
    folder = shared / "data/funding"
    records = read_funding(
        folder / "binance_usdm_funding_2023_groupA.csv.gz", folder / "bybit_linear_WIFUSDT_funding.csv.gz"
    )
    assert len(records.symbols) == 48
    assert sum(len(funding.stamps_ms) for funding in records.by_symbol.values()) == 4450 + 457
    wif = records.by_symbol["WIFUSDT"].stamps_ms
    assert records.missing("WIFUSDT", int(wif[0]), int(wif[-1])) == 100  # one gap of 804 hours at 4 hours' settlements
    ada = records.by_symbol["ADAUSDT"].stamps_ms
    assert records.missing("ADAUSDT", int(ada[0]), int(ada[-1])) == 0
