"""Places at the exchange: entries wait for one, exits never do, and none gets lost."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from executor_service.slots import PrioritySlots


async def test_exits_never_wait_and_entries_go_in_their_order() -> None:
    slots = PrioritySlots(1)
    served: list[str] = []

    async def work(name: str, *, urgent: bool) -> None:
        async with slots.hold(urgent=urgent):
            served.append(name)

    async with slots.hold(urgent=False):
        waiting = [
            asyncio.create_task(work(name, urgent=name.startswith("exit")))
            for name in ("entry-1", "exit-1", "entry-2", "exit-2")
        ]
        await asyncio.sleep(0)
        assert served == ["exit-1", "exit-2"]
    await asyncio.gather(*waiting)
    assert served == ["exit-1", "exit-2", "entry-1", "entry-2"]


async def test_accounts_take_turns_and_a_burst_of_one_keeps_no_other_waiting() -> None:
    slots = PrioritySlots(1)
    served: list[str] = []

    async def work(account: str) -> None:
        async with slots.hold(urgent=False, account=account):
            served.append(account)

    async with slots.hold(urgent=False, account="greedy"):
        waiting = [asyncio.create_task(work(account)) for account in ["greedy"] * 4 + ["modest", "late", "modest"]]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert served == ["greedy", "modest", "late", "greedy", "modest", "greedy", "greedy"]


@settings(max_examples=50, deadline=None)
@given(
    size=st.integers(1, 3),
    work=st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.booleans()), max_size=12),
)
def test_entries_never_exceed_the_places_and_a_cancelled_waiter_leaves_none_taken(
    size: int, work: list[tuple[bool, int, bool]]
) -> None:
    async def check() -> None:
        slots = PrioritySlots(size)
        entries = 0

        async def one(urgent: bool, turns: int) -> None:
            nonlocal entries
            async with slots.hold(urgent=urgent):
                entries += not urgent
                assert entries <= size
                try:
                    for _ in range(turns):
                        await asyncio.sleep(0)
                finally:
                    entries -= not urgent

        tasks = [asyncio.create_task(one(urgent, turns)) for urgent, turns, _ in work]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for task, (_, _, is_cancelled) in zip(tasks, work, strict=True):
            if is_cancelled:
                task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(outcome is None or isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        assert slots.used == 0

    asyncio.run(check())
