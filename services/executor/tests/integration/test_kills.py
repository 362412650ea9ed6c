"""Executors as processes, killed with SIGKILL at every step of an order's life, and at random; real bus, real HTTP."""

import asyncio
import os
import random
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from breakwater_core.events import Intent, Leg, OrderEvent, OrderStatus
from breakwater_core.identities import order_link_id
from breakwater_core.market import TradeBatch
from breakwater_core.session import Session
from breakwater_runtime import codec
from breakwater_runtime.bus import Bus
from paper_exchange_service.engine.markets import Costs
from paper_exchange_service.server import Options, PaperExchange
from paper_exchange_service.settings import AccountSettings, Mode

DAY_MS = 86_400_000
SYMBOLS = ("AAAUSDT", "BBBUSDT", "CCCUSDT", "DDDUSDT", "EEEUSDT", "FFFUSDT")


@pytest.fixture
async def exchange(faults: Any, kit: SimpleNamespace) -> AsyncIterator[PaperExchange]:
    """Many symbols, whose largest market order is just above half of what an entry buys."""
    day_start_ms = Session().day_start_ms(kit.DAY)
    options = Options(
        mode=Mode.REPLAY,
        accounts=(
            AccountSettings(name="main", key="test-key", secret=SecretStr("test-secret"), usdt=Decimal(100_000)),
        ),
        costs=Costs(slippage_ratio=Decimal(0), latency_ms=kit.LATENCY_MS),
        instruments=tuple(kit.instrument(symbol=symbol, max_market_quantity=Decimal("0.03")) for symbol in SYMBOLS),
        faults=faults,
    )
    async with PaperExchange(options) as exchange:
        for symbol in SYMBOLS:
            exchange.replay.feed_trades(
                TradeBatch(
                    symbol=symbol,
                    times_ms=np.array([day_start_ms], dtype=np.int64),
                    prices=np.array([50_000.0]),
                    sizes=np.ones(1),
                    taker_sides=np.ones(1, dtype=np.int8),
                    window=1,
                )
            )
        exchange.replay.feed_clock(day_start_ms + 9 * DAY_MS, day_start_ms)
        yield exchange


@dataclass
class Executors:
    """The processes, and the points at which they are told to die."""

    folder: Path
    alive: set[int] = field(default_factory=set)

    def kill_at(self, point: str) -> None:
        (self.folder / "kill" / point).touch()

    def not_reached(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "kill").iterdir())

    def passed(self, symbol: str) -> list[str]:
        return sorted(path.name for path in (self.folder / "passed").iterdir() if path.name.startswith(f"{symbol}."))

    def kill_one(self, choice: random.Random) -> None:
        victim = choice.choice(sorted(self.alive))
        self.alive.discard(victim)
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)


@pytest.fixture
def executors(nats_url: str, exchange: PaperExchange, roles: SimpleNamespace, tmp_path: Path) -> Any:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EXECUTOR_")} | {
        "EXECUTOR_ROLE": "order",
        "EXECUTOR_NATS_URL": nats_url,
        "EXECUTOR_RUN_ID": roles.RUN_ID,
        "EXECUTOR_ACCOUNTS": roles.ACCOUNTS,
        "EXECUTOR_EXCHANGE_URL": exchange.rest_url,
        "EXECUTOR_PRIVATE_STREAM_URL": exchange.stream_url,
        "EXECUTOR_CLOCK": "event",
        "EXECUTOR_ACK_WAIT_S": "1",
        "EXECUTOR_LOG_LEVEL": "error",
    }

    @asynccontextmanager
    async def started(count: int) -> AsyncIterator[Executors]:
        for name in ("kill", "passed"):
            (tmp_path / name).mkdir()
        known = Executors(tmp_path)
        script = Path(__file__).with_name("killable_executors.py")
        server = await asyncio.create_subprocess_exec(
            sys.executable, str(script), str(tmp_path), str(count), env=environment, stdout=asyncio.subprocess.PIPE
        )

        async def watch() -> None:
            assert server.stdout is not None
            async for line in server.stdout:
                known.alive.add(int(line))

        watching = asyncio.create_task(watch())
        try:
            yield known
        finally:
            server.terminate()
            await server.wait()
            await watching

    return started


