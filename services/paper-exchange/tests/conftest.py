"""Shared pieces: small markets, an engine, and exchanges that really listen."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import date, timedelta
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import SecretStr

from breakwater_core.market import Instrument, TradeBatch
from paper_exchange_service.engine.accounts import Credentials
from paper_exchange_service.engine.bookkeeping import EngineListener
from paper_exchange_service.engine.engine import Engine
from paper_exchange_service.engine.markets import Costs
from paper_exchange_service.playback import UTC_DAYS, GeneratedDay, Playback, utc_day
from paper_exchange_service.server import Options, PaperExchange
from paper_exchange_service.settings import AccountSettings, Mode
from paper_exchange_service.venue import wall_clock_ms

BATCH = Callable[[str, Sequence[tuple[int, float]]], TradeBatch]


def make_instrument(symbol: str = "BTCUSDT") -> Instrument:
    return Instrument(
        symbol=symbol,
        tick_size=Decimal("0.1"),
        quantity_step=Decimal("0.001"),
        min_quantity=Decimal("0.001"),
        max_quantity=Decimal(1500),
        max_market_quantity=Decimal(150),
        min_notional=Decimal(5),
    )


def make_batch(symbol: str, trades: Sequence[tuple[int, float]]) -> TradeBatch:
    return TradeBatch(
        symbol=symbol,
        times_ms=np.array([time_ms for time_ms, _ in trades], dtype=np.int64),
        prices=np.array([price for _, price in trades]),
        sizes=np.ones(len(trades)),
        taker_sides=np.ones(len(trades), dtype=np.int8),
    )


def make_engine(
    costs: Costs | None = None,
    *,
    symbols: Sequence[str] = ("BTCUSDT",),
    deposit: Decimal = Decimal(100_000),
    listener: EngineListener | None = None,
) -> Engine:
    engine = Engine(
        costs or Costs(slippage_ratio=Decimal(0), latency_ms=0),
        instruments=[make_instrument(symbol) for symbol in symbols],
        listener=listener,
    )
    engine.add_account("main", Credentials("key", "secret"), deposit, 0)
    return engine


@pytest.fixture
def tools() -> SimpleNamespace:
    """Makers of instruments, batches and engines."""
    return SimpleNamespace(instrument=make_instrument, batch=make_batch, engine=make_engine)


def account(name: str = "main", key: str = "test-key", **values: object) -> AccountSettings:
    return AccountSettings(name=name, key=key, secret=SecretStr("test-secret"), usdt=Decimal(100_000), **values)


def sawtooth(symbols: Sequence[str] = ("BTCUSDT", "ETHUSDT"), history_days: int = 2) -> Playback:
    """A market with a trade every 200 ms: up from 30,000 by one tick at a time, after 100 of them from there again."""

    def open_day(symbol: str, day: date) -> GeneratedDay:
        times = np.arange(UTC_DAYS.day_start_ms(day), UTC_DAYS.day_end_ms(day), 200, dtype=np.int64)
        steps = np.arange(times.size) % 100
        return GeneratedDay(
            TradeBatch(
                symbol=symbol,
                times_ms=times,
                prices=np.round(30_000.0 + steps * 0.1, 1),
                sizes=np.full(times.size, 0.5),
                taker_sides=np.where(steps == 0, -1, 1).astype(np.int8),
            )
        )

    first_day = utc_day(wall_clock_ms()) - timedelta(days=history_days)
    return Playback(symbols, open_day, first_day)


@contextmanager
def running(options: Options, playback: Playback | None = None) -> Iterator[PaperExchange]:
    """An exchange in a thread of its own, for blocking clients."""
    ready: threading.Event = threading.Event()
    held: list[object] = []

    async def main() -> None:
        stop = asyncio.Event()
        exchange = PaperExchange(options, playback)
        try:
            async with exchange:
                held.extend((exchange, asyncio.get_running_loop(), stop))
                ready.set()
                await stop.wait()
        finally:
            ready.set()

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    assert ready.wait(20)
    exchange, loop, stop = held
    try:
        yield exchange
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def serve() -> Callable[..., AbstractContextManager[PaperExchange]]:
    """Start an exchange in real time with the sawtooth market; keyword arguments go into its options."""

    def start(**values: object) -> AbstractContextManager[PaperExchange]:
        values.setdefault("accounts", (account(),))
        values.setdefault("costs", Costs(slippage_ratio=Decimal("0.0001"), latency_ms=5))
        return running(Options(**values), sawtooth())

    return start


@pytest.fixture(scope="module")
def exchange() -> Iterator[PaperExchange]:
    """One exchange in real time for a whole module."""
    options = Options(
        accounts=(account(), account("second", "second-key")),
        costs=Costs(slippage_ratio=Decimal("0.0001"), latency_ms=5, funding_rate=Decimal("0.0001")),
    )
    with running(options, sawtooth()) as running_exchange:
        yield running_exchange


@pytest.fixture
def replayed() -> Callable[..., PaperExchange]:
    """Make an exchange for replay, to be entered by the test in its own loop."""

    def make(**values: object) -> PaperExchange:
        values.setdefault("accounts", (account(),))
        values.setdefault("costs", Costs(slippage_ratio=Decimal("0.0001"), latency_ms=50))
        return PaperExchange(Options(mode=Mode.REPLAY, **values))

    return make


@pytest.fixture
def make_account() -> Callable[..., AccountSettings]:
    """Make account settings."""
    return account
