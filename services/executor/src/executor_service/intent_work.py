"""One intent in hand: its record, and the order in which record and bus hear of what happens to it.

An outcome is written down before it is told, so a restart between the two tells the same outcome again and can never
decide otherwise. The message is acknowledged after both.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from breakwater_core.events import Intent, Leg, OrderEvent
from breakwater_core.identities import order_link_id
from breakwater_runtime import tracing
from breakwater_runtime.bus import BusError
from breakwater_runtime.logs import get_logger
from executor_service.bus_patience import insist
from executor_service.intent_record import IntentRecord, Outcome
from executor_service.outcomes import order_event
from executor_service.ports import Publisher, Records, TradingAccount
from executor_service.venue_clock import wall_clock_ms


@dataclass
class IntentWork:
    """An intent that is being worked on.

    Attributes:
        record: What is known durably.
        revision: Revision of the record; 0: it is not written yet.
        taken_s: When the intent was taken from the bus, monotonic seconds.
        wall_ms: The wall clock, milliseconds since 1970.
        owned_ms: Wall-clock time just before the last write of the record: then nobody else had taken the intent over.
            Requests that may place an order carry it as their stamp, so that the exchange refuses those of a process
            that stood still after the write, while another one went on in its place.
        untold: Events of a reduction that the bus has not taken yet, oldest first.
    """

    intent: Intent
    account: TradingAccount
    records: Records
    publisher: Publisher
    record: IntentRecord
    revision: int
    taken_s: float
    wall_ms: Callable[[], int] = wall_clock_ms
    owned_ms: int = 0
    untold: list[OrderEvent] = field(default_factory=list)

    @classmethod
    async def open(
        cls,
        intent: Intent,
        account: TradingAccount,
        records: Records,
        publisher: Publisher,
        *,
        is_first: bool = False,
        wall_ms: Callable[[], int] = wall_clock_ms,
    ) -> "IntentWork":
        """Take up an intent where its record says; one delivered for the first time is taken for new without a look.

        That is safe, since the first write of the record fails where there is one, and comes before anything is sent.
        """
        taken_s = time.monotonic()
        known = None if is_first else await records.read(record_key(intent))
        record, revision = known or (IntentRecord(intent.intent_id), 0)
        return cls(intent, account, records, publisher, record, revision, taken_s, wall_ms)

    @property
    def is_of_another(self) -> bool:
        """Whether the record is that of another decision to enter the symbol on this day."""
        return self.record.intent_id != self.intent.intent_id

    @property
    def is_new(self) -> bool:
        """Whether nobody has begun with the intent."""
        return self.revision == 0

    async def save(self, record: IntentRecord) -> None:
        """Write the record.

        Raises:
            TakenOver: If another process has written it since it was read.
        """
        asked_ms = self.wall_ms()
        self.revision = await self.records.write(record_key(self.intent), record, self.revision)
        self.record = record
        self.owned_ms = asked_ms

    async def claim(self) -> None:
        """Prove that nobody else has taken the intent over, and keep whoever had it before from sending more.

        Raises:
            TakenOver: If another process has written the record since it was read.
        """
        await self.save(self.record)

    async def save_or_go_on(self, record: IntentRecord) -> None:
        """Write the record of a reduction; one that the bus does not take is kept, and written with the next.

        A reduction does not wait for the bus. Whoever takes it over computes the same order ids, and the exchange
        refuses an id a second time, so an order that no record names is found and not repeated. Without the bus nobody
        else can be told that the intent is theirs, so the next request may carry the time of the attempt.

        Raises:
            TakenOver: If another process has written it since it was read.
        """
        asked_ms = self.wall_ms()
        try:
            await self.save(record)
        except BusError as error:
            get_logger().warning("record_put_off", reason=str(error))
            self.record = record
            self.owned_ms = asked_ms

    async def tell(self, outcome: Outcome) -> None:
        """Publish how an order ended while the intent goes on."""
        await self.publisher.publish(order_event(self.intent, outcome, is_last=False))

    async def tell_or_go_on(self, outcome: Outcome) -> None:
        """Publish how an order of a reduction ended; what the bus does not take goes out with the next, in order."""
        self.untold.append(order_event(self.intent, outcome, is_last=False))
        while self.untold and await self.publisher.try_to_publish(self.untold[0]):
            del self.untold[0]

    async def refuse(self, outcome: Outcome) -> None:
        """Publish the end of an intent that has no record of its own."""
        tracing.current().set(outcome=outcome.status.value, reason=outcome.reason)
        await self.publisher.publish(order_event(self.intent, outcome, is_last=True))

    async def close(self, outcome: Outcome) -> None:
        """Write the intent's outcome down and publish it."""
        await self.save(self.record.closed(outcome))
        await self.tell_again()

    async def close_when_possible(self, outcome: Outcome) -> None:
        """Publish what is not told yet, then close; with patience, as nothing is left to be done at the exchange."""
        for event in self.untold:
            await self.publisher.publish(event)
        self.untold.clear()
        await insist(lambda: self.save(self.record.closed(outcome)))
        await self.tell_again()

    async def tell_again(self) -> None:
        """Publish the outcome of a closed intent: the same event, however often."""
        outcome = self.record.outcome
        if outcome is None:
            return
        tracing.current().set(outcome=outcome.status.value, reason=outcome.reason)
        await self.publisher.publish(order_event(self.intent, outcome, is_last=True))
        get_logger().info(
            "intent_closed",
            leg=self.intent.leg.value,
            status=outcome.status.value,
            child=outcome.child,
            filled_quantity=outcome.filled_quantity,
            average_price=outcome.average_price,
            reason=outcome.reason,
        )


def record_key(intent: Intent) -> str:
    """Return the key of an intent's record.

    Entries of one account, symbol and day have one record, whatever configuration they were decided under: of two
    signals with different ones, only the first can enter.
    """
    if intent.leg is Leg.ENTRY:
        return order_link_id(
            f"{intent.run_id}/{intent.account}/{intent.symbol}/{intent.day.isoformat()}/entry/{intent.attempt}", 0
        )
    return order_link_id(intent.intent_id, 0)
