"""Messages of one durable consumer, held until whoever got them says that they are done with.

The runtime's `PullConsumer` handles one message after the other. Here many are in hand at once, because several may be
told of in one Slack message, and because they wait for Slack.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from breakwater_core.errors import PermanentError
from breakwater_runtime import codec
from breakwater_runtime.bus import Bus
from breakwater_runtime.pulling import ConsumerSpecification, HeldMessage, Puller

SERVICE = "notifier"


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event of our run, and the message that brought it."""

    event: Any
    held: HeldMessage


class Inbox:
    """Pulls messages of a durable consumer, at most as many as may be held at a time, and hands on their events."""

    def __init__(
        self, bus: Bus, specification: ConsumerSpecification, receive: Callable[[Arrival], Awaitable[None]]
    ) -> None:
        """Hand each event to `receive`; `specification.max_in_flight` limits how many messages are held."""
        self._bus = bus
        self._receive = receive
        self._puller = Puller(bus, specification, service=SERVICE, room=specification.max_in_flight)
        self.behind = 0
        """Messages that were still in the stream when the last one was delivered."""

    @property
    def held(self) -> int:
        """Messages delivered and not done with."""
        return self._puller.held

    async def run(self) -> None:
        """Pull until cancelled; then the subscription is closed, and `give_back` is the owner's to call."""
        await self._puller.attach()
        try:
            while True:
                if (held := await self._puller.next()) is not None:
                    await self._take(held)
        finally:
            await self._puller.detach()

    async def give_back(self) -> None:
        """Return every held message to the stream, to be delivered at once to the next process."""
        await self._puller.give_back()

    async def _take(self, held: HeldMessage) -> None:
        self.behind = held.behind
        try:
            decoded = codec.decode(held.message.subject, held.message.data)
        except PermanentError as error:
            await self._puller.bury(held, str(error))
            return
        if decoded.run_id != self._bus.run_id:
            await held.acknowledge("other_run")
            return
        await self._receive(Arrival(decoded.value, held))
