"""Research: one set and sweeps over ten symbols and a year of minute bars, beside vectorbt and backtesting.py.

Every engine runs in a process of its own over the same bars, one after the other, and lists its trades, which must be
equal: see `common_trades` for the rules that all three can follow, `research_engine` for how each of them does.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from bench.backtest_command import candle_sources, command_figures
from bench.effort import Effort
from bench.figures import Figure, Section, Target
from bench.minute_bars import QUIET_VOLUME, MinuteBars, recorded_bars, synthetic_bars
from bench.research_runs import OWN, SWEEP, Plan, Run, first_start_s, run_engine, sweep_seconds, unequal
from breakwater_core.session import Session
from breakwater_recordings.sources import open_recording

_SEED = 11
_YEAR_DAYS = 365
_TENTH_DAYS = 37
_SIZES = (1, 10, 100, 1000)
_ONE_SET = Target(must=0.20, goal=0.05, at_most=True)
_MANY_SETS = Target(must=0.5, goal=0.15, at_most=True)


async def measure(effort: Effort) -> Section:
    """Run every engine over a synthetic year and over a recorded month, and compare their trades."""
    folder = effort.scratch("research")
    year, month = folder / "year", folder / "month"
    bars = await asyncio.to_thread(synthetic_bars, days=effort.pick(_YEAR_DAYS, _TENTH_DAYS), seed=_SEED)
    bars.save(year)
    figures: list[Figure] = []
    notes: list[str] = []
    faults: list[str] = []
    compiling = effort.pick((OWN, "vectorbt"), (OWN,))
    first_s = {title: await first_start_s(title, year, folder / f"code-{title}") for title in compiling}
    runs = await runs_of(effort, year, _plans(effort), notes)
    figures += speed(runs) + _preparation(runs, first_s) + _memory(runs)
    faults += compare(runs, "synthetic", notes)
    figures += await _growth(effort, year, bars.days, [run.title for run in runs])
    sources = candle_sources()
    if sources:
        recording = await asyncio.to_thread(open_recording, sources, session=Session())
        recorded = recorded_bars(recording)
        recorded.save(month)
        quiet = int((recorded.volumes == QUIET_VOLUME).sum())
        notes.append(
            f"The recorded month: {_size(recorded)} of {recorded.first_day} on, {quiet} of them without a trade and "
            "kept at the close before."
        )
        faults += compare(await runs_of(effort, month, _plans(effort, to_compare=True), []), "recorded", notes)
        figures += await asyncio.to_thread(command_figures, effort, sources, folder)
    else:
        notes.append("No recorded candles are there: only synthetic bars were compared, and no command was timed.")
    title = f"breakout with moving average, long and short, fee; {_size(bars)}"
    return Section(title, tuple(figures), (*_reading(runs), *notes), tuple(faults))


def _size(bars: MinuteBars) -> str:
    return f"{len(bars.symbols)} symbols x {bars.days} days, {len(bars):,} minute bars"


def _plans(effort: Effort, *, to_compare: bool = False) -> list[Plan]:
    if to_compare:
        return [Plan(OWN, 1, SWEEP, 1), Plan("vectorbt", 1, effort.pick(SWEEP, 2), 1), Plan("backtesting.py", 1, 3, 1)]
    count = effort.repetitions
    return [Plan(OWN, SWEEP, 5, max(5, count)), Plan("vectorbt", 5, 5, count), Plan("backtesting.py", 1, 1, 1)]


async def runs_of(effort: Effort, folder: Path, plans: Sequence[Plan], notes: list[str]) -> list[Run]:
    """Run the engines that are installed, Breakwater first."""
    runs = []
    for plan in plans:
        run = await run_engine(effort, plan, folder)
        if isinstance(run, str):
            notes.append(f"{plan.title} was not measured: {run}; `uv sync --group bench` installs it.")
        else:
            runs.append(run)
    return runs


def speed(runs: Sequence[Run]) -> list[Figure]:
    own, *peers = runs
    figures = []
    for name, one_s, sweep_s in [(peer.title, peer.one_s, peer.sweep_s) for peer in peers] or [("", (), ())]:
        figures.append(Figure(f"{OWN}, one set", "s", own.one_s, _ONE_SET, name, one_s))
        figures.append(Figure(f"{OWN}, sweep of {SWEEP} sets", "s", own.sweep_s, _MANY_SETS, name, sweep_s))
    for peer in peers:
        rest = "" if peer.plan.swept == SWEEP else f", from {peer.plan.swept}"
        figures.append(Figure(f"{peer.title}, one set", "s", peer.one_s))
        figures.append(Figure(f"{peer.title}, {SWEEP} sets{rest}", "s", peer.sweep_s))
    return figures


def _preparation(runs: Sequence[Run], first_s: dict[str, float | None]) -> list[Figure]:
    figures = []
    for run in runs:
        if (seconds := first_s.get(run.title)) is not None:
            figures.append(Figure(f"{run.title}, imported and compiled, once per machine", "s", (seconds,)))
        figures.append(Figure(f"{run.title}, imported and loaded, once per process", "s", (run.warm_up_s,)))
        figures.append(Figure(f"{run.title}, bars made ready", "s", (run.prepare_s,)))
    return figures


def _memory(runs: Sequence[Run]) -> list[Figure]:
    return [
        Figure(f"{run.title}, highest memory", "MB", (run.highest_mb,), None, "the bars alone", (run.held_mb,))
        for run in runs
    ]


async def _growth(effort: Effort, folder: Path, days: int, titles: Sequence[str]) -> list[Figure]:
    """Measure how the cost grows with the data and with the number of sets."""
    figures = []
    for length in (max(1, round(days / 10)), days):
        effort.tell(f"growth: {length} days")
        timed = await sweep_seconds(OWN, folder, length, _SIZES, effort.repetitions)
        for size, seconds in zip(_SIZES, timed, strict=True):
            figures.append(Figure(f"{OWN}, {length} days x {size:,} sets", "s", tuple(seconds)))
        if "vectorbt" in titles and not effort.is_quick:
            (seconds,) = await sweep_seconds("vectorbt", folder, length, (1,), 1)
            figures.append(Figure(f"vectorbt, {length} days x 1 set", "s", tuple(seconds)))
    return figures


def compare(runs: Sequence[Run], data: str, notes: list[str]) -> list[str]:
    """Note what was compared; return what is unequal."""
    own, *peers = runs
    faults = []
    for peer in peers:
        sets = min(own.plan.traded, peer.plan.traded)
        fault = unequal(own, peer)
        if fault is not None:
            faults.append(f"UNEQUAL: {OWN} and {peer.title}, {data} bars, {sets} sets: {fault}")
            continue
        trades = len(own.trades.first_sets(sets))
        notes.append(
            f"{data.capitalize()} bars, {sets} sets: the {trades:,} trades of {OWN} and {peer.title} are equal in "
            "side, entry and exit bar, both prices and net return."
        )
    return faults


def _reading(runs: Sequence[Run]) -> list[str]:
    notes = ["Versions: " + ", ".join(f"{run.title} {run.version}" for run in runs) + ". Each ran in its own process."]
    notes += [
        f"{run.title}: {SWEEP} sets are EXTRAPOLATED from {run.plan.swept}, times {SWEEP / run.plan.swept:g}; it takes "
        "them one after the other."
        for run in runs
        if run.plan.swept < SWEEP
    ]
    if len(runs) > 1:
        notes.append(
            "The peers are told each entry and its price, found with NumPy within their time: their figures are lower "
            "bounds for a strategy written in their own terms. They carry out, book and charge one unit a trade; "
            f"{OWN} besides sizes ten positions from one compounding account and returns its days."
        )
    return notes
