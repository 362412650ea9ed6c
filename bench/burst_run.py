"""A burst of intents on many accounts and several executors behind one address, against the paper exchange.

The paper exchange runs here with its limits enforced, and each request is counted when it counts it. The executors are
processes as in production, in real time, with the request budget shared over the bus.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from bench.errors import BenchmarkError
from bench.live_market import LiveMarket, live_market
from bench.processes import nats_server, services, while_alive, with_settings
from breakwater_cli.processes import ProcessGroup
from breakwater_cli.system import SystemPlan, account_key, account_secret
from breakwater_core.events import Intent, Leg, OrderEvent, OrderStatus, Side
from breakwater_core.identities import intent_id, partition_of
from breakwater_core.market import LIVE_RUN_ID
from breakwater_recordings.instruments import DEFAULT_SYMBOLS
from breakwater_runtime import codec
from breakwater_runtime.bus import Bus, connect
from breakwater_runtime.config_file import write_config
from breakwater_runtime.readers import NEW_ONLY, Delivery, read_stream
from breakwater_runtime.settings import ServiceSettings
from breakwater_runtime.subjects import INTENT_PARTITIONS
from executor_service.day_open_store import DayOpenStore
from executor_service.drain import Drain
from paper_exchange_service.engine.markets import Costs
from paper_exchange_service.playback import play_synthetic
from paper_exchange_service.rate_limits import RateLimits
from paper_exchange_service.server import Options, PaperExchange
from paper_exchange_service.settings import AccountSettings

IP_WINDOW_MS = 5_000
_EXIT_PARTITIONS = 10
_ENTRY_SHARE_OF_EQUITY = 1_000
_SYMBOLS = 3


@dataclass(frozen=True)
class Burst:
    """What was asked for and what became of it; times are Unix milliseconds of the exchange's machine.

    Attributes:
        requests_ms: When the exchange counted each request, oldest first.
        most_in_a_window: Most requests within a rolling window of the address, by the exchange's own meter.
        breaches: Refusals with 10006 and with 403, counted by the exchange.
        entries_ms: When the exchange took each entry of the burst, oldest first.
        exits_ms: When it took each exit.
        exits_published_ms: When the exits were put on the bus.
        outcomes: Final states of the burst's intents.
        duplicates: Orders beyond one for each intent.
    """

    requests_ms: tuple[int, ...]
    most_in_a_window: int
    breaches: int
    entries_ms: tuple[int, ...]
    exits_ms: tuple[int, ...]
    exits_published_ms: int
    outcomes: dict[OrderStatus, int]
    duplicates: int

    @property
    def mean_in_a_window(self) -> float:
        """Requests in five seconds, on average over the burst, in whole windows.

        The windows follow each other from the burst's first entry on, as many as end before its last one; at least one.
        """
        first_ms, last_ms = self.entries_ms[0], self.entries_ms[-1]
        windows = max(1, (last_ms - first_ms) // IP_WINDOW_MS)
        end_ms = first_ms + windows * IP_WINDOW_MS
        return sum(first_ms <= time_ms < end_ms for time_ms in self.requests_ms) / windows

    @property
    def entries_before_the_last_exit(self) -> int:
        """Entries that the exchange took after the exits were published and before it took the last of these."""
        return sum(self.exits_published_ms <= time_ms < self.exits_ms[-1] for time_ms in self.entries_ms)

    @property
    def entries_after_the_last_exit(self) -> int:
        """Entries that the exchange took after the last exit."""
        return sum(time_ms >= self.exits_ms[-1] for time_ms in self.entries_ms)


class CountedLimits(RateLimits):
    """The exchange's limits, with a list of what was counted against the address."""

    def __init__(self, address_limit: int) -> None:
        """Enforce all limits; those of accounts are Bybit's."""
        super().__init__(enforced=True, address_limit=address_limit)
        self.requests_ms: list[int] = []

    def admit(self, address: str, now_ms: int) -> bool:
        """Count a request of the address; False: it is refused with HTTP 403."""
        self.requests_ms.append(now_ms)
        return super().admit(address, now_ms)


class _Events:
    """The final events of intents, with a way to wait for them."""

    def __init__(self) -> None:
        self.final: dict[str, OrderEvent] = {}
        self._changed = asyncio.Event()

    def handle(self, delivery: Delivery) -> None:
        event = codec.decode(delivery.subject, delivery.payload).value
        if isinstance(event, OrderEvent) and event.intent_closed:
            self.final[event.intent_id] = event
            self._changed.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._changed.clear()
            await self._changed.wait()


