"""While tracing is on, the account role learns from the durable records which orders belong to which intent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from breakwater_core.errors import InvariantError
from breakwater_runtime import tracing
from breakwater_runtime.bus import Bus
from breakwater_runtime.readers import LAST_PER_SUBJECT, Delivery, read_stream
from breakwater_runtime.subjects import INTENTS_BUCKET
from executor_service.intent_record import IntentRecord


@asynccontextmanager
async def learned_orders(bus: Bus) -> AsyncIterator[None]:
    """Keep learning while the context is open; without tracing nothing is read.

    A fill that is faster than its record counts as one of its intent's first order, which it mostly is.
    """
    tracer = tracing.active()
    if tracer is None:
        yield
        return

    def take(delivery: Delivery) -> None:
        if not delivery.payload:
            return
        try:
            record = IntentRecord.decode(delivery.payload)
        except InvariantError:
            return  # the reconciliation tells of it
        tracer.orders.learn(record.intent_id, max((child.number for child in record.children), default=0))

    async with read_stream(
        bus,
        name="traced-orders",
        stream=f"KV_{INTENTS_BUCKET}",
        filters=[f"$KV.{INTENTS_BUCKET}.>"],
        start=LAST_PER_SUBJECT,
        handle=take,
    ):
        yield
