"""How many intents executors turn into acknowledged orders when there are more of them: 1, 2 and 4 processes."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from decimal import Decimal
from itertools import cycle
from typing import Any

from bench.durable_bus import durable_publishing
from bench.effort import Effort
from bench.errors import BenchmarkError
from bench.figures import Figure, Section, Target
from bench.live_market import TRIGGER_PRICE, LiveMarket, live_market, symbol_names
from bench.live_system import LiveSystem, bus_and_exchange, live_system
from bench.processes import Helper, helper, processor_seconds, while_alive
from breakwater_cli.processes import ProcessGroup
from breakwater_core.events import Intent, Leg, Side
from breakwater_core.identities import intent_id, partition_of
from breakwater_core.market import LIVE_RUN_ID
from breakwater_runtime.bus import Bus
from breakwater_runtime.subjects import INTENT_PARTITIONS, INTENTS_BUCKET
from executor_service.settings import ExecutorSettings

_COUNTS = (1, 2, 4)
_LIMIT_COUNTS = (1, 4)
_ACCOUNTS, _SYMBOLS = 20, 16
_ORDER_DELAY_S = 0.03
_LOOK_INTERVAL_S = 0.25
_SCALING = Target(must=3.5, goal=3.9)
_VALID_FOR_MS = 600_000
_FIRST, _LAST = 0.1, 0.9
"""The rate is that between these shares of the orders: the start, and the end when partitions run dry, are left out."""


@dataclass(frozen=True)
class Run:
    """What some executors did.

    Attributes:
        orders_per_s: Orders acknowledged by the exchange.
        processor_ms: Processor time of all executors for one order.
        writes: Messages that the bus had to sync for one order, the intent not counted.
        repeats: Orders that were sent twice.
    """

    orders_per_s: float
    processor_ms: float
    writes: float
    repeats: int


async def measure(effort: Effort) -> Section:
    """Measure executors and bare HTTP clients in turn."""
    accounts = [f"account-{number:02d}" for number in range(_ACCOUNTS)]
    market = live_market(symbol_names(_SYMBOLS), accounts)
    per_partition = effort.pick(20, 6)
    intents = balanced_intents(market, per_partition)
    in_flight = int(ExecutorSettings.model_fields["concurrency"].default)
    ours: dict[int, list[Run]] = defaultdict(list)
    bare: dict[int, list[float]] = defaultdict(list)
    durable: list[float] = []
    for number in range(effort.repetitions):
        for count in _COUNTS:
            effort.tell(f"{count} executors, {number + 1} of {effort.repetitions}")
            ours[count].append(await _executors(effort, market, intents, count))
            if count in _LIMIT_COUNTS:
                bare[count].append(await _clients(effort, market, len(intents), count, in_flight))
        durable.append((await durable_publishing(effort))[1])
    notes = (
        f"{len(intents)} entries over {_ACCOUNTS} accounts x {_SYMBOLS} symbols, {per_partition} in each partition.",
        f"A process has {in_flight} orders in hand, each until its final state is known; its request budget is off.",
        "order/create is answered after 30 ms, all else at once; rates are those between 10 % and 90 % of the orders.",
        f"bare HTTP: {in_flight} kept connections a process, each order created and looked up; no bus, no records.",
        "bare nats-py: durable messages a second on one stream, published pipelined.",
        f"Fullest partition of the {_ACCOUNTS * _SYMBOLS} pairs: {fullest_share(market):.1f} times the average.",
    )
    title = "executors against an exchange that answers after 30 ms"
    return Section(title, tuple(_figures(ours, bare, tuple(durable))), notes)


def _figures(
    ours: Mapping[int, list[Run]], bare: Mapping[int, list[float]], durable: tuple[float, ...]
) -> list[Figure]:
    rates = {count: tuple(run.orders_per_s for run in runs) for count, runs in ours.items()}
    figures = [
        Figure(f"orders, {count} executors", "orders/s", rates[count], None, "bare HTTP", tuple(bare[count]))
        for count in _COUNTS
    ]
    scaling = tuple(four / one for one, four in zip(rates[1], rates[4], strict=True))
    bare_scaling = tuple(four / one for one, four in zip(bare[1], bare[4], strict=True))
    figures.append(Figure("1 -> 4 executors", "times", scaling, _SCALING, "bare HTTP", bare_scaling))
    figures += [
        Figure(f"processor time an order, {count} executors", "ms", tuple(run.processor_ms for run in ours[count]))
        for count in _COUNTS
    ]
    runs = ours[max(_COUNTS)]
    writes = tuple(run.writes * run.orders_per_s for run in runs)
    return [
        *figures,
        Figure("durable messages an order", "messages", tuple(run.writes for run in runs)),
        Figure("durable messages of 4 executors", "messages/s", writes, None, "bare nats-py", durable),
        Figure(
            "orders sent twice",
            "orders",
            tuple(float(run.repeats) for of_count in ours.values() for run in of_count),
            Target(0, 0, at_most=True),
        ),
    ]


def balanced_intents(market: LiveMarket, per_partition: int) -> list[Intent]:
    """Return entries, as many in each partition, spread over its accounts and symbols; repeats are later attempts."""
    pairs: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for account in market.config.portfolio.accounts:
        for symbol in market.config.portfolio.symbols:
            pairs[partition_of(account, symbol, INTENT_PARTITIONS)].append((account, symbol))
    attempts: dict[tuple[str, str], int] = defaultdict(int)
    rounds: list[list[Intent]] = []
    for of_partition in pairs.values():
        of_round: list[Intent] = []
        for pair in cycle(of_partition):
            if len(of_round) == per_partition:
                break
            attempts[pair] += 1
            of_round.append(_entry(market, *pair, attempts[pair]))
        rounds.append(of_round)
    return [intent for step in zip(*rounds, strict=True) for intent in step]


def fullest_share(market: LiveMarket) -> float:
    """Return how many accounts and symbols the fullest partition has, as a multiple of the average."""
    counts: dict[int, int] = defaultdict(int)
    for account in market.config.portfolio.accounts:
        for symbol in market.config.portfolio.symbols:
            counts[partition_of(account, symbol, INTENT_PARTITIONS)] += 1
    return max(counts.values()) / (sum(counts.values()) / INTENT_PARTITIONS)


def steady_rate(times_ns: list[int]) -> float:
    """Return the orders a second between the first and last tenth of these moments."""
    ordered = sorted(times_ns)
    first, last = round(len(ordered) * _FIRST), round(len(ordered) * _LAST) - 1
    return (last - first) / ((ordered[last] - ordered[first]) / 1e9)


def _entry(market: LiveMarket, account: str, symbol: str, attempt: int) -> Intent:
    version = market.config.version
    price = Decimal(TRIGGER_PRICE)
    return Intent(
        intent_id=intent_id(
            run_id=LIVE_RUN_ID,
            account=account,
            strategy_version=version,
            symbol=symbol,
            day=market.day,
            leg=Leg.ENTRY,
            attempt=attempt,
        ),
        run_id=LIVE_RUN_ID,
        account=account,
        strategy_version=version,
        symbol=symbol,
        day=market.day,
        leg=Leg.ENTRY,
        attempt=attempt,
        side=Side.BUY,
        target_price=price,
        trigger_price=price,
        trigger_time_ms=market.now_ms,
        valid_until_ms=market.now_ms + _VALID_FOR_MS,
        gross_leverage=market.config.portfolio.gross_leverage,
        portfolio_size=_SYMBOLS,
    )


async def _executors(effort: Effort, market: LiveMarket, intents: list[Intent], count: int) -> Run:
    folder = effort.scratch("executors")
    async with live_system(folder, market, executors=count, with_signal=False, order_delay_s=_ORDER_DELAY_S) as system:
        pids = [child.process.pid for child in system.group.children.values()]
        used_s = -sum(map(processor_seconds, pids))
        await system.bus.publish_all(intents)
        answer = await while_alive(system.group, _all_closed(system, len(intents)))
        used_s += sum(map(processor_seconds, pids))
        writes = sum([await _sequence(system.bus, stream) for stream in ("ORDER", f"KV_{INTENTS_BUCKET}")])
    return Run(
        orders_per_s=steady_rate([answered_ns for *_, answered_ns in answer["orders"]]),
        processor_ms=1000 * used_s / len(intents),
        writes=writes / len(intents),
        repeats=answer["repeats"],
    )


async def _all_closed(system: LiveSystem, count: int) -> dict[str, Any]:
    """Return what the exchange has seen once every intent is finished with: acknowledged on the bus."""
    answer = await _all_answered(system.exchange, count)
    while await _waiting(system.bus):  # noqa: ASYNC110  # the server offers no event
        await asyncio.sleep(_LOOK_INTERVAL_S)
    return answer


async def _waiting(bus: Bus) -> int:
    """Return how many intents are not acknowledged yet."""
    page = await bus.api("CONSUMER.LIST.INTENT", {"offset": 0})
    consumers = [consumer for consumer in page["consumers"] if consumer["config"].get("durable_name")]
    return sum(int(consumer["num_pending"]) + int(consumer["num_ack_pending"]) for consumer in consumers)


async def _sequence(bus: Bus, stream: str) -> int:
    return int((await bus.api(f"STREAM.INFO.{stream}"))["state"]["last_seq"])


async def _clients(effort: Effort, market: LiveMarket, orders: int, count: int, in_flight: int) -> float:
    """Return the orders a second of bare HTTP clients."""
    folder = effort.scratch("executors")
    async with AsyncExitStack() as stack:
        system: LiveSystem = await stack.enter_async_context(bus_and_exchange(folder, market, _ORDER_DELAY_S))
        clients: list[Helper] = []
        for number in range(count):
            request = {
                "port": system.exchange_port,
                "orders": orders // count,
                "in_flight": in_flight,
                "name": f"C{number}",
            }
            clients.append(await stack.enter_async_context(helper("bare_client", request)))
            await clients[-1].answer()
        for client in clients:
            await client.tell("go")
        answer = await while_alive(ProcessGroup(folder), _all_answered(system.exchange, orders // count * count))
    return steady_rate([answered_ns for *_, answered_ns in answer["orders"]])


async def _all_answered(exchange: Helper, count: int) -> dict[str, Any]:
    """Return what the exchange has seen once it has answered so many orders.

    Raises:
        BenchmarkError: If more orders arrive than there are intents.
    """
    while True:
        answer = await exchange.ask("orders")
        answered = sum(1 for *_, answered_ns in answer["orders"] if answered_ns)
        if answered == count:
            return answer
        if answered > count:
            raise BenchmarkError(f"{answered} orders came of {count} intents")
        await asyncio.sleep(_LOOK_INTERVAL_S)
