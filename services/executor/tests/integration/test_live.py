"""Both roles by the wall clock against a paper exchange in real time."""

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from breakwater_core.events import AccountSnapshot, Alert, Fill, Leg, OrderEvent, OrderStatus, SnapshotKind
from breakwater_runtime.bus import Bus
from executor_service.venue_clock import ClockMode, wall_clock_ms
from paper_exchange_service.engine.markets import Costs
from paper_exchange_service.fault_rules import parse_rules
from paper_exchange_service.playback import play_synthetic
from paper_exchange_service.server import Options, PaperExchange
from paper_exchange_service.settings import AccountSettings


@pytest.fixture
async def exchange(faults: Any) -> AsyncIterator[PaperExchange]:
    playback = play_synthetic(
        seed=1, symbols=("BTCUSDT",), trades_per_day=20_000, history_days=1, now_ms=wall_clock_ms()
    )
    options = Options(
        accounts=(
            AccountSettings(name="main", key="test-key", secret=SecretStr("test-secret"), usdt=Decimal(100_000)),
        ),
        costs=Costs(slippage_ratio=Decimal(0), latency_ms=5, depth_notional=Decimal(20_000)),
        faults=faults,
        rate_limits=True,
    )
    async with PaperExchange(options, playback) as exchange:
        yield exchange


def closing(log: Any) -> list[OrderEvent]:
    return [event for event in log.of(OrderEvent) if event.intent_closed]


async def test_an_entry_and_its_exit_go_through_and_every_fill_is_told_once(
    roles: SimpleNamespace, exchange: PaperExchange, desk: Any, log: Any, bus: Bus, kit: SimpleNamespace
) -> None:
    wall = {"clock": ClockMode.WALL, "snapshot_interval_s": 1.0}
    day = roles.SESSION.day_of(wall_clock_ms())
    async with roles.account(**wall), roles.order(**wall):
        await log.until(lambda log: any(s.kind is SnapshotKind.DAY_OPEN for s in log.of(AccountSnapshot)))
        price = exchange.engine.market("BTCUSDT").last_at(wall_clock_ms())
        now_ms = wall_clock_ms()
        changes = {"day": day, "trigger_time_ms": now_ms, "trigger_price": price, "target_price": price}
        await desk.decide(kit.intent(valid_until_ms=now_ms + 10_000, **changes))
        await log.until(lambda log: len(closing(log)) == 1)
        await desk.decide(kit.intent(Leg.EXIT, **changes | {"trigger_time_ms": wall_clock_ms()}))
        await log.until(lambda log: len(closing(log)) == 2)
        account = exchange.engine.accounts["main"]
        await log.until(lambda log: len(log.of(Fill)) == len(account.executions))
        await log.until(lambda log: log.of(AccountSnapshot)[-1].fills_total == len(account.executions))
    entry, exit_ = closing(log)
    assert entry.status is OrderStatus.FILLED
    assert exit_.status is OrderStatus.FILLED
    assert len(log.of(Fill)) > 2  # the book is thin: several fills each
    assert len({fill.exec_id for fill in log.of(Fill)}) == len(log.of(Fill))
    assert account.position("BTCUSDT", 0).size == 0
    assert log.of(AccountSnapshot)[0].day == day


async def test_fills_during_an_outage_of_the_stream_are_caught_up_over_rest(
    roles: SimpleNamespace, exchange: PaperExchange, desk: Any, log: Any, kit: SimpleNamespace, faults: Any
) -> None:
    wall = {"clock": ClockMode.WALL, "catch_up_interval_s": 1.0}
    day = roles.SESSION.day_of(wall_clock_ms())
    faults.of_frame = lambda _topic, _frame: []  # the stream is up and silent
    async with roles.account(**wall), roles.order(**wall):
        await log.until(lambda log: any(s.kind is SnapshotKind.DAY_OPEN for s in log.of(AccountSnapshot)))
        price = exchange.engine.market("BTCUSDT").last_at(wall_clock_ms())
        now_ms = wall_clock_ms()
        await desk.decide(
            kit.intent(
                day=day,
                trigger_time_ms=now_ms,
                valid_until_ms=now_ms + 10_000,
                trigger_price=price,
                target_price=price,
            )
        )
        account = exchange.engine.accounts["main"]
        await log.until(lambda log: bool(closing(log)) and len(log.of(Fill)) == len(account.executions) > 0)
    assert closing(log)[0].status is OrderStatus.FILLED


