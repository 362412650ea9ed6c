"""The bus against a real NATS server, killed and started again."""

import asyncio
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from breakwater_cli.nats_process import NatsProcess
from breakwater_core.errors import PermanentError, TransientError
from breakwater_core.events import Fill, FillKind, Side
from breakwater_core.market import Clock, ClockKind, TradeBatch
from breakwater_runtime import codec, subjects
from breakwater_runtime.bus import Bus, connect
from breakwater_runtime.bus_streams import ensure_streams
from breakwater_runtime.consumers import ConsumerSpecification, PullConsumer, Received
from breakwater_runtime.errors import BusError, DependencyError
from breakwater_runtime.patience import patiently
from breakwater_runtime.readers import LAST_PER_SUBJECT, After, Delivery, read_stream, wait_for_value
from breakwater_runtime.settings import ServiceSettings


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


def batch(number: int, rows: int = 100) -> TradeBatch:
    times = np.arange(rows, dtype=np.int64) + number * rows
    prices = np.full(rows, 100.0 + number)
    return TradeBatch("BTCUSDT", times, prices, np.ones(rows), np.ones(rows, np.int8), window=number)


def consumer_of(bus: Bus, handle: object, **changes: object) -> PullConsumer:
    values: dict[str, object] = {
        "stream": "FILL",
        "durable": "reporter-fill",
        "filters": ("fill.>",),
        "retry_delay_s": 0.01,
    }
    specification = ConsumerSpecification(**(values | changes))
    return PullConsumer(bus, specification, handle, service="test")


async def test_an_event_published_twice_is_stored_once(bus: Bus) -> None:
    assert await bus.publish(fill(1)) == await bus.publish(fill(1))


async def test_a_consumer_gets_every_message_once_and_in_order(bus: Bus) -> None:
    await bus.publish_all(fill(number) for number in range(300))
    seen: list[str] = []
    stop = asyncio.Event()

    async def handle(received: Received) -> None:
        seen.append(received.event.exec_id)
        if len(seen) == 300:
            stop.set()

    await consumer_of(bus, handle).run(stop)
    assert seen == [f"exec-{number}" for number in range(300)]


async def test_a_transient_failure_is_retried_and_a_permanent_one_becomes_a_dead_letter(bus: Bus) -> None:
    await bus.publish_all(fill(number) for number in range(3))
    attempts: dict[str, int] = {}
    stop = asyncio.Event()

    async def handle(received: Received) -> None:
        name = received.event.exec_id
        attempts[name] = attempts.get(name, 0) + 1
        if name == "exec-0" and attempts[name] < 3:
            raise TransientError("not yet")
        if name == "exec-1":
            raise PermanentError("never")
        if attempts.get("exec-0") == 3:
            stop.set()

    await bus.publish(fill(3))
    task = asyncio.create_task(consumer_of(bus, handle).run(stop))
    dead = asyncio.get_running_loop().create_future()
    async with read_stream(bus, name="dead", stream="DEAD", filters=["dead.>"], start=1, handle=dead.set_result):
        letter: Delivery = await dead
    while attempts.get("exec-0") != 3:
        await asyncio.sleep(0)
    stop.set()
    await task
    assert letter.subject == "dead.FILL.reporter-fill"
    assert attempts["exec-1"] == 1


async def test_a_malformed_message_becomes_a_dead_letter(bus: Bus) -> None:
    await bus.publish_encoded(codec.Encoded("fill.main.BTCUSDT", "", b"\xff\xff\xff"))
    found = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()

    async def handle(_: Received) -> None:
        raise AssertionError("a malformed message must not reach the handler")

    task = asyncio.create_task(consumer_of(bus, handle).run(stop))
    async with read_stream(bus, name="dead", stream="DEAD", filters=["dead.>"], start=1, handle=found.set_result):
        await found
    stop.set()
    await task


async def test_a_message_that_killed_its_handlers_too_often_becomes_a_dead_letter(bus: Bus) -> None:
    await bus.publish(fill(1))
    found = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    calls = 0

    async def handle(_: Received) -> None:
        nonlocal calls
        calls += 1
        raise TransientError("always")

    task = asyncio.create_task(consumer_of(bus, handle, max_deliveries=3).run(stop))
    async with read_stream(bus, name="dead", stream="DEAD", filters=["dead.>"], start=1, handle=found.set_result):
        await found
    stop.set()
    await task
    assert calls == 3


async def test_messages_of_another_run_are_passed_over(bus: Bus) -> None:
    await bus.publish_encoded(codec.encode(fill(1), "another-run"))
    await bus.publish(fill(2))
    seen: list[str] = []
    stop = asyncio.Event()

    async def handle(received: Received) -> None:
        seen.append(received.event.exec_id)
        stop.set()

    await consumer_of(bus, handle).run(stop)
    assert seen == ["exec-2"]


async def test_consumer_and_reader_survive_a_killed_server(bus: Bus, nats_server: NatsProcess) -> None:
    server = nats_server
    handled: list[str] = []
    read: list[int] = []
    stop = asyncio.Event()

    async def handle(received: Received) -> None:
        handled.append(received.event.exec_id)

    task = asyncio.create_task(consumer_of(bus, handle).run(stop))
    async with read_stream(
        bus, name="md", stream="MD", filters=["md.>"], start=1, handle=lambda d: read.append(d.sequence)
    ):
        await bus.publish(fill(0))
        await bus.publish(batch(1))
        while not (handled and read):
            await asyncio.sleep(0.01)
        server.kill()
        server.start()
        await bus.publish_persistently(fill(1))
        await bus.publish_persistently(batch(2))
        while not (len(handled) >= 2 and len(read) >= 2):
            await asyncio.sleep(0.01)
    stop.set()
    await task
    assert sorted(set(handled)) == ["exec-0", "exec-1"]
    assert read == sorted(set(read))


