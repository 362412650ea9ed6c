"""A recorded live day is a recording of its own: the same bars, the day's trades alone, gaps named."""

from datetime import date, time, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.errors import InvalidInputError
from breakwater_core.market import BarState, DailyBar, TradeBatch
from breakwater_core.session import Session
from breakwater_recordings.coverage import Coverage
from breakwater_recordings.daily_bars import OpeningBars, bars_before
from breakwater_recordings.day_openings import DayOpening, write_day_opening
from breakwater_recordings.day_recording import first_gap, open_day
from breakwater_recordings.parquet import RecordingWriter

DAY = date(2024, 3, 1)
SESSIONS = [Session(), Session(start=time(9, 30), timezone="Asia/Seoul")]


def closed(number: int, complete: bool = True) -> DailyBar:
    day = DAY - timedelta(days=number)
    return DailyBar("BTCUSDT", day, BarState.CLOSED, 100.5, 110.25, 90.1, 99.0, 1234.5, complete=complete)


OPEN = DailyBar("BTCUSDT", DAY, BarState.OPEN, 98.7, 98.7, 98.7, 98.7, 0.0, complete=True)


def record(folder: Path, session: Session, *, hole_ms: tuple[int, int] | None = None) -> None:
    """Record from an hour before the day to an hour behind it, one trade a minute."""
    start_ms, end_ms = session.day_start_ms(DAY), session.day_end_ms(DAY)
    times = np.arange(start_ms - 3_600_000, end_ms + 3_600_000, 60_000, dtype=np.int64)
    prices = 100.0 + np.arange(times.size) % 7
    with RecordingWriter(folder) as writer:
        writer.write(TradeBatch("BTCUSDT", times, prices, np.ones(times.size), np.ones(times.size, np.int8)))
        covered = [(int(times[0]), int(times[-1]))]
        if hole_ms is not None:
            covered = [(int(times[0]), start_ms + hole_ms[0]), (start_ms + hole_ms[1], int(times[-1]))]
        for interval in covered:
            writer.cover("BTCUSDT", *interval)


@pytest.mark.parametrize("session", SESSIONS, ids=["utc", "seoul"])
def test_a_day_has_its_own_trades_its_open_and_the_bars_before(tmp_path: Path, session: Session) -> None:
    record(tmp_path, session)
    before = (closed(3), closed(2, complete=False), closed(1))
    write_day_opening(tmp_path, DayOpening(DAY, (*before, OPEN)))
    recording = open_day(tmp_path, DAY, session=session, symbols=())
    assert tuple(bars_before(recording, DAY, days=7)) == before
    assert OpeningBars(recording).of(DAY)[0].open == 98.7
    assert recording.is_complete("BTCUSDT", DAY)
    reader = recording.reader("BTCUSDT")
    reader.skip_to(session.day_start_ms(DAY))
    day = reader.take_until(2**62)
    assert len(day) == 24 * 60 + 1
    assert (day.times_ms[0], day.times_ms[1]) == (session.day_start_ms(DAY),) * 2
    assert day.times_ms[-1] == session.day_end_ms(DAY) - 60_000
    assert recording.complete_days("BTCUSDT") == [DAY - timedelta(days=3), DAY - timedelta(days=1), DAY]


def test_a_gap_is_named_with_its_times(tmp_path: Path) -> None:
    record(tmp_path, Session(), hole_ms=(36_000_000, 36_312_000))
    write_day_opening(tmp_path, DayOpening(DAY, (OPEN,)))
    with pytest.raises(
        InvalidInputError, match="gap in BTCUSDT from 2024-03-01 10:00:00 UTC to 2024-03-01 10:05:12 UTC"
    ):
        open_day(tmp_path, DAY, session=Session(), symbols=["BTCUSDT"])


def test_what_is_absent_is_named(tmp_path: Path) -> None:
    def opened(*symbols: str) -> None:
        open_day(tmp_path, DAY, session=Session(), symbols=symbols)

    with pytest.raises(InvalidInputError, match="no opening of 2024-03-01 is recorded"):
        opened("BTCUSDT")
    write_day_opening(tmp_path, DayOpening(DAY, (OPEN,)))
    with pytest.raises(InvalidInputError, match="no open of ETHUSDT is recorded"):
        opened("BTCUSDT", "ETHUSDT")
    with pytest.raises(InvalidInputError, match="no trades of BTCUSDT are recorded"):
        opened("BTCUSDT")


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=6))
def test_the_first_gap_is_the_first_moment_that_no_interval_covers(spans: list[tuple[int, int]]) -> None:
    missing = [t for t in range(20, 80) if not any(min(span) <= t < max(span) for span in spans)]
    gap = first_gap(Coverage.of((min(span), max(span)) for span in spans), 20, 80)
    if not missing:
        assert gap is None
    else:
        assert gap is not None
        assert gap[0] == missing[0]
        assert all(t in missing for t in range(*gap))
