"""The bus when it cannot store: a full disk, limits that are reached, a server that is away; and slow readers."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from breakwater_cli.nats_process import NatsProcess
from breakwater_core.events import Alert, Fill, FillKind, Severity, Side
from breakwater_runtime import codec, readers, store_watch
from breakwater_runtime.bus import Bus, BusError, connect
from breakwater_runtime.consumers import ConsumerSpecification, PullConsumer, Received
from breakwater_runtime.errors import DependencyError
from breakwater_runtime.health import Health
from breakwater_runtime.readers import Delivery, read_stream
from breakwater_runtime.settings import ServiceSettings
from breakwater_runtime.store_watch import CONDITION

MEBIBYTE = 1 << 20
ROOM_FOR_LIMITS = 64 << 30


def fill(number: int, *, ballast: int = 0) -> Fill:
    return Fill(
        exec_id=f"exec-{number}",
        run_id="test-run",
        account="main",
        symbol="BTCUSDT",
        order_id="x" * ballast,
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


def news(number: int) -> Alert:
    return Alert(f"news-{number}", "test-run", Severity.CRITICAL, "test", "news", "something happened", number)


async def until(happened: Callable[[], bool | Awaitable[bool]], timeout_s: float = 90) -> None:
    async with asyncio.timeout(timeout_s):
        while not (result if isinstance(result := happened(), bool) else await result):
            await asyncio.sleep(0.02)


async def alerts_on(bus: Bus) -> list[Alert]:
    found: list[Alert] = []
    async with read_stream(
        bus,
        name="alerts",
        stream="ALERT",
        filters=["alert.>"],
        start=1,
        handle=lambda d: found.append(codec.decode(d.subject, d.payload).value),
    ):
        last = int((await bus.api("STREAM.INFO.ALERT"))["state"]["messages"])
        await until(lambda: len(found) >= last)
    return found


async def test_a_full_disk_is_told_and_no_acknowledged_message_is_lost_by_it(
    small_disk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_watch, "SILENT_AFTER_S", 2.5)
    server = NatsProcess(small_disk.path / "nats", store_limit=ROOM_FOR_LIMITS)
    server.start()
    health = Health()
    settings = ServiceSettings(nats_url=server.url, run_id="test-run", instance="a")
    try:
        async with asyncio.timeout(100), connect(settings, name="executor", health=health) as bus:
            small_disk.fill()
            kept: list[str] = []

            async def publish() -> None:
                for number in range(40):
                    await bus.publish_persistently(fill(number, ballast=200_000))
                    kept.append(f"exec-{number}")

            publishing = asyncio.create_task(publish())
            await until(lambda: CONDITION in health.faults)
            assert "FILL" in health.faults[CONDITION]
            assert bus.watch.full == {"FILL"}
            acknowledged = list(kept)
            assert not publishing.done()
            small_disk.make_room()
            server.kill()
            server.start()
            await until(lambda: publishing.done() or len(kept) > len(acknowledged))
            assert CONDITION not in health.faults
            publishing.cancel()
            stored = await stored_fills(bus)
            await until(lambda: len(bus.outbox) == 0)
            told = await alerts_on(bus)
        assert stored[: len(acknowledged)] == acknowledged
        assert len(stored) == len(set(stored))
        assert [alert.name for alert in told] == ["store_full"]
        assert "make room on its disk and restart NATS" in told[0].summary
    finally:
        server.stop()


async def stored_fills(bus: Bus) -> list[str]:
    found: list[str] = []
    async with read_stream(
        bus,
        name="fills",
        stream="FILL",
        filters=["fill.>"],
        start=1,
        handle=lambda d: found.append(codec.decode(d.subject, d.payload).value.exec_id),
    ):
        last = int((await bus.api("STREAM.INFO.FILL"))["state"]["messages"])
        await until(lambda: len(found) >= last)
    return found


async def test_a_bucket_at_its_limit_is_told_at_once_and_forgotten_once_it_stores_again(
    nats_server: NatsProcess,
) -> None:
    health = Health()
    settings = ServiceSettings(nats_url=nats_server.url, run_id="test-run")
    async with connect(settings, name="executor", health=health) as bus:
        config = (await bus.api("STREAM.INFO.KV_control"))["config"]
        await bus.api("STREAM.UPDATE.KV_control", config | {"max_bytes": 1000})
        with pytest.raises(BusError, match="maximum bytes exceeded"):
            await bus.write("control", "state", b"x" * 2000)
        assert "KV_control" in health.faults[CONDITION]
        await bus.write("control", "state", b"x")
        assert CONDITION not in health.faults
        await until(lambda: _is_stored(bus, "ALERT"))
        assert [alert.name for alert in await alerts_on(bus)] == ["store_full"]


async def _is_stored(bus: Bus, stream: str) -> bool:
    return bool((await bus.api(f"STREAM.INFO.{stream}"))["state"]["messages"])


async def test_a_server_without_room_for_the_streams_ends_the_start_with_the_reason(tmp_path: Any) -> None:
    server = NatsProcess(tmp_path / "nats", store_limit=100 * MEBIBYTE)
    server.start()
    try:
        with pytest.raises(DependencyError, match=r"insufficient storage.*room for the streams"):
            async with connect(ServiceSettings(nats_url=server.url), name="test"):
                pass
    finally:
        server.stop()


async def test_alerts_raised_while_the_server_is_away_are_published_once_it_is_back(
    bus: Bus, nats_server: NatsProcess
) -> None:
    nats_server.kill()
    await asyncio.gather(*(bus.alert(news(number)) for number in range(3)))
    assert len(bus.outbox) == 3
    nats_server.start()
    await until(lambda: len(bus.outbox) == 0)
    assert sorted(alert.alert_id for alert in await alerts_on(bus)) == ["news-0", "news-1", "news-2"]


async def test_a_slow_reader_holds_no_more_than_it_has_room_for_and_still_gets_everything_in_order(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "HEARTBEAT_S", 0.2)
    count, limit = 2000, 100
    await bus.publish_all(fill(number, ballast=20_000) for number in range(count))
    room = asyncio.Event()
    room.set()
    waiting: list[int] = []
    taken: list[int] = []

    def handle(delivery: Delivery) -> None:
        waiting.append(delivery.sequence)
        if len(waiting) >= limit:
            room.clear()

    async with read_stream(bus, name="slow", stream="FILL", filters=["fill.>"], start=1, handle=handle, room=room):
        await until(lambda: not room.is_set())
        await asyncio.sleep(1.0)  # longer than a reader may be silent before it is set up anew
        assert len(waiting) == limit
        pending = (await bus.api("CONSUMER.LIST.FILL"))["consumers"]
        assert len(pending) == 1
        assert pending[0]["num_pending"] > 0, "the server still holds the rest"
        while len(taken) < count:
            await until(lambda: bool(waiting))
            taken.extend(waiting)
            waiting.clear()
            room.set()
    assert taken == list(range(1, count + 1))


async def test_a_dead_letter_that_cannot_be_kept_makes_its_message_come_again(bus: Bus) -> None:
    config = (await bus.api("STREAM.INFO.DEAD"))["config"]
    await bus.api("STREAM.DELETE.DEAD")
    await bus.publish_encoded(codec.Encoded("fill.main.BTCUSDT", "", b"\xff\xff\xff"))
    stop = asyncio.Event()

    async def handle(_: Received) -> None:
        raise AssertionError("a malformed message must not reach the handler")

    specification = ConsumerSpecification(stream="FILL", durable="d", filters=("fill.>",), retry_delay_s=0.01)
    task = asyncio.create_task(PullConsumer(bus, specification, handle, service="test").run(stop))
    await until(lambda: _deliveries(bus, 3))
    assert not task.done()
    await bus.api("STREAM.CREATE.DEAD", config)
    await until(lambda: _is_stored(bus, "DEAD"))
    stop.set()
    await task


async def _deliveries(bus: Bus, number: int) -> bool:
    try:
        info = await bus.api("CONSUMER.INFO.FILL.d")
    except BusError:
        return False
    return bool(info["delivered"]["consumer_seq"] >= number)
