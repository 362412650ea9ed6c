"""Executors that an autoscaler adds and takes away: how soon one is of use, and how soon one without work is gone."""

import asyncio
import signal
import time
from dataclasses import dataclass, replace

from bench.burst_run import CountedLimits, open_exchange, open_system
from bench.effort import Effort
from bench.errors import BenchmarkError
from bench.figures import Figure, Section, Target
from bench.live_market import live_market
from breakwater_cli.nats_process import free_port
from breakwater_cli.processes import Child, ProcessSpecification
from breakwater_recordings.instruments import DEFAULT_SYMBOLS

_ADDRESS_LIMIT = 600
_ACCOUNTS = 20
_SYMBOLS = 3
_AT_ONCE = 8
_LOOK_S = 0.01


@dataclass(frozen=True)
class _Round:
    """Executors that were added to a running one.

    Attributes:
        ready_s: From their start until the last one was ready, seconds.
        end_s: From SIGTERM until one had ended, seconds.
        peak: Most requests that the exchange counted within its window.
        refused: Requests that it refused.
    """

    ready_s: float
    end_s: float
    peak: int
    refused: int


async def measure(effort: Effort) -> Section:
    """Measure starts and ends, each on a system of its own."""
    accounts, count = effort.pick(_ACCOUNTS, 2), effort.pick(_AT_ONCE, 2)
    alone: list[_Round] = []
    together: list[_Round] = []
    for number in range(effort.repetitions):
        effort.tell(f"round {number + 1} of {effort.repetitions}")
        alone.append(await _add(effort, accounts=1, count=1))
        together.append(await _add(effort, accounts=accounts, count=count))
    figures = (
        Figure(
            "start until ready, one executor with one account",
            "s",
            tuple(one.ready_s for one in alone),
            Target(3, 2, at_most=True),
        ),
        Figure(
            f"start until the last of {count} is ready, {accounts} accounts each",
            "s",
            tuple(one.ready_s for one in together),
        ),
        Figure(
            "refused with 10006 or 403 meanwhile",
            "requests",
            tuple(float(one.refused) for one in together),
            Target(0, 0, at_most=True),
        ),
        Figure(
            "most requests within 5 s, of the limit", "%", tuple(100 * one.peak / _ADDRESS_LIMIT for one in together)
        ),
        Figure("SIGTERM until it has ended, without work", "s", tuple(one.end_s for one in [*alone, *together])),
    )
    notes = (
        "Ready: the process is loaded, the accounts are examined at the exchange, and intents are taken.",
        f"The paper exchange enforces its limits: {_ADDRESS_LIMIT} requests in 5 s from one address.",
    )
    return Section("executors that come and go", figures, notes)


async def _add(effort: Effort, *, accounts: int, count: int) -> _Round:
    market = live_market(DEFAULT_SYMBOLS[:_SYMBOLS], [f"account-{index:02d}" for index in range(accounts)])
    limits = CountedLimits(_ADDRESS_LIMIT)
    settings = {"EXECUTOR_BUDGET": "shared", "EXECUTOR_ADDRESS_LIMIT": str(_ADDRESS_LIMIT)}
    async with (
        open_exchange(market, limits) as exchange,
        open_system(effort.scratch("scaling"), market, exchange, 1, settings) as (_, group),
    ):
        first = group.children["executor-1"].specification
        added = [_copy(first, number) for number in range(1, count + 1)]
        began_s = time.perf_counter()
        group.start(added)
        await group.wait_until_ready([one.name for one in added])
        ready_s = time.perf_counter() - began_s
        end_s = await _time_to_end(group.children[added[0].name])
        names = {account.uid: name for name, account in exchange.engine.accounts.items()}
        peak = max(row["peak"] for row in limits.usage(names)["addresses"].values())
        return _Round(ready_s, end_s, peak, sum(limits.breaches.values()) + limits.address_breaches)


def _copy(first: ProcessSpecification, number: int) -> ProcessSpecification:
    port, name = free_port(), f"scaled-{number}"
    values = dict(first.environment) | {"EXECUTOR_HTTP_PORT": str(port), "EXECUTOR_INSTANCE": name}
    return replace(first, name=name, environment=values, http_port=port)


async def _time_to_end(child: Child) -> float:
    began_s = time.perf_counter()
    child.process.send_signal(signal.SIGTERM)
    while (code := child.process.poll()) is None:  # noqa: ASYNC110  # no event to await
        await asyncio.sleep(_LOOK_S)
    if code:
        raise BenchmarkError(f"{child.name} ended with {code}: {child.last_words()}")
    return time.perf_counter() - began_s
