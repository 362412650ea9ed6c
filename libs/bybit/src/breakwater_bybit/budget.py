"""The request budget: how many requests may be sent, and who goes first.

Bybit counts requests per account (UID) and endpoint in a rolling second, and per address in five seconds; beyond
the latter it refuses the address for ten minutes. A request is admitted only while its priority's share of both
windows has room, so that exits and cancels always find a reserve that entries and queries cannot use up.

Times are milliseconds of the budget's own clock, which must not run backwards except where stated.
"""

import asyncio
import math
import time
from bisect import insort
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import Protocol

from breakwater_bybit.errors import BAN_MS, IpBanned

ACCOUNT_WINDOW_MS = 1_000
IP_WINDOW_MS = 5_000
IP_LIMIT = 600
_MARGIN_MS = 50
"""Added to each window: requests sent a second apart may arrive closer together."""
USE_MS = 500
"""A lease is late when it is so old: the request would no longer be counted where it arrives."""
_LONGEST_BLOCK_MS = 5_000
"""A stated reset later than this is a clock's error: the exchange counts single seconds."""

ACCOUNT_LIMITS: Mapping[str, int] = {
    "order/create": 10,
    "order/cancel": 10,
    "order/cancel-all": 10,
    "order/realtime": 50,
    "order/history": 50,
    "execution/list": 50,
    "position/list": 50,
    "position/set-leverage": 10,
    "position/switch-mode": 10,
    "account/wallet-balance": 50,
    "account/info": 50,
    "account/fee-rate": 5,
    "account/transaction-log": 25,
    "user/query-api": 10,
}
"""Requests per second, account and endpoint without VIP level; answers tell the true limit. Endpoints that are not
listed (market data) count per address only."""


class Priority(StrEnum):
    """Who goes first when requests are scarce."""

    EXIT = "exit"
    """Orders that reduce a position, cancels, and the queries that these need."""
    ENTRY = "entry"
    """Orders that open a position."""
    QUERY = "query"
    """Everything that can wait."""


SHARES: Mapping[Priority, float] = {Priority.EXIT: 1.0, Priority.ENTRY: 0.8, Priority.QUERY: 0.6}
"""Share of a window that requests of a priority may fill; the rest is kept for those before it."""
EXIT_RESERVE = 48
"""Most requests of a window that are kept from entries for exits: those of some twenty positions at once."""


def most_of(limit: int, priority: Priority) -> int:
    """Return how many requests of a window with this limit those of a priority may fill, at least one."""
    most = math.floor(limit * SHARES[priority])
    return max(1, limit - EXIT_RESERVE, most) if priority is Priority.ENTRY else max(1, most)


class Lease(Protocol):
    """Leave to send one request."""

    @property
    def is_late(self) -> bool:
        """Whether it is too late to send it, e.g. because the process was stopped: take another lease then.

        Is asked right before the request goes out, from any thread.
        """

    def report(self, *, headers: Mapping[str, str], ret_code: int | None, http_status: int | None) -> None:
        """Tell the budget what the exchange answered: its limits, or that one was exceeded."""


class RequestBudget(Protocol):
    """What a client asks before each request; one per process here, a shared one may take its place."""

    def take(self, endpoint: str, uid: str, priority: Priority) -> AbstractAsyncContextManager[Lease]:
        """Wait until the request may be sent.

        Args:
            endpoint: Path without `/v5/`, e.g. `order/create`.
            uid: Whose requests are counted together: the account's number, or any text that stands for it.
            priority: Who goes first.

        Raises:
            IpBanned: At once, while the exchange refuses this address.
        """


class UnlimitedBudget:
    """No budget at all, for replays and for the paper exchange."""

    @asynccontextmanager
    async def take(self, endpoint: str, uid: str, priority: Priority) -> AsyncIterator[Lease]:
        """Admit at once."""
        yield _NoLease()


class _NoLease:
    is_late = False

    def report(self, *, headers: Mapping[str, str], ret_code: int | None, http_status: int | None) -> None:
        """Take no note."""


