"""Bar tables: the recording's trades to the last one, cut into days, with each day's running highs and lows."""

import pickle
from datetime import date, time, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_bars import DAY_MS, FIRST, FIRST_MS, MINUTE_MS, RandomRecording, bar_recording, flat, minutes

from breakwater_core.errors import InvalidInputError
from breakwater_core.session import Session
from breakwater_recordings.daily_bars import bars_before
from breakwater_research.backtest_engines import NoBarsError
from breakwater_research.bars.bar_table import open_bar_table

HALF_PAST = Session(start=time(0, 30))
sessions = st.sampled_from([Session(), HALF_PAST, Session(start=time(2, 30), timezone="America/New_York")])


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), session=sessions)
def test_a_table_holds_the_recording_s_trades_and_daily_bars(seed: int, session: Session) -> None:
    with RandomRecording(seed, session) as recording:
        table = open_bar_table(recording, session)
        for number, symbol in enumerate(recording.symbols):
            batch = recording.reader(symbol).take_until(recording.last_ms + 1)
            trades = np.arange(table.trade_at[number, 0], table.trade_at[number, -1])
            assert table.times_of(number, trades).tolist() == batch.times_ms.tolist()
            assert table.paths.prices[trades].tolist() == batch.prices.tolist()
        end = table.days[-1] + timedelta(days=1)
        bars = {(bar.symbol, bar.day): bar for bar in bars_before(recording, end, days=len(table.days))}
        for number, symbol in enumerate(table.symbols):
            for place, day in enumerate(table.days):
                known = [prices[number, place] for prices in table.daily]
                bar = bars.get((symbol, day))
                if bar is None:
                    assert np.isnan(known).all()
                else:
                    assert known == [bar.open, bar.high, bar.low, bar.close]
                    assert table.complete[number, place] == bar.complete


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), session=sessions)
def test_running_highs_and_lows_are_the_trades_beyond_all_before_them(seed: int, session: Session) -> None:
    with RandomRecording(seed, session) as recording:
        table = open_bar_table(recording, session)
    for number in range(len(table.symbols)):
        for day in range(len(table.days)):
            start, stop = table.trade_at[number, day : day + 2]
            for records, sign in ((table.running_highs, 1.0), (table.running_lows, -1.0)):
                first, last = records.at[number, day : day + 2]
                highest, expected = -np.inf, []
                for trade in range(start, stop):
                    if sign * table.paths.prices[trade] > highest:
                        highest = sign * table.paths.prices[trade]
                        expected.append(trade)
                assert records.trades[first:last].tolist() == expected
                assert records.levels[first:last].tolist() == table.paths.prices[expected].tolist()


def test_a_bar_may_begin_on_one_day_and_end_on_the_next(tmp_path: Path) -> None:
    hour = 60 * MINUTE_MS
    rows = [(FIRST_MS + number * hour, 100.0, 103.0, 99.0, 101.0, 1.0) for number in range(48)]
    table = open_bar_table(bar_recording(tmp_path, {"AAAUSDT": rows}, HALF_PAST), HALF_PAST)
    assert table.days[0] == FIRST - timedelta(days=1)
    assert np.diff(table.trade_at[0]).tolist() == [2, 96, 94]
    # the first day holds open and low of its only bar, the second begins with that bar's high
    assert (table.daily.highs[0, 0], table.daily.closes[0, 0], table.daily.opens[0, 1]) == (100.0, 99.0, 103.0)
    assert table.complete[0].tolist() == [False, True, False]


def test_a_bar_without_volume_makes_no_trade_but_is_covered(tmp_path: Path) -> None:
    silent = (*flat(MINUTE_MS, 500.0)[:5], 0.0)
    table = open_bar_table(bar_recording(tmp_path, {"AAAUSDT": minutes(silent, days=1)}), Session())
    assert len(table) == 1439
    assert table.daily.highs[0, 0] == 500.0  # the minutes after it stand at its close
    assert table.complete.all()


def test_a_day_that_lacks_a_minute_is_not_complete(tmp_path: Path) -> None:
    rows = minutes(days=3)
    del rows[2000]
    table = open_bar_table(bar_recording(tmp_path, {"AAAUSDT": rows, "BBBUSDT": rows[: 2 * 1440]}), Session())
    assert table.complete.tolist() == [[True, False, True], [True, False, False]]
    assert table.played_days(None, None) == (FIRST, FIRST + timedelta(days=2))
    assert table.played_days(None, FIRST + timedelta(days=1)) == (FIRST, FIRST)
    with pytest.raises(InvalidInputError, match=r"no complete day between 2024-03-09 .* complete days: 2024-03-08"):
        table.played_days(FIRST + timedelta(days=1), FIRST + timedelta(days=1))


def test_a_table_goes_to_another_process_whole(tmp_path: Path) -> None:
    table = open_bar_table(bar_recording(tmp_path, {"AAAUSDT": minutes(days=1)}), Session())
    again = pickle.loads(pickle.dumps(table))
    assert again.fingerprint == table.fingerprint
    assert again.days == [date(2024, 3, 8)]
    assert again.paths.prices.tolist() == table.paths.prices.tolist()
    assert again.nbytes == table.nbytes > table.paths.prices.nbytes


def test_bars_of_two_spans_for_one_symbol_are_left_to_the_tick_engine(tmp_path: Path) -> None:
    recording = bar_recording(tmp_path, {"AAAUSDT": minutes(days=1)})
    later = [(FIRST_MS + DAY_MS + number * 5 * MINUTE_MS, 100.0, 100.0, 100.0, 100.0, 1.0) for number in range(288)]
    (tmp_path / "later").mkdir()
    coarse = bar_recording(tmp_path / "later", {"AAAUSDT": later})
    joined = type(recording)([*recording.parts_of("AAAUSDT"), *coarse.parts_of("AAAUSDT")], session=Session())
    with pytest.raises(NoBarsError, match=r"AAAUSDT\.csv and .*later/AAAUSDT\.csv hold bars of AAAUSDT of different"):
        open_bar_table(joined, Session())


def test_an_unknown_symbol_is_named_with_those_that_are_held(tmp_path: Path) -> None:
    table = open_bar_table(bar_recording(tmp_path, {"AAAUSDT": minutes(days=1)}), Session())
    with pytest.raises(InvalidInputError, match="does not hold ZZZUSDT; it holds AAAUSDT"):
        table.index_of("ZZZUSDT")
