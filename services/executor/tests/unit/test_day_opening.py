"""Days are opened account by account."""

import asyncio
from datetime import date
from typing import Any

import pytest

from breakwater_core.session import Session
from executor_service import account_role
from executor_service.account_role import AccountRole
from executor_service.settings import ExecutorSettings

FIRST, SECOND = date(2024, 3, 1), date(2024, 3, 2)


class Keeper:
    """An account whose exchange answers or never does."""

    def __init__(self, name: str, opened: list[tuple[str, date]], *, answers: bool) -> None:
        self.name = name
        self._opened = opened
        self._answers = answers

    async def wait_until_flat(self, _timeout_s: float) -> bool:
        return True

    async def open_day(self, day: date, _now_ms: int) -> None:
        if not self._answers:
            await asyncio.Event().wait()
        self._opened.append((self.name, day))


async def test_an_account_that_the_exchange_does_not_answer_keeps_no_other_ones_day_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(account_role, "wall_clock_ms", lambda: Session().day_start_ms(SECOND))
    opened: list[tuple[str, date]] = []
    keepers: list[Any] = [Keeper("silent", opened, answers=False), Keeper("main", opened, answers=True)]
    settings = ExecutorSettings(accounts="[]")
    role = AccountRole(settings, None, keepers, [], [])  # type: ignore[arg-type]  # the bus is not asked
    async with asyncio.timeout(90), asyncio.TaskGroup() as tasks:
        for day in (FIRST, FIRST, SECOND):
            role._open_live(day, tasks)
            while ("main", day) not in opened:
                await asyncio.sleep(0)
        for opening in role._openings.values():
            opening.cancel()
    assert opened == [("main", FIRST), ("main", SECOND)]
