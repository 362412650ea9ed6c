"""The request budget against a clock of its own: windows, reserves, what answers teach, bans."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breakwater_bybit.budget import ACCOUNT_LIMITS, Priority, ProcessBudget, UnlimitedBudget
from breakwater_bybit.errors import IpBanned

CREATE = "order/create"
PUBLIC = "market/kline"


class Clock:
    """Time that passes only in sleeps."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000

    def __call__(self) -> int:
        return self.now_ms

    async def sleep(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)


def _budget(clock: Clock, **limits: int) -> ProcessBudget:
    return ProcessBudget(clock=clock, wall_clock=clock, sleep=clock.sleep, **limits)


async def _take(
    budget: ProcessBudget,
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


async def test_exits_may_use_the_whole_second_and_then_wait() -> None:
    clock = Clock()
    budget = _budget(clock)
    for _ in range(10):
        await _take(budget)
    assert clock.now_ms == 1_000_000
    await _take(budget)
    assert clock.now_ms >= 1_001_000


async def test_entries_leave_a_reserve_that_exits_can_use() -> None:
    clock = Clock()
    budget = _budget(clock)
    for _ in range(8):
        await _take(budget, Priority.ENTRY)
    before = clock.now_ms
    await _take(budget, Priority.EXIT)
    await _take(budget, Priority.EXIT)
    assert clock.now_ms == before
    await _take(budget, Priority.ENTRY)
    assert clock.now_ms > before


async def test_accounts_and_endpoints_are_counted_apart() -> None:
    clock = Clock()
    budget = _budget(clock)
    for uid in ("a", "b"):
        for endpoint in (CREATE, "order/cancel"):
            for _ in range(10):
                await _take(budget, endpoint=endpoint, uid=uid)
    assert clock.now_ms == 1_000_000


async def test_address_limit_counts_public_requests_too() -> None:
    clock = Clock()
    budget = _budget(clock, ip_limit=20)
    for _ in range(20):
        await _take(budget, endpoint=PUBLIC)
    await _take(budget, endpoint=PUBLIC)
    assert clock.now_ms >= 1_005_000


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(Priority), st.integers(0, 300)), min_size=20, max_size=80))
def test_no_rolling_second_ever_holds_more_than_the_limit(steps: list[tuple[Priority, int]]) -> None:
    clock = Clock()
    budget = _budget(clock)
    sent: list[int] = []

    async def run() -> None:
        for priority, pause_ms in steps:
            clock.now_ms += pause_ms
            await _take(budget, priority)
            sent.append(clock.now_ms)

    asyncio.run(run())
    for start in sent:
        assert sum(start <= time_ms < start + 1000 for time_ms in sent) <= ACCOUNT_LIMITS[CREATE]


async def test_answers_raise_the_limit_of_a_vip_account() -> None:
    clock = Clock()
    budget = _budget(clock)
    await _take(budget, X_Bapi_Limit="20", X_Bapi_Limit_Status="19")
    for _ in range(19):
        await _take(budget)
    assert clock.now_ms == 1_000_000


async def test_requests_of_another_process_are_learnt_from_what_is_left() -> None:
    clock = Clock()
    budget = _budget(clock)
    await _take(budget, X_Bapi_Limit="10", X_Bapi_Limit_Status="4")
    assert budget.left(CREATE, "u") == 4
    clock.now_ms += 1_100
    assert budget.left(CREATE, "u") == 10


async def test_own_requests_are_not_taken_for_those_of_others() -> None:
    clock = Clock()
    budget = _budget(clock)
    for left in range(9, 4, -1):
        await _take(budget, X_Bapi_Limit="10", X_Bapi_Limit_Status=str(left))
    assert budget.left(CREATE, "u") == 5


async def test_rate_limit_blocks_until_the_stated_reset() -> None:
    clock = Clock()
    budget = _budget(clock)
    await _take(budget, code=10006, X_Bapi_Limit_Reset_Timestamp=str(clock.now_ms + 400))
    await _take(budget)
    assert clock.now_ms == 1_000_400


@pytest.mark.parametrize("reset", ["1", "99999999999999", "soon", ""])
async def test_rate_limit_with_a_useless_reset_blocks_for_a_second(reset: str) -> None:
    clock = Clock()
    budget = _budget(clock)
    await _take(budget, code=10006, X_Bapi_Limit_Reset_Timestamp=reset)
    await _take(budget)
    assert clock.now_ms == 1_001_000


@pytest.mark.parametrize(("status", "code"), [(403, 0), (200, 10018)])
async def test_nothing_is_sent_for_ten_minutes_after_a_ban(status: int, code: int) -> None:
    clock = Clock()
    budget = _budget(clock)
    await _take(budget, status=status, code=code)
    for endpoint in (CREATE, PUBLIC):
        with pytest.raises(IpBanned, match="600 s"):
            await _take(budget, endpoint=endpoint, uid="other")
    clock.now_ms += 600_000
    await _take(budget)


async def test_waiting_exit_goes_before_an_entry_that_waited_longer() -> None:
    clock = Clock()

    async def sleep(seconds: float) -> None:
        wake_ms = clock.now_ms + seconds * 1000
        while clock.now_ms < wake_ms:
            await asyncio.sleep(0)

    budget = ProcessBudget(clock=clock, wall_clock=clock, sleep=sleep)
    order: list[Priority] = []

    async def send(priority: Priority) -> None:
        await _take(budget, priority)
        order.append(priority)

    for _ in range(10):  # one slot becomes free every 20 ms, a second later
        await _take(budget)
        clock.now_ms += 20
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(send(Priority.ENTRY))
        tasks.create_task(send(Priority.EXIT))
        while len(order) < 2:
            await asyncio.sleep(0)
            clock.now_ms += 1
    assert order == [Priority.EXIT, Priority.ENTRY]


async def test_unlimited_budget_admits_at_once() -> None:
    budget = UnlimitedBudget()
    for _ in range(1000):
        async with budget.take(CREATE, "u", Priority.QUERY) as lease:
            lease.report(headers={}, ret_code=10006, http_status=403)
