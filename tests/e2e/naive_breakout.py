"""The strategy's entries, computed in the most naive way straight from candle files; shares no code with the product.

Used to check a replay of real data: symbol, day, side, trigger time and price of every entry must be equal.
"""

import csv
import gzip
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

DAY_MS = 86_400_000
MINUTE_MS = 60_000
MINUTES_A_DAY = 1440


@dataclass(frozen=True, order=True)
class Entry:
    time_ms: int
    symbol: str
    day_number: int
    side: str
    price: float


@dataclass(frozen=True)
class Bar:
    time_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True)
class Day:
    bars: tuple[Bar, ...]

    @property
    def complete(self) -> bool:
        return len(self.bars) == MINUTES_A_DAY

    @property
    def open(self) -> float:
        return next(bar.open for bar in self.bars if bar.volume > 0)

    @property
    def close(self) -> float:
        return next(bar.close for bar in reversed(self.bars) if bar.volume > 0)

    @property
    def high(self) -> float:
        return max(bar.high for bar in self.bars if bar.volume > 0)

    @property
    def low(self) -> float:
        return min(bar.low for bar in self.bars if bar.volume > 0)


def symbol_of(path: Path) -> str:
    found = re.search(r"_([A-Z0-9]+USDT)[_-]", path.name)
    assert found, path
    return found[1]


def read_days(path: Path) -> dict[int, Day]:
    days: dict[int, list[Bar]] = {}
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            bar = Bar(
                int(row["timestamp"]),
                float(row["open"]),
                float(row["high"]),
                float(row["low"]),
                float(row["close"]),
                float(row["volume"]),
            )
            days.setdefault(bar.time_ms // DAY_MS, []).append(bar)
    return {number: Day(tuple(bars)) for number, bars in days.items()}


def path_of(bar: Bar) -> Iterator[tuple[int, float]]:
    prices = (bar.open, bar.low, bar.high, bar.close)
    if bar.close < bar.open:
        prices = (bar.open, bar.high, bar.low, bar.close)
    for quarter, price in enumerate(prices):
        yield bar.time_ms + quarter * MINUTE_MS // 4, price


def entry_of_day(
    symbol: str, number: int, days: dict[int, Day], *, filter_name: str, k: float, window: int, exit_lead_ms: int
) -> Entry | None:
    needed = range(number - max(window - 1, 1), number + 1)
    if not all(index in days and days[index].complete for index in needed):
        return None
    today, yesterday = days[number], days[number - 1]
    value_range = yesterday.high - yesterday.low
    long_target = today.open + k * value_range
    short_target = today.open - k * value_range
    average = sum(days[index].open for index in range(number, number - window, -1)) / window
    for bar in today.bars:
        if bar.volume <= 0:
            continue
        for time_ms, price in path_of(bar):
            if time_ms >= (number + 1) * DAY_MS - exit_lead_ms:
                return None
            long_passes = {"trend": price > average, "contrarian": average >= price, "none": True}[filter_name]
            short_passes = {"trend": price < average, "contrarian": average <= price, "none": True}[filter_name]
            if price >= long_target and long_passes:
                return Entry(time_ms, symbol, number, "buy", price)
            if price <= short_target and short_passes:
                return Entry(time_ms, symbol, number, "sell", price)
    return None


def naive_entries(
    paths: Iterable[Path], *, filter_name: str, k: float = 0.5, window: int = 5, exit_lead_ms: int = 30_000
) -> list[Entry]:
    """Return the entries of all files, by time and symbol."""
    entries = []
    for path in paths:
        symbol, days = symbol_of(path), read_days(path)
        for number in sorted(days):
            entry = entry_of_day(
                symbol, number, days, filter_name=filter_name, k=k, window=window, exit_lead_ms=exit_lead_ms
            )
            if entry is not None:
                entries.append(entry)
    return sorted(entries)
