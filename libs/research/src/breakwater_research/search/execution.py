"""Where the tasks of a search are computed: on the cores of this machine, or on a Dask cluster.

`run_tasks` keeps as many tasks in hand as can be computed at the same time. An interruption lets those in hand finish,
so that their chunks are kept; a second interruption does not wait.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from typing import Any, Final, Protocol

from breakwater_core.errors import InvalidInputError, TransientError
from breakwater_research.cores import usable_cores
from breakwater_research.search.tasks import Arrays, Market, Task

MOST_ATTEMPTS: Final = 5
"""A task is given up if its workers died in so many rounds of Dask's own attempts: it would kill the next ones."""
_CONNECT_TIMEOUT_S: Final = 15


class ClusterError(TransientError):
    """The Dask cluster is not there, or keeps losing workers; finished chunks are kept, so ask for the same again."""


class Executor(Protocol):
    """Computes tasks, several at a time; a handle stands for a task in hand."""

    @property
    def width(self) -> int:
        """How many tasks it computes at the same time, at least 1."""

    def submit(self, task: Task) -> Any:
        """Start a task and return its handle."""

    def finished(self, handles: Collection[Any]) -> list[tuple[Any, Arrays]]:
        """Wait until at least one of the tasks is done; return those that are."""

    def close(self) -> None:
        """Let go of threads or connections."""


@contextmanager
def executor_of(market: Market, cluster: str | None, *, workers: int | None = None) -> Iterator[Executor]:
    """Open the cores of this machine, or the cluster at an address.

    Args:
        market: What tasks compute on.
        cluster: `tcp://host:port` of a Dask scheduler; None: this machine.
        workers: Threads on this machine; None: one per core that this process may use.

    Raises:
        InvalidInputError: If the package `distributed` is not installed.
        ClusterError: If the cluster does not answer.
    """
    executor: Executor = LocalExecutor(market, workers) if cluster is None else DaskExecutor(market, cluster)
    with closing(executor):
        yield executor


def run_tasks(executor: Executor, tasks: Iterable[Task], on_done: Callable[[Task, Arrays], None]) -> None:
    """Compute every task; `on_done` is told of each as it finishes, in no certain order.

    Raises:
        KeyboardInterrupt: After ctrl-C, once the tasks in hand have finished and `on_done` knows them.
        ClusterError: If the cluster gives up on a task.
    """
    waiting = deque(tasks)
    in_hand: dict[Any, Task] = {}

    def collect() -> None:
        for handle, arrays in executor.finished(in_hand):
            on_done(in_hand[handle], arrays)
            del in_hand[handle]

    try:
        while waiting or in_hand:
            while waiting and len(in_hand) < executor.width:
                task = waiting.popleft()
                in_hand[executor.submit(task)] = task
            collect()
    except KeyboardInterrupt:
        while in_hand:
            collect()
        raise


class LocalExecutor:
    """Threads of this process; compiled code runs beside the interpreter's lock."""

    def __init__(self, market: Market, workers: int | None = None) -> None:
        """Start as many threads; None: one per core that this process may use."""
        self.width = workers or usable_cores()
        self._market = market
        self._pool = ThreadPoolExecutor(self.width, thread_name_prefix="search")

    def submit(self, task: Task) -> Future[Arrays]:
        """Start a task."""
        return self._pool.submit(task.compute, self._market)

    def finished(self, handles: Collection[Future[Arrays]]) -> list[tuple[Future[Arrays], Arrays]]:
        """Wait for at least one task."""
        done, _ = wait(handles, return_when=FIRST_COMPLETED)
        return [(handle, handle.result()) for handle in done]

    def close(self) -> None:
        """Wait for running tasks and forget the others."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class _Errand:
    """A task on a cluster, and the future that stands for its present attempt."""

    def __init__(self, task: Task, future: Any) -> None:
        self.task = task
        self.future = future
        self.attempts = 1


class DaskExecutor:
    """Workers of a Dask cluster; they need this package in the same version.

    The data is sent to every worker once. A task whose worker dies is computed by another; if the data died with the
    workers, it is sent again.
    """

    def __init__(self, market: Market, address: str) -> None:
        """Connect to the scheduler at `tcp://host:port` and send the data."""
        try:
            import distributed
        except ImportError as error:
            raise InvalidInputError("--cluster needs Dask: pip install 'breakwater-research[cluster]'") from error
        self._dask: Any = distributed  # its calls have no types
        self._market = market
        try:
            self._client: Any = self._dask.Client(address, timeout=_CONNECT_TIMEOUT_S)
            self._client.wait_for_workers(1, timeout=_CONNECT_TIMEOUT_S)
        except (OSError, TimeoutError, ValueError) as error:
            raise ClusterError(f"no Dask scheduler with workers answers at {address}: {error}") from error
        self._data = self._send()

    @property
    def width(self) -> int:
        """Threads of all workers that are there now."""
        return max(1, sum(int(threads) for threads in self._client.nthreads().values()))

    def submit(self, task: Task) -> _Errand:
        """Start a task on any worker."""
        return _Errand(task, self._start(task))

    def finished(self, handles: Collection[_Errand]) -> list[tuple[_Errand, Arrays]]:
        """Wait for at least one task; start those again whose workers or data were lost."""
        while True:
            done = []
            for errand in handles:
                if errand.future.status == "finished" and (arrays := self._fetch(errand)) is not None:
                    done.append((errand, arrays))
                elif errand.future.status not in {"finished", "pending"}:
                    self._start_again(errand)
            if done:
                return done
            try:
                self._dask.wait([errand.future for errand in handles], return_when="FIRST_COMPLETED")
            except CancelledError:
                continue  # its status says so above

    def close(self) -> None:
        """Leave the cluster, which goes on."""
        self._client.close()

    def _send(self) -> Any:
        return self._client.scatter(self._market, broadcast=True, hash=False)

    def _fetch(self, errand: _Errand) -> Arrays | None:
        """Return a result; None if its worker died before it was fetched and it cannot be made again by itself."""
        try:
            arrays: Arrays = self._client.gather(errand.future)
        except (CancelledError, self._dask.scheduler.KilledWorker):
            return None
        return arrays

    def _start(self, task: Task) -> Any:
        return self._client.submit(_compute, task, self._data, pure=False, key=None)

    def _start_again(self, errand: _Errand) -> None:
        error = errand.future.exception() if errand.future.status == "error" else None
        if error is not None and not isinstance(error, self._dask.scheduler.KilledWorker):
            raise error
        if errand.attempts >= MOST_ATTEMPTS:
            raise ClusterError(f"the cluster lost the workers of {errand.task.name} {errand.attempts} times: {error}")
        errand.attempts += 1
        if self._data.status != "finished":
            self._data = self._send()
        errand.future = self._start(errand.task)


def _compute(task: Task, market: Market) -> Arrays:
    return task.compute(market)
