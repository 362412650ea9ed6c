"""Payloads of the exchange turned into typed values: REST results and stream frames. Pure functions.

Each takes the parsed JSON. A payload that is not as documented raises `MalformedPayload`, which names the topic
(or endpoint) and the field. Lists come out oldest first, whatever order the exchange uses.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np

from breakwater_bybit.fields import MalformedPayload, Row, finite_number
from breakwater_bybit.model import (
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
from breakwater_core.events import FillKind, OrderStatus, Side
from breakwater_core.market import Instrument, TradeBatch

Payload = Mapping[str, Any]

_SIDES = {"Buy": Side.BUY, "Sell": Side.SELL}
_TAKER_SIGNS = {"Buy": 1, "Sell": -1}
_STATUSES = {
    "Created": OrderStatus.SUBMITTED,
    "New": OrderStatus.SUBMITTED,
    "Untriggered": OrderStatus.SUBMITTED,
    "Triggered": OrderStatus.SUBMITTED,
    "PartiallyFilled": OrderStatus.PARTIALLY_FILLED,
    "Filled": OrderStatus.FILLED,
    "Cancelled": OrderStatus.CANCELLED,
    "PartiallyFilledCanceled": OrderStatus.CANCELLED,
    "Deactivated": OrderStatus.CANCELLED,
    "Rejected": OrderStatus.REJECTED,
}
_KINDS = {
    "Trade": FillKind.TRADE,
    "Funding": FillKind.FUNDING,
    "BustTrade": FillKind.LIQUIDATION,
    "AdlTrade": FillKind.LIQUIDATION,
}
_NO_REASON = frozenset({"", "EC_NoError", "UNKNOWN"})


# Market data -----------------------------------------------------------------------------------------------------


def decode_trade_frame(frame: Payload) -> PublicTrades:
    """Return the trades of a `publicTrade.{symbol}` frame: one or several takers, up to 1024 rows."""
    topic = topic_of(frame)
    rows = _frame_data(frame, topic)
    symbol = topic.partition(".")[2]
    if any(isinstance(row, Mapping) and row.get("s") != symbol for row in rows):
        raise MalformedPayload(topic, "s", "names another symbol than the topic")
    return _public_trades(symbol, topic, rows, time="T", price="p", size="v", side="S", ident="i", block="BT")


def decode_recent_trades(result: Payload, symbol: str) -> PublicTrades:
    """Return the trades of a `market/recent-trade` result, which lists the newest first."""
    topic = f"market/recent-trade {symbol}"
    rows = list(reversed(Row(result, topic).values("list")))
    return _public_trades(
        symbol, topic, rows, time="time", price="price", size="size", side="side", ident="execId", block="isBlockTrade"
    )


def _public_trades(
    symbol: str,
    topic: str,
    rows: Sequence[Any],
    *,
    time: str,
    price: str,
    size: str,
    side: str,
    ident: str,
    block: str,
) -> PublicTrades:
    times_ms = np.array(_column(rows, time, int, topic), dtype=np.int64)
    prices = np.array(_column(rows, price, float, topic), dtype=np.float64)
    sizes = np.array(_column(rows, size, float, topic), dtype=np.float64)
    signs = np.array([_TAKER_SIGNS.get(text, 0) for text in _column(rows, side, str, topic)], dtype=np.int8)
    ids = _column(rows, ident, str, topic)
    are_block = np.array([bool(row.get(block)) for row in rows], dtype=np.bool_)
    if not (np.isfinite(prices).all() and (prices > 0).all()):
        raise MalformedPayload(topic, price, "holds a price that is not finite and above 0")
    if not (np.isfinite(sizes).all() and (sizes >= 0).all()):
        raise MalformedPayload(topic, size, "holds a size that is not finite and at or above 0")
    if times_ms.size > 1 and (np.diff(times_ms) < 0).any():
        order = np.argsort(times_ms, kind="stable")
        times_ms, prices, sizes, signs = times_ms[order], prices[order], sizes[order], signs[order]
        are_block, ids = are_block[order], [ids[index] for index in order]
    batch = TradeBatch(symbol=symbol, times_ms=times_ms, prices=prices, sizes=sizes, taker_sides=signs)
    return PublicTrades(batch=batch, trade_ids=tuple(ids), are_block=are_block)


def _column[T](rows: Sequence[Any], field: str, convert: Callable[[Any], T], topic: str) -> list[T]:
    try:
        return [convert(row[field]) for row in rows]
    except (KeyError, TypeError, ValueError, OverflowError):
        raise MalformedPayload(topic, field, "is missing or malformed in a row") from None


def decode_candle_frame(frame: Payload) -> list[Candle]:
    """Return the candles of a `kline.{interval}.{symbol}` frame, oldest first.

    At the end of a candle one frame holds two: the closed one and the new one. The exchange may send them in either
    order, so they are sorted.
    """
    topic = topic_of(frame)
    parts = topic.split(".")
    if len(parts) != 3:
        raise MalformedPayload(topic, "topic", "is not kline.{interval}.{symbol}")
    interval = _interval(parts[1], topic)
    candles = [
        _candle(
            symbol=parts[2],
            interval=interval,
            topic=topic,
            values=[row.text(name) for name in ("start", "open", "high", "low", "close", "volume", "turnover")],
            is_closed=row.flag("confirm"),
        )
        for row in _frame_rows(frame, topic)
    ]
    return sorted(candles, key=lambda candle: candle.start_ms)


def decode_candles(result: Payload, *, symbol: str, interval: Interval, answered_at_ms: int) -> list[Candle]:
    """Return the candles of a `market/kline` result, oldest first.

    Args:
        answered_at_ms: The exchange's time of the answer (`time` of the envelope); a candle that ended by then is
            closed.
    """
    topic = f"market/kline {symbol}"
    candles = []
    for values in Row(result, topic).values("list"):
        if not isinstance(values, list) or len(values) < 7:
            raise MalformedPayload(topic, "list", "holds a row without the seven values")
        end_ms = int(finite_number(values[0], topic, "start")) + interval.milliseconds
        candles.append(
            _candle(
                symbol=symbol,
                interval=interval,
                topic=topic,
                values=values,
                is_closed=end_ms <= answered_at_ms,
            )
        )
    return sorted(candles, key=lambda candle: candle.start_ms)


def _candle(*, symbol: str, interval: Interval, topic: str, values: Sequence[Any], is_closed: bool) -> Candle:
    names = ("open", "high", "low", "close", "volume", "turnover")
    start_ms = int(finite_number(values[0], topic, "start"))
    numbers = [finite_number(value, topic, name) for name, value in zip(names, values[1:7], strict=True)]
    for name, number in zip(names[:4], numbers[:4], strict=True):
        if number <= 0:
            raise MalformedPayload(topic, name, f"is not above 0: {number}")
    open_price, high, low, close, volume, turnover = numbers
    return Candle(
        symbol=symbol,
        interval=interval,
        start_ms=start_ms,
        open=open_price,
        high=high,
        low=low,
        close=close,
        volume=volume,
        turnover=turnover,
        is_closed=is_closed,
    )


def _interval(text: str, topic: str) -> Interval:
    try:
        return Interval(text)
    except ValueError:
        raise MalformedPayload(topic, "interval", f"is not one that we use: {text!r}") from None


def decode_ticker_frame(frame: Payload) -> Ticker:
    """Return the state, or the change of state, that a `tickers.{symbol}` frame tells."""
    topic = topic_of(frame)
    values = Row(frame, topic)
    kind = values.text("type")
    if kind not in {"snapshot", "delta"}:
        raise MalformedPayload(topic, "type", f"is neither snapshot nor delta: {kind!r}")
    return _ticker(values.row("data"), time_ms=values.integer("ts"), is_delta=kind == "delta")


def decode_tickers(result: Payload, *, answered_at_ms: int) -> dict[str, Ticker]:
    """Return the tickers of a `market/tickers` result by symbol."""
    rows = Row(result, "market/tickers").rows("list")
    tickers = [_ticker(row, time_ms=answered_at_ms, is_delta=False) for row in rows]
    return {ticker.symbol: ticker for ticker in tickers}


def _ticker(row: Row, *, time_ms: int, is_delta: bool) -> Ticker:
    return Ticker(
        symbol=row.text("symbol"),
        time_ms=time_ms,
        is_delta=is_delta,
        last_price=row.optional_number("lastPrice"),
        mark_price=row.optional_number("markPrice"),
        index_price=row.optional_number("indexPrice"),
        bid_price=row.optional_number("bid1Price"),
        bid_size=row.optional_number("bid1Size"),
        ask_price=row.optional_number("ask1Price"),
        ask_size=row.optional_number("ask1Size"),
        funding_rate=row.optional_number("fundingRate"),
        next_funding_ms=row.optional_integer("nextFundingTime"),
    )


def decode_instruments(result: Payload) -> list[Instrument]:
    """Return the linear perpetuals of a `market/instruments-info` result; dated futures are left out."""
    rows = Row(result, "market/instruments-info").rows("list")
    return [_instrument(row) for row in rows if row.optional_text("contractType") == "LinearPerpetual"]


def decode_symbol_statuses(result: Payload) -> dict[str, str]:
    """Return the status of each linear perpetual of a `market/instruments-info` result, e.g. `Trading`."""
    rows = Row(result, "market/instruments-info").rows("list")
    return {
        row.text("symbol"): row.text("status") for row in rows if row.optional_text("contractType") == "LinearPerpetual"
    }


def _instrument(row: Row) -> Instrument:
    lots = row.row("lotSizeFilter")
    largest = lots.positive_decimal("maxOrderQty")
    return Instrument(
        symbol=row.text("symbol"),
        tick_size=row.row("priceFilter").positive_decimal("tickSize"),
        quantity_step=lots.positive_decimal("qtyStep"),
        min_quantity=lots.positive_decimal("minOrderQty"),
        max_quantity=largest,
        max_market_quantity=lots.optional_positive_decimal("maxMktOrderQty") or largest,
        min_notional=lots.optional_decimal("minNotionalValue") or Decimal(0),
        max_leverage=row.row("leverageFilter").positive_decimal("maxLeverage"),
    )


def decode_funding_rates(result: Payload) -> list[FundingRate]:
    """Return the settled rates of a `market/funding/history` result, oldest first."""
    rates = [
        FundingRate(row.text("symbol"), row.decimal("fundingRate"), row.integer("fundingRateTimestamp"))
        for row in Row(result, "market/funding/history").rows("list")
    ]
    return sorted(rates, key=lambda rate: rate.time_ms)


def decode_server_time_ms(result: Payload) -> int:
    """Return the time of a `market/time` result in milliseconds."""
    row = Row(result, "market/time")
    return row.integer("timeNano") // 1_000_000


# Orders and executions -------------------------------------------------------------------------------------------


def decode_order_ack(result: Payload, topic: str) -> OrderAck:
    """Return the ids in the acknowledgement of an order call."""
    row = Row(result, topic)
    return OrderAck(row.text("orderId"), row.optional_text("orderLinkId"))


def decode_cancelled_orders(result: Payload) -> list[OrderAck]:
    """Return the orders that an `order/cancel-all` result says are being cancelled."""
    rows = Row(result, "order/cancel-all").rows("list")
    return [OrderAck(row.text("orderId"), row.optional_text("orderLinkId")) for row in rows]


def decode_order_frame(frame: Payload) -> list[OrderState]:
    """Return the orders of an `order` frame in the exchange's order; other categories are left out."""
    return [_order(row) for row in _linear_rows(frame)]


