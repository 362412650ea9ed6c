"""What executors answer to the control document: which epoch they have acknowledged, and that an account is flat.

Both are JSON values of the bucket `control`; times are milliseconds since 1970-01-01T00:00Z.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from breakwater_core.decimals import from_text, to_text
from breakwater_core.errors import InvariantError

HEARTBEAT_S = 4.0
"""An executor repeats its acknowledgement this often."""
LIVE_FOR_MS = 15_000
"""An executor that has repeated nothing for longer counts as gone: far more than an exchange accepts a request after
its stamp, so what such a process signed before it fell silent can have no effect any more."""


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What an executor process has seen of the control document.

    Attributes:
        instance: Name of the process among those of its kind, for a person.
        process: Distinguishes processes of one instance's name.
        epoch: No entry of an earlier epoch is about to be sent by this process any more.
        accounts: Accounts that it trades.
        unsettled: Entries sent of which the end is not known, by account; stated only while a flatten is ordered.
    """

    instance: str
    process: str
    run_id: str
    epoch: int
    accounts: tuple[str, ...]
    unsettled: Mapping[str, int] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return it as JSON."""
        values: dict[str, Any] = {
            "instance": self.instance,
            "process": self.process,
            "run_id": self.run_id,
            "epoch": self.epoch,
            "accounts": list(self.accounts),
            "unsettled": {name: count for name, count in sorted(self.unsettled.items()) if count},
        }
        return json.dumps(values, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, payload: bytes) -> "Acknowledgement":
        """Return what `encode` wrote.

        Raises:
            InvariantError: If it is something else.
        """
        try:
            values = json.loads(payload)
            return cls(**values | {"accounts": tuple(values["accounts"])})
        except (ValueError, KeyError, TypeError) as error:
            raise InvariantError(f"an acknowledgement cannot be read: {payload[:100]!r} ({error})") from error


@dataclass(frozen=True, slots=True)
class Heard:
    """An acknowledgement with the time at which the bus stored it."""

    acknowledgement: Acknowledgement
    stored_ms: int


def live(heard: Iterable[Heard], *, at_ms: int = 0) -> list[Acknowledgement]:
    """Return the acknowledgements of processes that are not silent for too long, by instance and process.

    Args:
        heard: The newest of each process.
        at_ms: The bus's time; a later time among those heard counts instead.
    """
    known = list(heard)
    now_ms = max([at_ms, *(one.stored_ms for one in known)])
    alive = [one.acknowledgement for one in known if now_ms - one.stored_ms <= LIVE_FOR_MS]
    return sorted(alive, key=lambda one: (one.instance, one.process))


def entries_may_come(
    heard: Iterable[Heard], *, run_id: str, account: str, epoch: int, is_late: bool, at_ms: int = 0
) -> str:
    """Return why an entry of before a halt may still open a position; empty: none can.

    Args:
        heard: The newest acknowledgement of each process.
        run_id: Run whose processes count.
        account: Account that the entry would be for.
        epoch: Epoch of the halt.
        is_late: Whether the exchange accepts nothing any more that was stamped before the halt.
        at_ms: The bus's time.
    """
    processes = [one for one in live(heard, at_ms=at_ms) if one.run_id == run_id and account in one.accounts]
    for one in processes:
        if count := one.unsettled.get(account, 0):
            return f"{one.instance} follows {count} entries whose end is not known"
    if is_late:
        return ""
    silent = [one.instance for one in processes if one.epoch < epoch]
    return f"{', '.join(silent)} has not acknowledged epoch {epoch}" if silent else ""


@dataclass(frozen=True, slots=True)
class FlatProof:
    """That an account had neither positions nor open orders, as the exchange stated it after a flatten.

    Attributes:
        epoch: Epoch of the flatten order.
        sizes: Position per symbol in base units, of those configured and those that were open: all 0.
        open_orders: Open orders of the account: 0.
        read_at_ms: The exchange's time when it was read.
        proved_by: Instance that read it.
    """

    run_id: str
    account: str
    epoch: int
    sizes: Mapping[str, Decimal]
    open_orders: int
    read_at_ms: int
    proved_by: str

    def to_values(self) -> dict[str, Any]:
        """Return the proof as plain values that JSON can hold."""
        return {
            "run_id": self.run_id,
            "account": self.account,
            "epoch": self.epoch,
            "sizes": {symbol: to_text(size) for symbol, size in sorted(self.sizes.items())},
            "open_orders": self.open_orders,
            "read_at_ms": self.read_at_ms,
            "proved_by": self.proved_by,
        }

    def encode(self) -> bytes:
        """Return the proof as JSON."""
        return json.dumps(self.to_values(), separators=(",", ":")).encode()

    @classmethod
    def decode(cls, payload: bytes) -> "FlatProof":
        """Return what `encode` wrote.

        Raises:
            InvariantError: If it is something else.
        """
        try:
            values = json.loads(payload)
            sizes = {symbol: from_text(size) for symbol, size in values["sizes"].items()}
            return cls(**values | {"sizes": sizes})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvariantError(f"a proof of a flatten cannot be read: {payload[:100]!r} ({error})") from error
