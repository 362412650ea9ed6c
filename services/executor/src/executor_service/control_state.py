"""The switch over all entries: halted or not, and the fencing epoch, as a person has set them."""

import json
from dataclasses import dataclass

from breakwater_core.errors import InvariantError
from breakwater_runtime.logs import get_logger
from breakwater_runtime.readers import Delivery

CONTROL_KEY = "state"


@dataclass(frozen=True, slots=True)
class ControlState:
    """Whether entries may be sent.

    Attributes:
        halted: No entry is sent.
        epoch: Entries decided under an earlier epoch are not sent.
    """

    halted: bool = False
    epoch: int = 0

    @classmethod
    def decode(cls, payload: bytes) -> "ControlState":
        """Return the state that JSON such as `{"halted": true, "epoch": 3}` describes.

        Raises:
            InvariantError: If it is something else.
        """
        try:
            values = json.loads(payload)
            return cls(halted=bool(values["halted"]), epoch=int(values.get("epoch", 0)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvariantError(f"control/{CONTROL_KEY} cannot be read: {payload[:100]!r}") from error


class ControlWatch:
    """The newest control state; what cannot be read halts entries, because nobody knows what was meant."""

    def __init__(self) -> None:
        """Begin with entries allowed, as long as nobody has set anything."""
        self.state = ControlState()

    def handle(self, delivery: Delivery) -> None:
        """Take a newer value of the key; a deleted key is the initial state."""
        self.take(delivery.payload)

    def take(self, payload: bytes) -> None:
        """Take a value of the key."""
        if not payload:
            self.state = ControlState()
            return
        try:
            self.state = ControlState.decode(payload)
        except InvariantError as error:
            get_logger().error("control_state_unreadable", reason=str(error))
            self.state = ControlState(halted=True, epoch=self.state.epoch)
