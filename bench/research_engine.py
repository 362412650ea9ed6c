"""One backtest engine in a process of its own: bars in, seconds, megabytes and trades out.

`bench.research` starts it with a request and reads one line of JSON, then the process waits to be looked at. What a
peer cannot express (both targets, the order of prices within a bar) is planned for it with NumPy by `TradePlanner` and
carried out, booked and charged by the peer; planning is part of its seconds, as a user would have to do it too.
"""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bench.common_trades import FEE_RATIO, ParameterSet, PlannedTrades, TradePlanner, Trades
from bench.helper_talk import Words, run_helper, say
from bench.minute_bars import MINUTE_MS, MinuteBars

_WARM_UP_DAYS = 6
_WARM_UP_SET = ParameterSet(0.5, 5)
_CASH = 1e9
"""So much that no trade of one unit is ever refused."""


class Engine(ABC):
    """An engine with the bars in its own form."""

    package: str
    """Distribution whose version is stated."""

    @abstractmethod
    def run(self, sets: Sequence[ParameterSet]) -> Any:
        """Backtest the sets; this is what is timed."""

    @abstractmethod
    def trades(self, sets: Sequence[ParameterSet]) -> Trades:
        """Return every round trip of the sets; not timed."""


class BreakwaterEngine(Engine):
    """Breakwater's sweep over a table of bars."""

    package = "breakwater-research"

    def __init__(self, bars: MinuteBars, folder: Path) -> None:
        """Make the table of a recording of these bars."""
        from breakwater_research.bars.bar_table import open_bar_table

        session = _WARM_UP_SET.config(bars.symbols).session.session()
        self.table = open_bar_table(bars.recording(folder, session), session)
        self._first_ms = int(bars.times_ms[0])

    def run(self, sets: Sequence[ParameterSet]) -> Any:
        from breakwater_research.bars.sweep import sweep

        return sweep(self.table, [chosen.config(self.table.symbols) for chosen in sets])

    def trades(self, sets: Sequence[ParameterSet]) -> Trades:
        from breakwater_research.bars.sweep import sweep_trades

        parts = []
        for number, chosen in enumerate(sets):
            rows = sweep_trades(self.table, chosen.config(self.table.symbols))
            value = rows["quantity_share"].to_numpy(float)
            parts.append(
                Trades(
                    sets=np.full(len(rows), number),
                    symbols=np.array([self.table.symbols.index(symbol) for symbol in rows["symbol"]], dtype=np.int64),
                    sides=rows["side"].to_numpy(np.int64),
                    entry_bars=(rows["entry_time_ms"].to_numpy(np.int64) - self._first_ms) // MINUTE_MS,
                    entry_prices=rows["entry_price"].to_numpy(float),
                    exit_bars=(rows["exit_time_ms"].to_numpy(np.int64) - self._first_ms) // MINUTE_MS,
                    exit_prices=rows["exit_price"].to_numpy(float),
                    net_returns=rows["net_return"].to_numpy(float) / value,
                )
            )
        return Trades.joined(parts)


class VectorbtEngine(Engine):
    """vectorbt: `Portfolio.from_signals` over a frame of closes, a column for each symbol, one set after the other."""

    package = "vectorbt"

    def __init__(self, bars: MinuteBars, _: Path) -> None:
        """Make the frame."""
        import pandas as pd
        import vectorbt

        self._vectorbt = vectorbt
        self._planner = TradePlanner(bars)
        closes = bars.closes.reshape(len(bars.symbols), -1).T
        index = pd.to_datetime(bars.times_ms, unit="ms", utc=True)
        self._closes = pd.DataFrame(np.ascontiguousarray(closes), index=index, columns=list(bars.symbols))

    def run(self, sets: Sequence[ParameterSet]) -> list[Any]:
        return [self._records(self._planner.planned_trades(chosen)) for chosen in sets]

    def _records(self, planned: PlannedTrades) -> Any:
        shape = self._closes.shape
        longs, shorts, leaves = (np.zeros(shape, dtype=np.bool_) for _ in range(3))
        prices = np.full(shape, np.nan)
        entries, exits = (planned.entry_bars, planned.symbols), (planned.exit_bars, planned.symbols)
        longs[entries], shorts[entries] = planned.sides > 0, planned.sides < 0
        leaves[exits] = True
        prices[entries], prices[exits] = planned.entry_prices, planned.exit_prices
        portfolio = self._vectorbt.Portfolio.from_signals(
            self._closes,
            entries=longs,
            exits=leaves,
            short_entries=shorts,
            short_exits=leaves,
            price=prices,
            size=1.0,
            fees=float(FEE_RATIO),
            init_cash=_CASH,
            freq="1min",
        )
        return portfolio.trades.records

    def trades(self, sets: Sequence[ParameterSet]) -> Trades:
        parts = []
        for number, rows in enumerate(self.run(sets)):
            parts.append(
                Trades(
                    sets=np.full(len(rows), number),
                    symbols=rows["col"].to_numpy(np.int64),
                    sides=np.where(rows["direction"].to_numpy() == 0, 1, -1),
                    entry_bars=rows["entry_idx"].to_numpy(np.int64),
                    entry_prices=rows["entry_price"].to_numpy(float),
                    exit_bars=rows["exit_idx"].to_numpy(np.int64),
                    exit_prices=rows["exit_price"].to_numpy(float),
                    net_returns=rows["return"].to_numpy(float),
                )
            )
        return Trades.joined(parts)


