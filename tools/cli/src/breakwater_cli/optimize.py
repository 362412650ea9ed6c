"""A parameter search from the command line: candles and a space in, the table of sets, statistics and a verdict out."""

import io
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError
from breakwater_recordings.funding import read_funding
from breakwater_recordings.sources import open_recording
from breakwater_research.bars.bar_table import BarTable, open_bar_table
from breakwater_research.search.chunk_store import ChunkStore
from breakwater_research.search.execution import ClusterError, executor_of
from breakwater_research.search.figures import Objective, figures
from breakwater_research.search.output import CHOSEN, RESULTS, SEARCH, key_values, write_outcome
from breakwater_research.search.request import Method, SearchRequest, read_search_file
from breakwater_research.search.run import ProgressWatcher, SearchOutcome, run_search, walk_forward_returns
from breakwater_research.search.space import SYMBOLS_KEY, SearchSpace, axes_of
from breakwater_research.search.tasks import Market
from breakwater_research.search.walk_forward import WalkForwardPlan, WindowKind
from breakwater_runtime.errors import DependencyError

_SETS_SHOWN: Final = 10
_WIDTH: Final = 118
_DEFAULT_WINDOWS: Final = {"train_days": 180, "test_days": 30}


@dataclass(frozen=True)
class OptimizeRequest:
    """What a search is asked to do; see `breakwater optimize --help`.

    Attributes:
        options: Fields of `SearchRequest` by name, and `walk_forward`, `train_days`, `test_days`; they go before those
            of the search file.
    """

    sources: tuple[str, ...]
    base: BreakwaterConfig
    output: Path
    vary: tuple[str, ...] = ()
    search_file: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    funding: Path | None = None
    cluster: str | None = None
    workers: int | None = None
    quiet: bool = False


def run_optimize(request: OptimizeRequest) -> tuple[SearchOutcome, dict[str, Any]]:
    """Run the search, write its files, and return its outcome and what `search.json` holds.

    Raises:
        InvalidInputError: If the data, the space or an option is bad, or the folder holds another unfinished search.
        DependencyError: If the cluster is not there.
        KeyboardInterrupt: After ctrl-C, once the chunks in hand are stored.
    """
    if not request.sources:
        raise InvalidInputError("no recording was given; name files, folders or SYMBOL=FILE")
    search = search_request(request)
    market = Market(_open(request, search), None if request.funding is None else read_funding(request.funding))
    store = ChunkStore(request.output, search.fingerprint(market.fingerprint))
    try:
        with executor_of(market, request.cluster, workers=request.workers) as executor, _progress(request) as watch:
            outcome = run_search(market, search, executor=executor, store=store, on_progress=watch)
    except KeyboardInterrupt:
        sys.stderr.write(f"breakwater: finished chunks are in {request.output}; the same command goes on from there\n")
        raise
    except ClusterError as error:
        raise DependencyError(str(error)) from error
    values = write_outcome(outcome, request.output)
    store.remove()
    return outcome, values


def search_request(request: OptimizeRequest) -> SearchRequest:
    """Return the search that the file and the options describe.

    Raises:
        InvalidInputError: If a value is unknown or out of range.
    """
    file = {} if request.search_file is None else read_search_file(request.search_file)
    values = {name: value for name, value in file.items() if name != "vary"} | dict(request.options)
    space = SearchSpace(request.base, axes_of(request.vary, file.get("vary")))
    kind = str(values.pop("walk_forward", WindowKind.ROLLING))
    window = {name: values.pop(name, default) for name, default in _DEFAULT_WINDOWS.items()}
    plan = (
        None
        if kind == "none"
        else WalkForwardPlan(_kind(kind), _whole(window, "train_days"), _whole(window, "test_days"))
    )
    kinds: dict[str, Any] = {
        "objective": lambda text: Objective.parse(str(text)),
        "method": _method,
        "holdout": lambda value: _number(value, "holdout"),
        "first_day": _day,
        "last_day": _day,
    }
    fields: dict[str, Any] = {
        name: kinds[name](value) if name in kinds else _whole(values, name) for name, value in values.items()
    }
    return SearchRequest(space=space, plan=plan, **fields)


def _kind(text: str) -> WindowKind:
    try:
        return WindowKind(text)
    except ValueError as error:
        raise InvalidInputError(f"--walk-forward takes anchored, rolling or none, was {text!r}") from error


