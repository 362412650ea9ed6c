"""Entries let reductions pass, but not for long."""

import asyncio
from types import SimpleNamespace

from breakwater_core.events import Leg, OrderStatus
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


async def test_an_entry_that_is_ready_to_be_sent_is_not_sent_before_the_reductions_of_the_process(
    kit: SimpleNamespace,
) -> None:
    world = kit.World()
    with world.right_of_way.taken():
        entry = asyncio.create_task(world.process().handle(kit.intent()))
        for _ in range(100):
            await asyncio.sleep(0)
        assert "write record" in world.steps.names
        assert not world.exchange.requests
    await entry
    assert world.publisher.closing[0].status is OrderStatus.FILLED


async def test_a_reduction_has_the_way_while_its_first_order_is_sent_and_gives_it_back(kit: SimpleNamespace) -> None:
    world = kit.World()
    await world.process().handle(kit.intent())
    exit_ = asyncio.create_task(world.process().handle(kit.intent(Leg.EXIT)))
    while len(world.exchange.requests) < 2:
        had_the_way = world.right_of_way.is_taken
        await asyncio.sleep(0)
    assert had_the_way
    await exit_
    assert not world.right_of_way.is_taken
