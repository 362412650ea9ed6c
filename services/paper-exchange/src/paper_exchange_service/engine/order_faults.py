"""Where orders may meet with a fault inside the engine; without orders to do so they do not."""

from decimal import Decimal
from typing import Protocol

from paper_exchange_service.engine.orders import AS_IT_IS, Order, OrderRequest, Outcome


class OrderFaults(Protocol):
    """Decides what goes wrong with orders."""

    def refuse(self, account: str, request: OrderRequest, at_ms: int) -> None:
        """Raise the refusal that an order meets instead of being accepted.

        Raises:
            Refusal: If it is refused.
        """

    def outcome(self, order: Order, step: Decimal) -> Outcome:
        """Return what becomes of an accepted order once it is matched; `step` is the symbol's quantity step."""

    def is_suspended(self, symbol: str, at_ms: int) -> bool:
        """Whether the symbol cannot be traded at the time."""


class NoOrderFaults:
    """Every order is treated by the rules."""

    def refuse(self, account: str, request: OrderRequest, at_ms: int) -> None:
        """Refuse nothing."""

    def outcome(self, order: Order, step: Decimal) -> Outcome:
        """Match the order as it is."""
        return AS_IT_IS

    def is_suspended(self, symbol: str, at_ms: int) -> bool:
        """Suspend nothing."""
        return False
