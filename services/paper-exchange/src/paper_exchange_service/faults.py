"""Where an operator may have the exchange misbehave; without orders to do so it does not."""

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one request.

    Attributes:
        before: Status and body that are sent instead of handling the request; None: it is handled.
        delay_s: Extra time before the answer.
        lose_answer: Handle the request, then close the connection without an answer.
    """

    before: tuple[int, bytes] | None = None
    delay_s: float = 0.0
    lose_answer: bool = False


NO_FAULT = Fault()


class Faults(Protocol):
    """Decides what goes wrong."""

    def of_request(self, method: str, path: str, account: str) -> Fault:
        """Return what happens to a REST request; `account` is empty when it is not signed."""

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
