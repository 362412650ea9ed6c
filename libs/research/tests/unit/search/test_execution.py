"""Tasks in hand: how many, and what an interruption leaves of them."""

from collections.abc import Collection
from datetime import date

import numpy as np
import pytest

from breakwater_research.search.execution import run_tasks
from breakwater_research.search.tasks import Arrays, SetsTask, Task

TASKS = [SetsTask(f"sets-{number}", (), date(2024, 1, 1), date(2024, 1, 2)) for number in range(7)]


class Desk:
    """Computes two tasks at a time, finishes the older one first, and is interrupted when told to."""

    width = 2

    def __init__(self, interrupted_at: int | None = None) -> None:
        self.most_in_hand = 0
        self.submitted: list[str] = []
        self._waits = 0
        self._interrupted_at = interrupted_at

    def submit(self, task: Task) -> str:
        self.submitted.append(task.name)
        return task.name

    def finished(self, handles: Collection[str]) -> list[tuple[str, Arrays]]:
        self.most_in_hand = max(self.most_in_hand, len(handles))
        self._waits += 1
        if self._waits == self._interrupted_at:
            raise KeyboardInterrupt
        return [(next(iter(handles)), {"score": np.zeros(())})]

    def close(self) -> None:
        """Nothing to let go of."""


def test_every_task_is_done_once_and_never_more_at_a_time_than_can_be_computed() -> None:
    desk, done = Desk(), []
    run_tasks(desk, TASKS, lambda task, arrays: done.append(task.name))
    assert sorted(done) == sorted(desk.submitted) == [task.name for task in TASKS]
    assert desk.most_in_hand == 2


def test_an_interruption_begins_nothing_more_and_keeps_what_is_in_hand() -> None:
    desk, done = Desk(interrupted_at=3), []
    with pytest.raises(KeyboardInterrupt):
        run_tasks(desk, TASKS, lambda task, arrays: done.append(task.name))
    assert desk.submitted == [task.name for task in TASKS[:4]]
    assert sorted(done) == desk.submitted