def closing(log: Any) -> dict[str, set[str]]:
    """Return the ids of the closing events by intent."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for event in log.of(OrderEvent):
        if event.intent_closed:
            found[event.intent_id].add(event.event_id)
    return found


@dataclass
class Lane:
    """One symbol, on which one leg is carried out again and again, each time with an executor that dies at a point."""

    leg: Leg
    symbol: str
    desk: Any
    log: Any
    kit: SimpleNamespace
    decided: list[Intent] = field(default_factory=list)

    async def round(self) -> None:
        """Enter, and reduce what was entered unless entries are what this lane is about."""
        attempt = len(self.decided) + 1
        for leg in dict.fromkeys((Leg.ENTRY, self.leg)):
            # 2500 USDT, so 0.05 base units: two orders
            self.decided.append(self.kit.intent(leg, symbol=self.symbol, portfolio_size=80, attempt=attempt))
            await self.desk.decide(self.decided[-1])
        await self.log.until(lambda log: self.decided[-1].intent_id in closing(log), patience_s=60)

    async def die_at(self, points: list[str], executors: Executors) -> None:
        """Have one executor die at each of the points; one that dies elsewhere meanwhile may pass a point by."""
        for point in points:
            name = f"{self.symbol}.{point}"
            for _ in range(6):
                executors.kill_at(name)
                await self.round()
                if name not in executors.not_reached():
                    break


@pytest.mark.slow
async def test_an_executor_killed_at_any_step_of_entry_exit_or_stop_leaves_each_order_made_once(
    executors: Any, roles: SimpleNamespace, exchange: PaperExchange, desk: Any, log: Any, kit: SimpleNamespace
) -> None:
    legs = (Leg.ENTRY, Leg.EXIT, Leg.STOP)
    lanes = [Lane(leg, symbol, desk, log, kit) for leg, symbol in zip(legs * 2, SYMBOLS, strict=True)]
    async with roles.account(), executors(4) as processes, asyncio.TaskGroup() as tasks:
        await desk.open_day(roles.DAY, 0)
        for lane, twin in zip(lanes[:3], lanes[3:], strict=True):
            await lane.round()  # undisturbed, to see which steps there are
            steps = [name.removeprefix(f"{lane.symbol}.") for name in processes.passed(lane.symbol)]
            points = [step for step in steps if step.startswith((lane.leg.value, "reducing"))]
            assert len(points) >= 15
            tasks.create_task(lane.die_at(points[::2], processes))
            tasks.create_task(twin.die_at(points[1::2], processes))
    assert processes.not_reached() == []
    decided = [intent for lane in lanes for intent in lane.decided]
    books = exchange.engine.accounts["main"]
    made = Counter(order.link_id for order in books.orders.values())
    assert made == Counter(order_link_id(intent.intent_id, child) for intent in decided for child in (0, 1))
    assert set(closing(log)) == {intent.intent_id for intent in decided}
    assert all(len(outcomes) == 1 for outcomes in closing(log).values())
    for lane in lanes:
        entered = 0 if lane.leg.reduces else Decimal("0.05") * len(lane.decided)
        assert books.position(lane.symbol, 0).size == entered


@pytest.mark.slow
async def test_one_intent_published_a_hundred_times_to_eight_executors_that_are_killed_at_random_is_one_order(
    executors: Any,
    roles: SimpleNamespace,
    exchange: PaperExchange,
    desk: Any,
    log: Any,
    bus: Bus,
    kit: SimpleNamespace,
    faults: Any,
) -> None:
    choice = random.Random(20240301)
    intent = kit.intent(symbol=SYMBOLS[0], gross_leverage=Decimal("0.02"))  # 1000 USDT: one order
    message = codec.encode(intent, bus.run_id)
    kills = 0
    async with roles.account(), executors(8) as processes:
        await desk.open_day(roles.DAY, 0)
        for point in ("order.0.under-way", "order.0.looked-up", "publish-closing.0.after"):  # these die for certain
            processes.kill_at(f"{SYMBOLS[0]}.entry.{point}")
        faults.of_request = _slow_orders(roles, faults)
        for number in range(100):  # under other message ids, as after the bus's duplicate window
            await bus.publish_encoded(codec.Encoded(message.subject, f"repeat-{number}", message.payload))
        requests = 0
        async with asyncio.timeout(60):
            while sum(event.intent_closed for event in log.of(OrderEvent)) == 0 or not await _is_empty(bus):
                if faults.on_orders > requests and kills < 16:
                    requests = faults.on_orders
                    for _ in range(4):
                        processes.kill_one(choice)
                        kills += 1
                await asyncio.sleep(0.02)
        assert processes.not_reached() == []
    assert kills >= 4
    books = exchange.engine.accounts["main"]
    assert [order.link_id for order in books.orders.values()] == [order_link_id(intent.intent_id, 0)]
    assert books.position(SYMBOLS[0], 0).size == Decimal("0.02")
    (outcomes,) = closing(log).values()
    assert len(outcomes) == 1
    assert {event.status for event in log.of(OrderEvent) if event.intent_closed} == {OrderStatus.FILLED}


def _slow_orders(roles: SimpleNamespace, faults: Any) -> Any:
    """Have the exchange take its time over everything about orders, so that kills come between request and answer."""
    faults.on_orders = 0

    def of_request(_method: str, path: str, _account: str) -> Any:
        if "/order/" not in path:
            return roles.Fault()
        faults.on_orders += 1
        return roles.Fault(delay_s=0.3)

    return of_request


async def _is_empty(bus: Bus) -> bool:
    """Return whether every intent has been acknowledged."""
    answer = await bus.api(f"CONSUMER.INFO.INTENT.executor-main={SYMBOLS[0]}", {})
    return answer["num_pending"] == 0 and answer["num_ack_pending"] == 0
