"""Executors that are taken away while they work: processes, a real bus, real HTTP.

An intent whose executor says nothing is delivered again after minutes here: what comes sooner was handed over.
"""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from executor_processes import process
from pydantic import SecretStr

from breakwater_cli.nats_process import free_port
from breakwater_core.events import Intent, Leg, OrderEvent, OrderStatus
from breakwater_core.identities import order_link_id
from breakwater_core.market import TradeBatch
from breakwater_core.session import Session
from breakwater_runtime.bus import Bus
from breakwater_runtime.subjects import CONTROL_BUCKET, SEEN_PREFIX, intent_queue
from paper_exchange_service.engine.markets import Costs
from paper_exchange_service.server import Options, PaperExchange
from paper_exchange_service.settings import AccountSettings, Mode

DAY_MS = 86_400_000
SYMBOLS = ("AAAUSDT", "BBBUSDT", "CCCUSDT", "DDDUSDT", "EEEUSDT", "FFFUSDT")
NEVER_S = "300"
SLOW_S = 6.0


@pytest.fixture
async def exchange(faults: Any, kit: SimpleNamespace) -> AsyncIterator[PaperExchange]:
    day_start_ms = Session().day_start_ms(kit.DAY)
    options = Options(
        mode=Mode.REPLAY,
        accounts=(
            AccountSettings(name="main", key="test-key", secret=SecretStr("test-secret"), usdt=Decimal(100_000)),
        ),
        costs=Costs(slippage_ratio=Decimal(0), latency_ms=kit.LATENCY_MS),
        instruments=tuple(kit.instrument(symbol=symbol) for symbol in SYMBOLS),
        faults=faults,
    )
    async with PaperExchange(options) as exchange:
        for symbol in SYMBOLS:
            trades = TradeBatch(
                symbol=symbol,
                times_ms=np.array([day_start_ms], dtype=np.int64),
                prices=np.array([50_000.0]),
                sizes=np.ones(1),
                taker_sides=np.ones(1, dtype=np.int8),
                window=1,
            )
            exchange.replay.feed_trades(trades)
        exchange.replay.feed_clock(day_start_ms + 9 * DAY_MS, day_start_ms)
        yield exchange


@pytest.fixture
def environment(nats_url: str, exchange: PaperExchange, roles: SimpleNamespace) -> dict[str, str]:
    return {
        "EXECUTOR_ROLE": "order",
        "EXECUTOR_INSTANCE": "leaving",
        "EXECUTOR_NATS_URL": nats_url,
        "EXECUTOR_RUN_ID": roles.RUN_ID,
        "EXECUTOR_ACCOUNTS": roles.ACCOUNTS,
        "EXECUTOR_EXCHANGE_URL": exchange.rest_url,
        "EXECUTOR_PRIVATE_STREAM_URL": exchange.stream_url,
        "EXECUTOR_CLOCK": "event",
        "EXECUTOR_CONCURRENCY": "2",
        "EXECUTOR_ACK_WAIT_S": NEVER_S,
        "EXECUTOR_DRAIN_TIMEOUT_S": "20",
        "EXECUTOR_HTTP_PORT": str(free_port()),
    }


def entries(kit: SimpleNamespace) -> list[Intent]:
    return [kit.intent(symbol=symbol, portfolio_size=100) for symbol in SYMBOLS]


def closing(log: Any) -> list[OrderEvent]:
    return [event for event in log.of(OrderEvent) if event.intent_closed]


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(90):
        while not await holds():
            await asyncio.sleep(0.01)


async def requests_to(faults: Any, ending: str, count: int) -> None:
    async def seen() -> bool:
        return sum(path.endswith(ending) for path in faults.seen) >= count

    await until(seen)


async def in_hand(bus: Bus, count: int) -> None:
    """Return once so many intents are with executors."""

    async def is_so() -> bool:
        infos = [await bus.api(f"CONSUMER.INFO.INTENT.{intent_queue('main', symbol)}") for symbol in SYMBOLS]
        return sum(int(info["num_ack_pending"]) for info in infos) == count

    await until(is_so)


async def acknowledging(bus: Bus) -> set[str]:
    """Return the instances that state what they have seen of the control document."""
    keys = [key for key in await bus.keys(CONTROL_BUCKET, SEEN_PREFIX) if await bus.read(CONTROL_BUCKET, key)]
    return {key.removeprefix(SEEN_PREFIX).split(".")[0] for key in keys}


