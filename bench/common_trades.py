"""The strategy as every engine of the research benchmark runs it: who trades when, and at which price.

The common subset, with both targets at `k` times the range of the day before and no costs but the fee:

* plan: targets from the day's open and the range of the day before; moving average of `window` daily opens, today's
  included; trend filter, both directions. A day is entered once `max(1, window - 1)` days lie before it.
* entry: the first price at or beyond a target that passes the filter, in the order open, low, high, close of a bar
  that rose and open, high, low, close of one that fell; filled at that price. One entry per symbol and day, none in
  the day's last bar.
* exit: the open of the day's last bar.

`planned_trades` finds them with NumPy, bar by bar and without Breakwater's code, for engines that cannot express them.
"""

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from math import fsum
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.minute_bars import BARS_PER_DAY, MinuteBars
from breakwater_core.config import BreakwaterConfig

FEE_RATIO = Decimal("0.00055")
PRICE_TOLERANCE = 1e-12
"""Relative difference up to which two prices are the same."""
RETURN_TOLERANCE = 1e-9
"""Difference up to which two returns of a trade, after fees, are the same."""


class ParameterSet(NamedTuple):
    """One set of the sweep.

    Attributes:
        k: Share of the range of the day before, for both targets.
        window: Days in the moving average.
    """

    k: float
    window: int

    def config(self, symbols: tuple[str, ...]) -> BreakwaterConfig:
        """Return the set as Breakwater takes it: exit a minute before the day ends, no latency, no slippage."""
        return BreakwaterConfig.parse(
            {
                "strategy": {"k_long": self.k, "k_short": self.k, "ma_window": self.window},
                "portfolio": {"symbols": list(symbols)},
                "session": {"exit_lead": 60},
                "costs": {"taker_fee": str(FEE_RATIO), "latency_ms": 0, "slippage_bps": 0, "funding_rate": 0},
            }
        )


