"""Where messages go: the port that Slack and the console offer, and what can become of a post."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from notifier_service.message import Message


@dataclass(frozen=True, slots=True)
class Posted:
    """The message is where people see it."""


@dataclass(frozen=True, slots=True)
class NotPosted:
    """The message is certainly not there; it may be posted later.

    Attributes:
        reason: For a person: what is wrong and what to do.
        retry_after_s: Seconds that the other side asks to be left alone; None: it does not say.
        only_a_pause: Nothing is wrong: the other side just wants messages more slowly.
    """

    reason: str
    retry_after_s: float | None = None
    only_a_pause: bool = False


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The message was sent, and it is not known whether it is there.

    Attributes:
        reason: For a person: how the answer was lost.
        server_failed: The other side answered that it failed, so that the message is most likely not there.
    """

    reason: str
    server_failed: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """The other side will never take this message; `reason` says why."""

    reason: str


Outcome = Posted | NotPosted | Unanswered | Refused


class Lookup(StrEnum):
    """Whether a message whose answer was lost is there."""

    FOUND = "found"
    ABSENT = "absent"
    IMPOSSIBLE = "impossible"
    """The other side does not let us look."""
    AWAY = "away"
    """The other side does not answer now."""


class Sink(Protocol):
    """Takes messages, one at a time."""

    async def check(self) -> Posted | NotPosted:
        """Tell whether messages can be posted, without posting one."""
        ...

    async def post(self, message: Message, message_id: str) -> Outcome:
        """Post a message; `message_id` is what `find` knows it by."""
        ...

    async def find(self, message_id: str) -> Lookup:
        """Look for a message that was sent shortly before and whose answer was lost."""
        ...
