"""`/scaling` against a real NATS server: what waits at the executors' queues, and what the strategy sees coming."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from breakwater_cli.nats_process import NatsProcess, free_port
from breakwater_core.config import BreakwaterConfig
from breakwater_core.events import Intent
from breakwater_core.market import BarState, Clock, ClockKind, DailyBar, TradeBatch
from breakwater_runtime import subjects
from breakwater_runtime.bus import Bus, connect
from breakwater_runtime.bus_streams import stream_body
from breakwater_runtime.config_file import write_config
from breakwater_runtime.consumers import ConsumerSpecification, PullConsumer, Received
from breakwater_runtime.settings import ServiceSettings
from signal_service.main import run
from signal_service.settings import SignalSettings

LIVE = "live"
DAY = date(2024, 1, 6)
START_MS = 1_704_499_200_000
EXIT_MS = START_MS + 86_400_000 - 30_000
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
ACCOUNTS = ("main", "second")
CONFIG = BreakwaterConfig.parse({"portfolio": {"symbols": list(SYMBOLS), "accounts": list(ACCOUNTS)}})
Figures = dict[str, Any]


def bars() -> list[DailyBar]:
    """Return days with targets of 104 and 96."""
    closed = [
        DailyBar(symbol, DAY - timedelta(days=back), BarState.CLOSED, 98.0, 104.0, 96.0, 100.0, 1.0, complete=True)
        for symbol in SYMBOLS
        for back in range(6, 0, -1)
    ]
    opened = [DailyBar(s, DAY, BarState.OPEN, 100.0, 100.0, 100.0, 100.0, 0.0, complete=True) for s in SYMBOLS]
    return closed + opened


def trade(symbol: str, at_ms: int, price: float) -> TradeBatch:
    return TradeBatch(symbol, np.array([START_MS + at_ms]), np.array([price]), np.ones(1), np.ones(1, np.int8))


def clock(now_ms: int) -> Clock:
    return Clock(ClockKind.ADVANCED, now_ms, now_ms, DAY)


@pytest.fixture
async def live_bus(nats_server: NatsProcess) -> AsyncIterator[Bus]:
    async with connect(ServiceSettings(nats_url=nats_server.url, run_id=LIVE), name="test") as connected:
        yield connected


@pytest.fixture
def settings(nats_server: NatsProcess, tmp_path: Path) -> SignalSettings:
    path = tmp_path / "config.json"
    write_config(CONFIG, path)
    return SignalSettings(
        nats_url=nats_server.url, config_file=path, instance="a", http_port=free_port(), scaling_poll_s=0.05
    )


@asynccontextmanager
async def running(settings: SignalSettings) -> AsyncIterator[Callable[..., Any]]:
    """Run signal; yields a function that asks `/scaling` until the answer is as wanted, and returns it."""
    stop = asyncio.Event()
    task = asyncio.create_task(run(settings, stop))
    last: tuple[int, Figures] = (0, {})

    async def asked(status: int = 200, **figures: Any) -> Figures:
        nonlocal last
        try:
            async with asyncio.timeout(90), httpx.AsyncClient(trust_env=False) as client:
                while last[0] != status or any(last[1].get(name) != value for name, value in figures.items()):
                    await asyncio.sleep(0.01)
                    try:
                        answer = await client.get(f"http://127.0.0.1:{settings.http_port}/scaling")
                    except httpx.ConnectError:
                        continue
                    last = (answer.status_code, answer.json())
        except TimeoutError:
            raise AssertionError(f"the last answer was {last}") from None
        return last[1]

    try:
        yield asked
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)


async def metrics_of(settings: SignalSettings) -> dict[str, float]:
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"http://127.0.0.1:{settings.http_port}/metrics")).text
    lines = [line.split() for line in text.splitlines() if line.startswith("breakwater_signal_") and "{" not in line]
    return {name.removeprefix("breakwater_signal_"): float(value) for name, value in lines}


class Worker:
    """An executor's queue: takes intents and holds each until it is told that it is done."""

    def __init__(self, bus: Bus, account: str, symbol: str) -> None:
        specification = ConsumerSpecification(
            stream="INTENT",
            durable=subjects.intent_queue(account, symbol),
            filters=(f"intent.*.{account}.{symbol}",),
            batch=1,
            max_in_flight=1,
        )
        self.taken: asyncio.Queue[Intent] = asyncio.Queue()
        self.done = asyncio.Semaphore(0)
        self.consumer = PullConsumer(bus, specification, self._handle, service="test")

    async def _handle(self, received: Received) -> None:
        self.taken.put_nowait(received.event)
        await self.done.acquire()


