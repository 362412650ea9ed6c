"""A bar table whose days are in another order: the market as it would look if their order meant nothing.

A day keeps its path: prices relative to its open, times relative to its start, and the step from the close before it
to its open. All symbols move together, so what they have in common on a day stays. Days change places only with days
of the same length on which the same symbols are complete and traded, so every day is as usable as it was.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from breakwater_core.errors import InvalidInputError
from breakwater_research.bars.bar_table import BarTable, rebuilt
from breakwater_research.bars.paths import TRADES_PER_BAR


def shuffled_order(table: BarTable, days: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return which day stands in each day's place, shape (n_days,); days from `days` on keep theirs.

    Args:
        table: The bars.
        days: So many first days change places.
        generator: Source of chance.
    """
    order = np.arange(len(table.days), dtype=np.int64)
    traded = np.diff(table.trade_at, axis=1) > 0
    lengths = np.diff(table.day_starts_ms)
    groups: dict[tuple[int, bytes, bytes], list[int]] = {}
    for day in range(days):
        key = (int(lengths[day]), table.complete[:, day].tobytes(), traded[:, day].tobytes())
        groups.setdefault(key, []).append(day)
    for members in groups.values():
        order[members] = generator.permutation(members)
    return order


def with_days_in_order(table: BarTable, order: NDArray[np.int64]) -> BarTable:
    """Return the table with day `order[d]` in the place of day d.

    Prices are scaled so that each day opens as far from the close before it as it did, starting from the first price.

    Args:
        table: Its days begin with whole bars.
        order: Shape (n_days,), each day once.

    Raises:
        InvalidInputError: If a day begins within a bar, so that its bars cannot be moved.
    """
    if (table.trade_at % TRADES_PER_BAR).any():
        raise InvalidInputError("a day begins within a bar; use bars that divide the session's day to shuffle days")
    bar_at = table.trade_at // TRADES_PER_BAR
    counts = np.diff(bar_at, axis=1)[:, order]
    source, factors = _moved_bars(table, bar_at, counts, order)
    shifts = np.repeat(
        np.tile(table.day_starts_ms[:-1] - table.day_starts_ms[:-1][order], len(table.symbols)), counts.ravel()
    )
    prices = table.paths.prices.reshape(-1, TRADES_PER_BAR)[source] * factors[:, None]
    moved_at = np.zeros_like(bar_at)
    moved_at[:, 1:] = np.cumsum(counts, axis=1)
    moved_at += bar_at[:, :1]
    return rebuilt(
        replace(table, complete=table.complete[:, order]),
        table.paths.times[source] + shifts,
        prices.ravel(),
        moved_at * TRADES_PER_BAR,
    )


def _moved_bars(
    table: BarTable, bar_at: NDArray[np.int64], counts: NDArray[np.int64], order: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return for each bar of the new table which bar it was, and what its prices are multiplied by."""
    sources, factors = [], []
    for symbol in range(len(table.symbols)):
        starts = bar_at[symbol, :-1][order]
        sizes = counts[symbol]
        offsets = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        sources.append(np.repeat(starts, sizes) + offsets)
        factors.append(np.repeat(_scales(table.daily.opens[symbol], table.daily.closes[symbol], order), sizes))
    return np.concatenate(sources), np.concatenate(factors)


def _scales(opens: NDArray[np.float64], closes: NDArray[np.float64], order: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return what each place's prices are multiplied by, shape (n_days,); 1 where the day has no trades."""
    traded = np.flatnonzero(~np.isnan(opens))
    steps = np.ones_like(opens)  # from the last close before a day to its open
    steps[traded[1:]] = opens[traded[1:]] / closes[traded[:-1]]
    places = np.flatnonzero(~np.isnan(opens[order]))
    scales = np.ones_like(opens)
    if not len(places):
        return scales
    days = order[places]
    growth = closes[days] / opens[days]
    new_opens = opens[traded[0]] * np.cumprod(steps[days]) * np.concatenate(([1.0], np.cumprod(growth)[:-1]))
    scales[places] = new_opens / opens[days]
    return scales