def decode_orders(result: Payload, topic: str = "order/realtime") -> list[OrderState]:
    """Return the orders of an `order/realtime` or `order/history` result, oldest first."""
    return [_order(row) for row in reversed(Row(result, topic).rows("list"))]


def _order(row: Row) -> OrderState:
    exchange_status = row.text("orderStatus")
    return OrderState(
        symbol=row.text("symbol"),
        order_id=row.text("orderId"),
        order_link_id=row.optional_text("orderLinkId"),
        side=_side(row),
        order_type=row.optional_text("orderType"),
        status=_STATUSES.get(exchange_status, OrderStatus.UNKNOWN),
        exchange_status=exchange_status,
        quantity=row.decimal("qty"),
        filled_quantity=row.optional_decimal("cumExecQty") or Decimal(0),
        average_price=row.optional_positive_decimal("avgPrice"),
        fee=row.optional_decimal("cumExecFee") or Decimal(0),
        reduce_only=row.flag("reduceOnly"),
        reject_reason=_reason(row, "rejectReason"),
        cancel_type=_reason(row, "cancelType"),
        created_ms=row.integer("createdTime"),
        updated_ms=row.integer("updatedTime"),
    )


def decode_execution_frame(frame: Payload) -> list[Execution]:
    """Return the executions of an `execution` frame in the exchange's order; other categories are left out.

    Raises:
        MalformedPayload: Also for `execution.fast` frames, which state no fee and so cannot be booked.
    """
    return [_execution(row) for row in _linear_rows(frame)]


