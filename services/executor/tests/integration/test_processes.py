"""The executor as a process: killed in the middle, stopped in order, started with wrong settings."""

import asyncio
import json
import signal
from types import SimpleNamespace
from typing import Any

import pytest
from executor_processes import process

from breakwater_core.events import Leg, OrderEvent, OrderStatus


@pytest.fixture
def environment(nats_url: str, exchange: Any, roles: SimpleNamespace) -> dict[str, str]:
    return {
        "EXECUTOR_ROLE": "order",
        "EXECUTOR_NATS_URL": nats_url,
        "EXECUTOR_RUN_ID": roles.RUN_ID,
        "EXECUTOR_ACCOUNTS": roles.ACCOUNTS,
        "EXECUTOR_EXCHANGE_URL": exchange.rest_url,
        "EXECUTOR_PRIVATE_STREAM_URL": exchange.stream_url,
        "EXECUTOR_CLOCK": "event",
        "EXECUTOR_ACK_WAIT_S": "1",
    }


async def requests_to(faults: Any, ending: str, count: int) -> None:
    async with asyncio.timeout(90):
        while sum(path.endswith(ending) for path in faults.seen) < count:
            await asyncio.sleep(0.01)


def closing(log: Any) -> list[OrderEvent]:
    return [event for event in log.of(OrderEvent) if event.intent_closed]


@pytest.mark.parametrize(
    ("path", "leg"),
    [("/order/create", Leg.ENTRY), ("/order/realtime", Leg.ENTRY), ("/order/create", Leg.EXIT)],
    ids=["entry_while_sending", "entry_while_following", "exit_while_sending"],
)
async def test_an_executor_killed_with_an_order_on_its_way_leaves_exactly_one_order(
    environment: dict[str, str],
    roles: SimpleNamespace,
    exchange: Any,
    desk: Any,
    log: Any,
    kit: SimpleNamespace,
    faults: Any,
    path: str,
    leg: Leg,
) -> None:
    async with roles.account():
        await desk.open_day(roles.DAY, 0)
        if leg is Leg.EXIT:
            async with roles.order():
                await desk.decide(kit.intent())
                await log.until(lambda log: len(closing(log)) == 1)
        before = len(closing(log))
        faults.seen.clear()
        faults.script[path] = [roles.Fault(delay_s=1.0)]
        async with process(environment) as executor:
            await desk.decide(kit.intent(leg))
            await requests_to(faults, path, 1)
            executor.kill()
            await executor.wait()
        faults.script.clear()
        async with roles.order():
            await log.until(lambda log: len(closing(log)) == before + 1)
    assert closing(log)[-1].status is OrderStatus.FILLED
    books = exchange.engine.accounts["main"]
    assert len(books.orders) == before + 1
    assert books.position("BTCUSDT", 0).size == (0 if leg is Leg.EXIT else 2)


async def test_a_stopped_executor_drains_and_says_so_and_its_log_holds_no_secret(
    environment: dict[str, str], roles: SimpleNamespace, desk: Any, log: Any, kit: SimpleNamespace
) -> None:
    secret = json.loads(roles.ACCOUNTS)[0]["api_secret"].encode()
    async with roles.account():
        await desk.open_day(roles.DAY, 0)
        async with process(environment | {"EXECUTOR_LOG_LEVEL": "debug"}) as executor:
            await desk.decide(kit.intent())
            await log.until(lambda log: len(closing(log)) == 1)
            executor.send_signal(signal.SIGTERM)
            _, errors = await asyncio.wait_for(executor.communicate(), 15)
    assert executor.returncode == 0
    assert b"service_drained" in errors
    assert b"intent_closed" in errors
    assert secret not in errors


async def test_a_wrong_environment_ends_the_start_with_one_clear_line(environment: dict[str, str]) -> None:
    accounts = '[{"name": "x", "api_key": "k-canary", "api_secret": "s-canary"}]'
    async with process(environment | {"EXECUTOR_ACCOUNTS": accounts}) as executor:
        _, errors = await asyncio.wait_for(executor.communicate(), 30)
    assert executor.returncode == 2
    assert b"no key of that name" in errors
    assert b"canary" not in errors
