"""The four trades of a bar, and searches through those of one symbol; compiled.

A bar's trades are open, low, high, close if it closed at or above its open, else open, high, low, close. Trade
`4 * b + q` is trade `q` of bar `b`; a range [start, stop) of trades may begin and end within a bar. Prices are quote
currency per 1 base unit, times milliseconds UTC.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from breakwater_research.bars.compiled import compiled

BARS_PER_BLOCK = 32
"""Bars whose highest high and lowest low are kept, so that a search passes over all of them at once."""
_BLOCK_SHIFT = 5


class Paths(NamedTuple):
    """The bars that traded, of all symbols one after the other, oldest first within a symbol.

    Attributes:
        times: Shape (n_bars,), int64: when each bar opens.
        opens: Shape (n_bars,), float64; `highs`, `lows` and `closes` alike.
        block_highs: Shape (n_blocks,): highest high of each `BARS_PER_BLOCK` bars; `block_lows` alike.
        offsets: Shape (n_symbols, 4), int64: from a bar's opening to each of its trades.
    """

    times: NDArray[np.int64]
    opens: NDArray[np.float64]
    highs: NDArray[np.float64]
    lows: NDArray[np.float64]
    closes: NDArray[np.float64]
    block_highs: NDArray[np.float64]
    block_lows: NDArray[np.float64]
    offsets: NDArray[np.int64]


@compiled
def price_of(paths: Paths, trade: int) -> float:
    """Return the price of a trade."""
    bar, quarter = trade >> 2, trade & 3
    if quarter == 0:
        return float(paths.opens[bar])
    if quarter == 3:
        return float(paths.closes[bar])
    is_low = (quarter == 1) == (paths.closes[bar] >= paths.opens[bar])
    return float(paths.lows[bar] if is_low else paths.highs[bar])


@compiled
def prices_of(paths: Paths, trades: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the prices of trades, in their shape, which is (n,)."""
    prices = np.empty(trades.size)
    for place in range(trades.size):
        prices[place] = price_of(paths, trades[place])
    return prices


@compiled
def time_of(paths: Paths, symbol: int, trade: int) -> int:
    """Return the time of a trade."""
    return int(paths.times[trade >> 2] + paths.offsets[symbol, trade & 3])


@compiled
def first_from(paths: Paths, symbol: int, start: int, stop: int, time_ms: int) -> int:
    """Return the first trade of [start, stop) at or after the time, or `stop`."""
    low, high = start, stop
    while low < high:
        middle = (low + high) >> 1
        if time_of(paths, symbol, middle) < time_ms:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def last_through(paths: Paths, symbol: int, trade: int, stop: int, time_ms: int) -> int:
    """Return the last trade before `stop` that is at or before the time; `trade` itself is."""
    while trade + 1 < stop and time_of(paths, symbol, trade + 1) <= time_ms:
        trade += 1
    return trade


@compiled
def first_at_or_below(paths: Paths, level: float, start: int, stop: int) -> int:
    """Return the first trade of [start, stop) whose price is at or below the level, or `stop`."""
    trade = start
    while trade < stop:
        bar = trade >> 2
        if trade & 3 == 0 and trade + 4 <= stop:
            block = bar >> _BLOCK_SHIFT
            if bar & (BARS_PER_BLOCK - 1) == 0 and paths.block_lows[block] > level:
                trade += 4 * BARS_PER_BLOCK
                continue
            if paths.lows[bar] > level:
                trade += 4
                continue
        if price_of(paths, trade) <= level:
            return trade
        trade += 1
    return stop


@compiled
def first_at_or_above(paths: Paths, level: float, start: int, stop: int) -> int:
    """Return the first trade of [start, stop) whose price is at or above the level, or `stop`."""
    trade = start
    while trade < stop:
        bar = trade >> 2
        if trade & 3 == 0 and trade + 4 <= stop:
            block = bar >> _BLOCK_SHIFT
            if bar & (BARS_PER_BLOCK - 1) == 0 and paths.block_highs[block] < level:
                trade += 4 * BARS_PER_BLOCK
                continue
            if paths.highs[bar] < level:
                trade += 4
                continue
        if price_of(paths, trade) >= level:
            return trade
        trade += 1
    return stop


@compiled
def first_between(paths: Paths, low: float, high: float, start: int, stop: int) -> int:
    """Return the first trade of [start, stop) whose price lies strictly between the two, or `stop`."""
    for trade in range(start, stop):
        if low < price_of(paths, trade) < high:
            return trade
    return stop


@compiled
def first_within(paths: Paths, zones: tuple[float, float, float, float], start: int, stop: int) -> int:
    """Return the first trade of [start, stop) whose price lies in one of two closed intervals, or `stop`.

    Args:
        paths: The bars.
        zones: Lower and upper end of the first interval and of the second; an empty one has its ends in reverse.
        start: First trade.
        stop: First trade that is not looked at.
    """
    long_low, long_high, short_low, short_high = zones
    trade = start
    while trade < stop:
        bar = trade >> 2
        high, low = paths.highs[bar], paths.lows[bar]
        meets_long = high >= long_low and low <= long_high
        if not meets_long and (high < short_low or low > short_high):
            trade = (bar + 1) << 2
            continue
        price = price_of(paths, trade)
        if long_low <= price <= long_high or short_low <= price <= short_high:
            return trade
        trade += 1
    return stop


@compiled
def scan_day(
    paths: Paths,
    start: int,
    stop: int,
    high_levels: NDArray[np.float64],
    high_trades: NDArray[np.int64],
    low_levels: NDArray[np.float64],
    low_trades: NDArray[np.int64],
) -> tuple[int, int]:
    """Write the running highs and lows of a day's trades [start, stop), at least one; return how many of each.

    Each step of the running high is a record: a price above all before it. The first trade at or above a level is the
    first record at or above it, so a search among records finds it.

    Args:
        paths: The bars.
        start: First trade of the day.
        stop: First trade after it.
        high_levels: Takes the records' prices, rising; shape (stop - start,) or longer, as the three others.
        high_trades: Takes the trades that made them.
        low_levels: Takes the prices of the running low, falling.
        low_trades: Takes the trades that made them.
    """
    top = bottom = price_of(paths, start)
    high_levels[0] = low_levels[0] = top
    high_trades[0] = low_trades[0] = start
    highs, lows = 1, 1
    trade = start + 1
    while trade < stop:
        bar = trade >> 2
        if trade & 3 == 0 and trade + 4 <= stop and paths.highs[bar] <= top and paths.lows[bar] >= bottom:
            trade += 4
            continue
        price = price_of(paths, trade)
        if price > top:
            top = high_levels[highs] = price
            high_trades[highs] = trade
            highs += 1
        elif price < bottom:
            bottom = low_levels[lows] = price
            low_trades[lows] = trade
            lows += 1
        trade += 1
    return highs, lows
