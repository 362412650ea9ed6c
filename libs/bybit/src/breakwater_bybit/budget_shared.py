"""The request budget that all processes behind one address share, over documents changed by compare-and-set.

Requests are granted in small chunks that last half a second; see `breakwater_bybit.budget_window` for what a document
holds and why no window of the exchange can be exceeded. There is no leader: a process that dies leaves at most its last
chunks counted, until they are too old to matter.

While the documents cannot be reached, entries and queries wait. Exits and cancels go out all the same, by a share that
each process may use on its own: an exit outranks everything.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

from breakwater_bybit.budget import (
    ACCOUNT_LIMITS,
    ACCOUNT_WINDOW_MS,
    IP_LIMIT,
    IP_WINDOW_MS,
    Lease,
    Priority,
    ProcessBudget,
    block_ms,
    header_count,
)
from breakwater_bybit.budget_queue import Waiter, WaitingLine
from breakwater_bybit.budget_window import BudgetWindow, Slot
from breakwater_bybit.errors import BAN_MS, IpBanned
from breakwater_core.errors import TransientError

ADDRESS = "address"
"""Name of the window of all requests of the address."""
FALLBACK_SHARE = 0.025
"""Share of each limit that a process cut off from the bus may use for exits: three such processes fill the address's
reserve, and where the bus is away for all, no entry goes out and there is room for forty."""
_PROBE_S = 0.25
_LOOK_MS = 250
_TRIES = 8
_APART_MS = ACCOUNT_WINDOW_MS + 100
"""Without the bus an exit waits until what the processes shared before has left the accounts' windows."""
_HICCUP_MS = 1_000
"""A store answers or fails sooner: what takes longer was this process not running."""
_RETRY_S = 0.002
_SOON_S = 0.001


def boot_clock_ms() -> int:
    """Return milliseconds since the machine started, sleep included where the system counts it; never falls."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime_ns(clock) // 1_000_000


class BudgetStore(Protocol):
    """Where the documents lie. Both calls raise `TransientError` soon if it cannot be reached."""

    async def read(self, key: str) -> tuple[bytes, int] | None:
        """Return the newest document under a key and its revision; None if there is none."""

    async def write(self, key: str, payload: bytes, revision: int) -> int | None:
        """Replace the document of this revision (0: none) and return the new revision; None if another one stands."""


class BudgetObserver(Protocol):
    """Who hears of what happens, e.g. to count it."""

    def granted(self, priority: Priority, *, waited_s: float, is_shared: bool) -> None:
        """A request may be sent; `is_shared` is false when the process's own share was used."""

    def left(self, window: str, requests: int) -> None:
        """How many requests an exit could still send: `window` is `address` or an endpoint."""

    def written(self, *, is_accepted: bool) -> None:
        """A document was written, or somebody else was faster."""

    def limited(self, endpoint: str) -> None:
        """The exchange refused a request with 10006."""

    def banned(self, left_s: float, *, is_first: bool) -> None:
        """The exchange refuses this address; `is_first`: this process is the one that found out."""

    def connected(self, *, is_connected: bool) -> None:
        """The documents can be reached, or not any more."""


@dataclass(slots=True, eq=False)
class _Shared:
    """A window with what is going on about it."""

    key: str
    name: str
    view: BudgetWindow
    wanted: Counter[Priority] = field(default_factory=Counter)
    blocked: Counter[Priority] = field(default_factory=Counter)
    is_asking: bool = False
    flush: asyncio.TimerHandle | None = None


