"""What a run takes from a recording: days, first prices, warm-up."""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from breakwater_core.config import StrategySettings
from breakwater_core.errors import InvalidInputError
from breakwater_core.market import TradeBatch
from breakwater_core.session import Session
from breakwater_recordings.instruments import default_instrument, instrument_for, instruments
from breakwater_recordings.parquet_file import write_trade_file
from breakwater_recordings.recording import Recording
from breakwater_recordings.selection import first_prices, played_days, warm_up_days
from breakwater_recordings.sources import open_recording

FIRST = date(2024, 3, 1)
DAY_MS = 86_400_000


@pytest.fixture
def recording(tmp_path: Path, make_batch: Callable[..., TradeBatch]) -> Recording:
    """Three days of one symbol, of which the last is not whole."""
    session = Session()
    for number in range(3):
        day = FIRST + timedelta(days=number)
        start_ms = session.day_start_ms(day)
        end_ms = start_ms + (DAY_MS if number < 2 else DAY_MS // 2)
        batch = make_batch(np.arange(start_ms, end_ms, 3_600_000), symbol="AAAUSDT")
        write_trade_file(
            tmp_path / f"{day}.parquet",
            [batch],
            symbol="AAAUSDT",
            venue="bybit",
            day=day,
            coverage=lambda span=(start_ms, end_ms): [span],
        )
    return open_recording([str(tmp_path)], session=session)


def test_whole_days_are_played_from_the_first_to_the_last(recording: Recording) -> None:
    assert played_days(recording, None, None) == (FIRST, FIRST + timedelta(days=1))
    assert played_days(recording, FIRST + timedelta(days=1), date(2030, 1, 1)) == (FIRST + timedelta(days=1),) * 2


def test_a_range_without_a_whole_day_is_refused_and_those_held_are_named(recording: Recording) -> None:
    with pytest.raises(InvalidInputError, match="complete days: 2024-03-01 to 2024-03-02"):
        played_days(recording, date(2024, 3, 3), None)


def test_the_first_price_gives_unknown_symbols_their_rules(recording: Recording) -> None:
    assert first_prices(recording) == {"AAAUSDT": 100.0}
    assert instrument_for("AAAUSDT", 100.0) == default_instrument("AAAUSDT", 100.0)
    assert instrument_for("BTCUSDT", 100.0) == instruments()["BTCUSDT"]


def test_the_warm_up_reaches_back_as_far_as_the_strategy_looks() -> None:
    assert warm_up_days(StrategySettings(ma_window=5)) == 7
    assert warm_up_days(StrategySettings(ma_window=5, noise_days=20)) == 22
