"""How recorded days fall on the calendar."""

from collections.abc import Sequence
from datetime import date, timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from breakwater_core.market import TradeBatch
from paper_exchange_service.playback import UTC_DAYS, GeneratedDay, Playback, play_synthetic, recorded_day, utc_day

DAYS = [date(2023, 7, 1), date(2023, 7, 2), date(2023, 7, 3)]
TODAY = date(2026, 1, 10)


def test_the_last_recorded_day_is_today_and_the_second_follows_it() -> None:
    played = [recorded_day(DAYS, TODAY, TODAY + timedelta(days=offset)).day for offset in range(-2, 6)]
    assert played == [1, 2, 3, 2, 3, 2, 3, 2]


def test_a_recording_of_one_day_repeats_it() -> None:
    assert [recorded_day(DAYS[:1], TODAY, TODAY + timedelta(days=offset)) for offset in range(3)] == DAYS[:1] * 3


@pytest.mark.parametrize("cuts", [(), (10_000_000,), (1, 43_200_000, 86_400_000, 86_400_001)])
def test_a_playback_gives_every_trade_once_and_in_order_however_it_is_cut(cuts: Sequence[int]) -> None:
    start_ms = UTC_DAYS.day_start_ms(TODAY)

    def open_day(symbol: str, day: date) -> GeneratedDay:
        times = UTC_DAYS.day_start_ms(day) + np.arange(0, 86_400_000, 3_600_000, dtype=np.int64)
        ones = np.ones(times.size)
        return GeneratedDay(TradeBatch(symbol, times, ones, ones, ones.astype(np.int8)))

    playback = Playback(["A", "B"], open_day, TODAY)
    taken: dict[str, list[int]] = {"A": [], "B": []}
    for end_ms in (*cuts, 2 * 86_400_000):
        for batch in playback.take_until(start_ms + end_ms):
            taken[batch.symbol] += batch.times_ms.tolist()
    expected = [start_ms + hour * 3_600_000 for hour in range(48)]
    assert taken == {"A": expected, "B": expected}


def test_the_synthetic_market_of_a_day_does_not_depend_on_when_it_is_asked_for(tools: SimpleNamespace) -> None:
    now_ms = UTC_DAYS.day_start_ms(TODAY) + 5_000_000
    batches = [
        play_synthetic(
            seed=4, symbols=["BTCUSDT"], trades_per_day=2_000, history_days=history, now_ms=now_ms
        ).take_until(now_ms)
        for history in (1, 3)
    ]
    today = [[batch for batch in found if utc_day(int(batch.times_ms[0])) == TODAY] for found in batches]
    assert today[0][0].prices.tolist() == today[1][0].prices.tolist()
    assert len(batches[1]) == 4
