"""Order events and alerts on the bus."""

from breakwater_core.events import Alert, OrderEvent
from breakwater_runtime.bus import Bus
from executor_service import metrics


class BusPublisher:
    """Publishes until the bus has stored the event."""

    def __init__(self, bus: Bus) -> None:
        """Publish on this bus."""
        self._bus = bus

    async def publish(self, event: OrderEvent) -> None:
        """Publish an order event, again and again until it is stored."""
        await self._bus.publish_persistently(event)
        metrics.ORDERS.labels(event.status.value, event.leg.value).inc()

    async def alert(self, alert: Alert) -> None:
        """Log and publish an alert."""
        await self._bus.alert(alert)
