"""The trades of all bars, four a bar, and searches through those of one symbol; compiled.

A bar's trades are open, low, high, close if it closed at or above its open, else open, high, low, close. Trades are
numbered through all bars: trade `4 * b + q` is trade `q` of bar `b`. A range [start, stop) of trades may begin and end
within a bar. Prices are quote currency per 1 base unit, times milliseconds UTC.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from breakwater_research.bars.compiled import inlined, uncounted

TRADES_PER_BAR = 4
TRADES_PER_BLOCK = 128
"""Trades whose highest and lowest price are kept, so that a search passes over all of them at once."""
_BLOCK_SHIFT = 7


class Paths(NamedTuple):
    """The bars that traded, of all symbols one after the other, oldest first within a symbol.

    Attributes:
        times: Shape (n_bars,), int64: when each bar opens.
        prices: Shape (4 * n_bars,), float64: price of each trade.
        block_highs: Shape (n_blocks,): highest price of each `TRADES_PER_BLOCK` trades; `block_lows` the lowest.
        offsets: Shape (n_symbols, 4), int64: from a bar's opening to each of its trades.
    """

    times: NDArray[np.int64]
    prices: NDArray[np.float64]
    block_highs: NDArray[np.float64]
    block_lows: NDArray[np.float64]
    offsets: NDArray[np.int64]


@inlined
def time_of(paths: Paths, symbol: int, trade: int) -> int:
    """Return the time of a trade."""
    return int(paths.times[trade >> 2] + paths.offsets[symbol, trade & 3])


@inlined
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


@inlined
def last_through(paths: Paths, symbol: int, trade: int, stop: int, time_ms: int) -> int:
    """Return the last trade before `stop` that is at or before the time; `trade` itself is."""
    while trade + 1 < stop and time_of(paths, symbol, trade + 1) <= time_ms:
        trade += 1
    return trade


@inlined
def first_at_or_below(paths: Paths, level: float, start: int, stop: int) -> int:
    """Return the first trade of [start, stop) whose price is at or below the level, or `stop`."""
    trade = start
    while trade < stop:
        if trade & (TRADES_PER_BLOCK - 1) == 0 and paths.block_lows[trade >> _BLOCK_SHIFT] > level:
            trade += TRADES_PER_BLOCK
            continue
        if paths.prices[trade] <= level:
            return trade
        trade += 1
    return stop


@inlined
def first_at_or_above(paths: Paths, level: float, start: int, stop: int) -> int:
    """Return the first trade of [start, stop) whose price is at or above the level, or `stop`."""
    trade = start
    while trade < stop:
        if trade & (TRADES_PER_BLOCK - 1) == 0 and paths.block_highs[trade >> _BLOCK_SHIFT] < level:
            trade += TRADES_PER_BLOCK
            continue
        if paths.prices[trade] >= level:
            return trade
        trade += 1
    return stop


@inlined
def first_between(paths: Paths, low: float, high: float, start: int, stop: int) -> int:
    """Return the first trade of [start, stop) whose price lies strictly between the two, or `stop`."""
    for trade in range(start, stop):
        if low < paths.prices[trade] < high:
            return trade
    return stop


@inlined
def lies_within(price: float, zones: tuple[float, float, float, float]) -> bool:
    """Return whether a price lies in one of two closed intervals; see `first_within`."""
    return zones[0] <= price <= zones[1] or zones[2] <= price <= zones[3]


@inlined
def first_within(paths: Paths, zones: tuple[float, float, float, float], start: int, stop: int) -> int:
    """Return the first trade of [start, stop) whose price lies in one of two closed intervals, or `stop`.

    Args:
        paths: The bars.
        zones: Lower and upper end of the first interval and of the second; an empty one has its ends in reverse.
        start: First trade.
        stop: First trade that is not looked at.
    """
    trade = start
    while trade < stop:
        if trade & (TRADES_PER_BLOCK - 1) == 0:
            high, low = paths.block_highs[trade >> _BLOCK_SHIFT], paths.block_lows[trade >> _BLOCK_SHIFT]
            if not (high >= zones[0] and low <= zones[1]) and not (high >= zones[2] and low <= zones[3]):
                trade += TRADES_PER_BLOCK
                continue
        if lies_within(paths.prices[trade], zones):
            return trade
        trade += 1
    return stop


@uncounted
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
    top = bottom = paths.prices[start]
    high_levels[0] = low_levels[0] = top
    high_trades[0] = low_trades[0] = start
    highs, lows = 1, 1
    for trade in range(start + 1, stop):
        price = paths.prices[trade]
        if price > top:
            top = high_levels[highs] = price
            high_trades[highs] = trade
            highs += 1
        elif price < bottom:
            bottom = low_levels[lows] = price
            low_trades[lows] = trade
            lows += 1
    return highs, lows