class BacktestingEngine(Engine):
    """backtesting.py: one `Backtest` for each symbol; stop orders enter, market orders of the bar before exit."""

    package = "backtesting"

    def __init__(self, bars: MinuteBars, _: Path) -> None:
        """Make a frame and a backtest for each symbol."""
        import pandas as pd
        from backtesting import Backtest

        self._planner = TradePlanner(bars)
        index = pd.to_datetime(bars.times_ms, unit="ms")
        strategy = _follower()
        self._backtests = []
        for number in range(len(bars.symbols)):
            columns = (bars.opens, bars.highs, bars.lows, bars.closes, bars.volumes)
            names = ("Open", "High", "Low", "Close", "Volume")
            held = {name: column[number].reshape(-1) for name, column in zip(names, columns, strict=True)}
            frame = pd.DataFrame(held, index=index)
            self._backtests.append(Backtest(frame, strategy, cash=_CASH, commission=float(FEE_RATIO)))
        self._bars = index.size

    def run(self, sets: Sequence[ParameterSet]) -> list[list[Any]]:
        return [self._tables(self._planner.planned_trades(chosen)) for chosen in sets]

    def _tables(self, planned: PlannedTrades) -> list[Any]:
        tables = []
        for number, backtest in enumerate(self._backtests):
            rows = planned.symbols == number
            orders = np.zeros(self._bars + 1)
            orders[planned.entry_bars[rows]] = planned.sides[rows] * planned.entry_prices[rows]
            orders[planned.exit_bars[rows]] = np.nan
            tables.append(backtest.run(orders=orders.tolist())["_trades"])
        return tables

    def trades(self, sets: Sequence[ParameterSet]) -> Trades:
        parts = []
        for number, tables in enumerate(self.run(sets)):
            for symbol, rows in enumerate(tables):
                parts.append(
                    Trades(
                        sets=np.full(len(rows), number),
                        symbols=np.full(len(rows), symbol),
                        sides=np.sign(rows["Size"].to_numpy(np.int64)),
                        entry_bars=rows["EntryBar"].to_numpy(np.int64),
                        entry_prices=rows["EntryPrice"].to_numpy(float),
                        exit_bars=rows["ExitBar"].to_numpy(np.int64),
                        exit_prices=rows["ExitPrice"].to_numpy(float),
                        net_returns=rows["ReturnPct"].to_numpy(float),
                    )
                )
        return Trades.joined(parts)


def _follower() -> type[Any]:
    """Return the strategy of backtesting.py that carries planned trades out."""
    from backtesting import Strategy

    class Follower(Strategy):  # type: ignore[misc]  # the package states no types
        """Orders for the next bar what is planned for it: a signed price is an entry there, NaN an exit."""

        orders: list[float] = []  # noqa: RUF012  # backtesting.py takes parameters as attributes of the class

        def init(self) -> None:
            """Nothing is drawn or computed in advance."""

        def next(self) -> None:
            """Order for the bar that comes."""
            price = self.orders[len(self.data)]
            if not price:
                return
            if price > 0:
                self.buy(size=1, stop=price)
            elif price < 0:
                self.sell(size=1, stop=-price)
            else:
                self.position.close()

    return Follower


ENGINES: dict[str, type[Any]] = {
    "breakwater": BreakwaterEngine,
    "vectorbt": VectorbtEngine,
    "backtesting.py": BacktestingEngine,
}
"""Engines by the name that requests give."""


def _timed(engine: Engine, sets: Sequence[ParameterSet]) -> float:
    started = time.perf_counter()
    engine.run(sets)
    return time.perf_counter() - started


async def main(request: dict[str, Any], words: Words) -> None:
    """Carry a request out, answer, and wait to be ended.

    Memory is read before trades are listed. The warm-up (imports, compiled code) is done on a few days.

    Args:
        request: `engine`; `bars`: the folder; `days`: how many of its days, None for all; `cache`: where compiled code
            is kept, None for where it is usually; `sweeps`: for each of them
            the sets and how often it is run; `traded`: sets whose trades are written to `trades`.
        words: Not used but for waiting.
    """
    os.environ["TQDM_DISABLE"] = "1"  # backtesting.py would draw a bar for each run
    if request["cache"] is not None:
        os.environ["NUMBA_CACHE_DIR"] = request["cache"]
    folder, kind = Path(request["bars"]), ENGINES[request["engine"]]
    bars = MinuteBars.load(folder, request["days"])
    held_mb = _memory_mb("VmRSS:")
    started = time.perf_counter()
    try:
        kind(bars.first_days(_WARM_UP_DAYS), folder).run([_WARM_UP_SET])
    except ModuleNotFoundError as error:
        say({"missing": f"{error.name} is not installed"})
        return
    warm_up_s = time.perf_counter() - started
    started = time.perf_counter()
    engine: Engine = kind(bars, folder)
    prepared_s = time.perf_counter() - started
    sweeps: list[list[float]] = []
    for values, repetitions in request["sweeps"]:
        sets = [ParameterSet(*value) for value in values]
        sweeps.append([_timed(engine, sets) for _ in range(repetitions)])
    answer = {
        "version": version(engine.package),
        "held_mb": held_mb,
        "warm_up_s": warm_up_s,
        "prepare_s": prepared_s,
        "sweeps_s": sweeps,
        "highest_mb": _memory_mb("VmHWM:"),
    }
    if request["traded"]:
        engine.trades([ParameterSet(*values) for values in request["traded"]]).save(Path(request["trades"]))
    say(answer)


def _memory_mb(name: str) -> float:
    """Return resident memory of this process, now (`VmRSS:`) or at its highest (`VmHWM:`), MB (1e6 bytes)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) * 1024 / 1e6 for line in status.splitlines() if line.startswith(name))


if __name__ == "__main__":
    run_helper(main)
