"""Whether the bus stores what it is given: readiness, a metric, and alerts that wait until the bus can keep them.

A NATS server whose disk is full stays connected. Since 2.11 it answers nothing to a publish into a stream that it could
not write, also not after there is room again, until it is restarted; a limit of the account is answered with an error.
Both are told apart here from a server that is away, for which the condition `bus` stands.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from breakwater_core.events import Alert, Severity
from breakwater_runtime.health import Health
from breakwater_runtime.logs import get_logger
from breakwater_runtime.metrics import ALERTS_WAITING, STORE_FULL
from breakwater_runtime.subjects import STREAMS

CONDITION = "store"
SILENT_AFTER_S = 5.0
"""A stream that has acknowledged nothing for this long, over a connection that is up, does not store."""
ALERTS_KEPT = 256
ALERT_RETRY_S = 1.0


class StoreWatch:
    """Notes per stream whether publishes are stored; a first failure counts only when it lasts."""

    def __init__(self, *, service: str, instance: str, run_id: str, health: Health | None) -> None:
        """Report on the streams that the named process publishes to."""
        self._service = service
        self._instance = instance
        self._run_id = run_id
        self._health = health
        self._failing_since: dict[str, float] = {}
        self._reported: set[str] = set()
        for stream in STREAMS:
            STORE_FULL.labels(stream.name).set(0)

    @property
    def full(self) -> frozenset[str]:
        """Streams that are known not to store."""
        return frozenset(self._reported)

    def stored(self, stream: str) -> None:
        """Note that the stream has acknowledged a message."""
        if not self._failing_since or self._failing_since.pop(stream, None) is None or stream not in self._reported:
            return
        self._reported.discard(stream)
        STORE_FULL.labels(stream).set(0)
        get_logger().info("store_returned", stream=stream)
        if self._health is not None:
            if self._reported:
                self._health.fail(CONDITION, f"the bus does not store messages of {', '.join(sorted(self._reported))}")
            else:
                self._health.hold(CONDITION)

    def refused(self, stream: str, reason: str, *, now_s: float, certain: bool) -> Alert | None:
        """Note that a message was not stored; return the alert that is to be raised, once per outage.

        Args:
            stream: The stream that it was meant for.
            reason: What the bus said.
            now_s: Monotonic time, seconds.
            certain: The bus refused it for want of room. False: nothing was heard over a connection that is up.
        """
        since_s = self._failing_since.setdefault(stream, now_s)
        if stream in self._reported or not (certain or now_s - since_s >= SILENT_AFTER_S):
            return None
        self._reported.add(stream)
        STORE_FULL.labels(stream).set(1)
        text = f"the bus does not store messages of {stream} ({reason}); make room on its disk and restart NATS"
        if self._health is not None:
            self._health.fail(CONDITION, text)
        return Alert(
            alert_id=f"store_full/{stream}/{self._service}/{self._instance}/{round(now_s * 1000)}",
            run_id=self._run_id,
            severity=Severity.CRITICAL,
            service=self._service,
            name="store_full",
            summary=text,
            event_time_ms=0,
            facts={"stream": stream},
        )

    def forget(self) -> None:
        """Begin anew: the server was started again, or was away, for which the condition `bus` stands."""
        for stream in tuple(self._failing_since):
            self.stored(stream)


class AlertOutbox:
    """Alerts that the bus could not take, tried again until it does; of too many the oldest are left to the log."""

    def __init__(self, publish: Callable[[Alert], Awaitable[bool]]) -> None:
        """`publish` returns whether the bus has stored the alert."""
        self._publish = publish
        self._waiting: deque[Alert] = deque(maxlen=ALERTS_KEPT)
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, alert: Alert) -> None:
        """Keep an alert until it can be published."""
        self._waiting.append(alert)
        ALERTS_WAITING.set(len(self._waiting))
        self._arrived.set()

    async def run(self) -> None:
        """Publish what waits, oldest first, until cancelled."""
        while True:
            await self._arrived.wait()
            while self._waiting:
                alert = self._waiting[0]
                if not await self._publish(alert):
                    await asyncio.sleep(ALERT_RETRY_S)
                elif self._waiting and self._waiting[0] is alert:
                    self._waiting.popleft()
                    ALERTS_WAITING.set(len(self._waiting))
            self._arrived.clear()
