"""Sees that the bus is away: a metric and the log while it lasts, an alert as soon as it is back.

Nothing is entered meanwhile, since an entry needs its record and the control document. An order that is at the exchange
is followed to its end, and what became of it is published when the bus is back.
"""

import asyncio
from contextlib import suppress

from breakwater_core.events import Alert, Severity
from breakwater_runtime.bus import Bus
from breakwater_runtime.logs import get_logger
from breakwater_runtime.service import until_stopped
from executor_service import metrics
from executor_service.alarm import SERVICE
from executor_service.venue_clock import wall_clock_ms

ALERT_AFTER_S = 10.0
_LOOK_S = 0.5


class BusAway:
    """Watches the connection of one process."""

    def __init__(self, bus: Bus, *, alert_after_s: float = ALERT_AFTER_S) -> None:
        """Alert about absences of `alert_after_s` and longer."""
        self._bus = bus
        self._alert_after_s = alert_after_s

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until `stop` is set."""
        loop = asyncio.get_running_loop()
        away_since_s: float | None = None
        while not stop.is_set():
            if self._bus.client.is_connected:
                if away_since_s is not None and loop.time() - away_since_s >= self._alert_after_s:
                    alert = self._alert(loop.time() - away_since_s)
                    await until_stopped(stop, self._bus.publish_persistently(alert))
                away_since_s = None
                metrics.BUS_DOWN.set(0)
            else:
                if away_since_s is None:
                    away_since_s = loop.time()
                    get_logger().error("bus_away", reason="entries are not sent until it is back")
                metrics.BUS_DOWN.set(loop.time() - away_since_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _LOOK_S)

    def _alert(self, away_s: float) -> Alert:
        now_ms = wall_clock_ms()
        return Alert(
            alert_id=f"bus_away/{self._bus.run_id}/{self._bus.client.client_id}/{now_ms}",
            run_id=self._bus.run_id,
            severity=Severity.CRITICAL,
            service=SERVICE,
            name="bus_away",
            summary=f"the bus was away for {away_s:.0f} s; nothing was entered, exits that fell due meanwhile are late",
            event_time_ms=now_ms,
            facts={"seconds": f"{away_s:.0f}"},
        )
