"""Closes a position, or the part of one, that nobody ordered: one reduce-only order at a time, whoever dies.

The order's link id follows from the newest fill that nobody ordered and a number, so every process sends the same one
and the exchange takes it once. It is written down before it is sent; the next number is used only after the exchange
has stated the end of the one before, and the position was read anew.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from breakwater_bybit.errors import ExchangeError
from breakwater_bybit.model import OrderState
from breakwater_core.decimals import to_text
from breakwater_core.errors import InvalidInputError
from breakwater_core.events import Side
from breakwater_core.identities import order_link_id
from breakwater_core.market import Instrument
from breakwater_core.reduction import reducing_order
from breakwater_runtime.bus import Bus
from breakwater_runtime.logs import get_logger
from breakwater_runtime.subjects import ACCOUNT_BUCKET, closing_key
from executor_service import metrics
from executor_service.answers import answer_of
from executor_service.bus_patience import insist
from executor_service.findings import Findings
from executor_service.order_life import Rejected
from executor_service.venue_clock import wall_clock_ms


@dataclass(frozen=True, slots=True)
class Surplus:
    """What is to be closed.

    Attributes:
        quantity: Base units, negative when short.
        cause: Execution id of the newest fill that made it.
    """

    symbol: str
    quantity: Decimal
    cause: str


class ClosingAccount(Protocol):
    """What closing needs of an account; every method raises `ExchangeError` if the exchange did not answer."""

    async def find_order(
        self, *, symbol: str, order_link_id: str, at_ms: int | None, urgent: bool
    ) -> OrderState | None:
        """Return the order, or None if nothing knows it."""

    async def instrument(self, symbol: str) -> Instrument:
        """Return the trading rules of a symbol."""

    async def place_market_order(
        self,
        *,
        symbol: str,
        side: Side,
        quantity: Decimal,
        order_link_id: str,
        reduce_only: bool,
        at_ms: int | None,
    ) -> None:
        """Send a market order."""


class UnorderedCloser:
    """Sends the orders; each call brings one surplus one step further."""

    def __init__(self, *, bus: Bus, account: str, exchange: ClosingAccount, settle_s: float) -> None:
        """Send an order whose answer was lost again, under its id, not before `settle_s` seconds have passed."""
        self._bus = bus
        self._account = account
        self._exchange = exchange
        self._settle_ms = round(settle_s * 1000)
        self._findings = Findings(bus, account)

    async def close(self, surplus: Surplus, *, still_so: Callable[[Surplus], Awaitable[bool]]) -> None:
        """Send the next order, unless one is on its way or `still_so` says that things have changed.

        Raises:
            ExchangeError: If the exchange did not tell what became of an earlier order.
        """
        finding = f"unordered/{self._bus.run_id}/{self._account}/{surplus.symbol}/{surplus.cause}"
        number = 0
        while True:
            link_id = order_link_id(finding, number)
            order = await self._exchange.find_order(
                symbol=surplus.symbol, order_link_id=link_id, at_ms=None, urgent=True
            )
            if order is None:
                break
            if not order.is_final:
                return
            number += 1
        key = closing_key(self._bus.run_id, self._account, link_id)
        record = await insist(lambda: self._bus.read(ACCOUNT_BUCKET, key))
        if record is not None and wall_clock_ms() < int(json.loads(record)["sent_ms"]) + self._settle_ms:
            return
        reduction = reducing_order(surplus.quantity, await self._instrument(surplus.symbol))
        if reduction is None or not await still_so(surplus):
            return
        values = {
            "finding": finding,
            "number": number,
            "side": reduction.side.value,
            "quantity": to_text(reduction.quantity),
            "sent_ms": wall_clock_ms(),
        }
        await insist(lambda: self._bus.write(ACCOUNT_BUCKET, key, json.dumps(values).encode()))
        await self._send(surplus, reduction.side, reduction.quantity, link_id)

    async def _send(self, surplus: Surplus, side: Side, quantity: Decimal, link_id: str) -> None:
        log = get_logger().bind(account=self._account, symbol=surplus.symbol, order_link_id=link_id)
        log.warning("unordered_position_closing", side=side.value, quantity=quantity)
        try:
            await self._exchange.place_market_order(
                symbol=surplus.symbol,
                side=side,
                quantity=quantity,
                order_link_id=link_id,
                reduce_only=True,
                at_ms=None,
            )
        except ExchangeError as error:
            answer = answer_of(error)
            log.warning("unordered_position_not_closed", reason=str(error))
            metrics.UNORDERED_ORDERS.labels(self._account, type(answer).__name__).inc()
            if isinstance(answer, Rejected):
                await self._findings.not_closed(surplus.symbol, link_id, str(error), wall_clock_ms())
        else:
            metrics.UNORDERED_ORDERS.labels(self._account, "Acknowledged").inc()

    async def _instrument(self, symbol: str) -> Instrument | None:
        try:
            return await self._exchange.instrument(symbol)
        except (ExchangeError, InvalidInputError):
            return None
