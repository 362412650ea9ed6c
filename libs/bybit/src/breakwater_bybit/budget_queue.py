"""Requests that wait for leave: exits first, and within a priority the accounts take turns."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from breakwater_bybit.budget import Priority
from breakwater_bybit.budget_window import Slot

type WindowKey = str


@dataclass(frozen=True, slots=True, eq=False)
class Waiter:
    """One request that waits.

    Attributes:
        uid: Whose turn it uses.
        priority: Who goes first.
        keys: Windows that it must be granted in.
        granted: Its slot in each of these; None: it may go without, by the process's own share.
    """

    uid: str
    priority: Priority
    keys: tuple[WindowKey, ...]
    granted: asyncio.Future[dict[WindowKey, Slot] | None]


class WaitingLine:
    """Waiters in the order in which they are served."""

    def __init__(self) -> None:
        """Begin empty."""
        self._by_account: dict[Priority, OrderedDict[str, deque[Waiter]]] = {
            priority: OrderedDict() for priority in Priority
        }

    def __iter__(self) -> Iterator[Waiter]:
        """Yield all: by priority, then one of each account in turn, beginning with the account served longest ago."""
        for accounts in self._by_account.values():
            for turn in zip_longest(*map(tuple, accounts.values())):
                yield from (waiter for waiter in turn if waiter is not None)

    def __len__(self) -> int:
        return sum(len(waiters) for accounts in self._by_account.values() for waiters in accounts.values())

    def add(self, waiter: Waiter) -> None:
        """Put a waiter behind those of its account."""
        self._by_account[waiter.priority].setdefault(waiter.uid, deque()).append(waiter)

    def remove(self, waiter: Waiter, *, is_served: bool) -> None:
        """Take a waiter out, if it still waits; having been served, its account comes last in the next turn."""
        accounts = self._by_account[waiter.priority]
        waiters = accounts.get(waiter.uid)
        if waiters is None or waiter not in waiters:
            return
        waiters.remove(waiter)
        if not waiters:
            del accounts[waiter.uid]
        elif is_served:
            accounts.move_to_end(waiter.uid)
