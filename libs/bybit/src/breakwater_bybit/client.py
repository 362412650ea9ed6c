"""The exchange's REST interface for linear perpetuals: typed calls that never block the event loop.

Prices are quote currency per 1 base unit, quantities are base units, times are milliseconds since
1970-01-01T00:00Z. Every failure is one of `breakwater_bybit.errors`; nothing is retried here. `at_ms` stamps a signed
request with another time than the clock's, as a replay needs.
"""

import re
from collections.abc import Callable, Collection, Iterator
from decimal import Decimal
from types import TracebackType
from typing import Self

from pydantic import SecretStr

from breakwater_bybit import decoding
from breakwater_bybit.budget import Priority, RequestBudget
from breakwater_bybit.caller import Caller, CallObserver, Endpoint
from breakwater_bybit.credentials import revealed
from breakwater_bybit.errors import NotModified, OrderNotFound, RequestKind, UnknownOutcome
from breakwater_bybit.fields import MalformedPayload
from breakwater_bybit.model import (
    DAY_MS,
    AccountInfo,
    Candle,
    Execution,
    FeeRate,
    FundingRate,
    Interval,
    KeyInformation,
    OrderAck,
    OrderState,
    PositionState,
    PublicTrades,
    Ticker,
    TransactionEntry,
    Wallet,
)
from breakwater_bybit.transport import wall_clock_ms
from breakwater_core.decimals import to_text
from breakwater_core.errors import InvalidInputError
from breakwater_core.events import Side
from breakwater_core.market import Instrument

SERVER_TIME = Endpoint("market/time", "get_server_time", is_signed=False)
INSTRUMENTS = Endpoint("market/instruments-info", "get_instruments_info", is_signed=False)
CANDLES = Endpoint("market/kline", "get_kline", is_signed=False)
TICKERS = Endpoint("market/tickers", "get_tickers", is_signed=False)
RECENT_TRADES = Endpoint("market/recent-trade", "get_public_trade_history", is_signed=False)
FUNDING_HISTORY = Endpoint("market/funding/history", "get_funding_rate_history", is_signed=False)
CREATE_ORDER = Endpoint("order/create", "place_order", RequestKind.ORDER)
CANCEL_ORDER = Endpoint("order/cancel", "cancel_order", RequestKind.CHANGE)
CANCEL_ALL = Endpoint("order/cancel-all", "cancel_all_orders", RequestKind.CHANGE)
OPEN_ORDERS = Endpoint("order/realtime", "get_open_orders")
ORDER_HISTORY = Endpoint("order/history", "get_order_history")
EXECUTIONS = Endpoint("execution/list", "get_executions")
POSITIONS = Endpoint("position/list", "get_positions")
SET_LEVERAGE = Endpoint("position/set-leverage", "set_leverage", RequestKind.CHANGE)
SWITCH_MODE = Endpoint("position/switch-mode", "switch_position_mode", RequestKind.CHANGE)
WALLET = Endpoint("account/wallet-balance", "get_wallet_balance")
TRANSACTIONS = Endpoint("account/transaction-log", "get_transaction_log")
ACCOUNT_INFO = Endpoint("account/info", "get_account_info")
FEE_RATES = Endpoint("account/fee-rate", "get_fee_rates")
KEY_INFORMATION = Endpoint("user/query-api", "get_api_key_information")

type Params = dict[str, str | int | bool | None]

_CATEGORY = "linear"
_SETTLE_COIN = "USDT"
_WEEK_MS = 7 * DAY_MS
_CANDLES_PER_PAGE = 1000
_ORDER_LINK_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")
_SIDES = {Side.BUY: "Buy", Side.SELL: "Sell"}


