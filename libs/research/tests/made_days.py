"""Recordings of minute candles for hand-computed days: flat but for the minutes that a test names."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from breakwater_core.session import Session
from breakwater_recordings.recording import Recording
from breakwater_recordings.sources import open_recording

MINUTE_MS = 60_000
MINUTES = 1440

Candle = tuple[float, float, float, float]
"""Open, high, low, close."""


@dataclass(frozen=True)
class Day:
    """A day of one symbol.

    Attributes:
        candles: Candles by minute of the day; the minutes after one are flat at its close.
        opening: Price of the minutes before the first of them.
        missing: Minutes that are not in the file.
    """

    candles: Mapping[int, Candle] = field(default_factory=dict)
    opening: float = 100.0
    missing: Collection[int] = ()


def candle_recording(folder: Path, days: Sequence[Day], *, first_day: date, symbol: str = "AAAUSDT") -> Recording:
    """Write and open a file of minute candles."""
    lines = ["timestamp,open,high,low,close,volume"]
    for number, day in enumerate(days):
        start_ms = Session().day_start_ms(first_day) + number * MINUTES * MINUTE_MS
        price = day.opening
        for minute in range(MINUTES):
            values = day.candles.get(minute, (price, price, price, price))
            price = values[3]
            if minute not in day.missing:
                lines.append(f"{start_ms + minute * MINUTE_MS},{','.join(map(str, values))},4")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{symbol}_1m.csv"
    path.write_text("\n".join(lines) + "\n")
    return open_recording([str(path)], session=Session())
