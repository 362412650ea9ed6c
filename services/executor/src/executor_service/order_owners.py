"""Which orders are ours: those that the durable records of this run's intents name, and nothing else.

A record is written before its order is sent, so once a fill is seen, its order's record is in the bucket.
"""

import asyncio
import re
from collections.abc import Iterable

from breakwater_core.errors import InvariantError
from breakwater_core.events import Leg, OrderStatus
from breakwater_runtime.bus import Bus, BusError
from breakwater_runtime.logs import get_logger
from breakwater_runtime.readers import LAST_PER_SUBJECT, Delivery, read_stream
from breakwater_runtime.subjects import ACCOUNT_BUCKET, INTENTS_BUCKET, closing_key
from executor_service.account_ledger import Owner
from executor_service.intent_record import IntentRecord

_OWN_FORM = re.compile(r"bw-[0-9a-f]{32}")
_READ_TIMEOUT_S = 15.0


class OrderOwners:
    """Tells who sent an order, and on which symbols an order of ours may be on its way."""

    def __init__(self, bus: Bus, account: str) -> None:
        """Know the orders of this account in the bus's run."""
        self._bus = bus
        self._account = account
        self._own: set[str] = set()
        self._closings: set[str] = set()
        self._open: dict[str, str] = {}
        self._in_doubt: dict[str, int] = {}
        self._through = 0

    @property
    def busy_symbols(self) -> set[str]:
        """Symbols on which an order of ours is open, on its way, or not known to be gone."""
        return {*self._open.values(), *self._in_doubt}

    def owner_of(self, link_id: str) -> Owner:
        """Return who sent the order with the link id; one in our form that no record names is uncertain."""
        if link_id in self._own:
            return Owner.OWN
        if link_id in self._closings:
            return Owner.CLOSING
        return Owner.UNCERTAIN if _OWN_FORM.fullmatch(link_id) else Owner.NOBODY

    async def refresh(self, link_ids: Iterable[str]) -> None:
        """Read what was recorded since the last time; afterwards the owners of these orders are known.

        Raises:
            BusError: If the bus does not answer.
        """
        stream = f"KV_{INTENTS_BUCKET}"
        last = int((await self._bus.api(f"STREAM.INFO.{stream}"))["state"]["last_seq"])
        if last > self._through:
            await self._read_through(stream, last)
        for link_id in link_ids:
            if self.owner_of(link_id) is Owner.UNCERTAIN:
                key = closing_key(self._bus.run_id, self._account, link_id)
                if await self._bus.read(ACCOUNT_BUCKET, key) is not None:
                    self._closings.add(link_id)

    async def _read_through(self, stream: str, last: int) -> None:
        arrived = asyncio.Event()

        def handle(delivery: Delivery) -> None:
            self._take(delivery)
            self._through = max(self._through, delivery.sequence)
            if delivery.sequence >= last:
                arrived.set()

        start = self._through + 1 if self._through else LAST_PER_SUBJECT
        try:
            async with (
                asyncio.timeout(_READ_TIMEOUT_S),
                read_stream(
                    self._bus,
                    name="own-orders",
                    stream=stream,
                    filters=[f"$KV.{INTENTS_BUCKET}.>"],
                    start=start,
                    handle=handle,
                ),
            ):
                await arrived.wait()
        except TimeoutError as error:
            raise BusError("the records of intents could not be read in time") from error

    def _take(self, delivery: Delivery) -> None:
        if not delivery.payload:
            return
        try:
            record = IntentRecord.decode(delivery.payload)
            run, account, _, symbol, _, leg, _ = record.intent_id.split("/")
        except (InvariantError, ValueError) as error:
            get_logger().error("intent_record_unreadable", subject=delivery.subject, reason=str(error))
            return
        if (run, account) != (self._bus.run_id, self._account):
            return
        self._own.update(child.order_link_id for child in record.children)
        outcome = record.outcome
        if outcome is None:
            self._open[record.intent_id] = symbol
            return
        self._open.pop(record.intent_id, None)
        if outcome.status is OrderStatus.UNKNOWN:
            self._in_doubt[symbol] = outcome.event_time_ms
        elif Leg(leg).reduces and outcome.event_time_ms >= self._in_doubt.get(symbol, outcome.event_time_ms):
            self._in_doubt.pop(symbol, None)
