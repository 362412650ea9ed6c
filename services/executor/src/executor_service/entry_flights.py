"""Entries on their way: those that may be sent any moment, and those whose end is not known."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from executor_service.drain import Draining


class EntryFlights:
    """Counts a process's entries between its permit and the exchange's answer, and from there to their end."""

    def __init__(self) -> None:
        """Begin with none."""
        self._sending: dict[int, asyncio.Event] = {}
        self._sent = 0
        self._unsettled: Counter[str] = Counter()
        self.has_left = False
        """Whether an entry was left to another process before its end was known."""

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Count an entry as about to be sent while the context is open: from before its permit to its answer."""
        self._sent += 1
        number, answered = self._sent, asyncio.Event()
        self._sending[number] = answered
        try:
            yield
        finally:
            del self._sending[number]
            answered.set()

    @contextmanager
    def unsettled(self, account: str) -> Iterator[None]:
        """Count an entry of the account as not settled while the context is open."""
        self._unsettled[account] += 1
        try:
            yield
        except (Draining, asyncio.CancelledError):
            self.has_left = True
            raise
        finally:
            self._unsettled[account] -= 1

    def of_accounts(self) -> dict[str, int]:
        """Return how many entries are not settled, by account."""
        return {account: count for account, count in self._unsettled.items() if count}

    async def wait_for_answers(self, timeout_s: float) -> bool:
        """Return True once every entry that is about to be sent now has its answer; False if that takes too long."""
        waiting = [asyncio.ensure_future(answered.wait()) for answered in self._sending.values()]
        if not waiting:
            return True
        _, open_ = await asyncio.wait(waiting, timeout=timeout_s)
        for task in open_:
            task.cancel()
        return not open_
