"""Small markets of candles as CSV files, by hand or at random, and the settings that the engines are compared under."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from breakwater_core.config import BreakwaterConfig
from breakwater_core.report import Report
from breakwater_core.session import Session
from breakwater_recordings.recording import Recording
from breakwater_recordings.sources import open_recording

FIRST = date(2024, 3, 8)
"""Two days before clocks change in New York."""
FIRST_MS = Session().day_start_ms(FIRST)
DAY_MS = 86_400_000
MINUTE_MS = 60_000
Row = tuple[int, float, float, float, float, float]
"""Opening time, open, high, low, close, volume of a bar."""


def bar_recording(
    folder: Path, market: Mapping[str, Sequence[Row]], session: Session | None = None, symbols: Sequence[str] = ()
) -> Recording:
    """Write the bars, one file per symbol, and open them."""
    for symbol, rows in market.items():
        lines = ["timestamp,open,high,low,close,volume", *(",".join(map(repr, row)) for row in rows)]
        (folder / f"{symbol}.csv").write_text("\n".join(lines) + "\n")
    sources = [f"{symbol}={folder / f'{symbol}.csv'}" for symbol in market]
    return open_recording(sources, session=session or Session(), symbols=symbols or None)


def random_market(seed: int) -> dict[str, list[Row]]:
    """Return bars of up to three symbols on a coarse grid of prices, with gaps and bars without volume."""
    draw = np.random.default_rng(seed)
    step_ms = int(draw.choice([15, 60, 360])) * MINUTE_MS
    days = int(draw.integers(3, 6))
    return {
        symbol: _random_rows(draw, days * DAY_MS // step_ms, step_ms)
        for symbol in ("AAAUSDT", "BBBUSDT", "CCCUSDT")[: int(draw.integers(1, 4))]
    }


def _random_rows(draw: np.random.Generator, count: int, step_ms: int) -> list[Row]:
    grid, wildness = float(draw.choice([0.25, 1.0])), float(draw.choice([1.0, 4.0]))
    start = float(draw.choice([100.0, 400.0]))
    closes = np.maximum(start + np.cumsum(draw.integers(-2, 3, size=count)) * grid * wildness, start / 4)
    opens = np.concatenate(([start], closes[:-1])) + draw.integers(-1, 2, size=count) * grid
    highs = np.maximum(opens, closes) + draw.integers(0, 3, size=count) * grid
    lows = np.minimum(opens, closes) - draw.integers(0, 3, size=count) * grid
    volumes = np.where(draw.random(count) < 0.1, 0.0, 5.0)
    kept = draw.random(count) >= float(draw.choice([0.0, 0.0, 0.01]))
    kept[:2] = True  # the file's span is seen from two bars
    times = FIRST_MS + np.arange(count) * step_ms
    columns = (times[kept], opens[kept], highs[kept], lows[kept], closes[kept], volumes[kept])
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _section(**options: Sequence[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({name: st.sampled_from(values) for name, values in options.items()})


_SESSIONS = [("00:00", "UTC"), ("00:30", "UTC"), ("09:00", "Asia/Seoul"), ("02:30", "America/New_York")]

configurations = st.builds(
    lambda strategy, portfolio, clock, session, costs, risk: BreakwaterConfig.parse(
        {
            "strategy": strategy,
            "portfolio": portfolio,
            "session": session | {"start": clock[0], "timezone": clock[1]},
            "costs": costs,
            "risk": risk,
        }
    ),
    _section(
        k_long=[0.1, 0.25, 0.5, 1.0, 1e-18],
        k_short=[0.1, 0.25, 0.5, 1.0, 1e-18],
        ma_window=[1, 1, 2, 3],
        ma_price=["open", "close"],
        filter=["trend", "contrarian", "none"],
        direction=["both", "both", "long", "short"],
        stop_loss=[None, 0.002, 0.01, 0.04],
        noise_days=[None, None, 1, 2],
    ),
    _section(
        gross_leverage=[0.5, 2, 2, 8, 30],
        initial_equity=[100_000, 100_000, 60, 30_000_000],
        accounts=[["main"], ["main"], ["one", "two"]],
    ),
    st.sampled_from(_SESSIONS),
    _section(exit_lead=["1s", "30s", "3h"], incomplete_days=["skip", "trade"]),
    _section(
        taker_fee=["0.00055", "0", "-0.0002", "0.01"],
        latency_ms=[0, 50, 700, 60_000],
        slippage_bps=[0, 1, 1, 30, 700],
        slippage_range_share=["0", "0", "0.2"],
        funding_rate=["0", "0.0003", "-0.002"],
    ),
    _section(
        max_order_notional=[None, None, None, 30_000],
        max_open_positions=[None, None, None, 1],
        daily_loss_stop=[None, None, None, 0.005],
        drawdown_stop=[None, None, None, 0.01],
    ),
)
"""Every option of the strategy, and of what surrounds it, at values where it matters."""


def without_clock(report: Report) -> Report:
    """Return the report as it is written, without its wall-clock figures."""
    plain: Report = json.loads(json.dumps(report))
    del plain["counters"]["wall_seconds"], plain["counters"]["trades_per_second"]
    return plain


class RandomRecording:
    """A random market on disk, for as long as it is looked at."""

    def __init__(self, seed: int, session: Session) -> None:
        self._seed = seed
        self._session = session
        self._folder = tempfile.TemporaryDirectory()

    def __enter__(self) -> Recording:
        return bar_recording(Path(self._folder.name), random_market(self._seed), self._session)

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()
