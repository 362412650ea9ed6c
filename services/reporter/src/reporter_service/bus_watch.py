"""Reads the state of the bus from JetStream and shows it as metrics: sizes, limits and what consumers have before them.

Only streams, buckets and consumers of ours are shown, so a bus that serves others too adds no labels. Consumers are
named by what they do: `executor` stands for the queues of all accounts and symbols together, `reader-...` for all
readers of that name, and runs that ended left consumers behind that are nobody's concern.
"""

import re
from collections.abc import AsyncIterator, Iterable
from typing import Any, Protocol

from breakwater_core.market import LIVE_RUN_ID
from breakwater_runtime import subjects
from breakwater_runtime.bus import BusError
from breakwater_runtime.logs import get_logger
from reporter_service import metrics

NOTIFIER_CONSUMERS = ("alert", "alert-critical", "fill", "order", "performance")
REPORTER_CONSUMERS = ("accounts", "alerts", "clock", "fills", "orders")
_EXECUTOR_QUEUE = re.compile(r"executor-[^=]+=[^=]+")
_READER = re.compile(r"(reader-[a-z-]+)-[0-9a-f]{12}")
_UNLIMITED = -1


class JetStream(Protocol):
    """What is asked of the bus; `Bus` offers it."""

    async def api(self, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a request of the JetStream API and return its answer, or raise `BusError`."""
        ...


class BusWatch:
    """Shows streams, buckets and consumers of one run."""

    def __init__(self, jetstream: JetStream, run_id: str) -> None:
        """Read from this bus; durable consumers of other runs are left out."""
        self._jetstream = jetstream
        self._labels = _durable_labels(run_id)
        self._shown: set[tuple[str, str]] = set()
        self._tells_store = True
        self._has_told_store = False

    async def poll(self) -> None:
        """Read everything once; what cannot be read keeps its last value and is counted."""
        try:
            async for found in self._pages("STREAM.LIST", "streams"):
                self._show_stream(found)
            for stream in subjects.STREAMS:
                consumers = [found async for found in self._pages(f"CONSUMER.LIST.{stream.name}", "consumers")]
                self._show_consumers(stream.name, consumers)
        except BusError as error:
            metrics.BUS_POLLS.labels("failed").inc()
            get_logger().warning("bus_not_observed", reason=str(error))
        else:
            metrics.BUS_POLLS.labels("read").inc()
            await self._show_store()

    async def _pages(self, subject: str, field: str) -> AsyncIterator[dict[str, Any]]:
        offset = 0
        while True:
            page = await self._jetstream.api(subject, {"offset": offset})
            found = page.get(field) or []
            for item in found:
                yield item
            offset += len(found)
            if not found or offset >= int(page.get("total", 0)):
                return

    async def _show_store(self) -> None:
        """Show the whole store; a user that never got an answer may not know of it, and does not ask again."""
        if not self._tells_store:
            return
        try:
            answer = await self._jetstream.api("INFO")
        except BusError as error:
            self._tells_store = self._has_told_store
            get_logger().warning("store_not_observed", reason=str(error))
            return
        self._has_told_store = True
        metrics.BUS_STORE_BYTES.set(int(answer.get("storage", 0)))
        limit = int((answer.get("limits") or {}).get("max_storage", _UNLIMITED))
        metrics.BUS_STORE_LIMIT.set(float("nan") if limit == _UNLIMITED else limit)

    def _show_stream(self, found: dict[str, Any]) -> None:
        name, state, limit = str(found["config"]["name"]), found["state"], int(found["config"].get("max_bytes", -1))
        bucket = name.removeprefix("KV_")
        if name in {stream.name for stream in subjects.STREAMS}:
            metrics.BUS_STREAM_BYTES.labels(name).set(int(state["bytes"]))
            metrics.BUS_STREAM_MESSAGES.labels(name).set(int(state["messages"]))
            if limit != _UNLIMITED:
                metrics.BUS_STREAM_LIMIT.labels(name).set(limit)
        elif name.startswith("KV_") and bucket in subjects.BUCKETS:
            metrics.BUS_BUCKET_BYTES.labels(bucket).set(int(state["bytes"]))
            metrics.BUS_BUCKET_KEYS.labels(bucket).set(int(state["messages"]))
            if limit != _UNLIMITED:
                metrics.BUS_BUCKET_LIMIT.labels(bucket).set(limit)

    def _show_consumers(self, stream: str, consumers: Iterable[dict[str, Any]]) -> None:
        sums: dict[tuple[str, str], list[int]] = {}
        for found in consumers:
            label = self._label_of(str(found["name"]))
            if label is None:
                continue
            so_far = sums.setdefault((stream, label), [0, 0, 0])
            for place, field in enumerate(("num_pending", "num_ack_pending", "num_redelivered")):
                so_far[place] += int(found.get(field, 0))
        gauges = (metrics.BUS_PENDING, metrics.BUS_ACK_PENDING, metrics.BUS_REDELIVERED)
        for key, values in sums.items():
            for gauge, value in zip(gauges, values, strict=True):
                gauge.labels(*key).set(value)
        gone = {key for key in self._shown if key[0] == stream} - sums.keys()
        for key in gone:
            for gauge in gauges:
                gauge.remove(*key)
        self._shown = (self._shown - gone) | sums.keys()

    def _label_of(self, name: str) -> str | None:
        if _EXECUTOR_QUEUE.fullmatch(name):
            return "executor"
        if reader := _READER.fullmatch(name):
            return reader[1]
        return self._labels.get(name)


def _durable_labels(run_id: str) -> dict[str, str]:
    of_reporter = {f"reporter-{run_id}-{name}": f"reporter-{name}" for name in REPORTER_CONSUMERS}
    suffix = "" if run_id == LIVE_RUN_ID else f"-{run_id}"
    return of_reporter | {f"notifier-{name}{suffix}": f"notifier-{name}" for name in NOTIFIER_CONSUMERS}
