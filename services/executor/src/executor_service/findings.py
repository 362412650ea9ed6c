"""What a reconciliation tells: alerts, each once, whoever finds it first and however often it is found again.

An alert's id follows from what was found, so that two processes tell the same one; what was told is remembered in the
account bucket.
"""

import hashlib
from collections.abc import Iterable
from datetime import date
from decimal import Decimal

from breakwater_bybit.model import OrderState, TransactionEntry
from breakwater_core.decimals import to_text
from breakwater_core.events import Alert, Severity
from breakwater_runtime.bus import Bus
from breakwater_runtime.logs import get_logger
from breakwater_runtime.subjects import ACCOUNT_BUCKET, told_key
from executor_service.account_ledger import BookedFill, Claim, Owner
from executor_service.alarm import SERVICE
from executor_service.bus_patience import insist
from executor_service.reconciliation import PositionDifference, WalletDifference

_SHOWN = 20


class Findings:
    """Raises the alerts of one account."""

    def __init__(self, bus: Bus, account: str) -> None:
        """Tell on this bus."""
        self._bus = bus
        self._account = account
        self._told: set[str] = set()

    async def position(self, found: PositionDifference, day: date, at_ms: int) -> None:
        """Tell of a position that is not the sum of its fills; once a day for each difference."""
        difference = to_text(found.difference)
        await self._tell(
            f"position_mismatch/{self._account}/{found.symbol}/{day}/{difference}",
            "position_mismatch",
            f"{self._account} {found.symbol}: the exchange states {to_text(found.exchange)}, our fills add up to "
            f"{to_text(found.ledger)}",
            at_ms,
            symbol=found.symbol,
            exchange=to_text(found.exchange),
            ledger=to_text(found.ledger),
            difference=difference,
        )

    async def wallet(self, found: WalletDifference, day: date, at_ms: int) -> None:
        """Tell of a wallet that is not the sum of what moved it; once a day for each difference."""
        difference = to_text(found.difference)
        await self._tell(
            f"wallet_mismatch/{self._account}/{day}/{difference}",
            "wallet_mismatch",
            f"{self._account}: the exchange states a wallet of {to_text(found.exchange)} USDT, fills, funding and "
            f"transfers add up to {to_text(found.ledger)}",
            at_ms,
            exchange=to_text(found.exchange),
            ledger=to_text(found.ledger),
            difference=difference,
        )

    async def unordered(
        self, fills: list[BookedFill], owner: Owner, parts: dict[Owner, Decimal], outcome: str, at_ms: int
    ) -> None:
        """Tell of fills of one symbol that no intent ordered, or of which that cannot be told."""
        newest = fills[-1]
        traded = to_text(sum((fill.quantity for fill in fills), Decimal(0)))
        held = to_text(parts[Owner.NOBODY] + parts[Owner.UNCERTAIN] + parts[Owner.ADOPTED])
        what = "that was there when the books were opened" if newest.claim is Claim.OPENING else "by no order of ours"
        if owner is Owner.UNCERTAIN and newest.claim is not Claim.OPENING:
            what = "by orders in our form that no record names"
        quantity = newest.quantity if newest.claim is Claim.OPENING else ""
        await self._tell(
            f"unordered_position/{self._account}/{newest.symbol}/{newest.exec_id}{quantity}",
            "unordered_position",
            f"{self._account} {newest.symbol}: {traded} {what}; {held} of the position is not ours ({outcome})",
            at_ms,
            symbol=newest.symbol,
            quantity=traded,
            held=held,
            outcome=outcome,
            exec_ids=_shown(fill.exec_id for fill in fills),
            order_link_ids=_shown(sorted({fill.link_id for fill in fills if fill.link_id})),
        )

    async def not_closed(self, symbol: str, link_id: str, reason: str, at_ms: int) -> None:
        """Tell that the exchange refuses the order which should close what nobody ordered."""
        await self._tell(
            f"unordered_position_not_closed/{self._account}/{link_id}",
            "unordered_position_not_closed",
            f"{self._account} {symbol}: what nobody ordered could not be closed: {reason}",
            at_ms,
            symbol=symbol,
            order_link_id=link_id,
        )

    async def order(self, order: OrderState, outcome: str, at_ms: int) -> None:
        """Tell of an open order that no intent sent."""
        await self._tell(
            f"unordered_order/{self._account}/{order.order_id}",
            "unordered_order",
            f"{self._account} {order.symbol}: an order to {order.side.value} {to_text(order.quantity)} is open that is "
            f"not ours ({outcome})",
            at_ms,
            symbol=order.symbol,
            order_id=order.order_id,
            order_link_id=order.order_link_id,
            side=order.side.value,
            quantity=to_text(order.quantity),
            outcome=outcome,
        )

    async def adjusted(self, entry: TransactionEntry) -> None:
        """Tell of a wallet entry that is neither fill, funding nor transfer, e.g. a refund of fees."""
        await self._tell(
            f"wallet_adjusted/{self._account}/{entry.entry_id}/{entry.entry_type}",
            "wallet_adjusted",
            f"{self._account}: the exchange booked {to_text(entry.change)} USDT as {entry.entry_type}",
            entry.time_ms,
            severity=Severity.INFO,
            entry_type=entry.entry_type,
            change=to_text(entry.change),
        )

    async def _tell(
        self,
        alert_id: str,
        name: str,
        summary: str,
        at_ms: int,
        *,
        severity: Severity = Severity.CRITICAL,
        symbol: str = "",
        **facts: str,
    ) -> None:
        if alert_id in self._told:
            return
        digest = hashlib.sha256(alert_id.encode()).hexdigest()[:32]
        key = told_key(self._bus.run_id, self._account, digest)
        if await insist(lambda: self._bus.read(ACCOUNT_BUCKET, key)) is None:
            alert = Alert(
                alert_id=alert_id,
                run_id=self._bus.run_id,
                severity=severity,
                service=SERVICE,
                name=name,
                summary=summary,
                event_time_ms=at_ms,
                account=self._account,
                symbol=symbol,
                facts=facts,
            )
            get_logger().warning("alert_raised", name=name, summary=summary, severity=severity.value)
            await self._bus.publish_persistently(alert)
            await insist(lambda: self._bus.write(ACCOUNT_BUCKET, key, alert_id.encode()))
        self._told.add(alert_id)


def _shown(values: Iterable[str]) -> str:
    listed = list(values)
    return ", ".join(listed[-_SHOWN:]) + (f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else "")
