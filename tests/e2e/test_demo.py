"""The demo and the real-time system, as a newcomer starts them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.e2e.command import breakwater, comparable

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SMALL = ("--days", "7", "--trades-per-day", "20000")


def demo(output: Path, *arguments: str) -> dict[str, object]:
    finished = breakwater("demo", "--out", output, *SMALL, *arguments)
    assert finished.returncode == 0, finished.stderr[-2000:]
    report: dict[str, object] = json.loads((output / "report.json").read_text())
    return report


def services_left(folder: Path) -> list[str]:
    """Return the command lines of processes that still refer to the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            try:
                texts = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in texts and b"pytest" not in texts[:300]:
                found.append((entry / "cmdline").read_text().replace("\0", " "))
    return found


def denied_on_the_bus(folder: Path) -> list[str]:
    """Return what the services wrote of subjects that the bus did not permit them."""
    lines = [line for log in (folder / "logs").iterdir() for line in log.read_text().splitlines()]
    return [line for line in lines if "bus_permission_denied" in line]


def test_the_demo_trades_and_leaves_its_results(tmp_path: Path) -> None:
    finished = breakwater("demo", "--out", tmp_path, *SMALL)
    assert finished.returncode == 0, finished.stderr[-2000:]
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(report["days"]) == 7
    assert report["orders"]
    assert {order["status"] for order in report["orders"]} == {"filled"}
    assert "2024-01-07" in finished.stderr
    assert "MDD" in finished.stderr
    assert "<svg" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "breakwater.db").stat().st_size > 0
    assert services_left(tmp_path) == []
    assert denied_on_the_bus(tmp_path) == []


def test_the_demo_gives_the_same_report_twice_and_with_more_processes(tmp_path: Path) -> None:
    first = demo(tmp_path / "a", "--executors", "1")
    second = demo(tmp_path / "b", "--executors", "3")
    assert comparable(first) == comparable(second)


def test_the_report_can_be_made_again_from_the_database(tmp_path: Path) -> None:
    report = demo(tmp_path)
    finished = breakwater("report", tmp_path, "--json")
    assert finished.returncode == 0, finished.stderr
    again = json.loads(finished.stdout)
    assert again["orders"] == report["orders"]
    assert again["days"] == report["days"]


def test_the_system_runs_in_real_time_and_drains_on_ctrl_c(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "breakwater"), "up", "--out", str(tmp_path), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        addresses = json.loads(process.stdout.readline())["services"]
        seen_trades = 0.0
        deadline = time.monotonic() + 60
        while seen_trades == 0 and time.monotonic() < deadline:
            text = httpx.get(addresses["signal"] + "/metrics", trust_env=False).text
            lines = [line for line in text.splitlines() if line.startswith("breakwater_signal_trades_total{")]
            seen_trades = float(lines[0].split()[1]) if lines else 0.0
        assert seen_trades > 0
        for address in addresses.values():
            assert httpx.get(address + "/ready", trust_env=False).status_code == 200
        process.send_signal(signal.SIGINT)
        asked = time.monotonic()
        _, errors = process.communicate(timeout=60)
        drained_after = time.monotonic() - asked
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert "drained" in errors
    assert drained_after < 60
    assert services_left(tmp_path) == []
    for log in (tmp_path / "logs").glob("*.log"):
        assert "service_failed" not in log.read_text(), log.name
    assert denied_on_the_bus(tmp_path) == []


def test_a_service_killed_in_a_replay_is_started_again_and_changes_nothing(tmp_path: Path) -> None:
    calm = demo(tmp_path / "calm")
    command = [str(Path(sys.executable).parent / "breakwater"), "demo", "--out", str(tmp_path / "stormy"), *SMALL]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    killed = set()
    wanted = {"signal", "executor-1", "executor-account", "reporter", "market-data", "notifier"}
    try:
        while process.poll() is None:
            for name in wanted - killed:
                log = tmp_path / "stormy" / "logs" / "signal.log"
                if log.exists() and log.read_text().count("intent_published") > 5 * len(killed):
                    if (number := process_of(name, tmp_path / "stormy")) is not None:
                        os.kill(number, signal.SIGKILL)
                        killed.add(name)
                    break
    finally:
        process.kill()
        _, errors = process.communicate()
    assert process.returncode == 0, errors[-2000:]
    assert killed == wanted
    report = json.loads((tmp_path / "stormy" / "report.json").read_text())
    assert comparable(report) == comparable(calm)


def process_of(name: str, folder: Path) -> int | None:
    """Return the process id of a service of the run in the folder."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes().split(b"\0")
                arguments = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            mine = any(str(folder).encode() in value for value in environment if b"CONFIG_FILE=" in value)
            named = any(value.endswith(b"INSTANCE=" + name.encode()) for value in environment)
            if mine and named and b"_service" in arguments:
                return int(entry.name)
    return None
