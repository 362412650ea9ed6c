"""How many intents the executors have not finished, as JetStream counts them.

One request lists the consumers of the stream with their figures: what was not delivered yet, and what was delivered and
not acknowledged. NATS permissions: publish `$JS.API.CONSUMER.LIST.INTENT` and `$JS.API.STREAM.INFO.INTENT`.
"""

from collections.abc import Collection
from typing import Any

from breakwater_runtime.bus import Bus, BusError
from breakwater_runtime.subjects import INTENT_STREAM, intent_queue

Queue = tuple[str, str]
"""Account and symbol: each pair has a queue of its own."""


async def intents_waiting(bus: Bus, queues: Collection[Queue]) -> int:
    """Return how many intents of these queues wait or are in hand.

    A queue that no executor has ever opened has no consumer yet: everything that is stored for it waits.

    Raises:
        BusError: If the bus does not answer, or cannot tell of one of the queues.
    """
    names = {intent_queue(account, symbol): (account, symbol) for account, symbol in queues}
    known = await _consumers(bus, names)
    counts = [int(consumer["num_pending"]) + int(consumer["num_ack_pending"]) for consumer in known.values()]
    unopened = {queue for name, queue in names.items() if name not in known}
    return sum(counts) + (await _stored(bus, unopened) if unopened else 0)


async def _consumers(bus: Bus, names: Collection[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    offset, total = 0, 1
    while offset < total:
        page = await bus.api(f"CONSUMER.LIST.{INTENT_STREAM.name}", {"offset": offset})
        if silent := sorted(set(page.get("missing") or ()).intersection(names)):
            raise BusError(f"no server of the cluster answers for {', '.join(silent)}")
        consumers = page.get("consumers") or []
        found |= {consumer["name"]: consumer for consumer in consumers if consumer["name"] in names}
        if not consumers:
            break
        offset, total = offset + len(consumers), int(page["total"])
    return found


async def _stored(bus: Bus, queues: Collection[Queue]) -> int:
    request = {"subjects_filter": f"{INTENT_STREAM.name.lower()}.>"}
    state = (await bus.api(f"STREAM.INFO.{INTENT_STREAM.name}", request))["state"]
    of_queues = {(account, symbol) for account, symbol in queues}
    return sum(
        int(count) for subject, count in (state.get("subjects") or {}).items() if _queue_of(subject) in of_queues
    )


def _queue_of(subject: str) -> Queue:
    _, _, account, symbol = subject.split(".")
    return account, symbol
