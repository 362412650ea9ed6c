"""Entries let reductions pass, but not for long."""

import asyncio

from executor_service.right_of_way import RightOfWay


async def test_an_entry_waits_until_the_last_reduction_has_passed() -> None:
    way = RightOfWay()
    with way.taken():
        with way.taken():
            entry = asyncio.create_task(way.give(longest_s=60))
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not entry.done()
    await asyncio.wait_for(entry, 10)


async def test_a_free_way_costs_no_turn_of_the_loop() -> None:
    giving = RightOfWay().give()
    try:
        giving.send(None)
    except StopIteration:
        return
    raise AssertionError("it waited")


async def test_an_entry_waits_no_longer_than_it_was_told_and_leaves_nothing_behind() -> None:
    way = RightOfWay()
    with way.taken():
        await way.give(longest_s=0.001)
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1
