"""What signal writes down so that a restart goes on exactly where it was."""

import json
from dataclasses import dataclass
from datetime import date
from typing import Any, Self

from breakwater_core.errors import InvariantError


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """State after a message (live) or a window (replay).

    Attributes:
        strategy_version: Configuration of the day that the state is of; empty: no day has begun.
        market_sequence: Stream sequence in MD: live the last message that need not be read again, in replay the first
            that must be.
        stored_ns: Live: when that message was stored, nanoseconds since 1970; 0 in replay.
        window: Last replay window that is done; 0 when live.
        strategy: `PortfolioStrategy.snapshot()`.
    """

    strategy_version: str
    market_sequence: int
    window: int
    strategy: dict[str, Any]
    stored_ns: int = 0

    @property
    def day(self) -> date | None:
        """Day that was running; None: none was."""
        day = self.strategy.get("day")
        return None if day is None else date.fromisoformat(day)

    def encode(self) -> bytes:
        """Return the entry's value."""
        return json.dumps(
            {
                "strategy_version": self.strategy_version,
                "market_sequence": self.market_sequence,
                "window": self.window,
                "strategy": self.strategy,
                "stored_ns": self.stored_ns,
            },
            separators=(",", ":"),
        ).encode()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Return the checkpoint that an entry holds.

        Raises:
            InvariantError: If it is unreadable.
        """
        try:
            return cls(**json.loads(value))
        except (ValueError, TypeError) as error:
            raise InvariantError(
                f"the checkpoint is unreadable ({error}); delete its key: signal then reads the day from its start"
            ) from error
