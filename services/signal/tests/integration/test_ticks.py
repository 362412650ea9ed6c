"""The first spans of a live intent: from the exchange's time of the trade, and from one signal only."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from breakwater_cli.nats_process import NatsProcess
from breakwater_core.config import BreakwaterConfig
from breakwater_core.market import BarState, Clock, ClockKind, DailyBar, TradeBatch
from breakwater_runtime import tracing
from breakwater_runtime.bus import Bus, connect
from breakwater_runtime.readers import Delivery
from breakwater_runtime.settings import ServiceSettings
from breakwater_runtime.trace_ids import trace_of_intent
from breakwater_runtime.tracing import Span, Tracer
from signal_service.handler import MarketMessage, SignalHandler

CONFIG = BreakwaterConfig.parse({"portfolio": {"symbols": ["BTCUSDT"]}})
SECOND_NS = 1_000_000_000


@pytest.fixture
def spans() -> Iterator[list[Span]]:
    made: list[Span] = []
    with tracing.installed(Tracer(made.append)):
        yield made


@pytest.fixture
async def live_bus(nats_server: NatsProcess) -> AsyncIterator[Bus]:
    async with connect(ServiceSettings(nats_url=nats_server.url), name="test") as connected:
        yield connected


def trades(time_ms: int, price: float) -> TradeBatch:
    return TradeBatch("BTCUSDT", np.array([time_ms], np.int64), np.array([price]), np.ones(1), np.ones(1, np.int8))


async def breakout(handler: SignalHandler, at_ms: int, stored_ns: int, received_s: float) -> None:
    """Have a signal see six days of bars, a quiet opening, and a trade beyond the target."""
    today = CONFIG.session.session().day_of(at_ms)
    opening_ms = CONFIG.session.session().day_start_ms(today)
    days = [today - timedelta(days=back) for back in range(6, 0, -1)]
    values = [
        *(DailyBar("BTCUSDT", day, BarState.CLOSED, 98.0, 104.0, 96.0, 100.0, 1.0, complete=True) for day in days),
        DailyBar("BTCUSDT", today, BarState.OPEN, 100.0, 100.0, 100.0, 100.0, 0.0, complete=True),
        Clock(ClockKind.ADVANCED, opening_ms, opening_ms, today),
        trades(opening_ms, 100.0),
        trades(at_ms, 104.5),
    ]
    for number, value in enumerate(values, 1):
        delivery = Delivery("md.trades.bybit.BTCUSDT", b"", number, stored_ns)
        await handler.market_message(MarketMessage(value, delivery, received_s))
    await handler.drain(20)


async def no_letter(_delivery: Delivery, _reason: str) -> None:
    raise AssertionError("no message is to be put aside here")


async def test_the_tick_begins_at_the_exchange_and_passes_the_bus_on_its_way_to_the_one_signal_that_is_first(
    live_bus: Bus, spans: list[Span]
) -> None:
    day_start_ms = CONFIG.session.session().day_start_ms(datetime.now(UTC).date() - timedelta(days=1))
    at_ms = day_start_ms + 3_600_000
    stored_ns = at_ms * 1_000_000 + SECOND_NS
    received_s = time.monotonic() - 1.0
    before_ns = time.time_ns()
    async with asyncio.TaskGroup() as tasks:
        for instance in ("a", "b"):
            handler = SignalHandler(live_bus, CONFIG, instance=instance, tasks=tasks, put_aside=no_letter)
            await breakout(handler, at_ms, stored_ns, received_s)
    by_name = {span.name: span for span in spans}
    assert sorted(by_name) == ["bus to signal", "decide", "publish intent", "tick", "trades to bus"]
    assert len(spans) == len(by_name), "the second signal, whose intent the bus had, adds none"
    tick = by_name.pop("tick")
    assert tick.parent_id is None
    assert {span.parent_id for span in by_name.values()} == {tick.span_id}
    assert {span.trace_id for span in spans} == {trace_of_intent(str(tick.attributes["intent_id"]))}
    assert tick.attributes["leg"] == "entry"
    assert tick.start_ns == by_name["trades to bus"].start_ns == at_ms * 1_000_000
    assert by_name["trades to bus"].end_ns == by_name["bus to signal"].start_ns == stored_ns
    received_ns = by_name["bus to signal"].end_ns
    assert received_ns == by_name["decide"].start_ns
    assert abs(received_ns - (before_ns - SECOND_NS)) < SECOND_NS // 4
    assert by_name["decide"].end_ns <= by_name["publish intent"].start_ns
    assert by_name["publish intent"].end_ns <= tick.end_ns


async def test_an_unsampled_intent_has_no_span(live_bus: Bus) -> None:
    made: list[Span] = []
    day_start_ms = CONFIG.session.session().day_start_ms(datetime.now(UTC).date() - timedelta(days=1))
    with tracing.installed(Tracer(made.append, sample_ratio=0.0)):
        async with asyncio.TaskGroup() as tasks:
            handler = SignalHandler(live_bus, CONFIG, instance="a", tasks=tasks, put_aside=no_letter)
            await breakout(handler, day_start_ms + 3_600_000, 1, time.monotonic())
    assert made == []
    assert int((await live_bus.api("STREAM.INFO.INTENT"))["state"]["messages"]) == 1
