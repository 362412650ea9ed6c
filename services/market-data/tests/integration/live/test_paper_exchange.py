"""The live feed against the real paper exchange, a process that is killed and started again."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from breakwater_bybit.client import BybitClient
from breakwater_bybit.errors import ExchangeError
from breakwater_core.market import BarState, TradeBatch

TRADES_PER_DAY = "3000000"


@pytest.fixture
def start_exchange(free_port: Callable[[], int]) -> Iterator[tuple[int, Callable[[], subprocess.Popen[bytes]]]]:
    port = free_port()
    values = {"HTTP_PORT": str(port), "SYNTHETIC_TRADES_PER_DAY": TRADES_PER_DAY, "SYNTHETIC_HISTORY_DAYS": "3"}
    variables = os.environ | {f"PAPER_EXCHANGE_{name}": value for name, value in values.items()}
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "paper_exchange_service"]
        started.append(subprocess.Popen(command, env=variables, stderr=subprocess.DEVNULL))
        return started[-1]

    yield port, start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
async def client(start_exchange: Any) -> AsyncIterator[BybitClient]:
    async with BybitClient(f"http://127.0.0.1:{start_exchange[0]}") as connected:
        yield connected


async def until_it_answers(client: BybitClient) -> None:
    while True:
        try:
            await client.server_time_ms()
        except ExchangeError:
            await asyncio.sleep(0.05)
        else:
            return


@pytest.mark.slow
async def test_no_trade_is_missing_or_doubled_when_the_exchange_is_killed_and_comes_back(
    start_exchange: Any, client: BybitClient, listener: Any, live_service: Any, tmp_path: Any
) -> None:
    port, start = start_exchange
    config = tmp_path / "one.json"
    config.write_text(json.dumps({"portfolio": {"symbols": ["BTCUSDT"]}, "strategy": {"ma_window": 1}}))
    process = start()
    await until_it_answers(client)
    addresses = {"exchange_url": f"http://127.0.0.1:{port}", "public_stream_url": f"ws://127.0.0.1:{port}"}
    async with live_service(config_file=config, **addresses):
        await listener.until(lambda: len(listener.prices("BTCUSDT")) >= 5)
        process.kill()
        process.wait()
        known = len(listener.prices("BTCUSDT"))
        start()
        await until_it_answers(client)
        await listener.until(lambda: len(listener.prices("BTCUSDT")) >= known + 5)
        stated = (await client.recent_trades("BTCUSDT")).batch
        await listener.until(lambda: times_of(listener)[-1] >= stated.times_ms[-1])
    published = times_of(listener)
    first_ms, last_ms = published[0], int(stated.times_ms[-1])
    expected = [time for time in stated.times_ms.tolist() if first_ms < time <= last_ms]
    assert [time for time in published if first_ms < time <= last_ms] == expected
    assert not listener.alerts("data_gap")
    assert listener.bars("BTCUSDT", BarState.OPEN)[-1].complete


@pytest.mark.slow
async def test_a_day_that_begins_on_an_odd_minute_has_all_of_its_bars(
    start_exchange: Any, client: BybitClient, listener: Any, live_service: Any, tmp_path: Any
) -> None:
    port, start = start_exchange
    config = tmp_path / "odd.json"
    settings = {"portfolio": {"symbols": ["BTCUSDT"]}, "strategy": {"ma_window": 1}, "session": {"start": "00:37"}}
    config.write_text(json.dumps(settings))
    start()
    await until_it_answers(client)
    addresses = {"exchange_url": f"http://127.0.0.1:{port}", "public_stream_url": f"ws://127.0.0.1:{port}"}
    async with live_service(config_file=config, **addresses):
        await listener.until(lambda: listener.bars("BTCUSDT", BarState.OPEN))
    opened = listener.bars("BTCUSDT", BarState.OPEN)[-1]
    closed = listener.bars("BTCUSDT", BarState.CLOSED)
    assert opened.complete
    assert closed[-1].day == opened.day - timedelta(days=1)
    assert closed[-1].complete


def times_of(listener: Any) -> list[int]:
    """Return the times of the published trades."""
    return [time for event in listener.seen if isinstance(event, TradeBatch) for time in event.times_ms.tolist()]