class SharedBudget:
    """Implements `RequestBudget` for one process of several; `close` it in the end.

    Args:
        store: Where the documents lie.
        venue: First part of all keys: what has an address and accounts of its own, e.g. the exchange's host.
        owner: Name of this process, never used by another one before or after.
        observer: Hears of grants, waits and bans.
        clock: Milliseconds, never falling.
        account_limits: Requests per second by endpoint, until answers tell the true ones.
        ip_limit: Requests per five seconds and address.
        ban_ms: Nothing is sent for so long after the exchange has refused the address, milliseconds.
    """

    def __init__(
        self,
        store: BudgetStore,
        *,
        venue: str,
        owner: str,
        observer: BudgetObserver,
        clock: Callable[[], int] = boot_clock_ms,
        account_limits: Mapping[str, int] = ACCOUNT_LIMITS,
        ip_limit: int = IP_LIMIT,
        ban_ms: int = BAN_MS,
    ) -> None:
        self._ban_ms = ban_ms
        self._store = store
        self._venue = venue
        self._owner = owner
        self._observer = observer
        self._clock = clock
        self._limits = account_limits
        self._windows: dict[str, _Shared] = {}
        self._address = self._window(f"{venue}.{ADDRESS}", ADDRESS, IP_WINDOW_MS, ip_limit)
        self._fallback = ProcessBudget(
            account_limits=account_limits, ip_limit=ip_limit, share=FALLBACK_SHARE, ban_ms=ban_ms
        )
        self._line = WaitingLine()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = 0.0
        self._is_away = False
        self._away_since_ms = 0
        self._is_closed = False

    async def close(self) -> None:
        """End what is going on; requests that still wait are cancelled."""
        self._is_closed = True
        for shared in self._windows.values():
            if shared.flush is not None:
                shared.flush.cancel()
        if self._timer is not None:
            self._timer.cancel()
        for waiter in list(self._line):
            waiter.granted.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # What the client calls

    @asynccontextmanager
    async def take(self, endpoint: str, uid: str, priority: Priority) -> AsyncIterator[Lease]:
        """Wait until the request may be sent, see `RequestBudget`.

        Raises:
            IpBanned: At once, while the exchange refuses this address.
        """
        self._refuse_while_banned()
        began_s = time.monotonic()
        slots = await self._granted(self._keys(endpoint, uid), uid, priority)
        self._observer.granted(priority, waited_s=time.monotonic() - began_s, is_shared=slots is not None)
        if slots is None:
            async with self._fallback.take(endpoint, uid, priority) as lease:
                for key in self._keys(endpoint, uid):  # for the others to count, once the bus is back
                    self._windows[key].view.note_foreign(1, self._clock())
                yield _OwnShareLease(self, lease)
            return
        yield _SharedLease(self, endpoint, slots, self._clock())

    async def _granted(self, keys: tuple[str, ...], uid: str, priority: Priority) -> dict[str, Slot] | None:
        waiter = Waiter(uid, priority, keys, asyncio.get_running_loop().create_future())
        self._line.add(waiter)
        self._serve()
        try:
            return await waiter.granted
        except asyncio.CancelledError:
            if waiter.granted.done() and not waiter.granted.cancelled() and waiter.granted.exception() is None:
                self.give_back(waiter.granted.result() or {})
            raise
        finally:
            self._line.remove(waiter, is_served=False)

    def left(self, endpoint: str, uid: str) -> int:
        """Return how many requests an exit could send to the endpoint now, as far as this process knows."""
        now_ms = self._clock()
        views = [self._windows[key].view for key in self._keys(endpoint, uid)]
        return min(max(0, view.room(Priority.EXIT, now_ms)) for view in views)

    def _refuse_while_banned(self) -> None:
        left_ms = self._address.view.pause_left_ms(self._clock())
        if left_ms:
            raise IpBanned(
                f"the exchange refuses this address; nothing is sent for another {(left_ms + 999) // 1000} s"
            )

    # What the store's owner calls

    def received(self, key: str, payload: bytes | None, revision: int, *, age_ms: int = 0) -> None:
        """Take note of a document, e.g. because somebody has changed it.

        Args:
            key: Its key; those of other venues are passed over.
            payload: The document; empty or None: it was removed.
            revision: Its revision.
            age_ms: It is at least so old.
        """
        shared = self._windows.get(key) or self._window_of_key(key)
        if shared is None:
            return
        now_ms = self._clock()
        was_banned = self._address.view.pause_left_ms(now_ms) > 0
        shared.view.receive(payload or None, revision, now_ms, age_ms=age_ms)
        left_ms = self._address.view.pause_left_ms(now_ms)
        if left_ms and not was_banned:
            self._observer.banned(left_ms / 1000, is_first=False)
        if len(self._line):
            self._serve()

    def _window_of_key(self, key: str) -> _Shared | None:
        venue, _, rest = key.partition(".")
        endpoint = rest.partition(".")[2]
        if venue != self._venue or endpoint not in self._limits:
            return None
        return self._window(key, endpoint, ACCOUNT_WINDOW_MS, self._limits[endpoint])

    def _keys(self, endpoint: str, uid: str) -> tuple[str, ...]:
        limit = self._limits.get(endpoint)
        if limit is None:
            return (self._address.key,)
        key = f"{self._venue}.{uid}.{endpoint}"
        self._window(key, endpoint, ACCOUNT_WINDOW_MS, limit)
        return (key, self._address.key)

    def _window(self, key: str, name: str, length_ms: int, limit: int) -> _Shared:
        known = self._windows.get(key)
        if known is None:
            known = self._windows[key] = _Shared(
                key, name, BudgetWindow(length_ms, limit, self._owner, is_learnt=name != ADDRESS)
            )
        return known

    # Serving those who wait

    def _serve(self) -> None:
        """Let go whom the granted requests suffice for, and ask for what the others need where there is room."""
        if self._is_closed:
            return
        now_ms = self._clock()
        for shared in self._windows.values():
            shared.wanted.clear()
            shared.blocked.clear()
        if self._address.view.pause_left_ms(now_ms):
            self._refuse_all()
            return
        promised: Counter[str] = Counter()
        next_ms: int | None = None
        for waiter in list(self._line):
            if waiter.granted.done():
                continue
            if self._is_on_its_own(waiter, now_ms):
                self._let_go(waiter, None)
            elif all(self._windows[key].view.free(waiter.priority, now_ms) > promised[key] for key in waiter.keys):
                self._let_go(waiter, self._slots(waiter, now_ms))
            else:
                wait_ms = self._want(waiter, promised, now_ms)
                next_ms = wait_ms if next_ms is None else min(wait_ms, next_ms)
        if self._is_away:
            self._wake_in(_PROBE_S)
        elif next_ms is not None:
            self._wake_in(max(next_ms / 1000, _SOON_S))
        for shared in self._windows.values():
            waits = bool(shared.wanted or shared.blocked)
            tells = shared.view.must_tell_turn(now_ms) if waits else shared.view.has_turn(now_ms)
            if (shared.wanted or tells) and not self._is_away:
                self._ask(shared)

    def _is_on_its_own(self, waiter: Waiter, now_ms: int) -> bool:
        """Whether the bus is away and the request must not wait for it."""
        return self._is_away and waiter.priority is Priority.EXIT and now_ms - self._away_since_ms >= _APART_MS

    def _want(self, waiter: Waiter, promised: Counter[str], now_ms: int) -> int:
        """Note what a waiter needs, if it can be had everywhere; return when to look again, milliseconds from now.

        Nothing is asked of one window while another one has no room: it would only be kept from others.
        """
        missing = []
        for key in waiter.keys:
            shared = self._windows[key]
            if shared.view.free(waiter.priority, now_ms) > promised[key]:
                continue
            room = shared.view.room(waiter.priority, now_ms)
            if room <= shared.wanted.total():  # if there is some, who asks for it serves again
                shared.blocked[waiter.priority] += 1
                return _LOOK_MS if room > 0 else max(1, shared.view.wait_ms(waiter.priority, now_ms))
            missing.append(shared)
        for key in waiter.keys:
            if self._windows[key] not in missing:
                promised[key] += 1
        for shared in missing:
            shared.wanted[waiter.priority] += 1
        return _LOOK_MS

    def _slots(self, waiter: Waiter, now_ms: int) -> dict[str, Slot]:
        slots = {}
        for key in waiter.keys:
            slot = self._windows[key].view.take(waiter.priority, now_ms)
            if slot is not None:
                slots[key] = slot
        return slots

    def _let_go(self, waiter: Waiter, slots: dict[str, Slot] | None) -> None:
        self._line.remove(waiter, is_served=True)
        waiter.granted.set_result(slots)

    def _refuse_all(self) -> None:
        for waiter in list(self._line):
            self._line.remove(waiter, is_served=False)
            if not waiter.granted.done():
                waiter.granted.set_exception(IpBanned("the exchange has begun to refuse this address; pause"))

    def _wake_in(self, pause_s: float) -> None:
        loop = asyncio.get_running_loop()
        at_s = loop.time() + pause_s
        if self._timer is not None:
            if loop.time() < self._timer_at_s <= at_s:
                return
            self._timer.cancel()
        self._timer_at_s = at_s
        self._timer = loop.call_at(at_s, self._wake)

    def _wake(self) -> None:
        self._timer = None
        if self._is_away:
            self._spawn(self._probe())
        else:
            self._serve()

    # Compare and set

    def _ask(self, shared: _Shared) -> None:
        if not shared.is_asking and not self._is_closed:
            shared.is_asking = True
            self._spawn(self._ask_until_settled(shared))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask_until_settled(self, shared: _Shared) -> None:
        try:
            for number in range(_TRIES):
                began_ms = self._clock()
                try:
                    if await self._wrote(shared):
                        break
                except TransientError:
                    if self._clock() - began_ms < _HICCUP_MS:
                        raise
                if number:
                    await asyncio.sleep(random.random() * _RETRY_S * number)  # noqa: S311  # no secret
                self._serve()  # what somebody else took changes what can be asked for
        except TransientError:
            self._set_away(is_away=True)
        finally:
            shared.is_asking = False
        self._observer.left(shared.name, max(0, shared.view.room(Priority.EXIT, self._clock())))
        if shared.view.has_news:
            asyncio.get_running_loop().call_later(_PROBE_S, self._ask, shared)
        self._serve()

    async def _wrote(self, shared: _Shared) -> bool:
        """Write one proposal; False if somebody else was faster."""
        proposal = shared.view.propose(shared.wanted, self._clock(), blocked=shared.blocked)
        if proposal is None:
            return True
        revision = await self._store.write(shared.key, proposal.payload, proposal.revision)
        self._observer.written(is_accepted=revision is not None)
        self._set_away(is_away=False)
        if revision is not None:
            shared.view.accept(proposal, revision)
            return True
        if shared.view.revision == proposal.revision:
            await self._read(shared)
        return False

    async def _read(self, shared: _Shared) -> None:
        found = await self._store.read(shared.key)
        payload, revision = found or (None, 0)
        shared.view.receive(payload, revision, self._clock(), is_asked=True)

    async def _probe(self) -> None:
        try:
            await self._read(self._address)
        except TransientError:
            self._serve()  # exits whose pause is over; looks again in a while
            return
        self._set_away(is_away=False)
        for shared in self._windows.values():
            if shared.view.has_news:
                self._ask(shared)
        self._serve()

    def _set_away(self, *, is_away: bool) -> None:
        if is_away is self._is_away:
            return
        self._is_away = is_away
        self._away_since_ms = self._clock()
        self._observer.connected(is_connected=not is_away)
        if is_away:
            self._wake_in(_PROBE_S)

    # What answers teach

    def give_back(self, slots: Mapping[str, Slot]) -> None:
        """Take back a request that was not sent and never will be."""
        for key, slot in slots.items():
            self._windows[key].view.give_back(slot)
        self._serve()

    def is_late(self, slots: Mapping[str, Slot]) -> bool:
        """Return whether one of the slots is too old to be used."""
        now_ms = self._clock()
        return any(now_ms > slot.until_ms for slot in slots.values())

    def answered(
        self,
        slots: Mapping[str, Slot],
        endpoint: str,
        *,
        sent_ms: int,
        headers: Mapping[str, str],
        ret_code: int | None,
    ) -> None:
        """Learn from the answer to a request that used these slots."""
        now_ms = self._clock()
        for key, slot in slots.items():
            shared = self._windows[key]
            shared.view.answered(slot, now_ms)
            if shared is not self._address:
                self._learn(shared, sent_ms, headers)
                if ret_code == 10006:
                    shared.view.begin_pause(block_ms(headers), now_ms)
            self._tell_later(shared, now_ms)
        if ret_code == 10006:
            self._observer.limited(endpoint)
        if len(self._line):
            self._serve()

    def _learn(self, shared: _Shared, sent_ms: int, headers: Mapping[str, str]) -> None:
        limit, left = header_count(headers, "X-Bapi-Limit"), header_count(headers, "X-Bapi-Limit-Status")
        if not limit:
            return
        shared.view.learn_limit(limit)
        if left is not None and limit - left > shared.view.used(sent_ms):
            self._spawn(self._count_foreign(shared, limit - left, sent_ms))

    async def _count_foreign(self, shared: _Shared, counted: int, sent_ms: int) -> None:
        """Count requests that nobody here has sent, after a look at what others may just have been granted."""
        try:
            await self._read(shared)
        except TransientError:
            return
        foreign = counted - shared.view.used(sent_ms)
        if foreign > 0:
            shared.view.note_foreign(foreign, self._clock())
            self._ask(shared)

    def ban(self) -> None:
        """Stop every process: the exchange has refused this address."""
        is_first = self._address.view.begin_pause(self._ban_ms, self._clock())
        if is_first:
            self._observer.banned(self._ban_ms / 1000, is_first=True)
        self._refuse_all()
        self._ask(self._address)

    def _tell_later(self, shared: _Shared, now_ms: int) -> None:
        """Tell others of answers if they may be short of room, unless a grant does it before."""
        if shared.view.has_news:
            self._ask(shared)
        elif shared.flush is None and 2 * shared.view.used(now_ms) > shared.view.limit:
            delay_s = shared.view.length_ms / (50_000 if shared.view.others_wait(now_ms) else 10_000)
            shared.flush = asyncio.get_running_loop().call_later(delay_s, self._flush, shared)

    def _flush(self, shared: _Shared) -> None:
        shared.flush = None
        if shared.view.has_settled(self._clock()) and not self._is_away:
            self._ask(shared)


