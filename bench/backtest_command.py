"""`breakwater backtest` from start to end over a recorded month of minute candles, with each engine."""

import subprocess
import sys
import time
from pathlib import Path

from bench.effort import Effort
from bench.errors import BenchmarkError
from bench.figures import Figure
from bench.processes import REPOSITORY

CANDLE_SYMBOLS = (
    "ADAUSDT",
    "BNBUSDT",
    "BTCUSDT",
    "DOGEUSDT",
    "DOTUSDT",
    "ETHUSDT",
    "LTCUSDT",
    "MATICUSDT",
    "TRXUSDT",
    "XRPUSDT",
)
"""Symbols of the recorded month whose prices lie on the ticks that the venue states."""
_FOLDER = REPOSITORY.parent / "shared" / "data" / "klines_1m"
_FILE = "binance_usdm_{symbol}_1m_2023JulAug.csv.gz"


def candle_sources() -> list[str]:
    """Return the recorded month as sources of a recording, `SYMBOL=FILE`; none if it is not there."""
    files = {symbol: _FOLDER / _FILE.format(symbol=symbol) for symbol in CANDLE_SYMBOLS}
    return [f"{symbol}={path}" for symbol, path in files.items() if path.is_file()]


def command_figures(effort: Effort, sources: list[str], folder: Path) -> list[Figure]:
    """Time the command with each engine: process start, reading of the files, backtest, report and page."""
    figures = []
    for engine in ("bars", "tick"):
        effort.tell(f"breakwater backtest --engine {engine}")
        seconds = [_run_s(engine, sources, folder / f"{engine}-{number}") for number in range(effort.repetitions + 1)]
        figures.append(
            Figure(f"breakwater backtest --engine {engine}, {len(sources)} symbols, a month", "s", tuple(seconds[1:]))
        )
    return figures


def _run_s(engine: str, sources: list[str], output: Path) -> float:
    command = Path(sys.executable).parent / "breakwater"
    words = [str(command), "backtest", *sources, "--engine", engine, "--output", str(output)]
    started = time.perf_counter()
    ended = subprocess.run(words, capture_output=True, check=False, timeout=600, cwd=output.parent)
    if ended.returncode:
        raise BenchmarkError(
            f"{' '.join(words[1:3])} ... ended with {ended.returncode}: {ended.stderr.decode()[-300:]}"
        )
    return time.perf_counter() - started
