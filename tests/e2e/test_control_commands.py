"""Halt, status, flatten and resume as a person types them, against the whole system in real time."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from breakwater_bybit.client import BybitClient
from breakwater_cli.system import account_key, account_secret
from breakwater_core.events import Side
from tests.e2e.command import breakwater

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def system(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """`breakwater up` with two executors; its addresses."""
    command = [str(Path(sys.executable).parent / "breakwater"), "up", "--out", str(tmp_path), "--json"]
    command += ["--set", "portfolio.symbols=[BTCUSDT, ETHUSDT]"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        for log in (tmp_path / "logs").iterdir():
            assert "bus_permission_denied" not in log.read_text(), log
    finally:
        process.kill()
        process.communicate()


def as_operator(system: dict[str, Any]) -> dict[str, str]:
    """What a person exports who runs the system."""
    return {
        "BREAKWATER_NATS_URL": system["nats"],
        "BREAKWATER_NATS_USER": "operator",
        "BREAKWATER_NATS_PASSWORD_FILE": str(Path(system["passwords"]) / "operator"),
    }


def control(system: dict[str, Any], *arguments: str, code: int = 0) -> dict[str, Any]:
    finished = breakwater(*arguments, "--json", **as_operator(system))
    assert finished.returncode == code, (finished.stdout, finished.stderr)
    values: dict[str, Any] = json.loads(finished.stdout)
    return values


def positions(system: dict[str, Any]) -> dict[str, Decimal]:
    books = httpx.get(system["exchange"] + "/paper/books", trust_env=False).json()
    rows = books["accounts"]["main"]["positions"]
    return {row["symbol"]: Decimal(row["size"]) for row in rows if Decimal(row["size"])}


async def buy_by_hand(system: dict[str, Any], symbol: str) -> None:
    keys = {"api_key": account_key("main"), "api_secret": account_secret("main")}
    async with BybitClient(system["exchange"], **keys) as client:
        instrument = (await client.instruments([symbol]))[symbol]
        price = (await client.tickers(symbol))[symbol].last_price
        quantity = (Decimal(1000) / Decimal(str(price))) // instrument.quantity_step * instrument.quantity_step
        await client.place_market_order(
            symbol=symbol, side=Side.BUY, quantity=quantity, order_link_id="by-hand", reduce_only=False
        )
        while not (order := await client.find_order(symbol, "by-hand")) or not order.is_final:
            pass


async def test_a_person_halts_flattens_and_resumes_the_running_system(system: dict[str, Any]) -> None:
    before = control(system, "status")
    assert (before["epoch"], before["halted"]) == (0, False)
    assert [one["instance"] for one in before["executors"]] == ["executor-1", "executor-2"]

    halted = control(system, "halt", "--reason", "looking at it")
    assert (halted["epoch"], halted["halted"], halted["unacknowledged"]) == (1, True, [])
    assert [one["epoch"] for one in halted["executors"]] == [1, 1]

    await buy_by_hand(system, "BTCUSDT")
    assert positions(system)["BTCUSDT"] > 0
    flat = control(system, "flatten", "--yes")
    assert positions(system) == {}
    (proof,) = flat["flat"]
    assert proof["epoch"] == 2
    assert set(proof["sizes"].values()) == {"0"}
    assert set(proof["sizes"]) == {"BTCUSDT", "ETHUSDT"}
    assert flat["not_flat"] == []

    resumed = control(system, "resume")
    assert (resumed["epoch"], resumed["halted"], resumed["flatten"]) == (2, False, [])
    refused = breakwater("flatten", "--account", "mian", "--yes", **as_operator(system))
    assert refused.returncode == 2
    assert "mian" in refused.stderr


def test_without_a_bus_the_commands_say_so() -> None:
    finished = breakwater("halt", "--nats", "nats://127.0.0.1:1")
    assert finished.returncode == 3
    assert "NATS is not reachable at nats://127.0.0.1:1" in finished.stderr


def test_a_flatten_is_not_begun_without_a_yes() -> None:
    finished = breakwater("flatten", "--nats", "nats://127.0.0.1:1")
    assert finished.returncode == 2
    assert "--yes" in finished.stderr
