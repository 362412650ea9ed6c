"""Messages of a consumer that several processes share: when one of them stops, the others get what it has left at once.

The server would deliver a message anew only after hours here, so one that was left without a word would never come.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from decimal import Decimal

import pytest

from breakwater_cli.nats_process import NatsProcess
from breakwater_core.errors import TransientError
from breakwater_core.events import Fill, FillKind, Side
from breakwater_runtime.bus import Bus, connect
from breakwater_runtime.consumers import ConsumerSpecification, PullConsumer, Received
from breakwater_runtime.settings import ServiceSettings

HOUR_S = 3600.0


def fill(number: int) -> Fill:
    return Fill(
        exec_id=f"exec-{number}",
        run_id="test-run",
        account="main",
        symbol="BTCUSDT",
        order_id="order",
        order_link_id="bw-1",
        side=Side.BUY,
        quantity=Decimal("0.001"),
        price=Decimal(60000),
        fee=Decimal("0.033"),
        fee_rate=Decimal("0.00055"),
        is_maker=False,
        kind=FillKind.TRADE,
        exec_time_ms=1,
    )


def worker(bus: Bus, handle: Callable[[Received], Awaitable[None]], *, in_flight: int = 1) -> PullConsumer:
    specification = ConsumerSpecification(
        stream="FILL",
        durable="shared",
        filters=("fill.>",),
        batch=in_flight,
        max_in_flight=in_flight,
        ack_wait_s=HOUR_S,
        max_deliveries=0,  # as the queues of intents: one that is handed on ever so often is never put aside
        retry_delay_s=HOUR_S,
    )
    return PullConsumer(bus, specification, handle, service="test")


async def test_what_a_process_gives_up_because_it_stops_goes_to_the_next_one_without_the_pause_of_a_failure(
    bus: Bus,
) -> None:
    stop, taken = asyncio.Event(), asyncio.Event()
    handled: asyncio.Queue[str] = asyncio.Queue()

    async def give_up(received: Received) -> None:
        taken.set()
        await stop.wait()
        raise TransientError("stopping")

    async def handle(received: Received) -> None:
        handled.put_nowait(f"{received.event.exec_id}, delivery {received.deliveries}")

    async with asyncio.timeout(90), asyncio.TaskGroup() as tasks:
        await bus.publish_all([fill(0), fill(1)])
        first = tasks.create_task(worker(bus, give_up).run(stop))
        await taken.wait()
        other_stop = asyncio.Event()
        tasks.create_task(worker(bus, handle).run(other_stop))
        stop.set()
        assert [await handled.get(), await handled.get()] == ["exec-0, delivery 2", "exec-1, delivery 1"]
        await first
        other_stop.set()


@pytest.mark.parametrize("in_flight", [1, 16])
async def test_no_message_is_delivered_to_a_process_that_has_stopped_asking(
    bus: Bus, nats_server: NatsProcess, in_flight: int
) -> None:
    """Processes come and go while messages are published; each has a connection of its own, which it keeps open."""
    draw = random.Random(7)
    total = 400
    handled: Counter[str] = Counter()
    everything = asyncio.Event()

    async def handle(received: Received) -> None:
        await asyncio.sleep(0)
        handled[received.event.exec_id] += 1
        if len(handled) == total:
            everything.set()

    async def come_and_go() -> None:
        settings = ServiceSettings(nats_url=nats_server.url, run_id="test-run")
        async with connect(settings, name="worker") as own:
            while not everything.is_set():
                stop = asyncio.Event()
                running = asyncio.create_task(worker(own, handle, in_flight=in_flight).run(stop))
                enough = min(total, len(handled) + draw.randrange(8))
                while len(handled) < enough and not everything.is_set():
                    await asyncio.sleep(0)
                stop.set()
                await running

    async def publish() -> None:
        for number in range(total):
            await bus.publish(fill(number))

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(come_and_go())
        tasks.create_task(publish())
    assert sorted(handled) == sorted(f"exec-{number}" for number in range(total))


async def test_a_process_that_cannot_set_up_its_consumer_stops_all_the_same(bus: Bus) -> None:
    stop = asyncio.Event()
    await bus.api("STREAM.DELETE.FILL")

    async def handle(received: Received) -> None:
        raise AssertionError(received)

    async with asyncio.timeout(90):
        running = asyncio.create_task(worker(bus, handle).run(stop))
        await asyncio.sleep(0)
        stop.set()
        await running
