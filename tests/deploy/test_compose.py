"""The system of docker-compose.yml, run: it trades, its books are in Postgres, and executors come and go unnoticed."""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from breakwater_recordings.synthetic_folder import ensure_synthetic
from breakwater_runtime.config_file import read_config
from tests.deploy.compose_file import FILE, ONCE, ROOT, SERVICES
from tests.deploy.docker import BUILD_TIMEOUT_S, TAG, docker, missing
from tests.e2e.command import backtest_report, comparable

PUBLIC_IMAGES = ("nats:2.12-alpine", "postgres:16-alpine", "prom/prometheus:latest")
RUN = "replay-1"
DAYS, TRADES_PER_DAY, SEED = 20, 20_000, 11
SPEED = 21_600
"""A day takes four seconds: the replay lasts long enough for executors to come and go in it."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("docker"),
    pytest.mark.timeout(BUILD_TIMEOUT_S + 300),
    pytest.mark.skipif(missing(*PUBLIC_IMAGES) is not None, reason=str(missing(*PUBLIC_IMAGES))),
]


@dataclass
class Installation:
    """A compose project of its own, on ports that Docker chooses."""

    project: str
    environment: dict[str, str] = field(default_factory=dict)

    def compose(self, *arguments: str, timeout_s: float = 240) -> str:
        """Run a compose command of this project that must succeed."""
        command = ("compose", "-f", FILE, "--env-file", os.devnull, "-p", self.project, *arguments)
        return docker(*command, environment=self.environment, timeout_s=timeout_s)

    def address(self, service: str, port: int) -> str:
        return "http://" + self.compose("port", service, str(port)).strip()

    def containers(self) -> dict[str, str]:
        """Return the id of each container by its name."""
        listed = self.compose("ps", "-a", "--format", "{{.Name}} {{.ID}}").splitlines()
        return {
            name.removeprefix(f"{self.project}-"): short for name, _, short in (line.partition(" ") for line in listed)
        }

    def rows(self, query: str) -> list[list[str]]:
        """Return what a query of the database gives."""
        connection = ("psql", "-h", "/var/run/postgresql", "-U", "breakwater", "-d", "breakwater")
        printed = self.compose("exec", "-T", "postgres", *connection, "-At", "-c", query)
        return [line.split("|") for line in printed.splitlines()]


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    found = Installation(f"breakwater-test-{os.getpid()}")
    found.environment = {
        "BREAKWATER_IMAGE_PREFIX": "breakwater-test",
        "BREAKWATER_IMAGE_TAG": f"compose-{TAG}",
        "BREAKWATER_API_PORT": "0",
        "BREAKWATER_PROMETHEUS_PORT": "0",
        "BREAKWATER_DAYS": str(DAYS),
        "BREAKWATER_TRADES_PER_DAY": str(TRADES_PER_DAY),
        "BREAKWATER_SEED": str(SEED),
        "BREAKWATER_SPEED": str(SPEED),
        "COMPOSE_PROFILES": "",
    }
    try:
        found.compose("build", "--quiet", timeout_s=BUILD_TIMEOUT_S)
        yield found
    finally:
        found.compose("down", "-v", "-t", "1")
        built = docker(
            "images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", f"reference=breakwater-test/*:compose-{TAG}"
        )
        docker("image", "rm", "--no-prune", *built.split())
        label = f"label=com.docker.compose.project={found.project}"
        assert docker("ps", "-aq", "--filter", label) == ""
        assert docker("volume", "ls", "-q", "--filter", label) == ""
        assert docker("network", "ls", "-q", "--filter", label) == ""


def test_it_trades_and_executors_come_and_go_unnoticed(installation: Installation, tmp_path: Path) -> None:
    installation.compose("up", "-d", "--no-build", "--wait")  # fails unless everything is healthy or has ended well
    started = installation.containers()
    assert {name.rpartition("-")[0] for name in started} == {*SERVICES, *ONCE, "nats", "postgres", "prometheus"}
    reporter, prometheus = installation.address("reporter", 8080), installation.address("prometheus", 9090)

    def traded() -> bool:
        [[fills]] = installation.rows(f"select count(*) from fills where run_id = '{RUN}'")
        return int(fills) > 0

    wait_until(traded, "no fills in Postgres")
    wait_until(lambda: set(targets(prometheus)) == {*SERVICES} - {"executor"} | {"executor-order"}, "targets missing")
    wait_until(lambda: all(states == ["up"] for states in targets(prometheus).values()), "a target is down")

    installation.compose("up", "-d", "--no-build", "--wait", "--scale", "executor=4")
    grown = installation.containers()
    assert {name for name in grown if name not in started} == {"executor-2", "executor-3", "executor-4"}
    assert {name: grown[name] for name in started} == started  # nothing else was made anew
    wait_until(lambda: targets(prometheus)["executor-order"] == ["up"] * 4, "the new executors are not scraped")
    wait_until(lambda: workers(prometheus) > 1, "no new executor got an order")
    installation.compose("up", "-d", "--no-build", "--wait", "--scale", "executor=1")
    assert installation.containers() == started
    assert get(f"{reporter}/runs/{RUN}")["state"] == "running"  # all of it happened in the middle of the run

    expected = expected_report(tmp_path)
    assert len(expected["orders"]) > 50
    wait_until(lambda: get(f"{reporter}/runs/{RUN}")["state"] == "ended", "the replay did not end", timeout_s=150)
    wait_until(lambda: len(get(f"{reporter}/runs/{RUN}/report")["days"]) == DAYS, "not all days are closed")
    assert without_trades(get(f"{reporter}/runs/{RUN}/report")) == without_trades(expected)
    assert get(f"{reporter}/runs/{RUN}")["trades_total"] == expected["counters"]["trades"]
    [[orders, days]] = installation.rows(
        f"select (select count(*) from orders where run_id = '{RUN}'),"
        f" (select count(*) from daily_performance where run_id = '{RUN}')"
    )
    assert (int(orders), int(days)) == (len(expected["orders"]), DAYS)


def test_a_container_sees_no_secret_of_another_and_runs_as_nobody(installation: Installation) -> None:
    """After the run above: what a service that was broken into could read."""
    code = (
        "import json, os, pathlib; print(json.dumps({'uid': os.getuid(),"
        " 'secrets': sorted(os.listdir('/run/secrets')),"
        " 'modes': sorted({oct(p.stat().st_mode & 0o777) for p in pathlib.Path('/run/secrets').iterdir()}),"
        " 'environment': [n for n in os.environ if 'PASSWORD' in n and not n.endswith('_FILE')]}))"
    )
    for service, files in {
        "signal": ["nats_password"],
        "executor": ["accounts.json", "nats_password"],
        "reporter": ["database_url", "nats_password"],
    }.items():
        seen = json.loads(installation.compose("exec", "-T", service, "/app/.venv/bin/python", "-c", code))
        assert seen == {"uid": 10001, "secrets": files, "modes": ["0o440"], "environment": []}, service


def targets(prometheus: str) -> dict[str, list[str]]:
    """Return the health of each service's targets."""
    found: dict[str, list[str]] = {}
    for target in get(f"{prometheus}/api/v1/targets")["data"]["activeTargets"]:
        if target["labels"]["job"] == "breakwater":
            found.setdefault(target["labels"]["service"], []).append(target["health"])
    return found


