"""Real recorded data, from outside the repository."""

import gzip
from datetime import date
from pathlib import Path

import pyarrow.csv as arrow_csv
import pytest

from breakwater_core.errors import InvalidInputError
from breakwater_core.session import Session
from breakwater_recordings.daily_bars import bars_before
from breakwater_recordings.inventory import take_inventory
from breakwater_recordings.sources import open_recording

END_MS = 2**61
MINUTES_JULY_AUGUST_2023 = [
    "ADAUSDT", "BNBUSDT", "BTCUSDT", "DOGEUSDT", "DOTUSDT", "ETHUSDT", "LTCUSDT", "MATICUSDT", "SOLUSDT", "XRPUSDT"
]  # fmt: skip


def test_ten_symbols_of_minute_bars_are_told_by_their_file_names(shared: Path) -> None:
    folder = shared / "data/klines_1m"
    files = [str(folder / f"binance_usdm_{symbol}_1m_2023JulAug.csv.gz") for symbol in MINUTES_JULY_AUGUST_2023]

    recording = open_recording(files, session=Session())

    assert recording.symbols == tuple(MINUTES_JULY_AUGUST_2023)
    assert len(recording.complete_days("BTCUSDT")) == 29
    assert recording.complete_days("BTCUSDT")[0] == date(2023, 7, 19)
    assert not recording.is_complete("BTCUSDT", date(2023, 7, 18))
    windows = recording.windows(recording.first_ms, recording.last_ms + 1, 6 * 3_600_000)
    assert sum(len(window) for window in windows) == recording.estimated_trades


def test_the_days_of_a_binance_archive_month_have_the_highs_and_lows_of_their_minutes(shared: Path) -> None:
    path = shared / "data/klines_1m_full/binance_usdm_AVAXUSDT-1m-2024-02.csv.gz"
    recording = open_recording([str(path)], session=Session())
    minutes = arrow_csv.read_csv(path)

    bars = bars_before(recording, date(2024, 3, 1), days=29)

    assert recording.symbols == ("AVAXUSDT",)
    assert len(bars) == len(recording.complete_days("AVAXUSDT")) == 29
    for index, bar in enumerate(bars):
        rows = minutes.slice(index * 1440, 1440)
        assert bar.complete
        assert (bar.open, bar.close) == (rows["open"][0].as_py(), rows["close"][-1].as_py())
        assert bar.high == rows["high"].to_numpy().max()
        assert bar.low == rows["low"].to_numpy().min()
        assert bar.volume == pytest.approx(rows["volume"].to_numpy().sum())


def test_months_that_do_not_follow_each_other_are_covered_apart(shared: Path) -> None:
    files = sorted((shared / "data/klines_1m_full").glob("*FILUSDT*"))
    recording = open_recording([str(path) for path in reversed(files)], session=Session())

    assert len(files) > 1
    assert len(recording.coverage["FILUSDT"].intervals) == len(files)
    times = recording.reader("FILUSDT").take_until(END_MS).times_ms
    assert (times[1:] > times[:-1]).all()


def test_a_long_file_of_many_symbols_is_read_by_its_symbol_column(shared: Path) -> None:
    path = shared / "data/klines_5m/binance_usdm_5m_2023JulAug_groupA.csv.gz"

    recording = open_recording([str(path)], session=Session(), symbols=["BTCUSDT", "ETHUSDT"])

    assert recording.symbols == ("BTCUSDT", "ETHUSDT")
    assert len(recording.reader("BTCUSDT").take_until(END_MS)) > 10_000


def test_five_minute_bars_with_silent_ones_leave_no_gap(shared: Path) -> None:
    path = shared / "data/klines_5m/binance_usdm_BTCUSDT_5m_2024Oct_2025Jan.csv.gz"

    recording = open_recording([str(path)], session=Session())

    assert len(recording.coverage["BTCUSDT"].intervals) == 1
    assert recording.estimated_trades < 4 * 35_424


def test_bars_with_text_times_need_their_symbol_given(shared: Path) -> None:
    path = shared / "data/klines_1m/unknownvenue_BTC-PERP_1m_2022Jan.csv.gz"

    with pytest.raises(InvalidInputError, match="SYMBOL=FILE"):
        open_recording([str(path)], session=Session())
    recording = open_recording([f"BTCPERP={path}"], session=Session())

    assert recording.first_ms == 1_640_991_660_000  # 2021-12-31T23:01Z


def test_bybits_archive_file_is_read_to_the_millisecond(shared: Path) -> None:
    path = shared / "bybit-payloads/archive/public_trades_FXSUSDT_2023-10-10.csv"

    recording = open_recording([str(path)], session=Session())
    batch = recording.reader("FXSUSDT").take_until(END_MS)

    assert recording.is_complete("FXSUSDT", date(2023, 10, 10))
    assert batch.times_ms[:4].tolist() == [1_696_982_287_492, 1_696_982_322_056, 1_696_982_333_030, 1_696_982_333_037]
    assert batch.prices[:4].tolist() == [5.239, 5.2395, 5.242, 5.2425]
    assert batch.taker_sides[:4].tolist() == [-1, 1, 1, 1]


FOLDERS = ("klines_1d", "klines_1h", "klines_1m", "klines_1m_full", "klines_5m")


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_file_of_candles_is_read_whole(folder: str, shared: Path) -> None:
    steps_ms = {"klines_1d": 86_400_000, "klines_1h": 3_600_000, "klines_5m": 300_000}
    for path in sorted((shared / "data" / folder).glob("*.csv.gz")):
        source = f"BTCPERP={path}" if "BTC-PERP" in path.name else str(path)
        inventory = take_inventory([source], session=Session())
        rows = gzip.decompress(path.read_bytes()).count(b"\n") - 1

        assert sum(holding.rows for holding in inventory.holdings) == rows
        assert {holding.step_ms for holding in inventory.holdings} == {steps_ms.get(folder, 60_000)}
        assert not any(holding.repeats for holding in inventory.holdings)
        if folder != "klines_1d":
            assert inventory.faults == ()


def test_the_one_bad_row_of_the_daily_candles_is_named(shared: Path) -> None:
    path = shared / "data/klines_1d/bybit_linear_1d_groupA_to_20250131.csv.gz"

    with pytest.raises(InvalidInputError, match=r"row 26224: open must be finite and above 0"):
        open_recording([str(path)], session=Session())

    assert gzip.decompress(path.read_bytes()).splitlines()[26_223].startswith(b"BCHUSDT,")
    assert open_recording([str(path)], session=Session(), symbols=["BTCUSDT", "ETHUSDT"]).symbols[0] == "BTCUSDT"


def test_the_hour_that_an_exchange_was_away_is_listed_as_a_gap(shared: Path) -> None:
    path = shared / "data/klines_1h/binance_spot_BTCUSDT_1h_to_20250131.csv.gz"

    (holding,) = take_inventory([str(path)], session=Session()).holdings

    outage_ms = 1_679_662_800_000  # 2023-03-24T13:00Z
    assert holding.gaps == ((outage_ms, outage_ms + 3_600_000),)
    assert holding.incomplete_days == (date(2022, 5, 25), date(2023, 3, 24))


@pytest.mark.parametrize(
    "name", ["binance_usdm_BTCUSDT_20240808_trades.csv.gz", "binance_usdm_BTCUSDT_20240808_bookticker.csv.gz"]
)
def test_files_of_other_layouts_are_refused_by_their_columns(name: str, shared: Path) -> None:
    with pytest.raises(InvalidInputError, match="row 1: unknown format"):
        open_recording([str(shared / "data/ticks" / name)], session=Session())
