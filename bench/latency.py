"""From a trade to the order request it causes, live: feeder, signal, executor and the exchange as processes."""

import asyncio
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from bench.durable_bus import durable_publishing
from bench.effort import Effort
from bench.errors import BenchmarkError
from bench.figures import Figure, Section, Target, percentile
from bench.live_market import LiveMarket, live_market, symbol_names
from bench.live_system import LiveSystem, bus_and_exchange, live_system
from bench.processes import Helper, helper, resident_mb, while_alive
from bench.stamps import stamped_intents
from breakwater_cli.processes import ProcessGroup

_RATES = (1_000, 5_000)
_TRIGGER_INTERVAL_S = 0.02
_LOOK_INTERVAL_S = 0.05
_WARM_UP = 20
"""Triggers that are not counted: connections are made and code is warmed up with them."""
_TARGETS = {
    ("tick-to-intent", 50): Target(1.0, 0.6, at_most=True),
    ("tick-to-intent", 99): Target(2.5, 1.2, at_most=True),
    ("tick-to-order-request", 50): Target(2.0, 1.0, at_most=True),
    ("tick-to-order-request", 99): Target(4.0, 2.0, at_most=True),
}
_TARGET_RATE = 5_000
_LOADED_MEMORY = Target(must=200, goal=120, at_most=True)
_STAGES = ("tick-to-intent", "intent-to-order-request", "tick-to-order-request")


@dataclass
class Latencies:
    """Milliseconds per stage, one per counted trigger.

    Attributes:
        samples: By stage.
        trades_per_s: Rate that the feeder achieved.
    """

    samples: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    trades_per_s: float = 0.0


async def measure(effort: Effort) -> Section:
    """Measure the system at each rate, and the bare chain at the highest."""
    count = _WARM_UP + effort.pick(150, 20)
    market = live_market(symbol_names(count))
    figures: list[Figure] = []
    rates: list[float] = []
    durable_ms: list[float] = []
    memory: dict[str, list[float]] = defaultdict(list)
    for rate in _RATES:
        ours, bare = [], []
        for number in range(effort.repetitions):
            effort.tell(f"{rate:,} trades/s, {number + 1} of {effort.repetitions}")
            ours.append(await _system(effort, market, rate, number, memory if rate == max(_RATES) else None))
            if rate == max(_RATES):
                bare.append(await _bare(effort, market, rate, number))
                durable_ms.append((await durable_publishing(effort))[0])
        rates += [run.trades_per_s for run in ours]
        figures += [_figure(stage, share, rate, ours, bare) for stage in _STAGES for share in (50, 99)]
    figures += [
        Figure(f"{name}, highest memory at {max(_RATES):,} trades/s", "MB", tuple(values), _LOADED_MEMORY)
        for name, values in memory.items()
    ]
    figures.append(Figure("durable publish, awaited", "ms", tuple(durable_ms)))
    notes = (
        f"{count - _WARM_UP} triggers a repetition, one every {_TRIGGER_INTERVAL_S * 1000:.0f} ms, on {count} symbols.",
        f"Messages of 1 to 5 trades; rates reached {min(rates):,.0f} to {max(rates):,.0f} trades/s.",
        "tick: before market-data's publisher is given the message. intent: a reader of the durable stream has it.",
        "order request: the exchange has read it; it answers at once, and the executor's request budget is off.",
        "bare chain: nats-py and a kept HTTP connection, nothing decided, no record written before the order.",
        "durable publish: bare nats-py alone; it is part of every intent, and another one of every order request.",
    )
    return Section("tick to intent to order request, live processes", tuple(figures), notes)


def _figure(stage: str, share: int, rate: int, ours: list[Latencies], bare: list[Latencies]) -> Figure:
    return Figure(
        f"{stage} p{share}, {rate:,} trades/s",
        "ms",
        tuple(percentile(run.samples[stage], share / 100) for run in ours),
        _TARGETS.get((stage, share)) if rate == _TARGET_RATE else None,
        "bare chain",
        tuple(percentile(run.samples[stage], share / 100) for run in bare),
    )


async def _system(
    effort: Effort, market: LiveMarket, rate: int, seed: int, memory: dict[str, list[float]] | None
) -> Latencies:
    folder = effort.scratch("latency")
    async with live_system(folder, market, executors=1, with_signal=True) as system:
        run = await while_alive(system.group, _feed(system, market, rate, seed))
        for name, child in system.group.children.items():
            if memory is not None:
                memory[name].append(resident_mb(child.process.pid, highest=True))
        return run


async def _bare(effort: Effort, market: LiveMarket, rate: int, seed: int) -> Latencies:
    folder = effort.scratch("latency")
    async with AsyncExitStack() as stack:
        system = await stack.enter_async_context(bus_and_exchange(folder, market, 0.0))
        requests: tuple[dict[str, Any], ...] = (
            {"role": "signal", "url": system.nats_url},
            {"role": "executor", "url": system.nats_url, "port": system.exchange_port},
        )
        for request in requests:
            chain: Helper = await stack.enter_async_context(helper("bare_chain", request))
            await chain.answer()
        return await while_alive(ProcessGroup(folder), _feed(system, market, rate, seed))


async def _feed(system: LiveSystem, market: LiveMarket, rate: int, seed: int) -> Latencies:
    """Play the market once and join what feeder, bus and exchange have stamped."""
    symbols = list(market.config.portfolio.symbols)
    request = {
        "url": system.nats_url,
        "symbols": symbols,
        "triggers": symbols,
        "trades_per_s": rate,
        "trigger_interval_s": _TRIGGER_INTERVAL_S,
        "seed": seed,
    }
    async with helper("trade_feeder", request) as feeder, stamped_intents(system.bus) as intents:
        await feeder.answer()
        played = await feeder.ask("go")
        await intents.wait_for(len(symbols))
    published = dict(played["triggers"])
    requested = await _requests(system.exchange, len(symbols))
    run = Latencies(trades_per_s=played["trades_per_s"])
    for symbol in symbols[_WARM_UP:]:
        stamps = published[symbol], intents.seen_ns[symbol], requested[symbol]
        run.samples["tick-to-intent"].append((stamps[1] - stamps[0]) / 1e6)
        run.samples["intent-to-order-request"].append((stamps[2] - stamps[1]) / 1e6)
        run.samples["tick-to-order-request"].append((stamps[2] - stamps[0]) / 1e6)
    return run


async def _requests(exchange: Helper, count: int) -> dict[str, int]:
    """Return when the order of each symbol arrived, once all have."""
    for _ in range(200):
        answer = await exchange.ask("orders")
        if len(answer["orders"]) >= count:
            return {symbol: arrived_ns for _, symbol, arrived_ns, _ in answer["orders"]}
        await asyncio.sleep(_LOOK_INTERVAL_S)
    raise BenchmarkError(f"only {len(answer['orders'])} of {count} orders arrived; see the executor's log")
