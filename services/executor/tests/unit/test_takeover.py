"""Two processes with one intent: the one that came second goes on, the one that came first sends nothing more."""

import asyncio
from types import SimpleNamespace

import pytest

from breakwater_bybit import errors
from breakwater_core.events import Leg, OrderStatus
from breakwater_runtime.bus import BusError
from executor_service.order_life import Patience
from executor_service.record_store import TakenOver

SLOW = Patience(look_ups_s=(0.01,), settle_s=0.1)


@pytest.mark.parametrize(
    "error",
    [errors.UnknownOutcome("lost"), errors.RateLimited("too many", reset_at_ms=None, ret_code=10006)],
    ids=["answer_lost", "rate_limited"],
)
async def test_a_process_that_was_overtaken_does_not_send_again(
    kit: SimpleNamespace, error: errors.ExchangeError
) -> None:
    world = kit.World(patience=SLOW)
    world.exchange.script = [kit.Placement(error=error, arrives=False)]
    first = asyncio.create_task(world.process().handle(kit.intent()))
    while not world.exchange.requests:
        await asyncio.sleep(0)
    await _overtake(world)
    with pytest.raises(TakenOver):
        await first
    assert len(world.exchange.requests) == 1


async def test_whoever_takes_an_intent_over_says_so_before_anything_else(kit: SimpleNamespace) -> None:
    world = kit.World(patience=SLOW)
    world.exchange.script = [kit.Placement(error=kit.lost_answer(), arrives=False)]
    world.steps.kills = [(world.steps.count + 4, True)]  # read record, write record, send, publish
    with pytest.raises(kit.Killed):
        await world.process().handle(kit.intent())
    world.steps.names.clear()
    await world.process().handle(kit.intent())
    assert world.steps.names[:3] == ["read record", "write record", "look up"]
    assert world.publisher.closing[0].status is OrderStatus.FILLED


async def test_a_first_delivery_of_an_intent_that_another_message_has_closed_tells_its_outcome(
    kit: SimpleNamespace,
) -> None:
    world = kit.World()
    for leg in (Leg.ENTRY, Leg.EXIT):
        await world.process().handle(kit.intent(leg), is_first=True)
        await world.process().handle(kit.intent(leg), is_first=True)
    assert len(world.publisher.closing) == 4
    assert len(set(world.publisher.closing)) == 2
    assert len(world.exchange.requests) == 2


async def test_nothing_is_sent_again_while_the_records_cannot_be_written(kit: SimpleNamespace) -> None:
    world = kit.World(patience=SLOW)
    world.exchange.script = [kit.Placement(error=kit.lost_answer(), arrives=False)]
    write, written = world.records.write, []

    async def away(*arguments: object) -> int:
        if written:
            raise BusError("away")
        written.append(await write(*arguments))
        return written[0]

    world.records.write = away
    with pytest.raises(BusError):
        await world.process().handle(kit.intent())
    assert len(world.exchange.requests) == 1
    world.records.write = write
    await world.deliver(kit.intent())
    assert world.publisher.closing[0].status is OrderStatus.FILLED
    assert len(world.exchange.requests) == 2


async def _overtake(world: object) -> None:
    """Write every record anew, as a process does that takes an intent over."""
    records = world.records
    for key, (_, revision) in list(records.entries.items()):
        record, _ = await records.read(key)
        await records.write(key, record, revision)


async def test_an_exit_that_was_sent_without_the_bus_is_found_by_whoever_takes_the_intent_over(
    kit: SimpleNamespace,
) -> None:
    world = kit.World(patience=SLOW)
    await world.deliver(kit.intent())
    write = world.records.write

    async def away(*_arguments: object) -> int:
        raise BusError("away")

    world.records.write = away
    first = asyncio.create_task(world.process().handle(kit.intent(Leg.EXIT)))
    while world.exchange.positions["BTCUSDT"]:
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})
    world.records.write = write
    await world.deliver(kit.intent(Leg.EXIT))
    closed = world.publisher.closing[-1]
    assert (closed.leg, closed.status, closed.child) == (Leg.EXIT, OrderStatus.FILLED, 0)
    assert closed.average_price is not None
    assert len(world.exchange.requests) == 2
