"""A search from request to outcome: compute the sets, choose, judge.

Days are all calendar days from the first to the last; the last `holdout` of them choose nothing (out-of-sample). Each
set is computed once over all days; every choice afterwards looks only at the returns of the days it may see.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError, InvariantError
from breakwater_research.search.chunk_store import ChunkStore, chunk_name
from breakwater_research.search.deflated_sharpe import DeflatedSharpe, deflated_sharpe
from breakwater_research.search.execution import Executor, run_tasks
from breakwater_research.search.figures import FigureTable, figures
from breakwater_research.search.overfitting import BLOCKS, Overfitting, probability_of_overfitting
from breakwater_research.search.randomization import SHUFFLED_DAYS, RandomTest, flip_signs
from breakwater_research.search.request import Method, SearchRequest
from breakwater_research.search.sampling import Point, SetSampler
from breakwater_research.search.tasks import TOTALS, Arrays, Market, SetsTask, ShuffleTask, Task
from breakwater_research.search.verdict import Verdict, verdict_of
from breakwater_research.search.walk_forward import WindowChoice, choose, stitched_returns

LEAST_DAYS: Final = 10
"""In-sample days below which nothing is said."""

ProgressWatcher = Callable[[str, int, int], None]
"""Is told what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, eq=False)
class SearchOutcome:
    """Everything a search came to.

    Attributes:
        request: What was asked.
        data: Fingerprint of bars and funding.
        symbols: Of the data.
        days: All days, in-sample first.
        in_sample: Number of in-sample days.
        configs: The sets, by set number.
        points: Their indices into the axes.
        returns: Shape (n_sets, n_days), net, per day.
        totals: Per name of `TOTALS` an array of shape (n_sets,), over all days.
        inside: In-sample figures of the sets.
        outside: Their out-of-sample figures; None without such days.
        chosen: Set number of the best on the in-sample days; the first of equals.
        choices: What each walk-forward window chose.
        deflated: Of the chosen set.
        overfitting: None if there are too few sets or days.
        flipped: Against flipped signs.
        shuffled: Against shuffled days; None if not asked for.
        verdict: What all of it says.
    """

    request: SearchRequest
    data: str
    symbols: tuple[str, ...]
    days: list[date]
    in_sample: int
    configs: list[BreakwaterConfig]
    points: list[Point]
    returns: NDArray[np.float64]
    totals: dict[str, NDArray[Any]]
    inside: FigureTable
    outside: FigureTable | None
    chosen: int
    choices: list[WindowChoice]
    deflated: DeflatedSharpe
    overfitting: Overfitting | None
    flipped: RandomTest
    shuffled: RandomTest | None
    verdict: Verdict


def run_search(
    market: Market,
    request: SearchRequest,
    *,
    executor: Executor,
    store: ChunkStore,
    on_progress: ProgressWatcher | None = None,
) -> SearchOutcome:
    """Return the outcome of a search; chunks found in the store are not computed again.

    Args:
        market: Bars and funding.
        request: What to search.
        executor: Where to compute; it holds the same market.
        store: Where finished chunks go.
        on_progress: Is told of the progress.

    Raises:
        InvalidInputError: If there are too few days, or a set asks for a symbol that is not recorded.
        KeyboardInterrupt: After ctrl-C, once the chunks in hand are stored.
        ClusterError: If the cluster gives up.
    """
    search = _Search(market, request, executor, store, on_progress or (lambda what, done, total: None))
    groups = search.choose_points()
    return search.judge(groups)


