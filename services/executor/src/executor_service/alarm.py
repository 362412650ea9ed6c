"""An alert that is raised when something takes too long, and a gauge that shows it until it is over."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import Gauge

from breakwater_core.events import Alert, Intent, Severity
from executor_service.ports import Publisher

SERVICE = "executor"


def intent_alert(
    intent: Intent, *, name: str, severity: Severity, summary: str, at_ms: int, child: int = 0, **facts: str
) -> Alert:
    """Return an alert about an intent or one of its orders; the same name, intent and order give the same id."""
    return Alert(
        alert_id=f"{name}/{intent.intent_id}" + (f"#{child}" if child else ""),
        run_id=intent.run_id,
        severity=severity,
        service=SERVICE,
        name=name,
        summary=summary,
        event_time_ms=at_ms,
        account=intent.account,
        symbol=intent.symbol,
        facts={"intent_id": intent.intent_id, "leg": intent.leg.value, **facts},
    )


@asynccontextmanager
async def alarm_after(deadline_s: float, publisher: Publisher, alert: Alert, gauge: Gauge) -> AsyncIterator[None]:
    """Raise the alert once if the context is still open after the deadline; the gauge counts those that are."""

    async def wait() -> None:
        await asyncio.sleep(max(0.0, deadline_s))
        gauge.inc()
        try:
            await publisher.alert(alert)
            await asyncio.Event().wait()
        finally:
            gauge.dec()

    task = asyncio.create_task(wait(), name=f"alarm-{alert.name}")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
