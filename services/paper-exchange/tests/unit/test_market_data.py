"""Price look-ups, candles, the made-up order book, trading rules."""

from decimal import Decimal
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breakwater_core.errors import InvariantError
from breakwater_core.market import TradeBatch
from breakwater_core.price_history import PriceHistory
from paper_exchange_service.api.ladder import difference, ladder
from paper_exchange_service.api.market_rows import public_trade_rows
from paper_exchange_service.engine.candles import INTERVALS, MINUTE_MS, MinuteCandles, interval_end, interval_start
from paper_exchange_service.engine.markets import Costs, Market


def batch_of(times: list[int], prices: list[float]) -> TradeBatch:
    return TradeBatch(
        "BTCUSDT",
        np.array(times, dtype=np.int64),
        np.array(prices),
        np.ones(len(times)),
        np.zeros(len(times), dtype=np.int8),
    )


TRADES = st.lists(st.tuples(st.integers(0, 400_000), st.integers(1, 50)), min_size=1, max_size=60).map(sorted)


@settings(max_examples=100, deadline=None)
@given(
    trades=TRADES, cuts=st.lists(st.integers(0, 60), max_size=5), asked=st.lists(st.integers(-5, 400_100), max_size=10)
)
def test_the_price_at_a_time_is_that_of_the_last_trade_not_after_it(
    trades: list[tuple[int, int]], cuts: list[int], asked: list[int]
) -> None:
    history = PriceHistory("BTCUSDT", retention_ms=10**9)
    bounds = [0, *sorted(min(cut, len(trades)) for cut in cuts), len(trades)]
    for low, high in pairwise(bounds):
        history.append(
            batch_of([trade[0] for trade in trades[low:high]], [float(trade[1]) for trade in trades[low:high]])
        )
    for time_ms in asked:
        expected = [float(price) for traded_ms, price in trades if traded_ms <= time_ms]
        assert history.price_at(time_ms) == (expected[-1] if expected else None)


def test_old_trades_are_dropped_but_the_price_at_the_horizon_stays_known() -> None:
    history = PriceHistory("BTCUSDT", retention_ms=1_000)
    for number in range(20):
        history.append(batch_of([number * 1_000] * 9_000, [float(number + 1)] * 9_000))
    history.drop_before(18_500)
    assert history.price_at(18_000) == 19.0
    assert history.price_at(500) is None
    history.drop_before(10**12)
    assert history.price_at(10**12) == 20.0


def test_trades_that_go_back_in_time_are_an_error() -> None:
    history = PriceHistory("BTCUSDT", retention_ms=1_000)
    history.append(batch_of([5], [1.0]))
    with pytest.raises(InvariantError, match="went back"):
        history.append(batch_of([4], [1.0]))


@settings(max_examples=60, deadline=None)
@given(trades=TRADES, cut=st.integers(0, 60), interval=st.sampled_from(["1", "3", "5", "D"]))
def test_candles_equal_those_computed_trade_by_trade_however_trades_are_batched(
    trades: list[tuple[int, int]], cut: int, interval: str
) -> None:
    candles = MinuteCandles()
    for part in (trades[:cut], trades[cut:]):
        candles.absorb(batch_of([trade[0] for trade in part], [float(trade[1]) for trade in part]))
    last_start = interval_start(interval, trades[-1][0])
    bars = {bar.start_ms: bar for bar in candles.query(interval, 0, last_start, 1_000)}
    start, close = interval_start(interval, trades[0][0]), 0.0
    while start <= last_start:
        end = interval_end(interval, start)
        inside = [float(price) for time_ms, price in trades if start <= time_ms < end]
        expected = (
            (inside[0], max(inside), min(inside), inside[-1], float(len(inside)))
            if inside
            else (close, close, close, close, 0.0)
        )
        bar = bars.pop(start)
        assert (bar.open, bar.high, bar.low, bar.close, bar.volume) == expected
        close, start = bar.close, end
    assert not bars


@pytest.mark.parametrize("interval", INTERVALS)
def test_bars_of_every_interval_follow_each_other_without_gap(interval: str) -> None:
    moment = 1_709_251_199_999  # 2024-02-29, the last millisecond of a leap day
    start = interval_start(interval, moment)
    assert start <= moment < interval_end(interval, start)
    assert interval_start(interval, interval_end(interval, start)) == interval_end(interval, start)


def test_a_minute_without_trades_is_carried_at_the_previous_close() -> None:
    candles = MinuteCandles()
    candles.absorb(batch_of([1_000], [5.0]))
    candles.carry_to(3 * MINUTE_MS + 1)
    bars = candles.query("1", 0, 10**9, 10)
    assert [(bar.start_ms, bar.open, bar.close, bar.volume) for bar in bars] == [
        (180_000, 5.0, 5.0, 0.0),
        (120_000, 5.0, 5.0, 0.0),
        (60_000, 5.0, 5.0, 0.0),
        (0, 5.0, 5.0, 1.0),
    ]


def test_the_ladder_has_one_level_per_tick_and_a_difference_rebuilds_it(tools: SimpleNamespace) -> None:
    market = Market(tools.instrument(), Costs(), 1_000)
    before, after = (ladder(market, Decimal(price), 5) for price in ("30000.0", "30000.3"))
    assert [price for price, _ in before.bids] == ["30000.0", "29999.9", "29999.8", "29999.7", "29999.6"]
    assert [price for price, _ in before.asks] == ["30000.1", "30000.2", "30000.3", "30000.4", "30000.5"]
    rebuilt = dict(before.asks) | dict(difference(before.asks, after.asks))
    assert {price: size for price, size in rebuilt.items() if size != "0"} == dict(after.asks)


def test_fills_of_one_taker_share_their_sequence_and_have_ids_of_their_own(tools: SimpleNamespace) -> None:
    market = Market(tools.instrument(), Costs(), 1_000)
    rows = public_trade_rows(market, batch_of([7, 7, 7, 8], [1.0, 1.1, 1.0, 1.0]))
    assert [row["S"] for row in rows] == ["Buy", "Buy", "Sell", "Sell"]
    assert [row["seq"] for row in rows] == [7_000, 7_000, 7_001, 8_000]
    assert len({row["i"] for row in rows}) == 4
    assert [row["L"] for row in rows] == ["ZeroPlusTick", "PlusTick", "MinusTick", "ZeroMinusTick"]