async def run_burst(
    folder: Path,
    *,
    entries: int,
    exits: int,
    address_limit: int = 600,
    accounts: int = 20,
    executors: int = 4,
    timeout_s: float = 120.0,
    waves: int = 1,
    around: Callable[[ProcessGroup], AbstractAsyncContextManager[None]] = lambda _group: nullcontext(),
) -> Burst:
    """Run one burst and return what the exchange saw.

    Positions for the exits are opened before. The exits are put on the bus when half of the entries are done. They lie
    in partitions of their own: within a partition the bus keeps intents in order, so an exit waits for those before it.
    The entries come in so many waves; each is put on the bus within the context that `around` makes of the executors.

    Raises:
        BenchmarkError: If an executor ends, or the burst is not over in time.
    """
    market = live_market(DEFAULT_SYMBOLS[:_SYMBOLS], [f"account-{number:02d}" for number in range(accounts)])
    settings = {"EXECUTOR_BUDGET": "shared", "EXECUTOR_ADDRESS_LIMIT": str(address_limit)}
    limits = CountedLimits(address_limit)
    async with (
        open_exchange(market, limits) as exchange,
        open_system(folder, market, exchange, executors, settings) as (bus, group),
    ):
        events = _Events()
        async with read_stream(
            bus, name="burst", stream="ORDER", filters=["order.>"], start=NEW_ONLY, handle=events.handle
        ):
            burst = _run(bus, exchange, events, market, entries, exits, waves, lambda: around(group))
            burst_entries, burst_exits, published_ms = await while_alive(group, burst, timeout_s=timeout_s)
        return _burst(exchange, limits, events, burst_entries, burst_exits, published_ms)