class BybitClient:
    """Typed calls to one endpoint with one key.

    Args:
        endpoint: Base URL without path, e.g. `https://api.bybit.com`.
        api_key: Key; None for public data only.
        api_secret: Its secret.
        clock: Stamps signed requests, milliseconds since 1970; None: the machine's clock.
        timeout_s: Limit for connecting, and for each pause of the answer, in seconds.
        budget: Admits requests; None: no limit, for replays.
        uid: What the budget counts by; None: a fingerprint of the key.
        workers: Connections at most, for orders and for queries each.
        observer: Hears of each request.
        on_key_refused: Is told each time that the exchange refuses the key.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        api_key: SecretStr | str | None = None,
        api_secret: SecretStr | str | None = None,
        clock: Callable[[], int] | None = None,
        timeout_s: float = 5.0,
        budget: RequestBudget | None = None,
        uid: str | None = None,
        workers: int = 4,
        observer: CallObserver | None = None,
        on_key_refused: Callable[[], None] | None = None,
    ) -> None:
        if not endpoint.startswith(("http://", "https://")):
            raise InvalidInputError(f"endpoint must start with http:// or https://, was {endpoint!r}")
        if not 0 < timeout_s <= 60 or workers < 1:
            raise InvalidInputError(f"timeout_s must be in (0, 60] and workers at least 1: {timeout_s}, {workers}")
        self._endpoint = endpoint
        self._caller = Caller(
            endpoint,
            api_key=revealed(api_key),
            api_secret=revealed(api_secret),
            clock=clock or wall_clock_ms,
            timeout_s=timeout_s,
            budget=budget,
            uid=uid,
            workers=workers,
            observer=observer,
            on_key_refused=on_key_refused,
        )

    def __repr__(self) -> str:
        return f"BybitClient({self._endpoint!r})"

    @property
    def endpoint(self) -> str:
        """Base URL that requests go to."""
        return self._endpoint

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; does not wait for requests in flight."""
        await self._caller.close()

    def use_key(self, api_key: SecretStr | str, api_secret: SecretStr | str) -> None:
        """Sign what is sent from now on with another key of the same account.

        Requests under way end under the key that they were sent with.

        Raises:
            InvalidInputError: If key or secret is empty.
        """
        key, secret = revealed(api_key), revealed(api_secret)
        if key is None or secret is None:
            raise InvalidInputError("an API key and its secret are needed")
        self._caller.use_key(key, secret)

    # Market data

    async def server_time_ms(self) -> int:
        """Return the exchange's time, milliseconds since 1970."""
        answer = await self._caller.call(SERVER_TIME, {})
        return decoding.decode_server_time_ms(answer.result)

    async def instruments(self, symbols: Collection[str] | None = None) -> dict[str, Instrument]:
        """Return the trading rules by symbol, of all linear perpetuals or of those named.

        Raises:
            InvalidInputError: If a named symbol is no linear perpetual of the exchange.
        """
        wanted = None if symbols is None else set(symbols)
        params: Params = {"category": _CATEGORY, "limit": 1000}
        if wanted is not None and len(wanted) == 1:
            params["symbol"] = next(iter(wanted))
        found: dict[str, Instrument] = {}
        async for answer in self._caller.pages(INSTRUMENTS, params):
            found |= {rules.symbol: rules for rules in decoding.decode_instruments(answer.result)}
        if wanted is None:
            return found
        if missing := sorted(wanted - found.keys()):
            raise InvalidInputError(
                f"{', '.join(missing)}: no such linear perpetual at the exchange; check the symbols' spelling"
            )
        return {symbol: found[symbol] for symbol in sorted(wanted)}

    async def symbol_statuses(self, symbols: Collection[str]) -> dict[str, str]:
        """Return the exchange's word for the state of each symbol, e.g. `Trading`; unknown ones are left out."""
        params: Params = {"category": _CATEGORY, "limit": 1000}
        if len(set(symbols)) == 1:
            params["symbol"] = next(iter(symbols))
        found: dict[str, str] = {}
        async for answer in self._caller.pages(INSTRUMENTS, params):
            found |= decoding.decode_symbol_statuses(answer.result)
        return {symbol: found[symbol] for symbol in sorted(symbols) if symbol in found}

    async def daily_candles(
        self, symbol: str, *, limit: int | None = None, start_ms: int | None = None, end_ms: int | None = None
    ) -> list[Candle]:
        """Return daily candles (UTC days), oldest first; see `candles`."""
        return await self.candles(symbol, Interval.DAY, limit=limit, start_ms=start_ms, end_ms=end_ms)

    async def candles(
        self,
        symbol: str,
        interval: Interval,
        *,
        limit: int | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
    ) -> list[Candle]:
        """Return candles, oldest first; the newest may still be open.

        Of a long range the exchange answers 1000 candles at a time: the oldest ones if only its start is given, the
        newest ones if its end is given as well. What an answer leaves open on either side is asked for.

        Args:
            limit: The newest so many, at most 1000; not together with a range.
            start_ms: First candle's begin; all from there on are fetched.
            end_ms: Latest begin of a candle; None: until now.

        Raises:
            InvalidInputError: If neither or both of `limit` and `start_ms` are given, or the limit is out of range.
        """
        if (limit is None) == (start_ms is None) or (limit is not None and end_ms is not None):
            raise InvalidInputError("give either limit, or start_ms with or without end_ms")
        if limit is not None and not 1 <= limit <= _CANDLES_PER_PAGE:
            raise InvalidInputError(f"limit must be in [1, {_CANDLES_PER_PAGE}], was {limit}")
        first = page = await self._candle_page(symbol, interval, limit or _CANDLES_PER_PAGE, start_ms, end_ms)
        found = {candle.start_ms: candle for candle in page}
        if start_ms is None:
            return page
        while len(page) >= _CANDLES_PER_PAGE and page[-1].is_closed:
            next_ms = page[-1].start_ms + interval.milliseconds
            if next_ms in found or (end_ms is not None and next_ms > end_ms):
                break
            page = await self._candle_page(symbol, interval, _CANDLES_PER_PAGE, next_ms, end_ms)
            found |= {candle.start_ms: candle for candle in page}
        page = first
        while len(page) >= _CANDLES_PER_PAGE and page[0].start_ms > start_ms:
            last_ms = page[0].start_ms - 1
            page = await self._candle_page(symbol, interval, _CANDLES_PER_PAGE, start_ms, last_ms)
            found |= {candle.start_ms: candle for candle in page}
        return [found[begin] for begin in sorted(found)]

    async def _candle_page(
        self, symbol: str, interval: Interval, limit: int, start_ms: int | None, end_ms: int | None
    ) -> list[Candle]:
        params: Params = {
            "category": _CATEGORY,
            "symbol": symbol,
            "interval": interval.value,
            "limit": limit,
            "start": start_ms,
            "end": end_ms,
        }
        answer = await self._caller.call(CANDLES, params)
        return decoding.decode_candles(answer.result, symbol=symbol, interval=interval, answered_at_ms=answer.time_ms)

    async def recent_trades(self, symbol: str, *, limit: int = 1000) -> PublicTrades:
        """Return the latest trades, oldest first, at most 1000."""
        answer = await self._caller.call(RECENT_TRADES, {"category": _CATEGORY, "symbol": symbol, "limit": limit})
        return decoding.decode_recent_trades(answer.result, symbol)

    async def tickers(self, symbol: str | None = None) -> dict[str, Ticker]:
        """Return the state of one market or of all, by symbol."""
        answer = await self._caller.call(TICKERS, {"category": _CATEGORY, "symbol": symbol})
        return decoding.decode_tickers(answer.result, answered_at_ms=answer.time_ms)

    async def funding_history(self, symbol: str, *, start_ms: int, end_ms: int) -> list[FundingRate]:
        """Return the funding rates settled in [start_ms, end_ms], oldest first."""
        found: dict[int, FundingRate] = {}
        while True:
            params: Params = {
                "category": _CATEGORY,
                "symbol": symbol,
                "startTime": start_ms,
                "endTime": end_ms,
                "limit": 200,
            }
            page = decoding.decode_funding_rates((await self._caller.call(FUNDING_HISTORY, params)).result)
            found |= {rate.time_ms: rate for rate in page}
            if len(page) < 200 or page[0].time_ms <= start_ms:
                return [found[time_ms] for time_ms in sorted(found)]
            end_ms = page[0].time_ms - 1

    # Orders

    async def place_market_order(
        self,
        *,
        symbol: str,
        side: Side,
        quantity: Decimal,
        order_link_id: str,
        reduce_only: bool,
        closes_all: bool = False,
        at_ms: int | None = None,
        send_by_s: float | None = None,
    ) -> OrderAck:
        """Send a market order and return its acknowledgement, which is not yet a fill.

        The exchange makes it an immediate-or-cancel limit order at a bound off the mark price, so it may fill partly or
        not at all.

        Args:
            quantity: Base units, a multiple of the instrument's step.
            order_link_id: Never used before; 1 to 36 letters, digits, `-`, `_`.
            reduce_only: Whether it may only shrink the position; such orders go first in the budget.
            closes_all: Close the whole position, however small, instead of `quantity`; only with `reduce_only` (Bybit
                v5 docs, "Place Order": `qty=0` with `reduceOnly` and `closeOnTrigger`).
            send_by_s: Time of `time.monotonic` after which it is `NotSent`; None: no limit.

        Raises:
            Rejected: And `RateLimited`, `IpBanned`, `ClockSkew`, `CredentialError`, `NotSent`: there is no order.
            DuplicateOrderLinkId: The order exists since an earlier call.
            UnknownOutcome: There may be an order; look it up by its link id.
            InvalidInputError: If the quantity is not above 0 or the link id is malformed; nothing was sent.
        """
        if not (quantity.is_finite() and quantity > 0):
            raise InvalidInputError(f"quantity must be finite and above 0, was {quantity}")
        if closes_all and not reduce_only:
            raise InvalidInputError("closes_all needs reduce_only")
        if not _ORDER_LINK_ID.fullmatch(order_link_id):
            raise InvalidInputError(f"order_link_id must be 1 to 36 of A-Z a-z 0-9 - _, was {order_link_id!r}")
        params: Params = {
            "category": _CATEGORY,
            "symbol": symbol,
            "side": _SIDES[side],
            "orderType": "Market",
            "qty": to_text(quantity),
            "orderLinkId": order_link_id,
            "reduceOnly": reduce_only,
            "positionIdx": 0,
        }
        if closes_all:
            params |= {"qty": "0", "closeOnTrigger": True}
        priority = Priority.EXIT if reduce_only else Priority.ENTRY
        answer = await self._caller.call(CREATE_ORDER, params, at_ms=at_ms, priority=priority, send_by_s=send_by_s)
        try:
            return decoding.decode_order_ack(answer.result, CREATE_ORDER.path)
        except MalformedPayload as error:
            raise UnknownOutcome(f"order/create: accepted without an order id ({error}); look it up") from error

    async def find_order(
        self, symbol: str, order_link_id: str, *, at_ms: int | None = None, priority: Priority = Priority.QUERY
    ) -> OrderState | None:
        """Return the order, from the open and recent ones, else from the history; None if neither knows it.

        None soon after sending proves nothing: both lag behind an acknowledgement.
        """
        params: Params = {"category": _CATEGORY, "symbol": symbol, "orderLinkId": order_link_id}
        for endpoint in (OPEN_ORDERS, ORDER_HISTORY):
            answer = await self._caller.call(endpoint, params, at_ms=at_ms, priority=priority)
            for order in reversed(decoding.decode_orders(answer.result, endpoint.path)):
                if order.order_link_id == order_link_id:
                    return order
        return None

    async def executions_of(
        self, symbol: str, order_link_id: str, *, at_ms: int | None = None, priority: Priority = Priority.QUERY
    ) -> list[Execution]:
        """Return the fills of one order, oldest first."""
        params: Params = {"category": _CATEGORY, "symbol": symbol, "orderLinkId": order_link_id, "limit": 100}
        found = await self._executions(params, at_ms=at_ms, priority=priority)
        return [execution for execution in found if execution.order_link_id == order_link_id]

    async def open_orders(
        self,
        *,
        symbol: str | None = None,
        settle_coin: str = _SETTLE_COIN,
        at_ms: int | None = None,
        priority: Priority = Priority.QUERY,
    ) -> list[OrderState]:
        """Return the open orders of one symbol, or of all that settle in the coin."""
        params: Params = {"category": _CATEGORY, "openOnly": 0, "limit": 50, **_scope(symbol, settle_coin)}
        found: dict[str, OrderState] = {}
        async for answer in self._caller.pages(OPEN_ORDERS, params, at_ms=at_ms, priority=priority):
            found |= {order.order_id: order for order in decoding.decode_orders(answer.result)}
        return sorted(found.values(), key=lambda order: order.created_ms)

    async def cancel_order(
        self, symbol: str, order_link_id: str | None = None, *, order_id: str | None = None, at_ms: int | None = None
    ) -> bool:
        """Cancel an order; return False if it is not open (any more).

        Args:
            symbol: Its symbol.
            order_link_id: Our id of it.
            order_id: The exchange's id of it, which an order of somebody else has in any case; it wins.

        Raises:
            InvalidInputError: If neither id is given.
        """
        if not order_link_id and not order_id:
            raise InvalidInputError("cancel_order needs order_link_id or order_id")
        params: Params = {"category": _CATEGORY, "symbol": symbol, "orderLinkId": order_link_id, "orderId": order_id}
        try:
            await self._caller.call(CANCEL_ORDER, params, at_ms=at_ms, priority=Priority.EXIT)
        except OrderNotFound:
            return False
        return True

    async def cancel_all(
        self, *, symbol: str | None = None, settle_coin: str = _SETTLE_COIN, at_ms: int | None = None
    ) -> list[OrderAck]:
        """Cancel all orders of one symbol, or of all that settle in the coin; return those being cancelled."""
        params: Params = {"category": _CATEGORY, **_scope(symbol, settle_coin)}
        answer = await self._caller.call(CANCEL_ALL, params, at_ms=at_ms, priority=Priority.EXIT)
        return decoding.decode_cancelled_orders(answer.result)

    async def executions(self, *, start_ms: int, end_ms: int, at_ms: int | None = None) -> list[Execution]:
        """Return all executions in [start_ms, end_ms], oldest first, funding included."""
        found: dict[str, Execution] = {}
        for start, end in _weeks(start_ms, end_ms):
            params: Params = {"category": _CATEGORY, "startTime": start, "endTime": end, "limit": 100}
            found |= {execution.exec_id: execution for execution in await self._executions(params, at_ms=at_ms)}
        return sorted(found.values(), key=lambda execution: execution.exec_time_ms)

    async def _executions(
        self, params: Params, *, at_ms: int | None, priority: Priority = Priority.QUERY
    ) -> list[Execution]:
        pages = [
            decoding.decode_executions(answer.result)
            async for answer in self._caller.pages(EXECUTIONS, params, at_ms=at_ms, priority=priority)
        ]
        in_order = {execution.exec_id: execution for page in reversed(pages) for execution in page}
        return sorted(in_order.values(), key=lambda execution: execution.exec_time_ms)

    # Account

    async def position(
        self, symbol: str, *, at_ms: int | None = None, priority: Priority = Priority.QUERY
    ) -> PositionState:
        """Return the one-way position of a symbol; its size is 0 when flat.

        Raises:
            MalformedPayload: If the exchange states none, or the symbol is in hedge mode.
        """
        params: Params = {"category": _CATEGORY, "symbol": symbol}
        answer = await self._caller.call(POSITIONS, params, at_ms=at_ms, priority=priority)
        for position in decoding.decode_positions(answer.result):
            if position.symbol == symbol and position.position_index == 0:
                return position
        raise MalformedPayload("position/list", symbol, "has no one-way position; switch the position mode")

    async def positions(
        self,
        *,
        settle_coin: str = _SETTLE_COIN,
        at_ms: int | None = None,
        priority: Priority = Priority.QUERY,
    ) -> list[PositionState]:
        """Return the open positions, ordered by symbol."""
        params: Params = {"category": _CATEGORY, "settleCoin": settle_coin, "limit": 200}
        found: dict[tuple[str, int], PositionState] = {}
        async for answer in self._caller.pages(POSITIONS, params, at_ms=at_ms, priority=priority):
            for position in decoding.decode_positions(answer.result):
                found[position.symbol, position.position_index] = position
        return [found[key] for key in sorted(found) if not found[key].is_flat]

    async def wallet(self, *, coin: str = _SETTLE_COIN, at_ms: int | None = None) -> Wallet:
        """Return the coin's wallet of the unified account."""
        params: Params = {"accountType": "UNIFIED", "coin": coin}
        answer = await self._caller.call(WALLET, params, at_ms=at_ms)
        return decoding.decode_wallet(answer.result, coin, answered_at_ms=answer.time_ms)

    async def transaction_log(
        self,
        *,
        start_ms: int,
        end_ms: int,
        entry_type: str | None = None,
        currency: str = _SETTLE_COIN,
        at_ms: int | None = None,
    ) -> list[TransactionEntry]:
        """Return the log's lines in [start_ms, end_ms], oldest first.

        Args:
            entry_type: Only lines of this type, e.g. `TRANSFER_IN`; None: all.
        """
        found: dict[tuple[str, str, str], TransactionEntry] = {}
        for start, end in _weeks(start_ms, end_ms):
            params: Params = {
                "accountType": "UNIFIED",
                "currency": currency,
                "type": entry_type,
                "startTime": start,
                "endTime": end,
                "limit": 50,
            }
            async for answer in self._caller.pages(TRANSACTIONS, params, at_ms=at_ms):
                for entry in decoding.decode_transactions(answer.result):
                    found[entry.entry_id, entry.entry_type, entry.trade_id] = entry
        return sorted(found.values(), key=lambda entry: entry.time_ms)

    async def set_leverage(self, symbol: str, leverage: Decimal, *, at_ms: int | None = None) -> bool:
        """Set the leverage of both sides; return False if it was so already."""
        text = to_text(leverage)
        params: Params = {"category": _CATEGORY, "symbol": symbol, "buyLeverage": text, "sellLeverage": text}
        return await self._change(SET_LEVERAGE, params, at_ms=at_ms)

    async def switch_position_mode(
        self,
        *,
        symbol: str | None = None,
        coin: str = _SETTLE_COIN,
        one_way: bool = True,
        at_ms: int | None = None,
    ) -> bool:
        """Set the position mode of one symbol or of a coin; return False if it was so already."""
        scope: Params = {"coin": coin} if symbol is None else {"symbol": symbol}
        params: Params = {"category": _CATEGORY, "mode": 0 if one_way else 3, **scope}
        return await self._change(SWITCH_MODE, params, at_ms=at_ms)

    async def _change(self, endpoint: Endpoint, params: Params, *, at_ms: int | None) -> bool:
        try:
            await self._caller.call(endpoint, params, at_ms=at_ms)
        except NotModified:
            return False
        return True

    async def account_info(self, *, at_ms: int | None = None) -> AccountInfo:
        """Return the margin mode and generation of the account."""
        return decoding.decode_account_info((await self._caller.call(ACCOUNT_INFO, {}, at_ms=at_ms)).result)

    async def fee_rate(self, symbol: str, *, at_ms: int | None = None) -> FeeRate:
        """Return what the account pays for the symbol.

        Raises:
            MalformedPayload: If the exchange states nothing for the symbol.
        """
        params: Params = {"category": _CATEGORY, "symbol": symbol}
        rates = decoding.decode_fee_rates((await self._caller.call(FEE_RATES, params, at_ms=at_ms)).result)
        if symbol not in rates:
            raise MalformedPayload("account/fee-rate", symbol, "is missing")
        return rates[symbol]

    async def key_information(self, *, at_ms: int | None = None) -> KeyInformation:
        """Return what the key may do."""
        return decoding.decode_key_information((await self._caller.call(KEY_INFORMATION, {}, at_ms=at_ms)).result)


def _scope(symbol: str | None, settle_coin: str) -> Params:
    return {"settleCoin": settle_coin} if symbol is None else {"symbol": symbol}


def _weeks(start_ms: int, end_ms: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of at most seven days, both ends included, that cover [start_ms, end_ms]."""
    if end_ms < start_ms:
        raise InvalidInputError(f"end_ms must not be before start_ms: {end_ms} < {start_ms}")
    for start in range(start_ms, end_ms + 1, _WEEK_MS):
        yield start, min(start + _WEEK_MS - 1, end_ms)