class _Search:
    """One search: its days, and every set computed so far."""

    def __init__(
        self,
        market: Market,
        request: SearchRequest,
        executor: Executor,
        store: ChunkStore,
        on_progress: ProgressWatcher,
    ) -> None:
        self._market, self._request = market, request
        self._executor, self._store, self._on_progress = executor, store, on_progress
        first, last = market.table.played_days(request.first_day, request.last_day)
        count = (last - first).days + 1
        self._days = [first + timedelta(days=number) for number in range(count)]
        self._in_sample = count - round(count * request.holdout)
        if self._in_sample < LEAST_DAYS:
            raise InvalidInputError(
                f"{self._in_sample} in-sample days of {count} are too few, at least {LEAST_DAYS} are needed; "
                "give more data or a smaller --holdout"
            )
        self._windows = request.plan.windows(count) if request.plan is not None else []
        self._numbers: dict[Point, int] = {}
        self._configs: list[BreakwaterConfig] = []
        self._rows: dict[int, NDArray[np.float64]] = {}
        self._totals: dict[int, tuple[Any, ...]] = {}

    # -- sets ------------------------------------------------------------------------------------------------------

    def choose_points(self) -> list[NDArray[np.int64]]:
        """Compute the sets; return for the in-sample days and then each window which of them were tried there."""
        spans = [slice(0, self._in_sample), *(window.train for window in self._windows)]
        if self._request.method is Method.GRID:
            points = list(self._request.space.points())
            self._compute(points, len(points))
            return [np.arange(len(points), dtype=np.int64)] * len(spans)
        return self._sample(spans)

    def _sample(self, spans: Sequence[slice]) -> list[NDArray[np.int64]]:
        request = self._request
        samplers = [
            SetSampler(request.space, trials=request.trials, seed=request.seed + number) for number in range(len(spans))
        ]
        tried: list[dict[int, None]] = [{} for _ in spans]
        while any(asked := [sampler.ask() for sampler in samplers]):
            points = list(dict.fromkeys(point for batch in asked for point in batch))
            self._compute([point for point in points if point not in self._numbers], None)
            for sampler, batch, span, known in zip(samplers, asked, spans, tried, strict=True):
                numbers = [self._numbers[point] for point in batch]
                known.update(dict.fromkeys(numbers))
                if numbers:
                    sampler.tell(self._scores(numbers, span))
        return [np.array(sorted(known), dtype=np.int64) for known in tried]

    def _scores(self, numbers: list[int], span: slice) -> list[float]:
        returns = np.array([self._rows[number][span] for number in numbers])
        return [float(score) for score in self._request.objective.scores(figures(returns))]

    def _compute(self, points: Sequence[Point], total: int | None) -> None:
        """Number the sets and compute them in chunks, those in the store excepted."""
        first = len(self._configs)
        for point in points:
            self._numbers[point] = len(self._configs)
            self._configs.append(self._config(point))
        starts: dict[str, int] = {}
        tasks: list[Task] = []
        for start in range(first, len(self._configs), self._request.chunk_sets):
            configs = tuple(self._configs[start : start + self._request.chunk_sets])
            name = chunk_name([config.version for config in configs])
            starts[name] = start
            tasks.append(SetsTask(name, configs, self._days[0], self._days[-1]))

        def take(name: str, arrays: Arrays) -> None:
            self._take(starts[name], arrays)
            self._on_progress("sets", len(self._rows), total or len(self._configs))

        self._run(tasks, take)

    def _config(self, point: Point) -> BreakwaterConfig:
        """Return the set; a universe that names no symbol is made to name those of the data."""
        config = self._request.space.config(point)
        if config.portfolio.symbols:
            return config
        portfolio = config.portfolio.model_copy(update={"symbols": self._market.table.symbols})
        return config.model_copy(update={"portfolio": portfolio})

    def _take(self, start: int, arrays: Arrays) -> None:
        expected = (self._days[0] - date(1970, 1, 1)).days + np.arange(len(self._days))
        if not np.array_equal(arrays["days"], expected):
            raise InvariantError(f"sets from {start} on were computed over other days than {self._days[0]} and after")
        for offset, row in enumerate(arrays["returns"]):
            self._rows[start + offset] = row
            self._totals[start + offset] = tuple(arrays[name][offset] for name in TOTALS)

    def _run(self, tasks: Sequence[Task], take: Callable[[str, Arrays], None]) -> None:
        """Take each task's result by its name: from the store, or computed and then stored."""

        def finish(task: Task, arrays: Arrays) -> None:
            self._store.write(task.name, arrays)
            take(task.name, arrays)

        def missing() -> Iterator[Task]:
            for task in tasks:
                stored = self._store.read(task.name)
                if stored is None:
                    yield task
                else:
                    take(task.name, stored)

        run_tasks(self._executor, list(missing()), finish)

    # -- judgement -------------------------------------------------------------------------------------------------

    def judge(self, groups: list[NDArray[np.int64]]) -> SearchOutcome:
        """Choose on the in-sample days and in each window, and judge the choice."""
        request, objective = self._request, self._request.objective
        returns = np.array([self._rows.pop(number) for number in range(len(self._configs))])
        seen, unseen = returns[:, : self._in_sample], returns[:, self._in_sample :]
        inside = figures(seen)
        outside = figures(unseen) if unseen.shape[1] else None
        scores = objective.scores(inside)
        tried = groups[0]
        chosen = int(tried[scores[tried].argmax()])
        deflated = deflated_sharpe(seen, chosen)
        overfitting = probability_of_overfitting(seen) if len(seen) > 1 and seen.shape[1] >= 2 * BLOCKS else None
        flipped = flip_signs(seen, seed=request.seed)
        shuffled = self._shuffle(float(scores.max()))
        return SearchOutcome(
            request=request,
            data=self._market.fingerprint,
            symbols=self._market.table.symbols,
            days=self._days,
            in_sample=self._in_sample,
            configs=self._configs,
            points=list(self._numbers),
            returns=returns,
            totals={
                name: np.array([self._totals[number][column] for number in range(len(self._configs))])
                for column, name in enumerate(TOTALS)
            },
            inside=inside,
            outside=outside,
            chosen=chosen,
            choices=[
                choose(returns, window, objective, candidates)
                for window, candidates in zip(self._windows, groups[1:], strict=True)
            ],
            deflated=deflated,
            overfitting=overfitting,
            flipped=flipped,
            shuffled=shuffled,
            verdict=verdict_of(
                deflated=deflated,
                overfitting=overfitting,
                flipped=flipped,
                shuffled=shuffled,
                out_of_sample_sharpe=None if outside is None else float(outside.sharpe[chosen]),
            ),
        )

    def _shuffle(self, observed: float) -> RandomTest | None:
        request = self._request
        if not request.permutations:
            return None
        configs = tuple(self._configs)
        tasks = [
            ShuffleTask(
                name=f"shuffle-{number:05d}",
                configs=configs,
                first_day=self._days[0],
                last_day=self._days[self._in_sample - 1],
                objective=request.objective,
                seed=(request.seed, number),
            )
            for number in range(request.permutations)
        ]
        scores: dict[str, float] = {}

        def take(name: str, arrays: Arrays) -> None:
            scores[name] = float(arrays["score"])
            self._on_progress("shuffled days", len(scores), len(tasks))

        self._run(tasks, take)
        return RandomTest(SHUFFLED_DAYS, request.seed, observed, np.array([scores[task.name] for task in tasks]))


def walk_forward_returns(outcome: SearchOutcome) -> NDArray[np.float64]:
    """Return the daily returns of following the windows' choices, shape (n_judged_days,); empty without windows."""
    return stitched_returns(outcome.returns, outcome.choices) if outcome.choices else np.empty(0)
