"""The strategy once more, written straight from its description: slow, trade by trade, one symbol after the other.

It shares nothing with `breakwater_core` but the plain types, and serves to check it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from breakwater_core.config import BreakwaterConfig
from breakwater_core.events import Leg, Side
from breakwater_core.market import DailyBar

RETRY_AFTER_MS = 1000


@dataclass
class SymbolDays:
    """Everything that happens to one symbol.

    `notes` are (after_ms, complete): the day is stated (in)complete after the trades up to then; `gaps` are times after
    whose trades some are missing.
    """

    symbol: str
    trades: list[tuple[int, float]]
    closed: dict[date, DailyBar]
    opened: dict[date, tuple[float, bool]]
    notes: list[tuple[int, bool]] = field(default_factory=list)
    gaps: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Left:
    """What an intent left behind."""

    position_side: Side | None
    average_price: Decimal | None
    at_ms: int


Row = tuple[str, date, Leg, Side, Decimal, Decimal, int, int]
Answer = Callable[[Row], Left | None]


def exact(price: float) -> Decimal:
    return Decimal(repr(price))


def decide(config: BreakwaterConfig, symbols: list[SymbolDays], days: list[date], answer: Answer) -> list[Row]:
    """Return all decisions in event order; exits of a time come before anything else of that time."""
    rows = [row for symbol in symbols for row in _Naive(config, symbol, answer).run(days)]
    return sorted(rows, key=lambda row: (row[6], row[2] is not Leg.EXIT, row[0]))


class _Naive:
    def __init__(self, config: BreakwaterConfig, data: SymbolDays, answer: Answer) -> None:
        self.strategy = config.strategy
        self.skip = config.session.incomplete_days.value == "skip"
        self.session = config.session.session()
        self.data = data
        self.answer = answer
        self.rows: list[Row] = []
        self.open_until = -1
        self.end = -1

    def run(self, days: list[date]) -> list[Row]:
        self.end = self.session.day_end_ms(days[-1]) + 600_000
        for day in days:
            self.run_day(day)
        return self.rows

    def emit(self, *row: Any) -> Left | None:
        self.rows.append((self.data.symbol, *row))
        return self.answer(self.rows[-1])

    def targets(self, day: date) -> tuple[float, float, float] | None:
        settings = self.strategy
        closes = settings.ma_price.value == "close"
        first = 1 if closes else 0
        averaged = [day - timedelta(days=back) for back in range(first, first + settings.ma_window)]
        noisy = [day - timedelta(days=back) for back in range(1, (settings.noise_days or 0) + 1)]
        yesterday = day - timedelta(days=1)
        for needed in {yesterday, *averaged, *noisy} - {day}:
            if needed not in self.data.closed or not self.data.closed[needed].complete:
                return None
        open_price = self.data.opened[day][0]
        prices = []
        for one in averaged:
            if closes:
                prices.append(self.data.closed[one].close)
            else:
                prices.append(open_price if one == day else self.data.closed[one].open)
        k_long, k_short = settings.k_long, settings.k_short
        if noisy:
            ratios = []
            for one in noisy:
                bar = self.data.closed[one]
                flat = bar.high == bar.low
                ratios.append(1.0 if flat else 1.0 - abs(bar.open - bar.close) / (bar.high - bar.low))
            k_long = k_short = math.fsum(ratios) / len(ratios)
        high, low = self.data.closed[yesterday].high, self.data.closed[yesterday].low
        return (
            open_price + k_long * (high - low),
            open_price - k_short * (high - low),
            math.fsum(prices) / len(prices),
        )

    def wanted(self, price: float, targets: tuple[float, float, float]) -> Side | None:
        long, short, average = targets
        rule, direction = self.strategy.filter.value, self.strategy.direction.value
        long_passes = {"trend": price > average, "contrarian": average >= price, "none": True}[rule]
        short_passes = {"trend": price < average, "contrarian": average <= price, "none": True}[rule]
        if direction != "short" and price >= long and long_passes:
            return Side.BUY
        if direction != "long" and price <= short and short_passes:
            return Side.SELL
        return None

    def run_day(self, day: date) -> None:
        start, closing = self.session.day_start_ms(day), self.session.exit_opens_ms(day)
        targets = self.targets(day) if day in self.data.opened else None
        entry: Side | None = None
        left: Left | None = None
        stops, may_be_open = 0, False
        watched_after = math.inf
        first_seen = blocked = False
        last_time = -1
        for time, price in self.data.trades:
            if not start <= time < closing:
                continue
            if self.news_between(start, last_time, time):
                first_seen = False
            last_time = time
            if entry is None:
                if targets is None or time < self.open_until or not self.is_complete(day, start, time):
                    first_seen = False
                    continue
                inside = targets[1] < price < targets[0]
                if not first_seen:
                    first_seen, blocked = True, not inside
                blocked = blocked and not inside
                entry = None if blocked else self.wanted(price, targets)
                if entry is not None:
                    target = targets[0] if entry is Side.BUY else targets[1]
                    left = self.emit(day, Leg.ENTRY, entry, exact(target), exact(price), time, 1)
                    may_be_open = left is None or left.position_side is not None
                    watched_after = math.inf if left is None else left.at_ms
            elif may_be_open and self.strategy.stop_loss and time > watched_after and left is not None:
                if left.average_price is None:
                    continue
                share = -self.strategy.stop_loss if entry is Side.BUY else self.strategy.stop_loss
                level = float(left.average_price) * (1.0 + share)
                if price <= level if entry is Side.BUY else price >= level:
                    stops += 1
                    after = self.emit(day, Leg.STOP, entry.opposite, exact(level), exact(price), time, stops)
                    watched_after = math.inf if after is None else after.at_ms
                    may_be_open = after is None or after.position_side is not None
        if entry is not None and may_be_open:
            self.leave(day, entry, closing)

    def leave(self, day: date, entry: Side, time: int) -> None:
        attempt = 0
        while time < self.end:
            attempt += 1
            last = [price for traded, price in self.data.trades if traded < time][-1]
            left = self.emit(day, Leg.EXIT, entry.opposite, exact(last), exact(last), time, attempt)
            if left is None and attempt > 1:  # a position was left, and nothing is known since: once more tomorrow
                later = [
                    self.session.exit_opens_ms(self.session.day_of(time) + timedelta(days=more)) for more in (0, 1)
                ]
                time = next(opening for opening in later if opening > time)
            elif left is None or left.position_side is None:
                self.open_until = time if attempt > 1 else self.open_until
                return
            else:
                time = left.at_ms + RETRY_AFTER_MS
        self.open_until = self.end

    def is_complete(self, day: date, start: int, time: int) -> bool:
        if not self.skip:
            return True
        complete = self.data.opened[day][1]
        for after, stated in self.data.notes:
            if start <= after < time:
                complete = stated
        return complete

    def news_between(self, start: int, last: int, time: int) -> bool:
        since = max(start, last)
        return any(since <= after < time for after in self.data.gaps)
