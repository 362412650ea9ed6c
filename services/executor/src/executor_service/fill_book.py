"""Which executions were published: each once, counted, over restarts.

The memory reaches back from the newest reading as far as readings overlap; what is older was settled before. Times are
milliseconds of the exchange.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from breakwater_bybit.model import Execution
from breakwater_core.errors import InvariantError


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the executions of an account were published.

    Attributes:
        begins_ms: Executions before this do not belong to the run.
        through_ms: Executions before this were read over REST, apart from late ones within the overlap.
        fills_total: Executions published in this run.
        clock_sequence: Stream sequence of the last clock message that was worked off.
        recent: Execution ids, with their times, that were published within the overlap before `through_ms` or later.
        ledger: The account's books after exactly these executions, as JSON values; None: there are none yet.
    """

    begins_ms: int
    through_ms: int
    fills_total: int = 0
    clock_sequence: int = 0
    recent: dict[str, int] = field(default_factory=dict)
    ledger: dict[str, Any] | None = None

    def encode(self) -> bytes:
        """Return the cursor as JSON."""
        values: dict[str, Any] = {
            "begins_ms": self.begins_ms,
            "through_ms": self.through_ms,
            "fills_total": self.fills_total,
            "clock_sequence": self.clock_sequence,
            "recent": self.recent,
            "ledger": self.ledger,
        }
        return json.dumps(values, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, payload: bytes) -> "Cursor":
        """Return what `encode` wrote.

        Raises:
            InvariantError: If it is something else.
        """
        try:
            values = json.loads(payload)
            return cls(
                begins_ms=int(values["begins_ms"]),
                through_ms=int(values["through_ms"]),
                fills_total=int(values["fills_total"]),
                clock_sequence=int(values["clock_sequence"]),
                recent={str(key): int(value) for key, value in values["recent"].items()},
                ledger=values.get("ledger"),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvariantError(
                f"the cursor of an account's executions cannot be read ({type(error).__name__}: {error})"
            ) from error


class FillBook:
    """Tells new executions from those that were published."""

    def __init__(self, cursor: Cursor, *, overlap_ms: int) -> None:
        """Continue from a cursor; readings overlap by `overlap_ms`."""
        self._overlap_ms = overlap_ms
        self._begins_ms = cursor.begins_ms
        self._through_ms = cursor.through_ms
        self._recent = dict(cursor.recent)
        self.fills_total = cursor.fills_total
        self.clock_sequence = cursor.clock_sequence

    @property
    def through_ms(self) -> int:
        """Time through which executions were read over REST."""
        return self._through_ms

    @property
    def read_from_ms(self) -> int:
        """Where the next reading begins."""
        return max(self._begins_ms, self._through_ms - self._overlap_ms)

    @property
    def is_new(self) -> bool:
        """Whether nothing is known of the run's begin."""
        return self._through_ms == 0

    def begin(self, time_ms: int) -> None:
        """State that the run begins at this time."""
        self._begins_ms = self._through_ms = time_ms

    def new(self, executions: Iterable[Execution]) -> list[Execution]:
        """Return the executions that were not published, each once, oldest first.

        What is older than any reading goes back is not new: it was published, or belongs to the time before the run.
        """
        from_ms = self.read_from_ms
        found = {
            execution.exec_id: execution
            for execution in executions
            if execution.exec_id not in self._recent and execution.exec_time_ms >= from_ms
        }
        return sorted(found.values(), key=lambda execution: (execution.exec_time_ms, execution.exec_id))

    def published(self, execution: Execution) -> None:
        """Take note that an execution is on the bus."""
        if execution.exec_id not in self._recent:
            self._recent[execution.exec_id] = execution.exec_time_ms
            self.fills_total += 1

    def read_through(self, time_ms: int) -> None:
        """Take note that all executions up to the time were read and published; time never goes back."""
        self._through_ms = max(self._through_ms, time_ms)
        from_ms = self.read_from_ms
        self._recent = {exec_id: at_ms for exec_id, at_ms in self._recent.items() if at_ms >= from_ms}

    def cursor(self, ledger: dict[str, Any] | None = None) -> Cursor:
        """Return what to write down, with the books of this moment."""
        return Cursor(
            self._begins_ms, self._through_ms, self.fills_total, self.clock_sequence, dict(self._recent), ledger
        )
