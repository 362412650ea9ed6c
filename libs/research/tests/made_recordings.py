"""Small recordings for the backtest's tests: prices at chosen times, one Parquet file per symbol and day."""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import numpy as np

from breakwater_core.market import TradeBatch
from breakwater_core.session import Session
from breakwater_recordings.parquet_file import write_trade_file
from breakwater_recordings.recording import Recording
from breakwater_recordings.sources import open_recording

DAY_MS = 86_400_000


def made_recording(
    folder: Path, days: Mapping[date, Mapping[str, Sequence[tuple[int, float]]]], session: Session | None = None
) -> Recording:
    """Write and open a recording: per day and symbol the trades as milliseconds into the day and price."""
    for day, symbols in days.items():
        start_ms = Session().day_start_ms(day)
        for symbol, trades in symbols.items():
            batch = TradeBatch(
                symbol,
                np.array([start_ms + offset for offset, _ in trades], dtype=np.int64),
                np.array([price for _, price in trades], dtype=np.float64),
                np.ones(len(trades)),
                np.ones(len(trades), dtype=np.int8),
            )
            write_trade_file(
                folder / symbol / f"{day}.parquet",
                [batch],
                symbol=symbol,
                venue="bybit",
                day=day,
                coverage=lambda span=(start_ms, start_ms + DAY_MS): [span],
            )
    return open_recording([str(folder)], session=session or Session())
