"""Seeded candles for the tests of the search: hourly bars of symbols that wander, with or without a habit to find."""

from pathlib import Path

import numpy as np

from breakwater_core.session import Session
from breakwater_recordings.sources import open_recording
from breakwater_research.bars.bar_table import BarTable, open_bar_table

START_MS = 1_704_067_200_000  # 2024-01-01
HOUR_MS = 3_600_000


def write_candles(folder: Path, *, days: int, seed: int, symbols: int = 2, regime_days: int = 0) -> list[str]:
    """Write a CSV per symbol and return the paths.

    Args:
        folder: Where to.
        days: Complete UTC days from 2024-01-01.
        seed: Another seed is another market.
        symbols: How many.
        regime_days: 0: a random walk. Else prices drift by 1.2 % a day, so many days one way before they may turn: what
            an average says about the day is worth something.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    paths = []
    for name in ("AAAUSDT", "BBBUSDT", "CCCUSDT")[:symbols]:
        steps = generator.normal(0.0, 0.004, size=(days, 24))
        if regime_days:
            signs = np.repeat(generator.permutation(np.tile([1.0, -1.0], days // regime_days)), regime_days)[:days]
            signs = np.concatenate([signs, np.full(days - len(signs), 1.0)])
            steps += 0.0005 * signs[:, None]
        closes = 100.0 * np.exp(np.cumsum(steps.ravel()))
        opens = np.concatenate(([100.0], closes[:-1]))
        wicks = np.abs(generator.normal(0.0, 0.001, size=(2, closes.size)))
        highs, lows = np.maximum(opens, closes) * (1 + wicks[0]), np.minimum(opens, closes) * (1 - wicks[1])
        path = folder / f"{name}_1h.csv"
        rows = zip(range(closes.size), opens, highs, lows, closes, strict=True)
        lines = [
            f"{START_MS + number * HOUR_MS},{open_:.4f},{high:.4f},{low:.4f},{close:.4f},10"
            for number, open_, high, low, close in rows
        ]
        path.write_text("timestamp,open,high,low,close,volume\n" + "\n".join(lines) + "\n")
        paths.append(str(path))
    return paths


def candle_table(folder: Path, **given: int) -> BarTable:
    """Return the table of such candles."""
    session = Session()
    return open_bar_table(open_recording(write_candles(folder, **given), session=session), session)
