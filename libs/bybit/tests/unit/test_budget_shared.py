"""The shared budget of several processes over one store: who goes first, what answers teach, a store that is away."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from breakwater_bybit.budget import EXIT_RESERVE, IP_LIMIT, Lease, Priority
from breakwater_bybit.budget_shared import FALLBACK_SHARE, SharedBudget
from breakwater_bybit.errors import IpBanned
from breakwater_core.errors import TransientError

CREATE = "order/create"
PUBLIC = "market/kline"


@dataclass
class MemoryStore:
    """Documents in memory; whoever watches hears of each change at once."""

    documents: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    watchers: list[SharedBudget] = field(default_factory=list)
    is_away: bool = False
    writes: int = 0
    revision: int = 0

    async def read(self, key: str) -> tuple[bytes, int] | None:
        await asyncio.sleep(0)
        if self.is_away:
            raise TransientError("away")
        return self.documents.get(key)

    async def write(self, key: str, payload: bytes, revision: int) -> int | None:
        await asyncio.sleep(0)
        if self.is_away:
            raise TransientError("away")
        if revision != self.documents.get(key, (b"", 0))[1]:
            return None
        self.writes += 1
        self.revision += 1
        self.documents[key] = (payload, self.revision)
        for watcher in self.watchers:
            watcher.received(key, payload, self.revision)
        return self.revision


@dataclass
class Heard:
    """What an observer hears."""

    shares: Counter[bool] = field(default_factory=Counter)
    bans: list[bool] = field(default_factory=list)
    limited_at: list[str] = field(default_factory=list)
    states: list[bool] = field(default_factory=list)

    def granted(self, priority: Priority, *, waited_s: float, is_shared: bool) -> None:
        self.shares[is_shared] += 1

    def left(self, window: str, requests: int) -> None:
        assert requests >= 0

    def written(self, *, is_accepted: bool) -> None: ...

    def limited(self, endpoint: str) -> None:
        self.limited_at.append(endpoint)

    def banned(self, left_s: float, *, is_first: bool) -> None:
        self.bans.append(is_first)

    def connected(self, *, is_connected: bool) -> None:
        self.states.append(is_connected)


@dataclass
class Clock:
    """Time that passes only when told to."""

    now_ms: int = 1_000_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def process(
    store: MemoryStore, clock: Clock, name: str, **limits: int
) -> AsyncIterator[tuple[SharedBudget, Heard]]:
    heard = Heard()
    budget = SharedBudget(store, venue="paper", owner=name, observer=heard, clock=clock, **limits)
    store.watchers.append(budget)
    try:
        yield budget, heard
    finally:
        store.watchers.remove(budget)
        await budget.close()


async def send(
    budget: SharedBudget,
    priority: Priority = Priority.EXIT,
    *,
    endpoint: str = CREATE,
    uid: str = "u",
    code: int = 0,
    status: int = 200,
    **headers: str,
) -> None:
    async with budget.take(endpoint, uid, priority) as lease:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        lease.report(headers=named, ret_code=code, http_status=status)


async def settled(rounds: int = 60) -> None:
    for _ in range(rounds):
        await asyncio.sleep(0)


async def test_two_processes_together_send_no_more_than_the_account_may(store: MemoryStore, clock: Clock) -> None:
    sent: list[str] = []

    async def one(budget: SharedBudget, name: str) -> None:
        await send(budget)
        sent.append(name)

    async with process(store, clock, "a") as (a, _), process(store, clock, "b") as (b, _):
        tasks = [asyncio.create_task(one(budget, name)) for _ in range(10) for budget, name in ((a, "a"), (b, "b"))]
        await settled(400)
        assert len(sent) == 10
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_an_exit_passes_entries_that_wait_in_its_own_and_in_another_process(
    store: MemoryStore, clock: Clock
) -> None:
    async with process(store, clock, "a") as (a, _), process(store, clock, "b") as (b, _):
        entries = [asyncio.create_task(send(budget, Priority.ENTRY)) for _ in range(9) for budget in (a, b)]
        await settled(400)
        assert sum(task.done() for task in entries) == 8
        async with asyncio.timeout(5):
            await send(a, Priority.EXIT)
            await send(b, Priority.EXIT)
        assert sum(task.done() for task in entries) == 8
        for task in entries:
            task.cancel()
        await asyncio.gather(*entries, return_exceptions=True)


async def test_a_burst_of_one_account_does_not_keep_another_one_waiting(store: MemoryStore, clock: Clock) -> None:
    """The address has room for few: each account gets its turn."""
    served: list[str] = []

    async def one(budget: SharedBudget, uid: str) -> None:
        await send(budget, uid=uid)
        served.append(uid)

    async with process(store, clock, "a", ip_limit=6) as (a, _):
        tasks = [asyncio.create_task(one(a, "greedy")) for _ in range(30)]
        tasks += [asyncio.create_task(one(a, uid)) for uid in ("x", "y")]
        await settled(400)
        assert len(served) == 6
        assert {"x", "y"} <= set(served)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_process_with_many_requests_does_not_keep_another_one_waiting(store: MemoryStore, clock: Clock) -> None:
    served: list[str] = []

    async def one(budget: SharedBudget, name: str) -> None:
        await send(budget, uid=name)
        served.append(name)

    async with process(store, clock, "a", ip_limit=6) as (a, _), process(store, clock, "b", ip_limit=6) as (b, _):
        tasks = [asyncio.create_task(one(a, "greedy")) for _ in range(30)]
        await settled(400)
        tasks += [asyncio.create_task(one(b, "modest")) for _ in range(2)]
        await settled(400)
        assert served == ["greedy"] * 6
        while served.count("modest") < 2 and len(served) < 30:
            clock.now_ms += 500
            for budget in (a, b):
                budget.received("paper.address", None, 0)  # nothing new, but a reason to look again
            await settled(200)
        assert len(served) <= 18  # it waits for one turn of the other process, not for all that this one wants
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_ban_seen_by_one_process_stops_all_for_ten_minutes_and_is_reported_once(
    store: MemoryStore, clock: Clock
) -> None:
    async with process(store, clock, "a") as (a, first), process(store, clock, "b") as (b, second):
        await send(a, status=403)
        await settled()
        for budget in (a, b):
            with pytest.raises(IpBanned):
                await send(budget, endpoint=PUBLIC)
        assert first.bans == [True]
        assert second.bans == [False]
        async with process(store, clock, "late") as (late, _):
            for key, (payload, revision) in store.documents.items():
                late.received(key, payload, revision)
            with pytest.raises(IpBanned):
                await send(late)
        clock.now_ms += 600_010
        await send(b)


async def test_who_waits_when_the_ban_comes_is_told(store: MemoryStore, clock: Clock) -> None:
    async with process(store, clock, "a") as (a, _), process(store, clock, "b", ip_limit=1) as (b, _):
        await send(b)
        waiting = asyncio.create_task(send(b))
        await settled()
        await send(a, status=403)
        with pytest.raises(IpBanned):
            await asyncio.wait_for(waiting, 5)


async def test_a_limit_that_an_answer_states_is_used_by_all(store: MemoryStore, clock: Clock) -> None:
    async with process(store, clock, "a") as (a, _), process(store, clock, "b") as (b, _):
        await send(a, X_Bapi_Limit="20", X_Bapi_Limit_Status="19")
        await settled()
        assert b.left(CREATE, "u") == 19


async def test_requests_of_another_program_are_counted_for_all(store: MemoryStore, clock: Clock) -> None:
    async with process(store, clock, "a") as (a, _), process(store, clock, "b") as (b, _):
        await send(a, X_Bapi_Limit="10", X_Bapi_Limit_Status="3")
        await settled()
        assert a.left(CREATE, "u") == 3
        assert b.left(CREATE, "u") == 3


async def test_own_requests_are_not_taken_for_those_of_another_program(store: MemoryStore, clock: Clock) -> None:
    async with process(store, clock, "a") as (a, _), process(store, clock, "b") as (b, _):
        for left, budget in enumerate((a, b, a, b), start=-9):
            await send(budget, X_Bapi_Limit="10", X_Bapi_Limit_Status=str(-left))
        await settled()
        assert a.left(CREATE, "u") == b.left(CREATE, "u") == 6


async def test_a_refusal_pauses_all_until_the_reset_by_the_exchanges_own_clock(
    store: MemoryStore, clock: Clock
) -> None:
    async with process(store, clock, "a") as (a, heard), process(store, clock, "b") as (b, _):
        await send(a, code=10006, X_Bapi_Limit_Reset_Timestamp="5400", Timenow="5000")
        await settled()
        assert heard.limited_at == [CREATE]
        waiting = asyncio.create_task(send(b))
        await settled()
        assert not waiting.done()
        assert b.left(CREATE, "u") == 0
        assert b.left("order/cancel", "u") == 10
        clock.now_ms += 420
        await asyncio.wait_for(waiting, 5)


async def test_while_the_store_is_away_exits_go_by_an_own_share_and_entries_wait(
    store: MemoryStore, clock: Clock
) -> None:
    async with process(store, clock, "a") as (a, heard):
        store.is_away = True
        entry = asyncio.create_task(send(a, Priority.ENTRY))
        exit_ = asyncio.create_task(send(a, Priority.EXIT))
        async with asyncio.timeout(5):
            while not heard.states:
                await asyncio.sleep(0)
            clock.now_ms += 1_099  # what was shared may still be in the exchange's windows
            await settled()
            assert not exit_.done()
            clock.now_ms += 1
            await exit_
            await send(a, Priority.EXIT, endpoint="order/cancel")
        assert not entry.done()
        assert heard.shares == {False: 2}
        store.is_away = False
        await asyncio.wait_for(entry, 5)
        assert heard.shares == {False: 2, True: 1}
        assert heard.states == [False, True]
    assert 3 * FALLBACK_SHARE * IP_LIMIT <= EXIT_RESERVE


async def test_a_lease_held_for_too_long_is_late(store: MemoryStore, clock: Clock) -> None:
    async with process(store, clock, "a") as (a, _):
        lease: Lease
        async with a.take(CREATE, "u", Priority.EXIT) as lease:
            assert not lease.is_late
            clock.now_ms += 501
            assert lease.is_late


async def test_who_gives_up_waiting_leaves_nothing_behind(store: MemoryStore, clock: Clock) -> None:
    async with process(store, clock, "a") as (a, _), AsyncExitStack() as stack:
        for _ in range(10):
            await stack.enter_async_context(a.take(CREATE, "u", Priority.EXIT))
        waiting = asyncio.create_task(send(a))
        await settled()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        clock.now_ms += 5_000
        assert a.left(CREATE, "u") == 10


async def test_a_process_whose_documents_were_removed_goes_on(store: MemoryStore, clock: Clock) -> None:
    async with process(store, clock, "a") as (a, _):
        await send(a)
        store.documents.clear()
        clock.now_ms += 400
        async with asyncio.timeout(5):
            await send(a)
            await send(a)