async def test_a_reader_sees_large_batches_in_order_from_any_sequence(bus: Bus) -> None:
    await bus.publish_all([batch(number, 10_000) for number in range(1, 41)])
    windows: list[int] = []
    done = asyncio.Event()

    def handle(delivery: Delivery) -> None:
        windows.append(codec.decode(delivery.subject, delivery.payload).value.window)
        if windows[-1] == 40:
            done.set()

    async with read_stream(bus, name="md", stream="MD", filters=["md.>"], start=11, handle=handle):
        await done.wait()
    assert windows == list(range(11, 41))


async def test_waiting_for_a_value_sees_one_that_is_there_and_one_that_comes(bus: Bus) -> None:
    await bus.write("checkpoint", "progress.a.signal", b"3")
    assert await wait_for_value(bus, "checkpoint", "progress.a.signal", lambda value: int(value) >= 3) == b"3"
    later = asyncio.create_task(wait_for_value(bus, "checkpoint", "progress.a.signal", lambda v: int(v) >= 4))
    await bus.write("checkpoint", "progress.a.signal", b"4")
    assert await later == b"4"


async def test_only_the_first_creates_a_key(bus: Bus) -> None:
    assert await bus.create("intents", "x", b"1")
    assert not await bus.create("intents", "x", b"2")
    assert await bus.read("intents", "x") == b"1"
    assert await bus.read("intents", "absent") is None
    assert await bus.keys("intents", "x") == ["x"]


async def test_an_absent_server_is_named_without_its_password() -> None:
    settings = ServiceSettings(nats_url="nats://user:hunter2@127.0.0.1:9")
    with pytest.raises(DependencyError) as caught:
        async with connect(settings, name="test"):
            pass
    assert "127.0.0.1:9" in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_the_latest_value_of_each_key_is_read_first(bus: Bus) -> None:
    for value in (b"1", b"2"):
        await bus.write("control", "halt", value)
    first = asyncio.get_running_loop().create_future()
    async with read_stream(
        bus,
        name="control",
        stream="KV_control",
        filters=["$KV.control.>"],
        start=LAST_PER_SUBJECT,
        handle=first.set_result,
    ):
        assert (await first).payload == b"2"


async def test_a_clock_travels_the_bus(bus: Bus) -> None:
    clock = Clock(ClockKind.ADVANCED, 1, 2, date(2024, 1, 1), 3, 4)
    found = asyncio.get_running_loop().create_future()
    await bus.publish(clock)
    async with read_stream(
        bus, name="clock", stream="MD", filters=[subjects.clock()], start=1, handle=found.set_result
    ):
        delivery = await found
    assert codec.decode(delivery.subject, delivery.payload).value == clock


async def test_a_reader_goes_on_when_a_crash_took_messages_that_it_had_seen(bus: Bus) -> None:
    seen: list[int] = []
    await bus.publish_all([batch(number) for number in range(1, 6)])
    async with read_stream(
        bus, name="md", stream="MD", filters=["md.>"], start=1, handle=lambda d: seen.append(window_of(d))
    ) as reader:
        while len(seen) < 5:
            await asyncio.sleep(0.01)
        # What a crash does to a stream that is written behind: the newest are gone, and their sequences are used again.
        await bus.api("STREAM.DELETE.MD")
        await ensure_streams(bus)
        await bus.publish_all([batch(number) for number in (6, 7)])
        while len(seen) < 7:
            await asyncio.sleep(0.01)
        assert reader.sequence == 2
    assert seen == [1, 2, 3, 4, 5, 6, 7]


async def test_reading_behind_a_message_that_is_not_there_any_more_goes_by_its_time(bus: Bus) -> None:
    places: list[After] = []
    await bus.publish_all([batch(1), batch(2)])
    async with read_stream(
        bus,
        name="md",
        stream="MD",
        filters=["md.>"],
        start=1,
        handle=lambda d: places.append(After(d.sequence, d.stored_ns)),
    ):
        while len(places) < 2:
            await asyncio.sleep(0.01)
    assert await windows_behind(bus, places[0]) == [2]
    await bus.api("STREAM.DELETE.MD")
    await ensure_streams(bus)
    await bus.publish(batch(3))
    assert await windows_behind(bus, places[1]) == [3]


def window_of(delivery: Delivery) -> int:
    window: int = codec.decode(delivery.subject, delivery.payload).value.window
    return window


async def windows_behind(bus: Bus, place: After) -> list[int]:
    found: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with read_stream(
        bus, name="md", stream="MD", filters=["md.>"], start=place, handle=lambda d: found.set_result(window_of(d))
    ):
        return [await found]


async def test_hundreds_of_consumers_are_asked_for_a_few_at_a_time(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once they would keep the server from answering, also those who trade already."""
    running, most, api = 0, 0, bus.api

    async def counted(subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return await api(subject, body)
        finally:
            running -= 1

    monkeypatch.setattr(bus, "api", counted)
    names = [f"worker-{number}" for number in range(200)]
    config = {"ack_policy": "explicit"}
    await asyncio.gather(
        *(
            bus.create_consumer("INTENT", name, [f"intent.0.main.{name}"], config | {"durable_name": name})
            for name in names
        )
    )
    assert 1 < most <= 4
    assert (await api("STREAM.INFO.INTENT"))["state"]["consumer_count"] == len(names)


async def test_patience_has_an_end() -> None:
    async def never() -> None:
        raise BusError("nobody answers")

    with pytest.raises(BusError, match="nobody answers"):
        await patiently(never, limit_s=0.5)
