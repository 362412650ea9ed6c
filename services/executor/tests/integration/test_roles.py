"""Both roles against a real bus and a paper exchange in replay: from an intent to fills, snapshots and progress."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from breakwater_core.events import AccountSnapshot, Alert, Fill, Leg, OrderEvent, OrderStatus, Side, SnapshotKind
from breakwater_core.identities import order_link_id
from breakwater_runtime.bus import Bus
from breakwater_runtime.subjects import ACCOUNT_BUCKET, CONTROL_BUCKET, INTENTS_BUCKET, day_open_key
from executor_service.day_open import DayOpen
from executor_service.intent_work import record_key
from paper_exchange_service.engine.orders import OrderRequest, OrderType, TimeInForce


def closing(log: Any) -> list[OrderEvent]:
    return [event for event in log.of(OrderEvent) if event.intent_closed]


def books(exchange: Any) -> Any:
    return exchange.engine.accounts["main"]


async def test_entry_and_exit_become_orders_fills_and_a_days_row(
    roles: SimpleNamespace, exchange: Any, desk: Any, log: Any, bus: Bus, kit: SimpleNamespace
) -> None:
    async with roles.account(), roles.order():
        await desk.open_day(roles.DAY, 0)
        entry, exit_ = kit.intent(), kit.intent(Leg.EXIT)
        await desk.decide(entry)
        await log.until(lambda log: len(closing(log)) == 1)
        await desk.decide(exit_)
        await log.until(lambda log: len(closing(log)) == 2)
        await desk.open_day(roles.DAY + timedelta(days=1), 1)
        await log.until(lambda log: len(log.of(AccountSnapshot)) == 2)
    bought, sold = closing(log)
    assert (bought.status, bought.filled_quantity, bought.average_price) == (
        OrderStatus.FILLED,
        Decimal(2),
        Decimal(50_000),
    )
    assert bought.event_time_ms == entry.trigger_time_ms + kit.LATENCY_MS
    assert (sold.status, sold.filled_quantity, sold.reduce_only) == (OrderStatus.FILLED, Decimal(2), True)
    fills = sorted(log.of(Fill), key=lambda fill: fill.exec_time_ms)  # stream and REST publish in either order
    assert [fill.order_link_id for fill in fills] == [bought.order_link_id, sold.order_link_id]
    fees = sum((fill.fee for fill in fills), Decimal(0))
    first, second = log.of(AccountSnapshot)
    assert (first.kind, first.day, first.equity, first.fills_total) == (
        SnapshotKind.DAY_OPEN,
        roles.DAY,
        Decimal(100_000),
        0,
    )
    assert (second.equity, second.fills_total, second.positions) == (Decimal(100_000) - fees, 2, ())
    assert books(exchange).wallet == second.wallet_balance
    value = await bus.read(ACCOUNT_BUCKET, day_open_key(roles.RUN_ID, "main", "2024-03-02"))
    assert value is not None
    assert DayOpen.decode(value).cumulative == second.equity / 100_000


async def test_a_fill_missed_by_the_stream_is_read_before_the_day_opens(
    roles: SimpleNamespace, exchange: Any, desk: Any, log: Any, kit: SimpleNamespace
) -> None:
    async with roles.order():
        async with roles.account():
            await desk.open_day(roles.DAY, 0)
        await desk.decide(kit.intent())
        await desk.decide(kit.intent(Leg.EXIT))
        await log.until(lambda log: len(closing(log)) == 2)
        assert not log.of(Fill)
        async with roles.account():
            await desk.open_day(roles.DAY + timedelta(days=1), 1)
            await log.until(lambda log: len(log.of(AccountSnapshot)) == 2)
    assert len(log.of(Fill)) == 2
    assert log.of(AccountSnapshot)[1].fills_total == 2


async def test_an_account_role_that_was_away_opens_every_day_it_missed(
    roles: SimpleNamespace, desk: Any, log: Any, bus: Bus
) -> None:
    async with roles.account():
        await desk.open_day(roles.DAY, 0)
    missed = roles.DAY + timedelta(days=1)
    opening = asyncio.create_task(desk.open_day(missed, 1))
    async with roles.account():
        await opening
        await log.until(lambda log: len(log.of(AccountSnapshot)) == 2)
    assert [snapshot.day for snapshot in log.of(AccountSnapshot)] == [roles.DAY, missed]


async def test_two_account_roles_publish_each_fill_and_day_once(
    roles: SimpleNamespace, desk: Any, log: Any, kit: SimpleNamespace
) -> None:
    async with roles.account(), roles.account(), roles.order():
        await desk.open_day(roles.DAY, 0)
        await desk.decide(kit.intent())
        await log.until(lambda log: len(closing(log)) == 1 and len(log.of(Fill)) == 1)
        await desk.open_day(roles.DAY + timedelta(days=1), 1)
        await log.until(lambda log: len(log.of(AccountSnapshot)) == 2)
    assert len(log.of(Fill)) == 1
    assert len(log.of(AccountSnapshot)) == 2


async def test_in_a_replay_what_nobody_ordered_is_told_of_at_the_days_boundary_and_left_alone(
    roles: SimpleNamespace, exchange: Any, desk: Any, log: Any
) -> None:
    at_ms = roles.SESSION.day_start_ms(roles.DAY) + 3_600_000
    request = OrderRequest("BTCUSDT", Side.BUY, OrderType.MARKET, Decimal(1), time_in_force=TimeInForce.IOC)
    async with roles.account(unordered="close"):
        await desk.open_day(roles.DAY, 0)
        exchange.engine.execute(exchange.engine.place(books(exchange), request, at_ms), at_ms)
        await desk.open_day(roles.DAY + timedelta(days=1), 1)
        await log.until(lambda log: bool(log.of(Alert)))
        await desk.open_day(roles.DAY + timedelta(days=2), 2)
    (alert,) = log.of(Alert)
    assert (alert.name, alert.facts["held"], alert.facts["outcome"]) == ("unordered_position", "1", "left alone")
    assert alert.event_time_ms == roles.SESSION.day_start_ms(roles.DAY + timedelta(days=1))
    assert len(books(exchange).orders) == 1


async def test_deposits_are_told_apart_from_gains(
    roles: SimpleNamespace, exchange: Any, desk: Any, log: Any, bus: Bus
) -> None:
    async with roles.account():
        await desk.open_day(roles.DAY, 0)
        at_ms = roles.SESSION.day_start_ms(roles.DAY) + 3_600_000
        exchange.engine.transfer(books(exchange), Decimal(500), at_ms)
        await desk.open_day(roles.DAY + timedelta(days=1), 1)
        await log.until(lambda log: len(log.of(AccountSnapshot)) == 2)
    assert log.of(AccountSnapshot)[1].net_deposits == 500
    value = await bus.read(ACCOUNT_BUCKET, day_open_key(roles.RUN_ID, "main", "2024-03-02"))
    assert value is not None
    assert DayOpen.decode(value).cumulative == 1


async def test_the_same_intent_published_again_and_again_to_two_executors_is_one_order(
    roles: SimpleNamespace, exchange: Any, desk: Any, log: Any, bus: Bus, kit: SimpleNamespace
) -> None:
    from breakwater_runtime import codec

    intent = kit.intent()
    message = codec.encode(intent, bus.run_id)
    async with roles.account(), roles.order(), roles.order():
        await desk.open_day(roles.DAY, 0)
        for number in range(5):  # under other message ids, as after the bus's duplicate window
            await bus.publish_encoded(codec.Encoded(message.subject, f"repeat-{number}", message.payload))
        await desk.decide(kit.intent(symbol="ETHUSDT"))
        await log.until(lambda log: len({event.symbol for event in closing(log)}) == 2)
    assert len(books(exchange).orders) == 2
    assert {order.link_id for order in books(exchange).orders.values()} >= {order_link_id(intent.intent_id, 0)}
    assert len({event.event_id for event in closing(log)}) == 2


async def test_an_answer_lost_after_acceptance_is_looked_up_and_not_sent_again(
    roles: SimpleNamespace, exchange: Any, desk: Any, log: Any, kit: SimpleNamespace, faults: Any
) -> None:
    faults.script["/order/create"] = [roles.Fault(lose_answer=True)]
    async with roles.account(), roles.order():
        await desk.open_day(roles.DAY, 0)
        await desk.decide(kit.intent())
        await log.until(lambda log: len(closing(log)) == 1)
    assert [event.status for event in log.of(OrderEvent)] == [OrderStatus.UNKNOWN, OrderStatus.FILLED]
    assert len(books(exchange).orders) == 1
    assert sum(path.endswith("/order/create") for path in faults.seen) == 1


async def test_an_order_that_never_arrived_is_sent_again_under_its_id(
    roles: SimpleNamespace, exchange: Any, desk: Any, log: Any, kit: SimpleNamespace, faults: Any
) -> None:
    faults.script["/order/create"] = [roles.Fault(before=(502, b"bad gateway"))]
    async with roles.account(), roles.order():
        await desk.open_day(roles.DAY, 0)
        await desk.decide(kit.intent())
        await log.until(lambda log: len(closing(log)) == 1)
    assert closing(log)[0].status is OrderStatus.FILLED
    assert len(books(exchange).orders) == 1


async def test_an_order_that_the_exchange_refuses_is_rejected(
    roles: SimpleNamespace, exchange: Any, desk: Any, log: Any, kit: SimpleNamespace
) -> None:
    async with roles.account(), roles.order():
        await desk.open_day(roles.DAY, 0)
        await desk.decide(kit.intent(gross_leverage=Decimal(50)))  # more than the margin allows
        await log.until(lambda log: len(closing(log)) == 1)
    (event,) = closing(log)
    assert (event.status, event.reason) == (OrderStatus.REJECTED, "insufficient_margin")
    assert not books(exchange).executions


async def test_sizes_below_the_minimum_are_refused_and_the_record_says_so(
    roles: SimpleNamespace, exchange: Any, desk: Any, log: Any, bus: Bus, kit: SimpleNamespace
) -> None:
    intent = kit.intent(gross_leverage=Decimal("0.0001"))
    async with roles.account(), roles.order():
        await desk.open_day(roles.DAY, 0)
        await desk.decide(intent)
        await log.until(lambda log: len(closing(log)) == 1)
    (event,) = closing(log)
    assert (event.status, event.order_link_id) == (OrderStatus.REFUSED, "")
    assert event.reason in {"below_min_quantity", "below_min_notional"}
    record = await bus.read(INTENTS_BUCKET, record_key(intent))
    assert record is not None
    assert b'"refused"' in record
    assert not books(exchange).orders


async def test_an_entry_waits_for_the_days_open(
    roles: SimpleNamespace, exchange: Any, desk: Any, log: Any, kit: SimpleNamespace
) -> None:
    async with roles.order():
        await desk.decide(kit.intent())
        async with roles.account():
            await desk.open_day(roles.DAY, 0)
            await log.until(lambda log: len(closing(log)) == 1)
    assert closing(log)[0].status is OrderStatus.FILLED


async def test_an_intent_left_by_a_stopped_executor_is_taken_over(
    roles: SimpleNamespace, exchange: Any, desk: Any, log: Any, kit: SimpleNamespace
) -> None:
    async with AsyncExitStack() as first:
        await first.enter_async_context(roles.order())
        await desk.decide(kit.intent())  # waits for the day's open
        await first.aclose()
    async with roles.account(), roles.order():
        await desk.open_day(roles.DAY, 0)
        await log.until(lambda log: len(closing(log)) == 1)
    assert closing(log)[0].status is OrderStatus.FILLED
    assert len(books(exchange).orders) == 1


async def test_a_halt_set_before_the_start_refuses_the_first_entry(
    roles: SimpleNamespace, exchange: Any, desk: Any, log: Any, bus: Bus, kit: SimpleNamespace
) -> None:
    await bus.write(CONTROL_BUCKET, "state", b'{"halted": true, "epoch": 1}')
    async with roles.order():
        await desk.decide(kit.intent(epoch=1))
        await log.until(lambda log: len(closing(log)) == 1)
    assert closing(log)[0].reason == "halted"
    assert not log.of(Alert)