def decode_executions(result: Payload) -> list[Execution]:
    """Return the executions of an `execution/list` result, oldest first."""
    return [_execution(row) for row in reversed(Row(result, "execution/list").rows("list"))]


def _execution(row: Row) -> Execution:
    execution_type = row.text("execType")
    return Execution(
        exec_id=row.text("execId"),
        symbol=row.text("symbol"),
        order_id=row.optional_text("orderId"),
        order_link_id=row.optional_text("orderLinkId"),
        side=_side(row),
        quantity=row.decimal("execQty"),
        price=row.decimal("execPrice"),
        fee=row.decimal("execFee"),
        fee_rate=row.optional_decimal("feeRate") or Decimal(0),
        is_maker=row.flag("isMaker"),
        kind=_KINDS.get(execution_type, FillKind.OTHER),
        execution_type=execution_type,
        closed_quantity=row.optional_decimal("closedSize"),
        sequence=row.optional_integer("seq") or 0,
        exec_time_ms=row.integer("execTime"),
    )


# Account ---------------------------------------------------------------------------------------------------------


def decode_position_frame(frame: Payload) -> list[PositionState]:
    """Return the positions of a `position` frame, flat ones included; other categories are left out."""
    return [_position(row) for row in _linear_rows(frame)]


def decode_positions(result: Payload) -> list[PositionState]:
    """Return the positions of a `position/list` result, flat ones included."""
    return [_position(row) for row in Row(result, "position/list").rows("list")]


