"""The life of one position: entered, perhaps stopped, exited; and what is known of it.

An outcome may come late, twice or never. As long as a position is not known to be gone it counts as possibly open,
so the exit is decided for it.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

from breakwater_core.decimals import from_text, to_text
from breakwater_core.events import Leg, Side

RETRY_AFTER_MS = 1_000
"""An exit that is known to have left a position is decided again this long after its outcome, milliseconds."""


class Phase(StrEnum):
    """How far a position has come."""

    ENTERING = "entering"
    OPEN = "open"
    STOPPING = "stopping"
    EXITING = "exiting"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a closed intent left behind.

    Attributes:
        position_side: Side of the position afterwards, BUY is long; None: flat.
        average_price: Average entry fill price, for an entry; None if not known.
        at_ms: Venue time of the outcome; of the last fill, where there was one.
    """

    day: date
    leg: Leg
    attempt: int
    position_side: Side | None
    average_price: Decimal | None
    at_ms: int

    def to_values(self) -> list[Any]:
        """Return the outcome as plain values that JSON can hold."""
        return [
            self.day.isoformat(),
            self.leg.value,
            self.attempt,
            None if self.position_side is None else self.position_side.value,
            None if self.average_price is None else to_text(self.average_price),
            self.at_ms,
        ]

    @classmethod
    def from_values(cls, values: list[Any]) -> "Outcome":
        """Return the outcome that `to_values` wrote."""
        day, leg, attempt, side, price, at_ms = values
        return cls(
            date.fromisoformat(day),
            Leg(leg),
            attempt,
            None if side is None else Side(side),
            None if price is None else from_text(price),
            at_ms,
        )


@dataclass(slots=True)
class Holding:
    """The position that one entry of `day` leads to; `side` BUY is long.

    Attributes:
        average_price: Average entry fill price; None until an outcome tells it.
        watched_after_ms: The stop counts trades later than this.
        stop_attempts: Stops decided so far.
        exit_attempts: Exits decided so far.
        exit_passed: Whether the day's exit window has opened.
        retry_at_ms: When the exit must be decided again, since a position is known to be left.
        ended_by: Leg whose outcome ended it.
    """

    day: date
    side: Side
    phase: Phase = Phase.ENTERING
    average_price: Decimal | None = None
    watched_after_ms: int = 0
    stop_attempts: int = 0
    exit_attempts: int = 0
    exit_passed: bool = False
    retry_at_ms: int | None = None
    ended_by: Leg | None = None

    @property
    def may_be_open(self) -> bool:
        """Whether a position is open, or could be."""
        return self.phase is not Phase.ENDED

    @property
    def outlived_its_exit(self) -> bool:
        """Whether a position is known to be left after an exit."""
        return self.may_be_open and (self.retry_at_ms is not None or self.exit_attempts > 1)

    def stop_level(self, stop_loss: float) -> float | None:
        """Return the price at which the stop is hit, float64; None while the entry price is not known.

        Args:
            stop_loss: Loss as a share of the average entry price.
        """
        if self.average_price is None:
            return None
        entry = float(self.average_price)
        return entry * (1.0 - stop_loss) if self.side is Side.BUY else entry * (1.0 + stop_loss)

    def decided(self, leg: Leg) -> int:
        """Return how many attempts of the leg have been decided; flattening is decided by others."""
        return {Leg.ENTRY: 1, Leg.STOP: self.stop_attempts, Leg.EXIT: self.exit_attempts}.get(leg, 1)

    def apply(self, outcome: Outcome) -> bool:
        """Take in what a decided leg left behind; return whether anything changed. Repeats change nothing."""
        if outcome.leg is Leg.ENTRY:
            return self._apply_entry(outcome)
        if outcome.leg is Leg.STOP:
            return self._apply_stop(outcome)
        if outcome.leg is Leg.EXIT:
            return self._apply_exit(outcome)
        if outcome.position_side is None and self.phase in {Phase.OPEN, Phase.STOPPING, Phase.EXITING}:
            return self._end(outcome.leg)
        return False

    def _apply_entry(self, outcome: Outcome) -> bool:
        is_revived = self.phase is Phase.ENDED and self.ended_by is Leg.ENTRY
        if outcome.position_side is None:
            return self._end(Leg.ENTRY) if self.phase is Phase.ENTERING else False
        if self.phase is not Phase.ENTERING and not is_revived:
            return self._correct_price(outcome)
        self.phase, self.ended_by = Phase.OPEN, None
        self.side, self.average_price = outcome.position_side, outcome.average_price
        self.watched_after_ms = outcome.at_ms
        if self.exit_passed:
            self.phase, self.retry_at_ms = Phase.EXITING, outcome.at_ms
        return True

    def _correct_price(self, outcome: Outcome) -> bool:
        if self.phase is not Phase.OPEN or outcome.average_price in {None, self.average_price}:
            return False
        self.average_price = outcome.average_price
        self.watched_after_ms = max(self.watched_after_ms, outcome.at_ms)
        return True

    def _apply_stop(self, outcome: Outcome) -> bool:
        is_running = self.phase in {Phase.STOPPING, Phase.EXITING}
        if not is_running or outcome.attempt != self.stop_attempts:
            return False
        if outcome.position_side is None:
            return self._end(Leg.STOP)
        if self.phase is Phase.EXITING:
            return False
        self.phase, self.side, self.watched_after_ms = Phase.OPEN, outcome.position_side, outcome.at_ms
        return True

    def _apply_exit(self, outcome: Outcome) -> bool:
        if self.phase is not Phase.EXITING or outcome.attempt != self.exit_attempts:
            return False
        if outcome.position_side is None:
            return self._end(Leg.EXIT)
        retry_at_ms = outcome.at_ms + RETRY_AFTER_MS
        if (self.side, self.retry_at_ms) == (outcome.position_side, retry_at_ms):
            return False
        self.side, self.retry_at_ms = outcome.position_side, retry_at_ms
        return True

    def _end(self, leg: Leg) -> bool:
        self.phase, self.ended_by, self.retry_at_ms = Phase.ENDED, leg, None
        return True

    def to_values(self) -> dict[str, Any]:
        """Return the holding as plain values that JSON can hold."""
        return {
            "day": self.day.isoformat(),
            "side": self.side.value,
            "phase": self.phase.value,
            "average_price": None if self.average_price is None else to_text(self.average_price),
            "watched_after_ms": self.watched_after_ms,
            "stop_attempts": self.stop_attempts,
            "exit_attempts": self.exit_attempts,
            "exit_passed": self.exit_passed,
            "retry_at_ms": self.retry_at_ms,
            "ended_by": None if self.ended_by is None else self.ended_by.value,
        }

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> "Holding":
        """Return the holding that `to_values` wrote."""
        return cls(
            **values
            | {
                "day": date.fromisoformat(values["day"]),
                "side": Side(values["side"]),
                "phase": Phase(values["phase"]),
                "average_price": None if values["average_price"] is None else from_text(values["average_price"]),
                "ended_by": None if values["ended_by"] is None else Leg(values["ended_by"]),
            }
        )
