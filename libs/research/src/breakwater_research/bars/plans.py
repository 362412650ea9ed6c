"""What each symbol's day is planned by, and its entry: the rules of `breakwater_core.day_plan`, compiled.

Arrays per day have shape (n_symbols, n_days). A plan of day d uses the first trade of day d and completed days before
it, no more.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from breakwater_core.config import BreakwaterConfig, Direction, Filter, IncompleteDays, MovingAveragePrice
from breakwater_core.session import Session
from breakwater_research.bars.bar_table import BarTable
from breakwater_research.bars.compiled import compiled, inlined
from breakwater_research.bars.paths import Paths, first_between, first_from, first_within

_TREND, _CONTRARIAN, _NO_FILTER = 1, 2, 0
_FILTERS = {Filter.TREND: _TREND, Filter.CONTRARIAN: _CONTRARIAN, Filter.NONE: _NO_FILTER}


class Days(NamedTuple):
    """A table's days, for compiled code.

    Attributes:
        trade_at: As in `BarTable`.
        opens: First price of each day; `highs`, `lows` and `closes` alike.
        complete: Whether nothing of the day is missing.
        history: How many days right before the day are all known and complete.
        high_levels: Running highs, as in `Records`; the five after it alike.
    """

    trade_at: NDArray[np.int64]
    opens: NDArray[np.float64]
    highs: NDArray[np.float64]
    lows: NDArray[np.float64]
    closes: NDArray[np.float64]
    complete: NDArray[np.bool_]
    history: NDArray[np.int64]
    high_levels: NDArray[np.float64]
    high_trades: NDArray[np.int64]
    high_at: NDArray[np.int64]
    low_levels: NDArray[np.float64]
    low_trades: NDArray[np.int64]
    low_at: NDArray[np.int64]


class Rules(NamedTuple):
    """What one parameter set enters by.

    Attributes:
        k_long: Share of the range above the open; without meaning where `uses_noise`. `k_short` alike.
        uses_noise: Whether both shares are the noise ratio.
        noise: Mean noise ratio before each day.
        averages: Moving average of each day; NaN where it is not known.
        filter_kind: 0 none, 1 trend, 2 contrarian.
        takes_long: Whether long entries are allowed; `takes_short` alike.
        needed: Days before a day that must be known and complete.
        takes_incomplete: Whether a day marked incomplete may be entered.
        exit_stops: First trade of each day in its exit window, or the next day's first.
    """

    k_long: float
    k_short: float
    uses_noise: bool
    noise: NDArray[np.float64]
    averages: NDArray[np.float64]
    filter_kind: int
    takes_long: bool
    takes_short: bool
    needed: int
    takes_incomplete: bool
    exit_stops: NDArray[np.int64]


class PlanBook:
    """Makes the rules of configurations over one table; what several of them share is computed once."""

    def __init__(self, table: BarTable) -> None:
        """Take the table's days."""
        self._table = table
        highs, lows = table.running_highs, table.running_lows
        known = table.complete & ~np.isnan(table.daily.opens)
        self.days = Days(table.trade_at, *table.daily, table.complete, _run_lengths(known), *highs, *lows)
        self._averages: dict[tuple[int, MovingAveragePrice], NDArray[np.float64]] = {}
        self._noise: dict[int | None, NDArray[np.float64]] = {None: np.empty((0, 0))}
        self._exits: dict[int, NDArray[np.int64]] = {}

    def rules(self, config: BreakwaterConfig) -> Rules:
        """Return what the configuration enters by; its session begins the days where the table's does."""
        strategy = config.strategy
        window = strategy.ma_window - (strategy.ma_price is MovingAveragePrice.OPEN)
        return Rules(
            k_long=strategy.k_long,
            k_short=strategy.k_short,
            uses_noise=strategy.noise_days is not None,
            noise=self._noise_of(strategy.noise_days),
            averages=self._averages_of(strategy.ma_window, strategy.ma_price),
            filter_kind=_FILTERS[strategy.filter],
            takes_long=strategy.direction is not Direction.SHORT,
            takes_short=strategy.direction is not Direction.LONG,
            needed=max(1, window, strategy.noise_days or 0),
            takes_incomplete=config.session.incomplete_days is IncompleteDays.TRADE,
            exit_stops=self.exit_stops(round(config.session.exit_lead * 1000)),
        )

    def exit_stops(self, exit_lead_ms: int) -> NDArray[np.int64]:
        """Return the first trade of each day that lies in its exit window, or the first of the next day."""
        if exit_lead_ms not in self._exits:
            table = self._table
            self._exits[exit_lead_ms] = exit_stops(table.paths, table.trade_at, table.day_starts_ms, exit_lead_ms)
        return self._exits[exit_lead_ms]

    def _averages_of(self, window: int, price: MovingAveragePrice) -> NDArray[np.float64]:
        key = (window, price)
        if key not in self._averages:
            of_today = price is MovingAveragePrice.OPEN
            prices = self.days.opens if of_today else self.days.closes
            self._averages[key] = window_means(prices, self.days.history, window, of_today)
        return self._averages[key]

    def _noise_of(self, days: int | None) -> NDArray[np.float64]:
        if days is not None and days not in self._noise:
            known = self.days
            ratios = noise_ratios(known.opens, known.highs, known.lows, known.closes)
            self._noise[days] = window_means(ratios, known.history, days, False)
        return self._noise[days]


