"""The account at a day's open: what positions are sized by, and where daily and running losses are counted from."""

import json
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Protocol

from breakwater_core.decimals import from_text, to_text
from breakwater_core.errors import InvariantError
from breakwater_core.events import AccountSnapshot, Position, SnapshotKind
from breakwater_core.performance import growth_and_peak

_ONE = Decimal(1)


@dataclass(frozen=True, slots=True)
class DayOpen:
    """An account when a day opened; money is quote currency.

    Attributes:
        taken_at_ms: Venue time at which the account was read.
        net_deposits: Deposits - withdrawals since the day open before.
        cumulative: Product of the growth factors of the closed days of this run.
        peak: Largest such product so far, at least 1.
        fills_total: Executions of this run published by then.
    """

    day: date
    taken_at_ms: int
    equity: Decimal
    wallet_balance: Decimal
    net_deposits: Decimal
    cumulative: Decimal = _ONE
    peak: Decimal = _ONE
    positions: tuple[Position, ...] = ()
    fills_total: int = 0

    def snapshot(self, *, run_id: str, account: str) -> AccountSnapshot:
        """Return the snapshot that tells of it."""
        return AccountSnapshot(
            run_id=run_id,
            account=account,
            kind=SnapshotKind.DAY_OPEN,
            day=self.day,
            equity=self.equity,
            wallet_balance=self.wallet_balance,
            net_deposits=self.net_deposits,
            positions=self.positions,
            fills_total=self.fills_total,
            event_time_ms=self.taken_at_ms,
        )

    def encode(self) -> bytes:
        """Return it as JSON, decimals as text."""
        values: dict[str, Any] = {
            "day": self.day.isoformat(),
            "taken_at_ms": self.taken_at_ms,
            "equity": to_text(self.equity),
            "wallet_balance": to_text(self.wallet_balance),
            "net_deposits": to_text(self.net_deposits),
            "cumulative": to_text(self.cumulative),
            "peak": to_text(self.peak),
            "fills_total": self.fills_total,
            "positions": [
                [
                    position.symbol,
                    to_text(position.size),
                    to_text(position.average_price),
                    to_text(position.mark_price),
                    to_text(position.unrealised_pnl),
                ]
                for position in self.positions
            ],
        }
        return json.dumps(values, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, payload: bytes) -> "DayOpen":
        """Return what `encode` wrote.

        Raises:
            InvariantError: If it is something else.
        """
        try:
            values = json.loads(payload)
            return cls(
                day=date.fromisoformat(values["day"]),
                taken_at_ms=values["taken_at_ms"],
                equity=from_text(values["equity"]),
                wallet_balance=from_text(values["wallet_balance"]),
                net_deposits=from_text(values["net_deposits"]),
                cumulative=from_text(values["cumulative"]),
                peak=from_text(values["peak"]),
                fills_total=values["fills_total"],
                positions=tuple(Position(row[0], *map(from_text, row[1:])) for row in values["positions"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvariantError(
                f"the entry of a day's open cannot be read ({type(error).__name__}: {error}); remove it from the "
                "bucket 'account' to have it taken anew"
            ) from error


def growth_since(before: DayOpen | None, *, equity: Decimal, net_deposits: Decimal) -> tuple[Decimal, Decimal]:
    """Return the cumulative growth and its peak at a new day's open; deposits are no gain.

    A day that opened without equity has no return and leaves both as they were.
    """
    if before is None:
        return _ONE, _ONE
    return growth_and_peak(
        equity=equity,
        net_deposits=net_deposits,
        equity_before=before.equity,
        cumulative=before.cumulative,
        peak=before.peak,
    )


class DayOpens(Protocol):
    """Where day opens are found."""

    async def wait_for(self, account: str, day: date, timeout_s: float | None) -> DayOpen | None:
        """Return the day's open as soon as it is there; None if it is not in time (None: no limit)."""
