"""The same search on this machine and on a Dask cluster of two worker processes, one of which is killed."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_candles import candle_table

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError
from breakwater_research.search.chunk_store import ChunkStore
from breakwater_research.search.execution import ClusterError, executor_of
from breakwater_research.search.output import write_outcome
from breakwater_research.search.request import SearchRequest
from breakwater_research.search.run import run_search
from breakwater_research.search.space import SearchSpace, axes_of
from breakwater_research.search.tasks import Market
from breakwater_research.search.walk_forward import WalkForwardPlan, WindowKind

FILES = ("results.parquet", "search.json", "chosen.yaml")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A scheduler and two worker processes; a worker that dies is started again."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", scheduler_port=0, dashboard_address=None
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    return Market(candle_table(tmp_path_factory.mktemp("candles"), days=120, seed=1))


REQUEST = SearchRequest(
    SearchSpace(BreakwaterConfig(), axes_of(["strategy.k_long=0.3:1.2:0.1", "strategy.filter=trend,none"])),
    plan=WalkForwardPlan(WindowKind.ROLLING, 50, 20),
    permutations=12,
    chunk_sets=2,
)


@pytest.fixture(scope="module")
def expected(market: Market, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return files_of(market, tmp_path_factory.mktemp("local"), None)


def files_of(market: Market, folder: Path, address: str | None, on_progress: Any = None) -> dict[str, bytes]:
    store = ChunkStore(folder, REQUEST.fingerprint(market.fingerprint))
    with executor_of(market, address) as executor:
        write_outcome(run_search(market, REQUEST, executor=executor, store=store, on_progress=on_progress), folder)
    return {name: (folder / name).read_bytes() for name in FILES}


def test_a_cluster_gives_the_same_files(
    cluster: Any, market: Market, expected: dict[str, bytes], tmp_path: Path
) -> None:
    assert files_of(market, tmp_path, cluster.scheduler_address) == expected


def test_killed_workers_lose_nothing(cluster: Any, market: Market, expected: dict[str, bytes], tmp_path: Path) -> None:
    from distributed import Client

    killed: list[int] = []

    with Client(cluster.scheduler_address, set_as_default=False) as client:

        def kill(what: str, done: int, total: int) -> None:
            """Kill one worker among the sets, and all that are there among the shuffled days: the data dies too."""
            alive = list(client.run(os.getpid).values()) if (what, done) in {("sets", 4), ("shuffled days", 3)} else []
            for process in alive[: 1 if what == "sets" else 2]:
                os.kill(process, signal.SIGKILL)
                killed.append(process)

        found = files_of(market, tmp_path, cluster.scheduler_address, kill)
    assert len(killed) >= 2
    assert found == expected


def test_a_fault_of_the_search_itself_is_told_as_it_is(cluster: Any, market: Market, tmp_path: Path) -> None:
    space = SearchSpace(BreakwaterConfig(), axes_of(["portfolio.symbols=XYZUSDT"]))
    request = SearchRequest(space)
    with (
        executor_of(market, cluster.scheduler_address) as executor,
        pytest.raises(InvalidInputError, match="XYZUSDT"),
    ):
        run_search(market, request, executor=executor, store=ChunkStore(tmp_path, "x"))


def test_a_cluster_that_is_not_there_is_named(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("breakwater_research.search.execution._CONNECT_TIMEOUT_S", 1)
    with (
        pytest.raises(ClusterError, match=r"tcp://127\.0\.0\.1:9"),
        executor_of(market, "tcp://127.0.0.1:9"),
    ):
        pass