def same_days(session: Session, other: Session) -> bool:
    """Return whether both sessions begin their days at the same time."""
    return (session.start, session.timezone) == (other.start, other.timezone)


@compiled
def _run_lengths(known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return how many days right before each day are known."""
    lengths = np.zeros(known.shape, dtype=np.int64)
    for symbol in range(known.shape[0]):
        for day in range(1, known.shape[1]):
            lengths[symbol, day] = lengths[symbol, day - 1] + 1 if known[symbol, day - 1] else 0
    return lengths


@compiled
def window_means(
    values: NDArray[np.float64], history: NDArray[np.int64], window: int, of_today: bool
) -> NDArray[np.float64]:
    """Return the mean of `window` daily values: the last of them today's, or yesterday's; NaN where one is not known.

    The sum is kept as a double and what its roundings lost, which is exact for prices within a factor of a million of
    each other; rounded once it is `math.fsum`'s.
    """
    means = np.full(values.shape, np.nan)
    for symbol in range(values.shape[0]):
        for day in range(values.shape[1]):
            last = day if of_today else day - 1
            if history[symbol, day] < window - (1 if of_today else 0) or np.isnan(values[symbol, last]):
                continue
            total = lost = 0.0
            for back in range(window):
                value = values[symbol, last - back]
                grown = total + value
                part = grown - total
                lost += (total - (grown - part)) + (value - part)
                total = grown
            means[symbol, day] = (total + lost) / window
    return means


@compiled
def noise_ratios(
    opens: NDArray[np.float64], highs: NDArray[np.float64], lows: NDArray[np.float64], closes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return 1 - |open - close| / (high - low) of each day; 1 for a day without any range."""
    ratios = np.ones(opens.shape)
    for symbol in range(opens.shape[0]):
        for day in range(opens.shape[1]):
            extent = highs[symbol, day] - lows[symbol, day]
            if extent > 0.0:
                ratios[symbol, day] = 1.0 - abs(opens[symbol, day] - closes[symbol, day]) / extent
            elif np.isnan(extent):
                ratios[symbol, day] = np.nan
    return ratios


@compiled
def exit_stops(
    paths: Paths, trade_at: NDArray[np.int64], day_starts_ms: NDArray[np.int64], exit_lead_ms: int
) -> NDArray[np.int64]:
    """Return the first trade of each day in its exit window, or the first of the next day."""
    stops = np.empty((trade_at.shape[0], trade_at.shape[1] - 1), dtype=np.int64)
    for symbol in range(stops.shape[0]):
        for day in range(stops.shape[1]):
            opens_ms = day_starts_ms[day + 1] - exit_lead_ms
            stops[symbol, day] = first_from(paths, symbol, trade_at[symbol, day], trade_at[symbol, day + 1], opens_ms)
    return stops


# -- entries -------------------------------------------------------------------------------------------------------


@inlined
def targets_of(days: Days, rules: Rules, symbol: int, day: int) -> tuple[float, float]:
    """Return the long and the short target of a day whose yesterday is known."""
    extent = days.highs[symbol, day - 1] - days.lows[symbol, day - 1]
    k_long, k_short = rules.k_long, rules.k_short
    if rules.uses_noise:
        k_long = k_short = rules.noise[symbol, day]
    opening = days.opens[symbol, day]
    return opening + k_long * extent, opening - k_short * extent


@inlined
def zones_of(rules: Rules, long: float, short: float, average: float) -> tuple[float, float, float, float]:
    """Return the closed intervals of prices that are an entry, long and short; an empty one is [inf, -inf]."""
    long_low, long_high, short_low, short_high = long, np.inf, -np.inf, short
    if rules.filter_kind == _TREND:
        long_low = max(long, np.nextafter(average, np.inf))
        short_high = min(short, np.nextafter(average, -np.inf))
    elif rules.filter_kind == _CONTRARIAN:
        long_high = short_low = average
    if not rules.takes_long or long_low > long_high:
        long_low, long_high = np.inf, -np.inf
    if not rules.takes_short or short_low > short_high:
        short_low, short_high = np.inf, -np.inf
    return long_low, long_high, short_low, short_high


@inlined
def _first_rising(levels: NDArray[np.float64], start: int, stop: int, level: float) -> int:
    while start < stop:
        middle = (start + stop) >> 1
        if levels[middle] < level:
            start = middle + 1
        else:
            stop = middle
    return start


@inlined
def _first_falling(levels: NDArray[np.float64], start: int, stop: int, level: float) -> int:
    while start < stop:
        middle = (start + stop) >> 1
        if levels[middle] > level:
            start = middle + 1
        else:
            stop = middle
    return start


@inlined
def _first_touch(days: Days, symbol: int, day: int, above: float, below: float) -> int:
    """Return the day's first trade at or above the one price or at or below the other, or the next day's first."""
    trade = days.trade_at[symbol, day + 1]
    last = days.high_at[symbol, day + 1]
    found = _first_rising(days.high_levels, days.high_at[symbol, day], last, above)
    if found < last:
        trade = min(trade, days.high_trades[found])
    last = days.low_at[symbol, day + 1]
    found = _first_falling(days.low_levels, days.low_at[symbol, day], last, below)
    if found < last:
        trade = min(trade, days.low_trades[found])
    return int(trade)


@inlined
def find_entry(paths: Paths, days: Days, rules: Rules, symbol: int, day: int) -> tuple[int, int, float]:
    """Return the trade that enters the day, the side (1 long, -1 short) and its target; (-1, 0, 0.0) without entry."""
    start, stop = days.trade_at[symbol, day], rules.exit_stops[symbol, day]
    may_enter = days.complete[symbol, day] or rules.takes_incomplete
    if start >= stop or days.history[symbol, day] < rules.needed or not may_enter:
        return -1, 0, 0.0
    long, short = targets_of(days, rules, symbol, day)
    zones = zones_of(rules, long, short, rules.averages[symbol, day])
    if short < days.opens[symbol, day] < long:
        trade = _first_touch(days, symbol, day, zones[0], zones[3])
        if trade >= stop:
            return -1, 0, 0.0
    else:  # targets so near that they are the open itself: the price must first come between them
        trade = first_between(paths, short, long, start, stop)
    trade = first_within(paths, zones, trade, stop)
    if trade >= stop:
        return -1, 0, 0.0
    if zones[0] <= paths.prices[trade] <= zones[1]:
        return trade, 1, long
    return trade, -1, short


@compiled
def find_entries(
    paths: Paths, days: Days, rules: Rules, members: NDArray[np.int64], first: int, last: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return trade, side and target of every entry, shape (n_members, n_days) from day `first` to `last`."""
    shape = (members.size, last - first + 1)
    trades, sides, targets = np.full(shape, -1), np.zeros(shape, dtype=np.int64), np.zeros(shape)
    for row in range(members.size):
        for day in range(first, last + 1):
            trade, side, target = find_entry(paths, days, rules, members[row], day)
            trades[row, day - first], sides[row, day - first], targets[row, day - first] = trade, side, target
    return trades, sides, targets
