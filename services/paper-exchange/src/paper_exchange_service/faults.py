"""Where the exchange may misbehave: what may become of a request or a frame, and a hook by which tests decide it.

An operator's rules are in `fault_rules`; `fault_layer` asks them, after the hook.
"""

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer: the connection is closed instead."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer of the servers before the exchange: a status other than 200 and a text.

    Attributes:
        code: What the order socket, which has no status, answers instead.
    """

    status: int
    body: bytes
    code: int = 10016


@dataclass(frozen=True, slots=True)
class CodeAnswer:
    """An envelope with a return code.

    Attributes:
        reset_in_ms: The limit is used up, and its headers say that it is free again after so long; None: no such thing.
    """

    code: int
    text: str
    reset_in_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one request.

    Attributes:
        handled: Whether the exchange does what is asked.
        answer: What is answered in place of the exchange's own answer; None: that.
        delay_s: Extra time before the answer.
    """

    handled: bool = True
    answer: Lost | HttpAnswer | CodeAnswer | None = None
    delay_s: float = 0.0


AS_USUAL = Verdict()


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one frame of a private stream.

    Attributes:
        copies: How often it is sent.
        delay_s: How late it is sent; later frames of the connection wait behind it.
        held_s: Lets the next frame pass first, and is sent at the latest after so long; None: it does not.
        drops: The account's sockets are closed instead, and the frame is lost.
    """

    copies: int = 1
    delay_s: float = 0.0
    held_s: float | None = None
    drops: bool = False


PLAIN = Fate()


@dataclass(frozen=True, slots=True)
class Fault:
    """What a test has happen to one request.

    Attributes:
        before: Status and body that are sent instead of handling the request; None: it is handled.
        delay_s: Extra time before the answer.
        lose_answer: Handle the request, then close the connection without an answer.
    """

    before: tuple[int, bytes] | None = None
    delay_s: float = 0.0
    lose_answer: bool = False

    @property
    def verdict(self) -> Verdict:
        """The same as a verdict."""
        if self.before is not None:
            return Verdict(handled=False, answer=HttpAnswer(*self.before), delay_s=self.delay_s)
        return Verdict(answer=Lost() if self.lose_answer else None, delay_s=self.delay_s)


NO_FAULT = Fault()


class Faults(Protocol):
    """Decides what goes wrong in a test."""

    def of_request(self, method: str, path: str, account: str) -> Fault:
        """Return what happens to a request; `account` is empty when it is not signed."""

    def of_frame(self, topic: str, frame: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the frames that are sent in place of one frame of the private stream."""


class NoFaults:
    """Everything works."""

    def of_request(self, method: str, path: str, account: str) -> Fault:
        """Return no fault."""
        return NO_FAULT

    def of_frame(self, topic: str, frame: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the frame as it is."""
        return [frame]