def workers(prometheus: str) -> int:
    """Return how many executors have had orders."""
    query = quote('count(count by (instance) (breakwater_executor_orders_total{service="executor-order"} > 0))')
    result = get(f"{prometheus}/api/v1/query?query={query}")["data"]["result"]
    return int(result[0]["value"][1]) if result else 0


def expected_report(folder: Path) -> dict[str, Any]:
    """Return the backtest of the same recording, made here, under the same configuration."""
    file = ROOT / "deploy" / "compose" / "breakwater.yaml"
    config = read_config(file)
    ensure_synthetic(
        folder / "recording",
        seed=SEED,
        days=DAYS,
        trades_per_day=TRADES_PER_DAY,
        session=config.session.session(),
        symbols=config.portfolio.symbols,
    )
    return backtest_report(folder / "backtest", folder / "recording", "--config", file, "--run-id", RUN)


def without_trades(report: dict[str, Any]) -> str:
    """Return the report's text without what only the caller of a run knows."""
    counters = {key: value for key, value in report["counters"].items() if key != "trades"}
    return comparable(report | {"counters": counters})


def get(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(address, timeout=10) as answer:
        values: dict[str, Any] = json.load(answer)
    return values


def wait_until(holds: Callable[[], bool], otherwise: str, *, timeout_s: float = 60) -> None:
    """Return once the condition holds."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if holds():
                return
        except (urllib.error.URLError, ConnectionError, KeyError):
            pass
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.3)
