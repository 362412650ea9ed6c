"""The bus dies with orders in hand: nothing is entered without it, and what is at the exchange goes on to its end."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from breakwater_cli.nats_process import NatsProcess
from breakwater_core.events import Alert, Leg, OrderEvent, OrderStatus
from breakwater_runtime.bus import Bus, connect
from breakwater_runtime.settings import ServiceSettings
from executor_service import metrics
from executor_service.bus_away import BusAway
from executor_service.record_store import RecordStore


@pytest.fixture(autouse=True)
def _bus_is_there() -> None:
    metrics.BUS_DOWN.set(0)


@pytest.fixture
def nats_url(nats_server: NatsProcess) -> str:
    return nats_server.url


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    async with asyncio.timeout(90), connect(ServiceSettings(nats_url=nats_url, run_id="test-run"), name="test") as bus:
        yield bus


def seconds_away() -> float:
    return next(iter(metrics.BUS_DOWN.collect())).samples[0].value


def closing(log: Any) -> list[OrderEvent]:
    return [event for event in log.of(OrderEvent) if event.intent_closed]


async def test_an_entry_whose_record_cannot_be_written_is_not_sent(
    roles: SimpleNamespace,
    exchange: Any,
    desk: Any,
    log: Any,
    kit: SimpleNamespace,
    nats_server: NatsProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write, tried = RecordStore.write, asyncio.Event()

    async def write_to_a_dead_bus(self: RecordStore, *values: Any) -> int:
        if not tried.is_set():
            nats_server.kill()
            tried.set()
        return await write(self, *values)

    monkeypatch.setattr(RecordStore, "write", write_to_a_dead_bus)
    async with roles.account(), roles.order():
        await desk.open_day(roles.DAY, 0)
        await desk.decide(kit.intent())
        await asyncio.wait_for(tried.wait(), 20)
        async with asyncio.timeout(90):
            while not seconds_away():
                await asyncio.sleep(0.05)
        assert not exchange.engine.accounts["main"].orders
        nats_server.start()
        await log.until(lambda log: len(closing(log)) == 1)
    assert closing(log)[0].status is OrderStatus.FILLED
    assert len(exchange.engine.accounts["main"].orders) == 1


async def test_an_exit_at_the_exchange_when_the_bus_dies_goes_on_and_is_told_when_it_is_back(
    roles: SimpleNamespace,
    exchange: Any,
    desk: Any,
    log: Any,
    kit: SimpleNamespace,
    nats_server: NatsProcess,
    faults: Any,
) -> None:
    books = exchange.engine.accounts["main"]
    async with roles.account(), roles.order():
        await desk.open_day(roles.DAY, 0)
        await desk.decide(kit.intent())
        await log.until(lambda log: len(closing(log)) == 1)
        seen, of_request = asyncio.Event(), faults.of_request

        def kill_the_bus(method: str, path: str, account: str) -> Any:
            if path.endswith("/order/create") and not seen.is_set():
                nats_server.kill()
                seen.set()
                return roles.Fault(before=(502, b""))  # so that the order has to be sent again, without the bus
            return of_request(method, path, account)

        faults.of_request = kill_the_bus
        await desk.decide(kit.intent(Leg.EXIT))
        await asyncio.wait_for(seen.wait(), 20)
        async with asyncio.timeout(90):
            while books.position("BTCUSDT", 0).size:
                await asyncio.sleep(0.05)
        nats_server.start()
        await log.until(lambda log: len(closing(log)) == 2)
    assert closing(log)[1].status is OrderStatus.FILLED
    assert closing(log)[1].filled_quantity == Decimal(2)
    assert len(books.orders) == 2


async def test_an_absence_of_the_bus_is_told_when_it_is_back(bus: Bus, log: Any, nats_server: NatsProcess) -> None:
    stop = asyncio.Event()
    watching = asyncio.create_task(BusAway(bus, alert_after_s=0.1).run(stop))
    nats_server.kill()
    async with asyncio.timeout(90):
        while seconds_away() < 0.1:
            await asyncio.sleep(0.05)
    nats_server.start()
    await log.until(lambda log: bool(log.of(Alert)))
    stop.set()
    await watching
    assert [alert.name for alert in log.of(Alert)] == ["bus_away"]
    assert seconds_away() == 0
