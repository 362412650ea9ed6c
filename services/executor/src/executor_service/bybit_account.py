"""An account at Bybit, or at whatever speaks its protocol, as the two roles need it."""

from decimal import Decimal

from breakwater_bybit.budget import Priority
from breakwater_bybit.client import BybitClient
from breakwater_bybit.errors import Rejected
from breakwater_bybit.model import Execution, OrderState, PositionState, TransactionEntry, Wallet
from breakwater_core.decimals import MONEY
from breakwater_core.errors import InvalidInputError
from breakwater_core.events import OrderStatus, Side
from breakwater_core.market import Instrument

_ZERO = Decimal(0)


class BybitAccount:
    """Implements `TradingAccount` and `WatchedAccount` over one client."""

    def __init__(self, client: BybitClient) -> None:
        """Use the client, which stays its owner's."""
        self._client = client
        self._instruments: dict[str, Instrument] = {}

    async def load_instruments(self, symbols: tuple[str, ...]) -> None:
        """Read the trading rules of these symbols; none: of all.

        Raises:
            InvalidInputError: If a symbol is unknown to the exchange.
            ExchangeError: If the exchange did not answer.
        """
        self._instruments |= await self._client.instruments(symbols or None)

    async def instrument(self, symbol: str, *, is_fresh: bool = False) -> Instrument:
        """Return the trading rules of a symbol, kept once they are known: the exchange changes them twice a month."""
        if is_fresh or symbol not in self._instruments:
            try:
                await self.load_instruments((symbol,))
            except Rejected as error:
                raise InvalidInputError(f"{symbol}: the exchange knows no such instrument ({error})") from error
        return self._instruments[symbol]

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
        """Send a market order."""
        await self._client.place_market_order(
            symbol=symbol,
            side=side,
            quantity=quantity,
            order_link_id=order_link_id,
            reduce_only=reduce_only,
            closes_all=closes_all,
            at_ms=at_ms,
            send_by_s=send_by_s,
        )

    async def find_order(
        self, *, symbol: str, order_link_id: str, at_ms: int | None, urgent: bool
    ) -> OrderState | None:
        """Look in open orders, then in the history, then in the executions."""
        priority = Priority.EXIT if urgent else Priority.ENTRY
        order = await self._client.find_order(symbol, order_link_id, at_ms=at_ms, priority=priority)
        if order is not None:
            return order
        executions = await self._client.executions_of(symbol, order_link_id, at_ms=at_ms, priority=priority)
        return order_of_executions(executions)

    async def position_size(self, *, symbol: str, at_ms: int | None) -> Decimal:
        """Return the one-way position, negative when short."""
        return (await self._client.position(symbol, at_ms=at_ms, priority=Priority.EXIT)).size

    async def open_positions(self, *, at_ms: int | None, urgent: bool = False) -> list[PositionState]:
        """Return the open positions of USDT perpetuals."""
        return await self._client.positions(at_ms=at_ms, priority=Priority.EXIT if urgent else Priority.QUERY)

    async def open_orders(self, *, at_ms: int | None) -> list[OrderState]:
        """Return the open orders of USDT perpetuals."""
        return await self._client.open_orders(at_ms=at_ms, priority=Priority.EXIT)

    async def cancel_all_orders(self, *, at_ms: int | None) -> None:
        """Cancel the open orders of USDT perpetuals."""
        await self._client.cancel_all(at_ms=at_ms)

    async def exchange_time_ms(self) -> int:
        """Return the exchange's time."""
        return await self._client.server_time_ms()

    async def wallet(self, *, at_ms: int | None) -> Wallet:
        """Return the USDT wallet."""
        return await self._client.wallet(at_ms=at_ms)

    async def equity(self, *, at_ms: int | None) -> Decimal:
        """Return the equity in USDT."""
        return (await self._client.wallet(at_ms=at_ms)).equity

    async def net_deposits(self, *, start_ms: int, end_ms: int, at_ms: int | None) -> Decimal:
        """Return what was moved in less what was moved out, in USDT, with `start_ms < time <= end_ms`."""
        if end_ms <= start_ms:
            return _ZERO
        entries = await self._client.transaction_log(start_ms=start_ms + 1, end_ms=end_ms, at_ms=at_ms)
        return sum((entry.change for entry in entries if entry.is_transfer), _ZERO)

    async def wallet_entries(self, *, start_ms: int, end_ms: int, at_ms: int | None) -> list[TransactionEntry]:
        """Return what moved the USDT wallet in [start_ms, end_ms], oldest first."""
        return await self._client.transaction_log(start_ms=start_ms, end_ms=end_ms, at_ms=at_ms)

    async def cancel_order(self, *, symbol: str, order_id: str) -> bool:
        """Cancel an order by the exchange's id; return False if it is not open (any more)."""
        return await self._client.cancel_order(symbol, order_id=order_id)

    async def executions(self, *, start_ms: int, end_ms: int, at_ms: int | None) -> list[Execution]:
        """Return the executions in [start_ms, end_ms], oldest first."""
        return await self._client.executions(start_ms=start_ms, end_ms=end_ms, at_ms=at_ms)


def order_of_executions(executions: list[Execution]) -> OrderState | None:
    """Return an order as far as its executions tell: it exists and has fills, but whether it is closed is unknown."""
    if not executions:
        return None
    last = executions[-1]
    filled = sum((execution.quantity for execution in executions), _ZERO)
    value = sum((execution.quantity * execution.price for execution in executions), _ZERO)
    return OrderState(
        symbol=last.symbol,
        order_id=last.order_id,
        order_link_id=last.order_link_id,
        side=last.side,
        order_type="Market",
        status=OrderStatus.PARTIALLY_FILLED,
        exchange_status="",
        quantity=filled,
        filled_quantity=filled,
        average_price=MONEY.divide(value, filled) if filled else None,
        fee=sum((execution.fee for execution in executions), _ZERO),
        reduce_only=False,
        reject_reason="",
        cancel_type="",
        created_ms=executions[0].exec_time_ms,
        updated_ms=last.exec_time_ms,
    )