@dataclass(slots=True)
class _Window:
    """Requests sent within a rolling window."""

    length_ms: int
    limit: int
    blocked_until_ms: int = 0
    _sent_ms: deque[int] = field(default_factory=deque)

    def used(self, now_ms: int) -> int:
        """Return how many requests count at this time."""
        oldest_ms = now_ms - self.length_ms - _MARGIN_MS
        while self._sent_ms and self._sent_ms[0] <= oldest_ms:
            self._sent_ms.popleft()
        return len(self._sent_ms)

    def wait_ms(self, now_ms: int, priority: Priority, share: float) -> int:
        """Return how long a request of a process that has this share must wait; 0 when there is room."""
        if now_ms < self.blocked_until_ms:
            return self.blocked_until_ms - now_ms
        allowed = max(1, int(most_of(self.limit, priority) * share))
        excess = self.used(now_ms) - allowed
        if excess < 0:
            return 0
        return max(1, self._sent_ms[excess] + self.length_ms + _MARGIN_MS - now_ms)

    def add(self, sent_ms: int) -> None:
        """Count a request as sent at this time."""
        insort(self._sent_ms, sent_ms)


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class ProcessBudget:
    """The request budget of one process.

    Other processes on the same account are noticed by what the answers say is left.

    Args:
        clock: Milliseconds, never falling; the process's monotonic clock by default.
        wall_clock: Milliseconds since 1970, to read the exchange's reset times against.
        sleep: Waits for a number of seconds.
        account_limits: Requests per second by endpoint.
        ip_limit: Requests per five seconds and address.
        share: Part of each limit that this process may use, in (0, 1]; below 1 it takes no notice of what others use.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], int] = _monotonic_ms,
        wall_clock: Callable[[], int] = lambda: wall_clock_ms(),
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        account_limits: Mapping[str, int] = ACCOUNT_LIMITS,
        ip_limit: int = IP_LIMIT,
        share: float = 1.0,
        ban_ms: int = BAN_MS,
    ) -> None:
        self._share = share
        self._ban_ms = ban_ms
        self._clock = clock
        self._wall_clock = wall_clock
        self._sleep = sleep
        self._account_limits = account_limits
        self._ip_window = _Window(IP_WINDOW_MS, ip_limit)
        self._account_windows: dict[tuple[str, str], _Window] = {}
        self._banned_until_ms: int | None = None

    @asynccontextmanager
    async def take(self, endpoint: str, uid: str, priority: Priority) -> AsyncIterator[Lease]:
        """Wait for room in the account's and the address's window, see `RequestBudget`."""
        windows = [self._ip_window]
        if (account_window := self._account_window(endpoint, uid)) is not None:
            windows.append(account_window)
        while True:
            now_ms = self._clock()
            self._refuse_while_banned(now_ms)
            wait_ms = max(window.wait_ms(now_ms, priority, self._share) for window in windows)
            if wait_ms <= 0:
                break
            await self._sleep(wait_ms / 1000)
        for window in windows:
            window.add(now_ms)
        yield _ProcessLease(self, account_window, now_ms)

    def left(self, endpoint: str, uid: str) -> int:
        """Return how many requests an exit could send to the endpoint now."""
        now_ms = self._clock()
        windows = [self._ip_window, self._account_window(endpoint, uid)]
        return min(max(0, window.limit - window.used(now_ms)) for window in windows if window is not None)

    def _account_window(self, endpoint: str, uid: str) -> _Window | None:
        limit = self._account_limits.get(endpoint)
        if limit is None:
            return None
        return self._account_windows.setdefault((uid, endpoint), _Window(ACCOUNT_WINDOW_MS, limit))

    def _refuse_while_banned(self, now_ms: int) -> None:
        if self._banned_until_ms is None:
            return
        if now_ms >= self._banned_until_ms:
            self._banned_until_ms = None
            return
        left_s = (self._banned_until_ms - now_ms + 999) // 1000
        raise IpBanned(f"the exchange refuses this address; nothing is sent for another {left_s} s")

    def note_answer(
        self,
        window: _Window | None,
        counted: int,
        *,
        sent_ms: int,
        headers: Mapping[str, str],
        ret_code: int | None,
        http_status: int | None,
    ) -> None:
        """Learn from an answer: a ban, an exceeded limit, the true limit, requests of other processes.

        Args:
            counted: Requests in the window when the answered one was sent, itself included.
            sent_ms: When that was.
        """
        now_ms = self._clock()
        if http_status == HTTPStatus.FORBIDDEN or ret_code == 10018:
            self._banned_until_ms = now_ms + self._ban_ms
        if window is None:
            return
        limit, left = header_count(headers, "X-Bapi-Limit"), header_count(headers, "X-Bapi-Limit-Status")
        if limit:
            window.limit = limit
        if limit and left is not None and self._share == 1:
            of_others = limit - left - max(counted, window.used(now_ms))
            for _ in range(of_others):
                window.add(sent_ms)
        if ret_code == 10006:
            window.blocked_until_ms = now_ms + block_ms(headers, self._wall_clock)

    def is_late(self, sent_ms: int) -> bool:
        """Return whether a request that was counted then must not be sent any more."""
        return self._clock() - sent_ms > USE_MS


class _ProcessLease:
    def __init__(self, budget: ProcessBudget, window: _Window | None, sent_ms: int) -> None:
        self._budget = budget
        self._window = window
        self._sent_ms = sent_ms
        self._counted = 0 if window is None else window.used(sent_ms)

    @property
    def is_late(self) -> bool:
        """Whether the request was counted too long ago to be sent."""
        return self._budget.is_late(self._sent_ms)

    def report(self, *, headers: Mapping[str, str], ret_code: int | None, http_status: int | None) -> None:
        """Pass the answer on to the budget."""
        self._budget.note_answer(
            self._window,
            self._counted,
            sent_ms=self._sent_ms,
            headers=headers,
            ret_code=ret_code,
            http_status=http_status,
        )


def wall_clock_ms() -> int:
    """Return the machine's time, milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def block_ms(headers: Mapping[str, str], wall_clock: Callable[[], int] = wall_clock_ms) -> int:
    """Return how long to pause after the exchange refused a request with 10006.

    The reset is compared with the exchange's own time where the answer states it (`Timenow`). One that has passed or
    is absurd means a whole window.
    """
    reset_ms = header_count(headers, "X-Bapi-Limit-Reset-Timestamp")
    now_ms = header_count(headers, "Timenow") or wall_clock()
    wait_ms = 0 if reset_ms is None else reset_ms - now_ms
    return wait_ms if 0 < wait_ms <= _LONGEST_BLOCK_MS else ACCOUNT_WINDOW_MS


def header_count(headers: Mapping[str, str], name: str) -> int | None:
    """Return the whole number that a header states, None if it states none."""
    text = headers.get(name, "")
    return int(text) if text.isdecimal() else None
