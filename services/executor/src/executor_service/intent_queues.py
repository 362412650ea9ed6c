"""A queue of intents for each account and symbol: one intent at a time in each, none in the way of another's.

An exit may take hours, e.g. while its symbol is suspended. Within its account and symbol everything has to wait for it;
the exits of other symbols must not.
"""

import asyncio

from breakwater_runtime.bus import Bus
from breakwater_runtime.consumers import ConsumerSpecification, Handle, PullConsumer
from breakwater_runtime.readers import Delivery
from breakwater_runtime.subjects import INTENT_STREAM, intent_queue
from executor_service.alarm import SERVICE


def queue_specification(account: str, symbol: str, ack_wait_s: float) -> ConsumerSpecification:
    """Return the consumer of one account and symbol: one intent at a time over all executors, and never put aside."""
    return ConsumerSpecification(
        stream=INTENT_STREAM.name,
        durable=intent_queue(account, symbol),
        filters=(f"intent.*.{account}.{symbol}",),
        batch=1,
        max_in_flight=1,
        ack_wait_s=ack_wait_s,
        max_deliveries=0,
    )


class IntentQueues:
    """Works on every queue that it hears of, at once."""

    def __init__(
        self, bus: Bus, handle: Handle, *, ack_wait_s: float, tasks: asyncio.TaskGroup, stop: asyncio.Event
    ) -> None:
        """Handle intents with `handle`, in tasks of the group, until `stop` is set."""
        self._bus = bus
        self._handle = handle
        self._ack_wait_s = ack_wait_s
        self._tasks = tasks
        self._stop = stop
        self._open: dict[tuple[str, str], PullConsumer] = {}

    def open(self, account: str, symbol: str) -> None:
        """Work on the intents of an account and symbol, if that is not done already."""
        if (account, symbol) in self._open or self._stop.is_set():
            return
        specification = queue_specification(account, symbol, self._ack_wait_s)
        consumer = PullConsumer(self._bus, specification, self._handle, service=SERVICE)
        self._open[account, symbol] = consumer
        self._tasks.create_task(consumer.run(self._stop), name=specification.durable)

    async def attached(self) -> None:
        """Return once intents of all queues that are open by now are taken."""
        for consumer in tuple(self._open.values()):
            await consumer.attached()

    def hear(self, delivery: Delivery) -> None:
        """Open the queue of an intent that was published: also of symbols that are not configured (any more)."""
        _, _, account, symbol = delivery.subject.split(".")
        self.open(account, symbol)