def _method(text: object) -> Method:
    try:
        return Method(str(text))
    except ValueError as error:
        raise InvalidInputError(f"--method takes {', '.join(Method)}, was {text!r}") from error


def _whole(values: Mapping[str, Any], name: str) -> int:
    value = values[name]
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInputError(f"{name} must be a whole number, was {value!r}")
    return value


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInputError(f"{name} must be a number, was {value!r}")
    return float(value)


def _day(value: object) -> date:
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError as error:
        raise InvalidInputError(f"a day is written as 2024-05-31, was {value!r}") from error


def _open(request: OptimizeRequest, search: SearchRequest) -> BarTable:
    """Return the candles of every symbol that a set may trade."""
    session = request.base.session.session()
    symbols = request.base.portfolio.symbols or None
    if SYMBOLS_KEY in search.space.keys:
        configs = [search.space.config(point) for point in _one_per_universe(search.space)]
        named = {symbol for config in configs for symbol in config.portfolio.symbols}
        symbols = None if any(not config.portfolio.symbols for config in configs) else tuple(sorted(named))
    return open_bar_table(open_recording(request.sources, session=session, symbols=symbols), session)


def _one_per_universe(space: SearchSpace) -> Iterator[tuple[int, ...]]:
    for number, axis in enumerate(space.axes):
        if SYMBOLS_KEY in axis.keys:
            for index in range(len(axis.values)):
                yield tuple(index if other == number else 0 for other in range(len(space.axes)))


# -- what a person sees --------------------------------------------------------------------------------------------


@contextmanager
def _progress(request: OptimizeRequest) -> Iterator[ProgressWatcher | None]:
    """Show one bar per kind of work on standard error while the context is open."""
    if request.quiet or not sys.stderr.isatty():
        yield None
        return
    columns = (TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks: dict[str, TaskID] = {}

        def watch(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield watch


def outcome_text(outcome: SearchOutcome, folder: Path) -> str:
    """Return the best sets, the walk-forward line, the checks and the verdict as text."""
    stream = io.StringIO()
    console = Console(file=stream, width=_WIDTH, color_system=None)
    console.print(_best_sets(outcome))
    if outcome.choices:
        row = figures(walk_forward_returns(outcome)[None, :]).row(0)
        console.print(
            f"walk-forward, {len(outcome.choices)} windows, only days that chose nothing: "
            f"Sharpe {row['sharpe']:.2f}, CAGR {row['cagr']:+.1%}, maximum drawdown {row['max_drawdown']:.1%}",
            soft_wrap=True,
            highlight=False,
        )
    for check in outcome.verdict.checks:
        word = {True: "holds", False: "fails", None: "unknown"}[check.passed]
        console.print(f"{word:>8}  {check.name}: {check.detail}", soft_wrap=True, highlight=False)
    console.print(outcome.verdict.sentence, soft_wrap=True, highlight=False)
    console.print(
        f"chosen set: {folder / CHOSEN}   sets: {folder / RESULTS}   figures: {folder / SEARCH}",
        soft_wrap=True,
        highlight=False,
    )
    return stream.getvalue().rstrip("\n")


def _best_sets(outcome: SearchOutcome) -> Table:
    days, inside, outside = outcome.days, outcome.inside, outcome.outside
    judged = "no days held out" if outside is None else f"out-of-sample {days[outcome.in_sample]} to {days[-1]}"
    title = (
        f"{len(outcome.configs):,} sets by {outcome.request.objective}: "
        f"in-sample {days[0]} to {days[outcome.in_sample - 1]}, {judged}"
    )
    table = Table(title=title, title_justify="left")
    for name in ("set", *outcome.request.space.keys, "Sharpe in", "out", "CAGR in", "out", "drawdown in", "out"):
        table.add_column(name.rpartition(".")[2], justify="right")
    order = outcome.request.objective.scores(inside).argsort(kind="stable")[::-1]
    shown = dict.fromkeys([outcome.chosen, *(int(number) for number in order)])
    for number in list(shown)[:_SETS_SHOWN]:
        cells = [
            str(number),
            *("none" if value is None else str(value) for value in key_values(outcome, number).values()),
        ]
        for name, form in (("sharpe", ".2f"), ("cagr", "+.1%"), ("max_drawdown", ".1%")):
            cells.append(format(getattr(inside, name)[number], form))
            cells.append("" if outside is None else format(getattr(outside, name)[number], form))
        table.add_row(*cells)
    return table
