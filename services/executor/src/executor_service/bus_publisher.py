"""Order events and alerts on the bus."""

from breakwater_core.events import Alert, OrderEvent
from breakwater_runtime.bus import Bus, BusError
from breakwater_runtime.logs import get_logger
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

    async def try_to_publish(self, event: OrderEvent) -> bool:
        """Publish an order event once; False if the bus is away or does not answer."""
        if not self._bus.client.is_connected:
            return False
        try:
            await self._bus.publish(event)
        except BusError as error:
            get_logger().warning("publish_put_off", event_id=event.event_id, reason=str(error))
            return False
        metrics.ORDERS.labels(event.status.value, event.leg.value).inc()
        return True

    async def alert(self, alert: Alert) -> None:
        """Log and publish an alert."""
        await self._bus.alert(alert)
