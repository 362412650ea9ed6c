"""When a replay is over: the recording has ended and every consumer has taken everything."""

import asyncio
import json
from dataclasses import dataclass

from breakwater_core.errors import BreakwaterError
from breakwater_runtime import subjects
from breakwater_runtime.bus import Bus, BusError
from breakwater_runtime.readers import LAST_PER_SUBJECT, Delivery, read_stream

STALL_TIMEOUT_S = 120.0
SETTLED_STREAMS = ("ORDER", "FILL", "ACCOUNT", "PERFORMANCE", "ALERT")


class StalledError(BreakwaterError):
    """Nothing has moved for a long time; the message says how far the run came."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far market-data is, as it writes it down itself."""

    window: int
    now_ms: int
    start_ms: int
    end_ms: int
    trades_total: int
    ended: bool

    @property
    def share(self) -> float:
        """Share of the replayed time that has passed, in [0, 1]."""
        span = self.end_ms - self.start_ms
        return min(1.0, max(0.0, (self.now_ms - self.start_ms) / span)) if span > 0 else 1.0


class ProgressWatch:
    """The newest progress of market-data, kept up to date by a reader."""

    def __init__(self) -> None:
        """Start without any."""
        self.latest: Progress | None = None
        self.changed = asyncio.Event()

    def delivered(self, delivery: Delivery) -> None:
        """Take the key's newest value."""
        values = json.loads(delivery.payload)
        self.latest = Progress(
            window=values["window"],
            now_ms=values["now_ms"],
            start_ms=values["start_ms"],
            end_ms=values["end_ms"],
            trades_total=values["trades_total"],
            ended=values["ended"],
        )
        self.changed.set()


async def wait_for_end(bus: Bus, watch: ProgressWatch) -> Progress:
    """Return the final progress once market-data says that the recording is over.

    Raises:
        StalledError: If nothing moves for `STALL_TIMEOUT_S`.
    """
    key = subjects.progress_key(bus.run_id, "market-data")
    async with read_stream(
        bus,
        name="progress",
        stream=f"KV_{subjects.CHECKPOINT_BUCKET}",
        filters=[f"$KV.{subjects.CHECKPOINT_BUCKET}.{key}"],
        start=LAST_PER_SUBJECT,
        handle=watch.delivered,
    ):
        while watch.latest is None or not watch.latest.ended:
            watch.changed.clear()
            try:
                async with asyncio.timeout(STALL_TIMEOUT_S):
                    await watch.changed.wait()
            except TimeoutError as error:
                raise StalledError(
                    f"nothing has moved for {STALL_TIMEOUT_S:.0f} s at {watch.latest}; see the logs of the services"
                ) from error
    return watch.latest


async def wait_until_settled(bus: Bus) -> None:
    """Return once no durable consumer has anything left to take or to acknowledge.

    Raises:
        StalledError: If the backlog does not shrink for `STALL_TIMEOUT_S`.
    """
    least, since = None, asyncio.get_running_loop().time()
    while True:
        backlog = await _backlog(bus)
        if backlog == 0:
            return
        now = asyncio.get_running_loop().time()
        if least is None or backlog < least:
            least, since = backlog, now
        elif now - since > STALL_TIMEOUT_S:
            raise StalledError(f"{backlog} messages are not taken by their consumers; see the logs of the services")
        await asyncio.sleep(0.05)


async def _backlog(bus: Bus) -> int:
    total = 0
    for stream in SETTLED_STREAMS:
        offset = 0
        while True:
            try:
                page = await bus.api(f"CONSUMER.LIST.{stream}", {"offset": offset})
            except BusError:
                return 1  # not known: as good as not settled
            consumers = page.get("consumers") or []
            total += sum(
                int(consumer["num_pending"]) + int(consumer["num_ack_pending"])
                for consumer in consumers
                if consumer["config"].get("durable_name")
            )
            offset += len(consumers)
            if not consumers or offset >= int(page["total"]):
                break
    return total
