"""One alert for each outage of something that a service needs, once it has lasted a while."""

import time
from collections.abc import Awaitable, Callable

from breakwater_core.events import Alert, Severity


class OutageAlarm:
    """Tells of an outage once: not of a hiccup, and not again until there was a success in between."""

    def __init__(
        self,
        publish: Callable[[Alert], Awaitable[None]],
        *,
        name: str,
        service: str,
        run_id: str,
        after_s: float,
        severity: Severity = Severity.CRITICAL,
        now_s: Callable[[], float] = time.monotonic,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Prepare.

        Args:
            publish: Takes the alert; `Bus.alert` keeps it until the bus does.
            name: The alert's name, which the runbook explains.
            service: Who raises it.
            run_id: Its run.
            after_s: Seconds that an outage must have lasted.
            severity: How urgent it is.
            now_s: A clock that never steps, seconds.
            wall_ms: When the alert is raised, milliseconds since 1970-01-01T00:00Z.
        """
        self._publish = publish
        self._name = name
        self._service = service
        self._run_id = run_id
        self._after_s = after_s
        self._severity = severity
        self._now_s = now_s
        self._wall_ms = wall_ms
        self._since_s: float | None = None
        self._raised = False

    async def failed(self, reason: str) -> None:
        """Note a failure; raises the alert if the outage has lasted long enough."""
        now_s = self._now_s()
        if self._since_s is None:
            self._since_s = now_s
        if self._raised or now_s - self._since_s < self._after_s:
            return
        self._raised = True
        at_ms = self._wall_ms()
        await self._publish(
            Alert(
                alert_id=f"{self._name}/{self._service}/{at_ms}",
                run_id=self._run_id,
                severity=self._severity,
                service=self._service,
                name=self._name,
                summary=f"{reason}; so for {now_s - self._since_s:.0f} s",
                event_time_ms=at_ms,
            )
        )

    def recovered(self) -> None:
        """Note a success: the outage, if there was one, is over."""
        self._since_s = None
        self._raised = False
