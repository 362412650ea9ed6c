"""Queues of intents on a real bus: an intent that takes long is in nobody's way but its own symbol's."""

import asyncio
from types import SimpleNamespace
from typing import Any

from breakwater_core.events import Leg
from breakwater_core.identities import partition_of
from breakwater_runtime.bus import Bus
from breakwater_runtime.consumers import Received
from breakwater_runtime.readers import LAST_PER_SUBJECT, read_stream
from breakwater_runtime.subjects import INTENT_PARTITIONS
from executor_service.intent_queues import IntentQueues


async def test_an_exit_that_hangs_does_not_hold_up_the_exit_of_a_symbol_of_the_same_partition(
    bus: Bus, kit: SimpleNamespace
) -> None:
    names = [f"S{number}USDT" for number in range(200)]
    partition = partition_of("main", names[0], INTENT_PARTITIONS)
    neighbour = next(name for name in names[1:] if partition_of("main", name, INTENT_PARTITIONS) == partition)
    handled: asyncio.Queue[Any] = asyncio.Queue()
    never = asyncio.Event()
    stop = asyncio.Event()

    async def handle(received: Received) -> None:
        handled.put_nowait(received.event)
        if received.event.symbol == names[0]:
            await never.wait()

    async with asyncio.timeout(90), asyncio.TaskGroup() as tasks:
        queues = IntentQueues(bus, handle, ack_wait_s=10, tasks=tasks, stop=stop)
        async with read_stream(
            bus, name="q", stream="INTENT", filters=["intent.>"], start=LAST_PER_SUBJECT, handle=queues.hear
        ):
            await bus.publish(kit.intent(Leg.EXIT, symbol=names[0]))
            assert (await handled.get()).symbol == names[0]
            await bus.publish(kit.intent(Leg.EXIT, symbol=names[0], attempt=2))
            await bus.publish(kit.intent(Leg.EXIT, symbol=neighbour))
            assert (await handled.get()).symbol == neighbour
            assert handled.empty()  # the next one of the first symbol waits its turn
            never.set()
            assert (await handled.get()).attempt == 2
            stop.set()


async def test_a_queue_is_opened_once_and_also_for_intents_from_before_the_start(
    bus: Bus, kit: SimpleNamespace
) -> None:
    handled: asyncio.Queue[Any] = asyncio.Queue()
    stop = asyncio.Event()

    async def handle(received: Received) -> None:
        handled.put_nowait(received.event)

    first, second = kit.intent(), kit.intent(Leg.EXIT)
    await bus.publish(first)
    await bus.publish(second)
    async with asyncio.timeout(90), asyncio.TaskGroup() as tasks:
        queues = IntentQueues(bus, handle, ack_wait_s=10, tasks=tasks, stop=stop)
        queues.open("main", "BTCUSDT")
        queues.open("main", "BTCUSDT")
        assert [(await handled.get()), (await handled.get())] == [first, second]
        stop.set()
    assert handled.empty()


async def test_attached_means_that_every_queue_is_there_however_many_there_are(bus: Bus) -> None:
    """Readiness waits for it: an executor that is said to be ready takes intents."""
    stop = asyncio.Event()

    async def handle(_: Received) -> None:
        raise AssertionError("there are no intents")

    async with asyncio.timeout(90), asyncio.TaskGroup() as tasks:
        queues = IntentQueues(bus, handle, ack_wait_s=10, tasks=tasks, stop=stop)
        for number in range(100):
            queues.open("main", f"S{number}USDT")
        assert (await bus.api("STREAM.INFO.INTENT"))["state"]["consumer_count"] < 100
        await queues.attached()
        assert (await bus.api("STREAM.INFO.INTENT"))["state"]["consumer_count"] == 100
        stop.set()
