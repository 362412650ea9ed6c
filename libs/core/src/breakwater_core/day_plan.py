"""The plan of one symbol's day: breakout targets, moving average, and whether the day may be entered at all.

Prices are float64, quote currency per 1 base unit. Everything is known when the day opens: a plan of day t uses the
open of day t and completed days before it, no more.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from math import fsum, inf, isfinite, nextafter
from typing import Any

from breakwater_core.config import Direction, Filter, IncompleteDays, MovingAveragePrice, StrategySettings
from breakwater_core.errors import InvalidInputError
from breakwater_core.market import BarState, DailyBar


@dataclass(frozen=True, slots=True)
class Targets:
    """Where a day's breakouts begin.

    Attributes:
        long: Price at and above which the long side breaks out.
        short: Price at and below which the short side breaks out.
        moving_average: Mean of the daily prices of the window.
    """

    long: float
    short: float
    moving_average: float

    def encloses(self, price: float) -> bool:
        """Return whether the price lies strictly between the targets."""
        return self.short < price < self.long


@dataclass(frozen=True, slots=True)
class EntryZones:
    """Targets and filter in one: the closed price intervals in which a trade is an entry; empty ones hold nothing.

    An empty long zone is [inf, -inf] and so is an empty short one, so `short_high < price < long_low` always means
    "no entry".
    """

    long_low: float
    long_high: float
    short_low: float
    short_high: float

    def distance(self, price: float) -> float:
        """Return how far a price is from the nearest entry, quote currency: 0 within a zone, inf if both are empty."""
        ways = ((self.long_low, self.long_high), (self.short_low, self.short_high))
        return min(max(low - price, price - high, 0.0) for low, high in ways)


@dataclass(frozen=True, slots=True)
class DayPlan:
    """What is known of a day once it is open.

    Attributes:
        targets: None if the days before are not known well enough.
        obstacle: Why the day may not be entered, e.g. `warming_up` or `incomplete_day:2023-07-04`; None: it may.
    """

    targets: Targets | None
    obstacle: str | None

    def to_values(self) -> dict[str, Any]:
        """Return the plan as plain values that JSON can hold."""
        targets = self.targets
        return {
            "targets": None if targets is None else [targets.long, targets.short, targets.moving_average],
            "obstacle": self.obstacle,
        }

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> "DayPlan":
        """Return the plan that `to_values` wrote."""
        targets = values["targets"]
        return cls(None if targets is None else Targets(*targets), values["obstacle"])


def noise_ratio(bar: DailyBar) -> float:
    """Return 1 - |open - close| / (high - low): 0 for a day that only went one way; 1 for a day without any range."""
    extent = bar.high - bar.low
    if extent <= 0.0:
        return 1.0
    return 1.0 - abs(bar.open - bar.close) / extent


def entry_zones(targets: Targets, settings: StrategySettings) -> EntryZones:
    """Return the prices at which a trade is an entry, exactly as targets, filter and direction say.

    A strict comparison with the moving average becomes a closed interval by moving to the next float.
    """
    average = targets.moving_average
    long_zone, short_zone = (targets.long, inf), (-inf, targets.short)
    if settings.filter is Filter.TREND:
        long_zone = (max(targets.long, nextafter(average, inf)), inf)
        short_zone = (-inf, min(targets.short, nextafter(average, -inf)))
    elif settings.filter is Filter.CONTRARIAN:
        long_zone, short_zone = (targets.long, average), (average, targets.short)
    empty = (inf, -inf)
    if settings.direction is Direction.SHORT or long_zone[0] > long_zone[1]:
        long_zone = empty
    if settings.direction is Direction.LONG or short_zone[0] > short_zone[1]:
        short_zone = empty
    return EntryZones(*long_zone, *short_zone)


class BarHistory:
    """The daily bars of one symbol, as many as plans need, and the plans made of them.

    Bars may come again. A CLOSED bar replaces the one known of its day. Of the OPEN bars of a day the first states
    the open; later ones can only change whether the day is complete.
    """

    def __init__(self, settings: StrategySettings, incomplete_days: IncompleteDays) -> None:
        self._settings = settings
        self._skips_incomplete = incomplete_days is IncompleteDays.SKIP
        self._closed: dict[date, DailyBar] = {}
        self._opened: dict[date, tuple[float, bool]] = {}

    @property
    def min_bars_needed(self) -> int:
        """Number of closed days right before a day that must be known and complete for it to be entered."""
        settings = self._settings
        window = settings.ma_window - (settings.ma_price is MovingAveragePrice.OPEN)
        return max(1, window, settings.noise_days or 0)

    @property
    def opened_days(self) -> tuple[date, ...]:
        """Days of which an OPEN bar is known, oldest first."""
        return tuple(sorted(self._opened))

    def add(self, bar: DailyBar) -> None:
        """Take a bar in.

        Raises:
            InvalidInputError: If a price is not finite or not above 0, or high and low do not enclose open and close.
        """
        if bar.state is BarState.OPEN:
            _check_prices(bar, (bar.open,))
            known = self._opened.get(bar.day)
            self._opened[bar.day] = (bar.open if known is None else known[0], bar.complete)
            return
        _check_prices(bar, (bar.open, bar.high, bar.low, bar.close))
        if bar.low > min(bar.open, bar.close) or bar.high < max(bar.open, bar.close):
            raise InvalidInputError(
                f"daily bar {bar.symbol} {bar.day}: low {bar.low} and high {bar.high} must enclose open {bar.open} "
                f"and close {bar.close}; check the source of the bar"
            )
        self._closed[bar.day] = bar
        while len(self._closed) > self.min_bars_needed + 2:
            del self._closed[min(self._closed)]

    def forget_openings_before(self, day: date) -> None:
        """Drop the OPEN bars of days that are over."""
        for known in [known for known in self._opened if known < day]:
            del self._opened[known]

    def plan(self, day: date) -> DayPlan | None:
        """Return the plan of the day, or None while its OPEN bar is not known."""
        opened = self._opened.get(day)
        if opened is None:
            return None
        obstacle = self._obstacle_before(day)
        if obstacle is not None:
            return DayPlan(None, obstacle)
        open_price, complete = opened
        if self._skips_incomplete and not complete:
            obstacle = f"incomplete_day:{day.isoformat()}"
        return DayPlan(self._targets(day, open_price), obstacle)

    def _obstacle_before(self, day: date) -> str | None:
        for back in range(1, self.min_bars_needed + 1):
            needed = day - timedelta(days=back)
            bar = self._closed.get(needed)
            if bar is None:
                is_gap = any(known < needed for known in self._closed)
                return f"missing_day:{needed.isoformat()}" if is_gap else "warming_up"
            if not bar.complete:
                return f"incomplete_day:{needed.isoformat()}"
        return None

    def _targets(self, day: date, open_price: float) -> Targets:
        settings = self._settings
        before = [self._closed[day - timedelta(days=back)] for back in range(1, self.min_bars_needed + 1)]
        if settings.ma_price is MovingAveragePrice.OPEN:
            prices = [open_price, *(bar.open for bar in before[: settings.ma_window - 1])]
        else:
            prices = [bar.close for bar in before[: settings.ma_window]]
        k_long, k_short = settings.k_long, settings.k_short
        if settings.noise_days is not None:
            noise = [noise_ratio(bar) for bar in before[: settings.noise_days]]
            k_long = k_short = fsum(noise) / settings.noise_days
        high, low = before[0].high, before[0].low
        return Targets(
            long=open_price + k_long * (high - low),
            short=open_price - k_short * (high - low),
            moving_average=fsum(prices) / settings.ma_window,
        )

    def to_values(self) -> dict[str, Any]:
        """Return the bars as plain values that JSON can hold."""
        return {
            "closed": [
                [bar.day.isoformat(), bar.open, bar.high, bar.low, bar.close, bar.volume, bar.complete]
                for _, bar in sorted(self._closed.items())
            ],
            "opened": [[day.isoformat(), *self._opened[day]] for day in self.opened_days],
        }

    def restore(self, symbol: str, values: dict[str, Any]) -> None:
        """Take back the bars that `to_values` wrote."""
        self._closed, self._opened = {}, {}
        for day, open_price, high, low, close, volume, complete in values["closed"]:
            self.add(
                DailyBar(
                    symbol=symbol,
                    day=date.fromisoformat(day),
                    state=BarState.CLOSED,
                    open=open_price,
                    high=high,
                    low=low,
                    close=close,
                    volume=volume,
                    complete=complete,
                )
            )
        for day, open_price, complete in values["opened"]:
            self._opened[date.fromisoformat(day)] = (open_price, complete)


def _check_prices(bar: DailyBar, prices: tuple[float, ...]) -> None:
    if not all(isfinite(price) and price > 0 for price in prices):
        raise InvalidInputError(
            f"daily bar {bar.symbol} {bar.day} ({bar.state.value}): prices must be finite and above 0, were {prices}; "
            "check the source of the bar"
        )