def _position(row: Row) -> PositionState:
    size = row.optional_decimal("size") or Decimal(0)
    if size < 0:
        raise row.fault("size", f"is below 0: {size}")
    price_field = "avgPrice" if row.has("avgPrice") else "entryPrice"
    return PositionState(
        symbol=row.text("symbol"),
        size=size * _side(row).sign if size else Decimal(0),
        average_price=row.optional_positive_decimal(price_field),
        mark_price=row.optional_positive_decimal("markPrice"),
        leverage=row.optional_positive_decimal("leverage"),
        unrealised_pnl=row.optional_decimal("unrealisedPnl"),
        current_realised_pnl=row.optional_decimal("curRealisedPnl"),
        liquidation_price=row.optional_positive_decimal("liqPrice"),
        position_index=row.optional_integer("positionIdx") or 0,
        sequence=row.optional_integer("seq") or 0,
        updated_ms=row.optional_integer("updatedTime") or 0,
    )


def decode_wallet_frame(frame: Payload, coin: str = "USDT") -> Wallet | None:
    """Return the coin's wallet in a `wallet` frame; None when the frame says nothing about the coin."""
    topic = topic_of(frame)
    time_ms = Row(frame, topic).integer("creationTime")
    wallet = None
    for row in _frame_rows(frame, topic):
        wallet = _wallet(row, coin, time_ms=time_ms) or wallet
    return wallet


def decode_wallet(result: Payload, coin: str = "USDT", *, answered_at_ms: int) -> Wallet:
    """Return the coin's wallet in an `account/wallet-balance` result; a coin that is not listed has nothing in it."""
    topic = "account/wallet-balance"
    rows = Row(result, topic).rows("list")
    if not rows:
        raise MalformedPayload(topic, "list", "is empty: the key's account is not unified")
    nothing = {"coin": coin, "equity": "0", "walletBalance": "0"}
    wallet = _wallet(rows[0], coin, time_ms=answered_at_ms)
    return wallet or _coin_wallet(rows[0], Row(nothing, topic), time_ms=answered_at_ms)


def _wallet(account: Row, coin: str, *, time_ms: int) -> Wallet | None:
    for row in account.rows("coin"):
        if row.text("coin") == coin:
            return _coin_wallet(account, row, time_ms=time_ms)
    return None


def _coin_wallet(account: Row, coin: Row, *, time_ms: int) -> Wallet:
    equity, balance = coin.decimal("equity"), coin.decimal("walletBalance")
    unrealised = coin.optional_decimal("unrealisedPnl")
    margins = [coin.optional_decimal(field) for field in ("totalPositionIM", "totalOrderIM")]
    stated = [margin for margin in margins if margin is not None]
    return Wallet(
        coin=coin.text("coin"),
        equity=equity,
        wallet_balance=balance,
        unrealised_pnl=equity - balance if unrealised is None else unrealised,
        cumulative_realised_pnl=coin.optional_decimal("cumRealisedPnl"),
        initial_margin=sum(stated, Decimal(0)) if stated else None,
        total_equity=account.optional_decimal("totalEquity"),
        total_wallet_balance=account.optional_decimal("totalWalletBalance"),
        total_margin_balance=account.optional_decimal("totalMarginBalance"),
        total_available_balance=account.optional_decimal("totalAvailableBalance"),
        total_initial_margin=account.optional_decimal("totalInitialMargin"),
        total_maintenance_margin=account.optional_decimal("totalMaintenanceMargin"),
        time_ms=time_ms,
    )


