"""What the order role needs from outside: an exchange account, the durable records, and somebody to tell.

Failures of an exchange account are those of `breakwater_bybit.errors`; failures of the other two are
`TransientError`s, after which the message is delivered again.
"""

from decimal import Decimal
from typing import Protocol

from breakwater_bybit.model import OrderState, PositionState
from breakwater_core.events import Alert, OrderEvent, Side
from breakwater_core.market import Instrument
from executor_service.intent_record import IntentRecord


class TradingAccount(Protocol):
    """One account at the exchange. `at_ms` stamps a request with event time; None: with the wall clock."""

    async def place_market_order(
        self,
        *,
        symbol: str,
        side: Side,
        quantity: Decimal,
        order_link_id: str,
        reduce_only: bool,
        at_ms: int | None,
        closes_all: bool = False,
        send_by_s: float | None = None,
    ) -> None:
        """Send a market order; returning means that the exchange took it.

        With `closes_all` it closes the whole position, whatever `quantity` says: the only order that may be smaller
        than the smallest one, or off its step.

        Args:
            send_by_s: After this time, monotonic seconds, it is not sent any more; None: no limit.

        Raises:
            ExchangeError: The class tells whether there can be an order.
        """

    async def find_order(
        self, *, symbol: str, order_link_id: str, at_ms: int | None, urgent: bool
    ) -> OrderState | None:
        """Return the order from the open ones, the history or its executions; None if none of them knows it.

        Raises:
            ExchangeError: If one of them did not answer.
        """

    async def position_size(self, *, symbol: str, at_ms: int | None) -> Decimal:
        """Return the position in base units, negative when short.

        Raises:
            ExchangeError: If the exchange did not answer.
        """

    async def open_positions(self, *, at_ms: int | None) -> list[PositionState]:
        """Return the open positions of all symbols.

        Raises:
            ExchangeError: If the exchange did not answer.
        """

    async def equity(self, *, at_ms: int | None) -> Decimal:
        """Return the equity, quote currency.

        Raises:
            ExchangeError: If the exchange did not answer.
        """

    async def net_deposits(self, *, start_ms: int, end_ms: int, at_ms: int | None) -> Decimal:
        """Return deposits - withdrawals with `start_ms < time <= end_ms`, quote currency.

        Raises:
            ExchangeError: If the exchange did not answer.
        """

    async def instrument(self, symbol: str, *, is_fresh: bool = False) -> Instrument:
        """Return the trading rules of a symbol, kept once they are known; `is_fresh`: read anew.

        Raises:
            InvalidInputError: If there is no such instrument.
            ExchangeError: If the exchange did not answer.
        """


class WholeAccount(Protocol):
    """An account with everything that is open on it, whoever opened it."""

    async def exchange_time_ms(self) -> int:
        """Return the exchange's time, milliseconds since 1970-01-01T00:00Z.

        Raises:
            ExchangeError: If the exchange did not answer.
        """

    async def open_positions(self, *, at_ms: int | None, urgent: bool = False) -> list[PositionState]:
        """Return the open positions of all symbols.

        Raises:
            ExchangeError: If the exchange did not answer.
        """

    async def open_orders(self, *, at_ms: int | None) -> list[OrderState]:
        """Return the open orders of all symbols, conditional ones included.

        Raises:
            ExchangeError: If the exchange did not answer.
        """

    async def cancel_all_orders(self, *, at_ms: int | None) -> None:
        """Cancel the open orders of all symbols.

        Raises:
            ExchangeError: If the exchange did not answer, or refuses.
        """


class Records(Protocol):
    """The durable records, by key; a revision proves that nobody else has written in the meantime."""

    async def read(self, key: str) -> tuple[IntentRecord, int] | None:
        """Return the record and its revision, or None."""

    async def write(self, key: str, record: IntentRecord, revision: int) -> int:
        """Replace the record of this revision (0: there is none) and return the new revision.

        Raises:
            TakenOver: If somebody else has written it.
        """


class Publisher(Protocol):
    """Where order events and alerts go."""

    async def publish(self, event: OrderEvent) -> None:
        """Publish an event; returns once it is stored."""

    async def try_to_publish(self, event: OrderEvent) -> bool:
        """Publish an event if the bus stores it now; False if it does not answer."""

    async def alert(self, alert: Alert) -> None:
        """Raise an alert."""
