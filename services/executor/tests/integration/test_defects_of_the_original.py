"""Defects of the program that Breakwater replaces, in how orders are carried out: each test would fail on it."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from breakwater_core.events import AccountSnapshot, Leg, OrderEvent, OrderStatus, Side, SnapshotKind
from breakwater_core.identities import order_link_id
from breakwater_runtime.bus import Bus
from executor_service.intent_record import IntentRecord
from executor_service.record_store import RecordStore, TakenOver
from executor_service.venue_clock import ClockMode, wall_clock_ms
from paper_exchange_service.engine.markets import Costs
from paper_exchange_service.playback import play_synthetic
from paper_exchange_service.server import Options, PaperExchange
from paper_exchange_service.settings import AccountSettings


def closing(log: Any) -> list[OrderEvent]:
    return [event for event in log.of(OrderEvent) if event.intent_closed]


async def requests_to(faults: Any, ending: str, count: int) -> None:
    async with asyncio.timeout(90):
        while sum(path.endswith(ending) for path in faults.seen) < count:
            await asyncio.sleep(0.01)


async def test_exit_never_sent_an_exit_is_an_order_and_ends_with_the_position_at_zero(
    roles: SimpleNamespace, exchange: Any, desk: Any, log: Any, kit: SimpleNamespace
) -> None:
    async with roles.account(), roles.order():
        await desk.open_day(roles.DAY, 0)
        await desk.decide(kit.intent())
        await desk.decide(kit.intent(Leg.EXIT))
        await log.until(lambda log: len(closing(log)) == 2)
    books = exchange.engine.accounts["main"]
    assert [order.side for order in books.orders.values()] == [Side.BUY, Side.SELL]
    assert books.position("BTCUSDT", 0).size == 0
    assert "reported the position as 0" in closing(log)[1].detail


async def test_blocking_calls_while_one_order_waits_for_its_answer_another_symbols_order_is_made(
    roles: SimpleNamespace, desk: Any, log: Any, kit: SimpleNamespace, faults: Any
) -> None:
    async with roles.account(), roles.order():
        await desk.open_day(roles.DAY, 0)
        faults.script["/order/create"] = [roles.Fault(delay_s=3.0)]
        await desk.decide(kit.intent())
        await requests_to(faults, "/order/create", 1)
        await desk.decide(kit.intent(symbol="ETHUSDT"))
        await log.until(lambda log: len(closing(log)) == 2)
    assert [event.symbol for event in closing(log)] == ["ETHUSDT", "BTCUSDT"]


async def test_notice_before_the_order_nobody_is_told_of_an_order_that_the_exchange_has_not_answered(
    roles: SimpleNamespace, desk: Any, log: Any, kit: SimpleNamespace, faults: Any
) -> None:
    async with roles.account(), roles.order():
        await desk.open_day(roles.DAY, 0)
        faults.script["/order/create"] = [roles.Fault(delay_s=1.0)]
        await desk.decide(kit.intent())
        await requests_to(faults, "/order/create", 1)
        await desk.decide(kit.intent(symbol="ETHUSDT"))
        await log.until(lambda log: len(closing(log)) == 1)  # by now the bus would have told of the first one too
        assert {event.symbol for event in log.of(OrderEvent)} == {"ETHUSDT"}
        await log.until(lambda log: len(closing(log)) == 2)


async def test_no_client_id_every_order_carries_the_id_that_its_intent_gives_it(
    roles: SimpleNamespace, exchange: Any, desk: Any, log: Any, kit: SimpleNamespace
) -> None:
    intents = (kit.intent(), kit.intent(Leg.EXIT))
    async with roles.account(), roles.order():
        await desk.open_day(roles.DAY, 0)
        for intent in intents:
            await desk.decide(intent)
        await log.until(lambda log: len(closing(log)) == 2)
    links = [order.link_id for order in exchange.engine.accounts["main"].orders.values()]
    assert links == [order_link_id(intent.intent_id, 0) for intent in intents]


async def test_lost_updates_of_two_writers_of_one_record_one_is_told_that_it_came_second(bus: Bus) -> None:
    stores = [RecordStore(bus) for _ in range(4)]
    revision = await stores[0].write("shared", IntentRecord("run/main/v/BTCUSDT/2024-03-01/entry/1"), 0)
    for _ in range(5):
        ((record, seen),) = [await stores[0].read("shared")]
        assert seen == revision
        changed = [record.with_new_child(Side.BUY, Decimal(number + 1)) for number in range(4)]
        written = await asyncio.gather(
            *(store.write("shared", change, seen) for store, change in zip(stores, changed, strict=True)),
            return_exceptions=True,
        )
        (winner,) = [place for place, answer in enumerate(written) if isinstance(answer, int)]
        assert sum(isinstance(answer, TakenOver) for answer in written) == 3
        stored, revision = await stores[1].read("shared")
        assert stored == changed[winner]
    assert len(stored.children) == 5


@pytest.fixture
async def thin_exchange(faults: Any) -> AsyncIterator[PaperExchange]:
    """An exchange by the wall clock whose book is thin, so that an order fills at several prices."""
    playback = play_synthetic(
        seed=1, symbols=("BTCUSDT",), trades_per_day=20_000, history_days=1, now_ms=wall_clock_ms()
    )
    options = Options(
        accounts=(
            AccountSettings(name="main", key="test-key", secret=SecretStr("test-secret"), usdt=Decimal(100_000)),
        ),
        costs=Costs(slippage_ratio=Decimal("0.0001"), latency_ms=5, depth_notional=Decimal(20_000)),
        faults=faults,
    )
    async with PaperExchange(options, playback) as exchange:
        yield exchange


async def test_order_price_instead_of_fill_price_what_is_told_is_the_average_of_the_fills(
    roles: SimpleNamespace, thin_exchange: PaperExchange, desk: Any, log: Any, kit: SimpleNamespace
) -> None:
    wall = {
        "clock": ClockMode.WALL,
        "exchange_url": thin_exchange.rest_url,
        "private_stream_url": thin_exchange.stream_url,
    }
    async with roles.account(**wall), roles.order(**wall):
        await log.until(lambda log: any(s.kind is SnapshotKind.DAY_OPEN for s in log.of(AccountSnapshot)))
        now_ms = wall_clock_ms()
        price = thin_exchange.engine.market("BTCUSDT").last_at(now_ms)
        day = roles.SESSION.day_of(now_ms)
        changes = {"day": day, "trigger_time_ms": now_ms, "trigger_price": price, "target_price": price}
        await desk.decide(kit.intent(valid_until_ms=now_ms + 10_000, **changes))
        await log.until(lambda log: len(closing(log)) == 1)
    (event,) = closing(log)
    books = thin_exchange.engine.accounts["main"]
    filled = sum((execution.quantity for execution in books.executions), Decimal(0))
    value = sum((execution.quantity * execution.price for execution in books.executions), Decimal(0))
    assert event.status in {OrderStatus.FILLED, OrderStatus.CANCELLED}
    assert event.filled_quantity == filled > 0
    assert len(books.executions) > 1
    assert abs(event.average_price - value / filled) < Decimal("0.01")
    assert event.average_price != price
