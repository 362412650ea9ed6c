"""The live strategy class and the trade codec on their own, in one process: trades a second, nanoseconds a trade."""

import math
import time
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from functools import partial
from typing import Any

import numpy as np

from bench.effort import Effort
from bench.figures import Figure, Section, Target
from breakwater_core.config import BreakwaterConfig
from breakwater_core.market import BarState, DailyBar, TradeBatch
from breakwater_core.portfolio import PortfolioStrategy
from breakwater_recordings.synthetic import DEFAULT_SYMBOLS, generate_day
from breakwater_runtime import codec

_DAY = date(2024, 1, 8)
_SEED = 11
_MANY_SYMBOLS = 100
_LENGTHS = ((1, 100_000), (10, 1_000_000), (1_000, 8_000_000), (16_384, 8_000_000))
"""Trades in a batch, and trades fed per repetition."""
_VECTOR_LENGTH = 64
_TARGET = Target(must=700_000, goal=1_500_000)


async def measure(effort: Effort) -> Section:
    """Feed the strategy as signal does live, one batch after the other, and encode and decode the same batches."""
    day = _market_day(effort.pick(2_000_000, 200_000))
    figures: list[Figure] = []
    for length, wanted in _LENGTHS:
        batches = _batches(day, length, effort.pick(wanted, wanted // 20))
        trades = sum(map(len, batches))
        feeding = _repeat(effort, partial(_feed, batches, DEFAULT_SYMBOLS))
        searching = _repeat(effort, partial(_search, batches))
        figures.append(
            Figure(
                f"strategy, {length:,} a batch, ten symbols",
                "trades/s",
                tuple(trades / seconds for seconds in feeding),
                _TARGET,
                "bare search" if length < _VECTOR_LENGTH else "bare NumPy search",
                tuple(trades / seconds for seconds in searching),
            )
        )
        effort.tell(f"strategy fed with {len(batches):,} batches of {length:,}")
    figures.append(_with_many_symbols(effort, day))
    for length, wanted in _LENGTHS:
        figures += _codec(effort, _batches(day, length, effort.pick(wanted // 2, wanted // 20)), length)
    notes = (
        "One call of feed_trades, advance and next_decisions for each batch, as signal does live; no entry is near.",
        "bare search: a loop over a list, or NumPy's minimum and maximum, that compares prices with two bounds.",
        "bare copy: the four columns to bytes and back with NumPy, without a message around them.",
    )
    return Section("PortfolioStrategy and codec in one process, no bus", tuple(figures), notes)


def _market_day(trades: int) -> list[TradeBatch]:
    session = BreakwaterConfig().session.session()
    return [
        generate_day(seed=_SEED, symbol=symbol, day=_DAY, trades_per_day_total=trades, session=session)
        for symbol in DEFAULT_SYMBOLS
    ]


def _batches(day: Sequence[TradeBatch], length: int, wanted: int) -> list[TradeBatch]:
    """Cut the first part of the day into batches, in time order: the wanted number of trades, if the day has them."""
    share = min(1.0, wanted / sum(map(len, day)))
    parts = [
        TradeBatch(
            batch.symbol,
            batch.times_ms[start : start + length],
            batch.prices[start : start + length],
            batch.sizes[start : start + length],
            batch.taker_sides[start : start + length],
        )
        for batch in day
        for start in range(0, math.ceil(len(batch) * share), length)
    ]
    return sorted(parts, key=lambda part: int(part.times_ms[-1]))


def _strategy(batches: Sequence[TradeBatch], symbols: Sequence[str]) -> PortfolioStrategy:
    """Return a strategy that knows the day, with targets so far away that no trade reaches them."""
    config = BreakwaterConfig.parse({"strategy": {"k_long": 10, "k_short": 10}})
    strategy = PortfolioStrategy(config, symbols)
    prices = {batch.symbol: float(batch.prices[0]) for batch in reversed(batches)}
    for symbol in symbols:
        price = prices.get(symbol, 100.0)
        for back in range(6, 0, -1):
            strategy.feed_bar(_bar(symbol, _DAY - timedelta(days=back), BarState.CLOSED, price))
        strategy.feed_bar(_bar(symbol, _DAY, BarState.OPEN, price))
    strategy.advance(config.session.session().day_start_ms(_DAY))
    return strategy


def _bar(symbol: str, day: date, state: BarState, price: float) -> DailyBar:
    return DailyBar(symbol, day, state, price, price * 1.05, price * 0.95, price, 1.0, complete=True)


def _feed(batches: Sequence[TradeBatch], symbols: Sequence[str]) -> float:
    strategy = _strategy(batches, symbols)
    decisions = 0
    started = time.perf_counter()
    for batch in batches:
        strategy.feed_trades(batch)
        strategy.advance(int(batch.times_ms[-1]) + 1)
        decisions += len(strategy.next_decisions())
    seconds = time.perf_counter() - started
    if decisions:
        raise AssertionError("a trade reached a target that is out of reach")
    return seconds


def _search(batches: Sequence[TradeBatch]) -> float:
    low, high = 0.0, 1e12
    lists = [batch.prices.tolist() if len(batch) < _VECTOR_LENGTH else batch.prices for batch in batches]
    found = 0
    started = time.perf_counter()
    for prices in lists:
        if isinstance(prices, list):
            for price in prices:
                if not low < price < high:
                    found += 1
        elif not (low < prices.min() and prices.max() < high):
            found += 1
    seconds = time.perf_counter() - started
    if found:
        raise AssertionError("a price is out of all bounds")
    return seconds


def _with_many_symbols(effort: Effort, day: Sequence[TradeBatch]) -> Figure:
    """Measure the same single trades in a portfolio of many symbols, most of them quiet."""
    batches = _batches(day, 1, effort.pick(50_000, 5_000))
    quiet = tuple(f"QUIET{number}USDT" for number in range(_MANY_SYMBOLS - len(DEFAULT_SYMBOLS)))
    feeding = _repeat(effort, partial(_feed, batches, DEFAULT_SYMBOLS + quiet))
    few = _repeat(effort, partial(_feed, batches, DEFAULT_SYMBOLS))
    return Figure(
        f"strategy, 1 a batch, {_MANY_SYMBOLS} symbols",
        "trades/s",
        tuple(len(batches) / seconds for seconds in feeding),
        limit_name="with ten symbols",
        limit_values=tuple(len(batches) / seconds for seconds in few),
    )


def _codec(effort: Effort, batches: Sequence[TradeBatch], length: int) -> list[Figure]:
    trades = sum(map(len, batches))
    encoded: list[codec.Encoded] = []

    def encode() -> None:
        encoded[:] = [codec.encode(batch, "replay-bench") for batch in batches]

    def decode() -> None:
        for message in encoded:
            codec.decode(message.subject, message.payload)

    columns: list[tuple[bytes, ...]] = []

    def copy_out() -> None:
        columns[:] = [tuple(part.tobytes() for part in _columns(batch)) for batch in batches]

    def copy_in() -> None:
        for times, prices, sizes, sides in columns:
            np.frombuffer(times, "<i8"), np.frombuffer(prices, "<f8")
            np.frombuffer(sizes, "<f8"), np.frombuffer(sides, "<i1")

    def nanoseconds(work: Callable[[], None]) -> tuple[float, ...]:
        return tuple(seconds / trades * 1e9 for seconds in _repeat(effort, partial(_timed, work)))

    return [
        Figure(f"{name}, {length:,} a batch", "ns/trade", nanoseconds(work), None, "bare copy", nanoseconds(bare))
        for name, work, bare in (("encode", encode, copy_out), ("decode", decode, copy_in))
    ]


def _columns(batch: TradeBatch) -> tuple[np.ndarray[Any, Any], ...]:
    return batch.times_ms, batch.prices, batch.sizes, batch.taker_sides


def _timed(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _repeat(effort: Effort, measured: Callable[[], float]) -> list[float]:
    return [measured() for _ in range(effort.repetitions)]