async def test_an_account_that_must_not_be_traded_only_exits_until_it_is_mended(
    roles: SimpleNamespace, exchange: PaperExchange, desk: Any, log: Any, kit: SimpleNamespace
) -> None:
    wall = {"clock": ClockMode.WALL, "preflight_retry_s": 0.1}
    account = exchange.engine.accounts["main"]

    async def decide(leg: Leg, attempt: int) -> OrderEvent:
        now_ms, told = wall_clock_ms(), len(closing(log))
        price = exchange.engine.market("BTCUSDT").last_at(now_ms)
        intent = kit.intent(
            leg,
            day=roles.SESSION.day_of(now_ms),
            attempt=attempt,
            trigger_time_ms=now_ms,
            valid_until_ms=None if leg.reduces else now_ms + 10_000,
            trigger_price=price,
            target_price=price,
        )
        await desk.decide(intent)
        await log.until(lambda log: len(closing(log)) == told + 1)
        return closing(log)[-1]

    async with roles.account(**wall):
        await log.until(lambda log: any(s.kind is SnapshotKind.DAY_OPEN for s in log.of(AccountSnapshot)))
        async with roles.order(**wall):
            assert (await decide(Leg.ENTRY, 1)).status is OrderStatus.FILLED
        account.margin_mode = "ISOLATED_MARGIN"
        async with roles.order(**wall):
            await log.until(lambda log: bool(log.of(Alert)))
            refused = await decide(Leg.ENTRY, 2)
            assert (refused.status, refused.reason) == (OrderStatus.REFUSED, "preflight_failed")
            assert (await decide(Leg.EXIT, 1)).status is OrderStatus.FILLED
            assert account.position("BTCUSDT", 0).size == 0
            account.margin_mode = "REGULAR_MARGIN"
            attempt = 3
            async with asyncio.timeout(90):
                while (again := await decide(Leg.ENTRY, attempt)).reason == "preflight_failed":
                    attempt += 1
            assert again.status is OrderStatus.FILLED
    assert [alert.name for alert in log.of(Alert)] == ["preflight_failed"]
    assert "cross margin" in log.of(Alert)[0].summary


async def test_orders_that_the_exchange_refuses_as_too_many_are_sent_after_the_reset_and_none_is_lost(
    roles: SimpleNamespace, exchange: PaperExchange, desk: Any, log: Any, kit: SimpleNamespace
) -> None:
    wall = {"clock": ClockMode.WALL, "snapshot_interval_s": 1.0}
    day = roles.SESSION.day_of(wall_clock_ms())
    async with roles.account(**wall), roles.order(**wall):
        await log.until(lambda log: any(s.kind is SnapshotKind.DAY_OPEN for s in log.of(AccountSnapshot)))
        rule = {"kind": "rate_limited", "probability": 1, "limit": 3, "path": "/v5/order/create"}
        for leg in (Leg.ENTRY, Leg.EXIT):
            exchange.faults.set_rules(parse_rules(json.dumps({"seed": 1, "rules": [rule]}), wall_clock_ms()))
            price = exchange.engine.market("BTCUSDT").last_at(wall_clock_ms())
            now_ms = wall_clock_ms()
            changes = {"day": day, "trigger_time_ms": now_ms, "trigger_price": price, "target_price": price}
            if leg is Leg.ENTRY:
                changes["valid_until_ms"] = now_ms + 15_000
            before = len(closing(log))
            await desk.decide(kit.intent(leg, **changes))
            await log.until(lambda log, before=before: len(closing(log)) == before + 1)
            assert exchange.faults.injected["rate_limited"] >= 3 * len(closing(log))
    assert [event.status for event in closing(log)] == [OrderStatus.FILLED, OrderStatus.FILLED]
    account = exchange.engine.accounts["main"]
    assert len(account.orders) == 2
    assert account.position("BTCUSDT", 0).size == 0