async def _run(
    bus: Bus,
    exchange: PaperExchange,
    events: _Events,
    market: LiveMarket,
    entries: int,
    exits: int,
    waves: int,
    around: Callable[[], AbstractAsyncContextManager[None]],
) -> tuple[list[Intent], list[Intent], int]:
    prices = {symbol: _price(exchange, symbol) for symbol in market.config.portfolio.symbols}
    held, others = _split(market, exits)
    opening = [_intent(market, pair, Leg.ENTRY, 1, prices) for pair in held]
    await bus.publish_all(opening)
    await events.until(lambda: all(intent.intent_id in events.final for intent in opening))
    burst = [_intent(market, pair, Leg.ENTRY, attempt, prices) for pair, attempt in _spread(others, entries)]
    known = {intent.intent_id for intent in burst}
    size = -(-entries // waves)
    for number in range(waves - 1):
        async with around():
            await bus.publish_all(burst[number * size : (number + 1) * size])
    async with around():
        await bus.publish_all(burst[(waves - 1) * size :])
        await events.until(lambda: len(known & events.final.keys()) >= entries // 2)
        closing = [_intent(market, pair, Leg.EXIT, 1, prices) for pair in held]
        published_ms = _now_ms()
        await bus.publish_all(closing)
    everything = known | {intent.intent_id for intent in closing}
    await events.until(lambda: everything <= events.final.keys())
    return burst, closing, published_ms


def _price(exchange: PaperExchange, symbol: str) -> Decimal:
    price = exchange.engine.market(symbol).last_at(_now_ms())
    if price is None:
        raise BenchmarkError(f"the paper exchange has no price of {symbol}")
    return price


def _split(market: LiveMarket, exits: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return pairs of account and symbol to exit from, and others that share no partition with one of those."""
    by_partition: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for account in market.config.portfolio.accounts:
        for symbol in market.config.portfolio.symbols:
            by_partition[partition_of(account, symbol, INTENT_PARTITIONS)].append((account, symbol))
    held: list[tuple[str, str]] = []
    kept: set[int] = set()
    for partition, pairs in sorted(by_partition.items()):
        if len(held) < exits:
            kept.add(partition)
            held += pairs
    return held[:exits], [pair for number, pairs in by_partition.items() if number not in kept for pair in pairs]


def _spread(pairs: list[tuple[str, str]], count: int) -> list[tuple[tuple[str, str], int]]:
    """Return that many pairs and attempts, as evenly over the partitions as can be."""
    by_partition: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for pair in pairs:
        by_partition[partition_of(*pair, INTENT_PARTITIONS)].append(pair)
    attempts: dict[tuple[str, str], int] = defaultdict(int)
    found: list[tuple[tuple[str, str], int]] = []
    while True:
        for number, of_partition in enumerate(by_partition.values()):
            pair = of_partition[(len(found) // len(by_partition) + number) % len(of_partition)]
            attempts[pair] += 1
            found.append((pair, attempts[pair]))
            if len(found) == count:
                return found


def _intent(market: LiveMarket, pair: tuple[str, str], leg: Leg, attempt: int, prices: dict[str, Decimal]) -> Intent:
    account, symbol = pair
    identity = intent_id(
        run_id=LIVE_RUN_ID,
        account=account,
        strategy_version=market.config.version,
        symbol=symbol,
        day=market.day,
        leg=leg,
        attempt=attempt,
    )
    return Intent(
        intent_id=identity,
        run_id=LIVE_RUN_ID,
        account=account,
        strategy_version=market.config.version,
        symbol=symbol,
        day=market.day,
        leg=leg,
        attempt=attempt,
        side=Side.SELL if leg.reduces else Side.BUY,
        target_price=prices[symbol],
        trigger_price=prices[symbol],
        trigger_time_ms=_now_ms(),
        valid_until_ms=None if leg.reduces else _now_ms() + 600_000,
        gross_leverage=market.config.portfolio.gross_leverage,
        portfolio_size=_ENTRY_SHARE_OF_EQUITY,
    )


def _address_meters(exchange: PaperExchange, limits: RateLimits) -> list[dict[str, Any]]:
    names = {account.uid: name for name, account in exchange.engine.accounts.items()}
    return list(limits.usage(names)["addresses"].values())


def _burst(
    exchange: PaperExchange,
    limits: CountedLimits,
    events: _Events,
    entries: list[Intent],
    exits: list[Intent],
    published_ms: int,
) -> Burst:
    created: dict[str, int] = {}
    orders = 0
    for account in exchange.engine.accounts.values():
        for order in account.order_log:
            orders += 1
            created[order.link_id] = order.created_ms
    outcomes: dict[OrderStatus, int] = defaultdict(int)
    for intent in [*entries, *exits]:
        outcomes[events.final[intent.intent_id].status] += 1
    times = {
        leg: sorted(created[events.final[intent.intent_id].order_link_id] for intent in intents)
        for leg, intents in ((Leg.ENTRY, entries), (Leg.EXIT, exits))
    }
    return Burst(
        requests_ms=tuple(limits.requests_ms),
        most_in_a_window=max(row["peak"] for row in _address_meters(exchange, limits)),
        breaches=sum(limits.breaches.values()) + limits.address_breaches,
        entries_ms=tuple(times[Leg.ENTRY]),
        exits_ms=tuple(times[Leg.EXIT]),
        exits_published_ms=published_ms,
        outcomes=dict(outcomes),
        duplicates=orders - len(entries) - 2 * len(exits),
    )


@asynccontextmanager
async def open_exchange(market: LiveMarket, limits: CountedLimits) -> AsyncIterator[PaperExchange]:
    """Run a paper exchange in real time that enforces its limits, while the context is open."""
    playback = await asyncio.to_thread(
        play_synthetic,
        seed=1,
        symbols=market.config.portfolio.symbols,
        trades_per_day=20_000,
        history_days=1,
        now_ms=_now_ms(),
    )
    accounts = tuple(
        AccountSettings.model_validate({"name": name, "key": account_key(name), "secret": account_secret(name)})
        for name in market.config.portfolio.accounts
    )
    options = Options(accounts=accounts, costs=Costs(latency_ms=0), rate_limits=True)
    async with PaperExchange(options, playback) as exchange:
        exchange.limits = exchange.gateway.limits = limits
        yield exchange


@asynccontextmanager
async def open_system(
    folder: Path, market: LiveMarket, exchange: PaperExchange, executors: int, settings: Mapping[str, str]
) -> AsyncIterator[tuple[Bus, ProcessGroup]]:
    """Run a bus and executors on every account while the context is open; yields a connection and the processes."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    config_path = folder / "config.json"
    write_config(market.config, config_path)
    with nats_server(folder / "bus") as nats:
        async with connect(ServiceSettings(nats_url=nats.url), name="burst") as bus:
            store = DayOpenStore(bus, Drain())
            for account in market.config.portfolio.accounts:
                await store.create(account, replace(market.day_open(), taken_at_ms=_now_ms()))
            plan = SystemPlan(
                run_id=LIVE_RUN_ID,
                nats_url=nats.url,
                config_path=config_path,
                config=market.config,
                database_url="",
                directory=folder,
                executors=executors,
                exchange_port=int(exchange.rest_url.rpartition(":")[2]),
            )
            names = {f"executor-{number}" for number in range(1, executors + 1)}
            workers = [with_settings(worker, settings) for worker in plan.executor_processes() if worker.name in names]
            async with services(folder / "logs", workers) as group:
                yield bus, group


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