async def test_intents_count_from_their_decision_until_an_executor_has_acknowledged_them(
    live_bus: Bus, settings: SignalSettings
) -> None:
    stop = asyncio.Event()
    worker = Worker(live_bus, "main", "BTCUSDT")
    async with running(settings) as asked, asyncio.TaskGroup() as tasks:
        await live_bus.publish_all([*bars(), trade("BTCUSDT", 0, 100.0)])
        await asked(intents_waiting=0, symbols_near_target=0, market_time_ms=START_MS + 1)
        await live_bus.publish(trade("BTCUSDT", 1, 104.5))
        await asked(intents_waiting=2)  # one for each account; no executor has ever been there
        tasks.create_task(worker.consumer.run(stop))
        entry = await worker.taken.get()
        for account, symbol in (("stranger", "BTCUSDT"), ("main", "DOGEUSDT")):  # not this run's
            await live_bus.publish(
                replace(
                    entry, account=account, symbol=symbol, intent_id=f"live/{account}/v/{symbol}/2024-01-06/entry/1"
                )
            )
        await live_bus.publish(replace(entry, intent_id=entry.intent_id.replace("/entry/", "/stop/")))
        await asked(intents_waiting=3)  # in hand, behind it, and the other account's
        worker.done.release()
        await worker.taken.get()
        await asked(intents_waiting=2)
        worker.done.release()
        await asked(intents_waiting=1)
        figures = await metrics_of(settings)
        assert figures["intents_waiting"] == 1
        assert figures["intents_polled_timestamp_seconds"] > 1_700_000_000
        stop.set()


async def test_symbols_near_a_target_and_exits_due_are_told_in_market_time(
    live_bus: Bus, settings: SignalSettings
) -> None:
    async with running(settings) as asked:
        await live_bus.publish_all([*bars(), *(trade(symbol, 0, 100.0) for symbol in SYMBOLS)])
        await asked(symbols_near_target=0, exits_due=0)
        await live_bus.publish_all([trade("ETHUSDT", 1, 103.6), trade("SOLUSDT", 1, 96.3)])
        figures = await asked(symbols_near_target=2)
        assert figures["near_target_ratio"] == 0.005
        await live_bus.publish(trade("ETHUSDT", 2, 104.0))
        await asked(symbols_near_target=1, exits_due=0)  # entered
        await live_bus.publish(clock(EXIT_MS - 300_001))
        await asked(market_time_ms=EXIT_MS - 300_001, exits_due=0)
        await live_bus.publish(clock(EXIT_MS - 300_000))
        await asked(exits_due=2, exits_due_within_s=300.0)  # one for each account
        await live_bus.publish(clock(EXIT_MS + 1))
        await asked(
            market_time_ms=EXIT_MS + 1, exits_due=2, symbols_near_target=0
        )  # due until they are told to be done
        for name, value in {"exits_due": 2, "symbols_near_target": 0}.items():
            while (await metrics_of(settings))[name] != value:
                await asyncio.sleep(0.01)


async def test_two_hot_signals_answer_alike(live_bus: Bus, settings: SignalSettings) -> None:
    twin = settings.model_copy(update={"instance": "b", "http_port": free_port()})
    async with running(settings) as asked, running(twin) as twin_asked:
        await live_bus.publish_all([*bars(), *(trade(symbol, 0, 100.0) for symbol in SYMBOLS)])
        await live_bus.publish_all([trade("ETHUSDT", 1, 103.6), trade("BTCUSDT", 2, 104.5)])
        now_ms = START_MS + 60_000
        await live_bus.publish(clock(now_ms))
        wanted = {"intents_waiting": 2, "symbols_near_target": 1, "market_time_ms": now_ms}
        assert await asked(**wanted) == await twin_asked(**wanted)


async def test_without_market_data_nothing_is_claimed(live_bus: Bus, settings: SignalSettings) -> None:
    async with running(settings) as asked:
        await asked(503, error="no market data yet")


async def test_a_count_that_fails_is_an_error_with_its_reason_and_no_zero(
    live_bus: Bus, settings: SignalSettings, nats_server: NatsProcess
) -> None:
    async with running(settings) as asked:
        await live_bus.publish_all([*bars(), trade("BTCUSDT", 0, 100.0), trade("BTCUSDT", 1, 104.5)])
        await asked(intents_waiting=2)
        await live_bus.api("STREAM.DELETE.INTENT")
        assert "stream not found" in (await asked(503))["error"]
        figures = await metrics_of(settings)
        assert figures["intents_waiting"] == 2  # as it was last counted
        await live_bus.api("STREAM.CREATE.INTENT", stream_body(subjects.INTENT_STREAM))
        await asked(intents_waiting=0)
        nats_server.kill()
        assert (await asked(503))["error"]
        nats_server.start()
        await asked(200)
        assert (await metrics_of(settings))["intents_polled_timestamp_seconds"] > figures[
            "intents_polled_timestamp_seconds"
        ]


async def test_more_queues_than_fit_on_one_page_of_the_bus_are_all_counted(
    live_bus: Bus, settings: SignalSettings, tmp_path: Path
) -> None:
    symbols = [f"S{number}USDT" for number in range(300)]
    wide = BreakwaterConfig.parse({"portfolio": {"symbols": symbols}})
    write_config(wide, tmp_path / "wide.json")
    async with running(settings.model_copy(update={"config_file": tmp_path / "wide.json"})) as asked:
        for symbol in symbols:
            durable = subjects.intent_queue("main", symbol)
            await live_bus.jetstream.publish(f"intent.0.main.{symbol}", b"")  # from before: done with
            config = {
                "durable_name": durable,
                "ack_policy": "explicit",
                "deliver_policy": "new",
                "filter_subjects": [f"intent.*.main.{symbol}"],
            }
            await live_bus.api(f"CONSUMER.CREATE.INTENT.{durable}", {"stream_name": "INTENT", "config": config})
            await live_bus.client.publish(f"intent.0.main.{symbol}", b"")
        await live_bus.client.flush()
        await live_bus.publish(clock(START_MS + 1))
        await asked(intents_waiting=len(symbols))
