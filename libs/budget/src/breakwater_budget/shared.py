"""Opens the shared request budget of a service: watches the documents, counts what happens, raises the alert."""

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from urllib.parse import urlsplit

from breakwater_budget import metrics
from breakwater_budget.bus_store import BusStore
from breakwater_bybit.budget import IP_LIMIT, Priority
from breakwater_bybit.budget_shared import SharedBudget
from breakwater_core.events import Alert, Severity
from breakwater_runtime.bus import Bus
from breakwater_runtime.logs import get_logger
from breakwater_runtime.readers import LAST_PER_SUBJECT, Delivery, read_stream
from breakwater_runtime.subjects import BUDGET_BUCKET

_PREFIX = f"$KV.{BUDGET_BUCKET}."


class BusObserver:
    """Implements `BudgetObserver`: metrics, logs, and the alert `address_banned`."""

    def __init__(self, bus: Bus, service: str, venue: str) -> None:
        """Raise alerts in the name of this service."""
        self._bus = bus
        self._service = service
        self._venue = venue
        self._alerts: set[asyncio.Task[None]] = set()
        metrics.CONNECTED.set(1)

    def granted(self, priority: Priority, *, waited_s: float, is_shared: bool) -> None:
        """Count a request."""
        metrics.GRANTS.labels(priority.value, "shared" if is_shared else "own").inc()
        metrics.WAIT.labels(priority.value).observe(waited_s)

    def left(self, window: str, requests: int) -> None:
        """Show what is left."""
        metrics.LEFT.labels(window).set(requests)

    def written(self, *, is_accepted: bool) -> None:
        """Count a write."""
        metrics.WRITES.labels("accepted" if is_accepted else "conflict").inc()

    def limited(self, endpoint: str) -> None:
        """Count a refusal."""
        metrics.LIMITED.labels(endpoint).inc()
        get_logger().warning("request_limited", endpoint=endpoint)

    def connected(self, *, is_connected: bool) -> None:
        """Show whether the budget is shared."""
        metrics.CONNECTED.set(int(is_connected))
        log = get_logger()
        if is_connected:
            log.info("budget_shared_again")
        else:
            log.warning("budget_not_shared", reason="the bus does not answer; exits go by this process's own share")

    def banned(self, left_s: float, *, is_first: bool) -> None:
        """Show the ban; the process that found out raises the alert."""
        until_s = time.time() + left_s
        metrics.BANNED.set(until_s)
        get_logger().error("address_banned", venue=self._venue, left_s=round(left_s), found_here=is_first)
        if not is_first:
            return
        metrics.BANS.inc()
        alert = Alert(
            alert_id=f"address_banned/{self._venue}/{uuid.uuid4().hex[:12]}",
            run_id=self._bus.run_id,
            severity=Severity.CRITICAL,
            service=self._service,
            name="address_banned",
            summary=f"the exchange refuses this address (HTTP 403): nothing is sent for {round(left_s / 60)} minutes, "
            "exits included; open positions stay open",
            event_time_ms=time.time_ns() // 1_000_000,
            facts={"venue": self._venue, "left_s": str(round(left_s))},
        )
        task = asyncio.get_running_loop().create_task(self._bus.alert(alert))
        self._alerts.add(task)
        task.add_done_callback(self._alerts.discard)

    async def close(self) -> None:
        """Wait for alerts on their way."""
        await asyncio.gather(*self._alerts, return_exceptions=True)


@asynccontextmanager
async def shared_budget(
    bus: Bus, *, service: str, instance: str, exchange_url: str, address_limit: int = IP_LIMIT
) -> AsyncIterator[SharedBudget]:
    """Return the budget that all processes on this bus share for one exchange, as long as the context is open.

    Args:
        bus: A connection of the service.
        service: Name of the service, for alerts.
        instance: Name of the process among those of its kind.
        exchange_url: Base address of the exchange: processes with different ones share nothing.
        address_limit: Requests of this address within five seconds; less than Bybit's where others use the address too.

    Raises:
        BusError: If the bus does not answer.
    """
    venue = venue_of(exchange_url)
    observer = BusObserver(bus, service, venue)
    budget = SharedBudget(
        BusStore(bus),
        venue=venue,
        owner=f"{instance}-{uuid.uuid4().hex[:8]}",
        observer=observer,
        ip_limit=address_limit,
    )
    last_sequence, server_ms = await _server_state(bus)

    def handle(delivery: Delivery) -> None:
        key = delivery.subject.removeprefix(_PREFIX)
        # How old a document of before the start is tells the server's clock alone; from then on only durations count.
        is_old = delivery.sequence <= last_sequence
        age_ms = max(0, server_ms - delivery.stored_ns // 1_000_000) if is_old else 0
        budget.received(key, delivery.payload, delivery.sequence, age_ms=age_ms)

    try:
        async with read_stream(
            bus,
            name="budget",
            stream=f"KV_{BUDGET_BUCKET}",
            filters=[f"{_PREFIX}{venue}.>"],
            start=LAST_PER_SUBJECT,
            handle=handle,
        ):
            yield budget
    finally:
        await budget.close()
        await observer.close()


async def _server_state(bus: Bus) -> tuple[int, int]:
    """Return the last sequence of the bucket, and the server's time when it was that, milliseconds since 1970."""
    info = await bus.api(f"STREAM.INFO.KV_{BUDGET_BUCKET}")
    stated = str(info.get("ts", ""))
    if not stated:
        return 0, 0
    whole, _, decimals = stated.removesuffix("Z").partition(".")
    server_ms = round(datetime.fromisoformat(f"{whole}+00:00").timestamp()) * 1000 + int(decimals.ljust(3, "0")[:3])
    return int(info["state"]["last_seq"]), server_ms


def venue_of(exchange_url: str) -> str:
    """Return the name under which an exchange's documents stand: its host and port, fit for a key."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", urlsplit(exchange_url).netloc.rpartition("@")[2])
