"""A helper: stands for market-data live, at a set rate, through market-data's own publisher.

    {"url", "symbols": [...], "triggers": [...], "trades_per_s": 5000, "trigger_interval_s": 0.02, "seed": 1}
    word `go`: plays; says {"triggers": [[symbol, published ns], ...], "trades_per_s": achieved}

Each message holds one to five trades of one symbol, all at the quiet price but the last one of a triggering message.
The publishing time is taken before the message is encoded.
"""

import asyncio
import random
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.helper_talk import Words, run_helper, say
from bench.live_market import QUIET_PRICE, TRIGGER_PRICE
from breakwater_core.market import Clock, ClockKind, TradeBatch
from breakwater_core.session import Session
from breakwater_runtime.bus import connect
from breakwater_runtime.settings import ServiceSettings
from market_data_service.live_publisher import LivePublisher

CLOCK_INTERVAL_S = 0.25
_MAX_TRADES = 5
_LEAD_S = 0.5
"""Trades flow for this long before the first trigger and after the last."""


@dataclass(frozen=True, slots=True)
class Due:
    """A message to publish.

    Attributes:
        at_s: Seconds after the start.
        symbol: Of its trades; empty: the clock.
        trades: Number of trades.
        triggers: Whether the last trade is behind the target.
    """

    at_s: float
    symbol: str
    trades: int
    triggers: bool


def plan_messages(request: dict[str, Any]) -> list[Due]:
    """Return the messages in the order of their times."""
    chance = random.Random(request["seed"])
    triggers: list[str] = request["triggers"]
    end_s = 2 * _LEAD_S + len(triggers) * request["trigger_interval_s"]
    plan = [
        Due(_LEAD_S + number * request["trigger_interval_s"], symbol, chance.randint(1, _MAX_TRADES), triggers=True)
        for number, symbol in enumerate(triggers)
    ]
    at_s = 0.0
    while at_s < end_s:
        trades = chance.randint(1, _MAX_TRADES)
        plan.append(Due(at_s, chance.choice(request["symbols"]), trades, triggers=False))
        at_s += trades / request["trades_per_s"]
    plan += [Due(number * CLOCK_INTERVAL_S, "", 0, triggers=False) for number in range(int(end_s / CLOCK_INTERVAL_S))]
    return sorted(plan, key=lambda due: due.at_s)


async def main(request: dict[str, Any], words: Words) -> None:
    """Publish what the request asks for."""
    session = Session()
    async with (
        connect(ServiceSettings(nats_url=request["url"]), name="feeder") as bus,
        asyncio.TaskGroup() as tasks,
    ):
        publisher = LivePublisher(bus)
        working = tasks.create_task(publisher.run())
        for symbol in request["symbols"]:
            publisher.put(_batch(symbol, 1, triggers=False))
        await publisher.flushed()
        say({"ready": True})
        await words.next()
        say(await _play(publisher, plan_messages(request), session))
        await words.next()
        working.cancel()


async def _play(publisher: LivePublisher, plan: list[Due], session: Session) -> dict[str, Any]:
    triggers: list[tuple[str, int]] = []
    trades = 0
    started_s = time.perf_counter()
    for due in plan:
        if (ahead_s := due.at_s - (time.perf_counter() - started_s)) > 0:
            await asyncio.sleep(ahead_s)
        if not due.symbol:
            publisher.put(_clock(session))
            continue
        published_ns = time.time_ns()
        publisher.put(_batch(due.symbol, due.trades, triggers=due.triggers))
        trades += due.trades
        if due.triggers:
            triggers.append((due.symbol, published_ns))
    seconds = time.perf_counter() - started_s
    await publisher.flushed()
    return {"triggers": triggers, "trades_per_s": trades / seconds}


def _batch(symbol: str, trades: int, *, triggers: bool) -> TradeBatch:
    prices = np.full(trades, QUIET_PRICE)
    if triggers:
        prices[-1] = TRIGGER_PRICE
    now_ms = time.time_ns() // 1_000_000
    return TradeBatch(symbol, np.full(trades, now_ms, np.int64), prices, np.ones(trades), np.ones(trades, np.int8))


def _clock(session: Session) -> Clock:
    now_ms = time.time_ns() // 1_000_000
    return Clock(ClockKind.ADVANCED, now_ms, now_ms, session.day_of(now_ms))


if __name__ == "__main__":
    run_helper(main)
