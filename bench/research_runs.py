"""Runs of the engines of the research benchmark: who is asked for what, and what they answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.common_trades import ParameterSet, Trades, difference, parameter_sets
from bench.effort import Effort
from bench.processes import helper

SWEEP = 100
"""Sets of the sweep that is aimed at."""
OWN = "Breakwater"
_ENGINES = {OWN: "breakwater", "vectorbt": "vectorbt", "backtesting.py": "backtesting.py"}
_TIMEOUT_S = 1800.0
_WARM_UP_DAYS = 6


@dataclass(frozen=True, slots=True)
class Plan:
    """What an engine is asked to do.

    Attributes:
        title: The engine.
        swept: Number of sets of its sweep, 1 to 100.
        traded: Number of sets whose trades are compared; 0: none.
        repetitions: How often one set and the sweep are timed.
    """

    title: str
    swept: int
    traded: int
    repetitions: int


@dataclass(frozen=True, slots=True)
class Run:
    """What an engine did.

    Attributes:
        plan: What it was asked to do.
        version: Of its package.
        one_s: Seconds of one set.
        sweep_s: Seconds of 100 sets; extrapolated where `plan.swept` is less.
        warm_up_s: Imports, and loading of code compiled before.
        prepare_s: Bars into the engine's own form.
        highest_mb: Its process at its highest, bars and all, MB.
        held_mb: The process with the bars alone, before the engine is imported, MB.
        trades: Of the sets asked for.
    """

    plan: Plan
    version: str
    one_s: tuple[float, ...]
    sweep_s: tuple[float, ...]
    warm_up_s: float
    prepare_s: float
    highest_mb: float
    held_mb: float
    trades: Trades

    @property
    def title(self) -> str:
        """The engine."""
        return self.plan.title


async def run_engine(effort: Effort, plan: Plan, folder: Path) -> Run | str:
    """Run an engine over the bars of a folder; return why not where its package is not installed."""
    effort.tell(f"{plan.title} over the {folder.name}")
    sweeps = [(parameter_sets(1), plan.repetitions)]
    if plan.swept > 1:
        sweeps.append((parameter_sets(SWEEP)[: plan.swept], plan.repetitions))
    answer = await _ask(plan.title, folder, sweeps, traded=plan.traded)
    if "missing" in answer:
        return str(answer["missing"])
    timed = answer["sweeps_s"]
    return Run(
        plan=plan,
        version=answer["version"],
        one_s=tuple(timed[0]),
        sweep_s=tuple(seconds * SWEEP / plan.swept for seconds in timed[-1]),
        warm_up_s=answer["warm_up_s"],
        prepare_s=answer["prepare_s"],
        highest_mb=answer["highest_mb"],
        held_mb=answer["held_mb"],
        trades=Trades.load(_trades_file(folder, plan.title)),
    )


async def first_start_s(title: str, folder: Path, cache: Path) -> float | None:
    """Return the seconds until an engine has done its first set ever, compiled into an empty cache; None: not there."""
    answer = await _ask(title, folder, [], days=_WARM_UP_DAYS, cache=cache)
    return answer.get("warm_up_s")


async def sweep_seconds(
    title: str, folder: Path, days: int, sizes: Sequence[int], repetitions: int
) -> list[list[float]]:
    """Return the seconds of sweeps of several sizes over the first days, each so often."""
    sweeps = [(parameter_sets(size), repetitions) for size in sizes]
    answer = await _ask(title, folder, sweeps, days=days)
    return list(answer["sweeps_s"])


def unequal(ours: Run, theirs: Run) -> str | None:
    """Return how the trades of the sets that both listed differ, or None where all are equal."""
    sets = min(ours.plan.traded, theirs.plan.traded)
    return difference(ours.trades.first_sets(sets), theirs.trades.first_sets(sets))


def _trades_file(folder: Path, title: str) -> Path:
    return folder / f"trades-{_ENGINES[title]}.npz"


async def _ask(
    title: str,
    folder: Path,
    sweeps: Sequence[tuple[Sequence[ParameterSet], int]],
    *,
    traded: int = 0,
    days: int | None = None,
    cache: Path | None = None,
) -> dict[str, Any]:
    request = {
        "engine": _ENGINES[title],
        "bars": str(folder),
        "days": days,
        "cache": None if cache is None else str(cache),
        "sweeps": sweeps,
        "traded": parameter_sets(SWEEP)[:traded],
        "trades": str(_trades_file(folder, title)),
    }
    async with helper("research_engine", request) as running:
        return await running.answer(_TIMEOUT_S)