def parameter_sets(number: int) -> list[ParameterSet]:
    """Return so many different sets, of up to ten windows and as many k as it takes."""
    windows = (5, 3, 8, 10, 13, 15, 18, 20, 25, 30)
    steps = -(-number // len(windows))
    shares = [0.5] if steps == 1 else [round(0.3 + 0.6 * step / (steps - 1), 6) for step in range(steps)]
    return [ParameterSet(k, window) for k in shares for window in windows][:number]


@dataclass(frozen=True)
class Trades:
    """Round trips, ordered by set, symbol and entry; every array has the same length.

    Attributes:
        sets: Number of the parameter set.
        symbols: Number of the symbol.
        sides: 1 long, -1 short.
        entry_bars: Number of the bar, counted per symbol; `exit_bars` alike.
        entry_prices: Quote currency per 1 base unit; `exit_prices` alike.
        net_returns: Share of the value at entry, after both fees.
    """

    sets: NDArray[np.int64]
    symbols: NDArray[np.int64]
    sides: NDArray[np.int64]
    entry_bars: NDArray[np.int64]
    entry_prices: NDArray[np.float64]
    exit_bars: NDArray[np.int64]
    exit_prices: NDArray[np.float64]
    net_returns: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of round trips."""
        return int(self.sides.size)

    def save(self, path: Path) -> None:
        """Write the arrays as a NumPy archive."""
        np.savez(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> "Trades":
        """Return what `save` wrote."""
        with np.load(path) as held:
            return cls(**{name: held[name] for name in held.files})

    def first_sets(self, number: int) -> "Trades":
        """Return the trades of the first so many sets."""
        rows = self.sets < number
        return Trades(**{name: column[rows] for name, column in vars(self).items()})

    @staticmethod
    def joined(parts: "list[Trades]") -> "Trades":
        """Return the trades of several sets, in order of set, symbol and entry."""
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])}
        order = np.lexsort((columns["entry_bars"], columns["symbols"], columns["sets"]))
        return Trades(**{name: column[order] for name, column in columns.items()})


def difference(ours: Trades, theirs: Trades) -> str | None:
    """Return what the first difference between two engines' trades is, or None where they are equal."""
    if len(ours) != len(theirs):
        return f"{len(ours):,} trades against {len(theirs):,}"
    for name in ("sets", "symbols", "sides", "entry_bars", "exit_bars", "entry_prices", "exit_prices", "net_returns"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        if name == "net_returns":
            same = np.abs(mine - other) <= RETURN_TOLERANCE
        else:
            same = np.abs(mine - other) <= PRICE_TOLERANCE * np.abs(other)
        if not same.all():
            row = int(np.argmin(same))
            place = f"set {ours.sets[row]}, symbol {ours.symbols[row]}, bar {ours.entry_bars[row]}"
            return (
                f"{name} of trade {row} ({place}): "
                f"{mine[row]} against {other[row]}; {int((~same).sum()):,} of {len(ours):,} differ"
            )
    return None


class PlannedTrades(NamedTuple):
    """Entries of one set, one per symbol and day at most; the exit is the open of the day's last bar.

    Attributes:
        symbols: Number of the symbol.
        entry_bars: Number of the bar, counted per symbol.
        sides: 1 long, -1 short.
        entry_prices: Price of the fill.
        exit_bars: Number of the bar, counted per symbol.
        exit_prices: Price of the fill.
    """

    symbols: NDArray[np.int64]
    entry_bars: NDArray[np.int64]
    sides: NDArray[np.int64]
    entry_prices: NDArray[np.float64]
    exit_bars: NDArray[np.int64]
    exit_prices: NDArray[np.float64]


class TradePlanner:
    """Finds the trades of any number of sets in the same bars."""

    def __init__(self, bars: MinuteBars) -> None:
        """Take the bars; daily prices are made of them when they are first needed."""
        self._bars = bars
        self._averages: dict[int, NDArray[np.float64]] = {}

    @cached_property
    def _ranges(self) -> NDArray[np.float64]:
        return self._bars.highs.max(axis=2) - self._bars.lows.min(axis=2)

    def _average(self, window: int) -> NDArray[np.float64]:
        """Return the mean of the last `window` opens on each day, NaN before there are as many."""
        known = self._averages.get(window)
        if known is None:
            opens = self._bars.opens[:, :, 0]
            known = np.full(opens.shape, np.nan)
            for number, of_symbol in enumerate(opens.tolist()):
                for day in range(window - 1, len(of_symbol)):
                    known[number, day] = fsum(of_symbol[day - window + 1 : day + 1]) / window
            self._averages[window] = known
        return known

    def planned_trades(self, chosen: ParameterSet) -> PlannedTrades:
        """Return the entries of a set."""
        bars = self._bars
        opens = bars.opens[:, :, 0]
        before = np.full_like(opens, np.nan)
        before[:, 1:] = self._ranges[:, :-1]
        average = self._average(chosen.window)
        long_target, short_target = opens + chosen.k * before, opens - chosen.k * before
        long_from = np.fmax(long_target, np.nextafter(average, np.inf))
        short_to = np.fmin(short_target, np.nextafter(average, -np.inf))
        enterable = (short_target < opens) & (opens < long_target) & np.isfinite(average)
        reached = bars.highs[:, :, :-1] >= long_from[:, :, np.newaxis]
        reached |= bars.lows[:, :, :-1] <= short_to[:, :, np.newaxis]
        minutes = reached.argmax(axis=2)
        symbols, days = np.nonzero(enterable & np.take_along_axis(reached, minutes[:, :, np.newaxis], axis=2)[:, :, 0])
        minutes = minutes[symbols, days]
        path = self._path(symbols, days, minutes)
        is_long = path >= long_from[symbols, days, np.newaxis]
        first = (is_long | (path <= short_to[symbols, days, np.newaxis])).argmax(axis=1)
        rows = np.arange(first.size)
        return PlannedTrades(
            symbols=symbols,
            entry_bars=days * BARS_PER_DAY + minutes,
            sides=np.where(is_long[rows, first], 1, -1),
            entry_prices=path[rows, first],
            exit_bars=days * BARS_PER_DAY + BARS_PER_DAY - 1,
            exit_prices=bars.opens[symbols, days, -1],
        )

    def _path(
        self, symbols: NDArray[np.int64], days: NDArray[np.int64], minutes: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the four prices of some bars in their order, shape (n, 4)."""
        bars, where = self._bars, (symbols, days, minutes)
        opens, closes = bars.opens[where], bars.closes[where]
        rises = closes >= opens
        second = np.where(rises, bars.lows[where], bars.highs[where])
        third = np.where(rises, bars.highs[where], bars.lows[where])
        return np.stack((opens, second, third, closes), axis=1)