async def asked(environment: dict[str, str], path: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(f"http://127.0.0.1:{environment['EXECUTOR_HTTP_PORT']}/{path}")


async def handed_over(environment: dict[str, str], count: int) -> bool:
    lines = (await asked(environment, "metrics")).text.splitlines()
    return (
        sum(float(line.split()[-1]) for line in lines if 'outcome="given_back"' in line and "_total" in line) == count
    )


def made_once(exchange: PaperExchange, intents: list[Intent]) -> bool:
    made = Counter(order.link_id for order in exchange.engine.accounts["main"].orders.values())
    return made == Counter(order_link_id(intent.intent_id, 0) for intent in intents)


async def test_in_a_burst_a_leaving_executor_hands_over_what_it_has_not_begun_and_ends_what_is_on_its_way(
    environment: dict[str, str],
    roles: SimpleNamespace,
    exchange: PaperExchange,
    desk: Any,
    log: Any,
    kit: SimpleNamespace,
    faults: Any,
    bus: Bus,
) -> None:
    burst = entries(kit)
    async with roles.account():
        await desk.open_day(roles.DAY, 0)
        faults.script["/order/create"] = [roles.Fault(delay_s=SLOW_S)] * 2
        async with process(environment) as leaving:
            for intent in burst:
                await desk.decide(intent)
            await requests_to(faults, "/order/create", 2)
            await in_hand(bus, 6)  # two at the exchange, four wait for a place
            async with roles.order(ack_wait_s=float(NEVER_S), instance="staying"):
                leaving.send_signal(signal.SIGTERM)
                await log.until(lambda log: len(closing(log)) == 4)
                ready = await asked(environment, "ready")
                assert ready.status_code == 503
                assert "stopping" in ready.json()["faults"]
                assert (await asked(environment, "health")).status_code == 200
                assert await acknowledging(bus) == {"leaving", "staying"}  # its entries are not settled
                leaving.send_signal(signal.SIGTERM)  # once more changes nothing
                await log.until(lambda log: len(closing(log)) == 6)
                assert await asyncio.wait_for(leaving.wait(), 20) == 0
                assert await acknowledging(bus) == {"staying"}
    assert made_once(exchange, burst)
    assert {event.status for event in closing(log)} == {OrderStatus.FILLED}
    slow = {event.intent_id for event in closing(log)[-2:]}
    submitted = [event for event in log.of(OrderEvent) if event.status is OrderStatus.SUBMITTED]
    assert {event.intent_id for event in submitted[-2:]} == slow, "the others did not wait for the two slow ones"


async def test_an_exit_that_gets_nowhere_is_handed_over_at_once(
    environment: dict[str, str],
    roles: SimpleNamespace,
    exchange: PaperExchange,
    desk: Any,
    log: Any,
    kit: SimpleNamespace,
    faults: Any,
) -> None:
    entry, exit_ = (kit.intent(leg, symbol=SYMBOLS[0], portfolio_size=100) for leg in (Leg.ENTRY, Leg.EXIT))
    async with roles.account():
        await desk.open_day(roles.DAY, 0)
        async with process(environment) as leaving:
            await desk.decide(entry)
            await log.until(lambda log: len(closing(log)) == 1)
            faults.seen.clear()
            faults.script["/position/list"] = [roles.Fault(before=(503, b""))] * 1000
            await desk.decide(exit_)
            await requests_to(faults, "/position/list", 2)
            leaving.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(leaving.wait(), 20) == 0
        faults.script.clear()
        async with roles.order(ack_wait_s=float(NEVER_S)):
            await log.until(lambda log: len(closing(log)) == 2)
    assert made_once(exchange, [entry, exit_])
    assert exchange.engine.accounts["main"].position(SYMBOLS[0], 0).size == 0


async def test_an_order_that_outlasts_the_drain_is_found_by_the_next_executor_and_not_made_again(
    environment: dict[str, str],
    roles: SimpleNamespace,
    exchange: PaperExchange,
    desk: Any,
    log: Any,
    kit: SimpleNamespace,
    faults: Any,
    bus: Bus,
) -> None:
    burst = entries(kit)
    async with roles.account():
        await desk.open_day(roles.DAY, 0)
        faults.script["/order/create"] = [roles.Fault(delay_s=60.0)] * 2
        async with process(environment | {"EXECUTOR_DRAIN_TIMEOUT_S": "1"}) as leaving:
            for intent in burst:
                await desk.decide(intent)
            await requests_to(faults, "/order/create", 2)
            await in_hand(bus, 6)
            leaving.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(leaving.wait(), 20) == 0
            assert closing(log) == []
            # What it sent may still take effect, so its word stands as long as that of an executor that has died.
            assert await acknowledging(bus) == {"leaving"}
        async with roles.order(ack_wait_s=float(NEVER_S)):
            await log.until(lambda log: len(closing(log)) == 6)
    assert made_once(exchange, burst)
    assert {event.status for event in closing(log)} == {OrderStatus.FILLED}


async def test_an_executor_killed_while_it_drains_leaves_each_order_made_once(
    environment: dict[str, str],
    roles: SimpleNamespace,
    exchange: PaperExchange,
    desk: Any,
    log: Any,
    kit: SimpleNamespace,
    faults: Any,
    bus: Bus,
) -> None:
    burst = entries(kit)
    async with roles.account():
        await desk.open_day(roles.DAY, 0)
        faults.script["/order/create"] = [roles.Fault(delay_s=60.0)] * 2
        async with process(environment | {"EXECUTOR_ACK_WAIT_S": "1"}) as leaving:
            for intent in burst:
                await desk.decide(intent)
            await requests_to(faults, "/order/create", 2)
            await in_hand(bus, 6)
            leaving.send_signal(signal.SIGTERM)
            await until(lambda: handed_over(environment, 4))
            leaving.kill()
            await leaving.wait()
        async with roles.order():
            await log.until(lambda log: len(closing(log)) == 6)
    assert made_once(exchange, burst)
    assert {event.status for event in closing(log)} == {OrderStatus.FILLED}


async def test_an_executor_that_is_stopped_before_it_was_ready_ends_without_waiting_for_the_exchange(
    environment: dict[str, str], roles: SimpleNamespace, faults: Any
) -> None:
    faults.script["/user/query-api"] = [roles.Fault(delay_s=60.0)]
    async with process(environment) as leaving:
        await requests_to(faults, "/user/query-api", 1)
        leaving.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(leaving.wait(), 20) == 0