def decode_transactions(result: Payload) -> list[TransactionEntry]:
    """Return the lines of an `account/transaction-log` result, oldest first."""
    return [
        TransactionEntry(
            entry_id=row.text("id"),
            entry_type=row.text("type"),
            currency=row.text("currency"),
            symbol=row.optional_text("symbol"),
            change=row.decimal("change"),
            funding=row.optional_decimal("funding"),
            fee=row.optional_decimal("fee"),
            balance=row.optional_decimal("cashBalance"),
            order_link_id=row.optional_text("orderLinkId"),
            trade_id=row.optional_text("tradeId"),
            time_ms=row.integer("transactionTime"),
        )
        for row in reversed(Row(result, "account/transaction-log").rows("list"))
    ]


def decode_fee_rates(result: Payload) -> dict[str, FeeRate]:
    """Return the fee rates of an `account/fee-rate` result by symbol."""
    rows = Row(result, "account/fee-rate").rows("list")
    rates = [
        FeeRate(row.text("symbol"), taker=row.decimal("takerFeeRate"), maker=row.decimal("makerFeeRate"))
        for row in rows
    ]
    return {rate.symbol: rate for rate in rates}


def decode_account_info(result: Payload) -> AccountInfo:
    """Return the settings of an `account/info` result."""
    row = Row(result, "account/info")
    return AccountInfo(row.text("marginMode"), row.integer("unifiedMarginStatus"))


def decode_key_information(result: Payload) -> KeyInformation:
    """Return what a `user/query-api` result says about the key; the key itself is not read."""
    topic = "user/query-api"
    row = Row(result, topic)
    permissions = result.get("permissions")
    if not isinstance(permissions, Mapping):
        raise MalformedPayload(topic, "permissions", "is missing or not an object")
    deadline_day = row.optional_integer("deadlineDay")
    expires_at_ms = _iso_ms(row, "expiredAt")
    return KeyInformation(
        read_only=row.flag("readOnly"),
        permissions={str(area): tuple(map(str, rights or ())) for area, rights in permissions.items()},
        ips=tuple(map(str, result.get("ips") or ())),
        deadline_day=deadline_day if deadline_day is not None and deadline_day >= 0 else None,
        expires_at_ms=expires_at_ms or None,
        user_id=row.text("userID"),
        is_unified=row.flag("uta") or row.flag("unified"),
        vip_level=row.optional_text("vipLevel"),
    )


# Parts -----------------------------------------------------------------------------------------------------------


def topic_of(frame: Payload) -> str:
    """Return the topic of a stream frame.

    Raises:
        MalformedPayload: If there is none.
    """
    topic = frame.get("topic") if isinstance(frame, Mapping) else None
    if not isinstance(topic, str) or not topic:
        raise MalformedPayload("stream", "topic", "is missing")
    return topic


def next_cursor(result: Payload) -> str | None:
    """Return the cursor of the next page; None on the last one."""
    cursor = result.get("nextPageCursor")
    return cursor if isinstance(cursor, str) and cursor else None


def _frame_data(frame: Payload, topic: str) -> Sequence[Any]:
    return Row(frame, topic).values("data")


def _frame_rows(frame: Payload, topic: str) -> list[Row]:
    return Row(frame, topic).rows("data")


def _linear_rows(frame: Payload) -> list[Row]:
    topic = topic_of(frame)
    return [row for row in _frame_rows(frame, topic) if row.optional_text("category") in {"linear", ""}]


def _side(row: Row) -> Side:
    text = row.text("side")
    if text not in _SIDES:
        raise row.fault("side", f"is neither Buy nor Sell: {text!r}")
    return _SIDES[text]


def _reason(row: Row, field: str) -> str:
    text = row.optional_text(field)
    return "" if text in _NO_REASON else text


def _iso_ms(row: Row, field: str) -> int | None:
    text = row.optional_text(field)
    if not text:
        return None
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        raise row.fault(field, f"is no ISO time: {text!r}") from None