class _SharedLease:
    def __init__(self, budget: SharedBudget, endpoint: str, slots: Mapping[str, Slot], sent_ms: int) -> None:
        self._budget = budget
        self._endpoint = endpoint
        self._slots = slots
        self._sent_ms = sent_ms

    @property
    def is_late(self) -> bool:
        """Whether others count on the request not being sent any more."""
        return self._budget.is_late(self._slots)

    def report(self, *, headers: Mapping[str, str], ret_code: int | None, http_status: int | None) -> None:
        """Pass the answer on to the budget."""
        self._budget.answered(self._slots, self._endpoint, sent_ms=self._sent_ms, headers=headers, ret_code=ret_code)
        if http_status == HTTPStatus.FORBIDDEN or ret_code == 10018:
            self._budget.ban()


class _OwnShareLease:
    """Leave by the process's own share; a ban is told all the same."""

    def __init__(self, budget: SharedBudget, lease: Lease) -> None:
        self._budget = budget
        self._lease = lease

    @property
    def is_late(self) -> bool:
        """Whether it is too late to send the request."""
        return self._lease.is_late

    def report(self, *, headers: Mapping[str, str], ret_code: int | None, http_status: int | None) -> None:
        """Pass the answer on."""
        self._lease.report(headers=headers, ret_code=ret_code, http_status=http_status)
        if http_status == HTTPStatus.FORBIDDEN or ret_code == 10018:
            self._budget.ban()
