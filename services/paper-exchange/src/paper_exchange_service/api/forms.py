"""Reads requests: parameter text in, domain values out; what is malformed is refused as Bybit does."""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from breakwater_core.events import Side
from paper_exchange_service.engine.orders import OrderRequest, OrderType, TimeInForce
from paper_exchange_service.engine.refusal import bad_parameter

Params = Mapping[str, Any]

_LINK_ID = re.compile(r"[A-Za-z0-9_-]+")
_DECIMAL = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+")
_LONGEST_LINK_ID = 36
_SIDES = {"Buy": Side.BUY, "Sell": Side.SELL}


def require_linear(params: Params) -> None:
    """Refuse every category but `linear`."""
    if params.get("category") != "linear":
        raise bad_parameter("params error: Category is invalid")


def text(params: Params, name: str) -> str:
    """Return a parameter as text; empty if it is absent."""
    value = params.get(name)
    return "" if value is None else str(value)


def amount(params: Params, name: str) -> Decimal | None:
    """Return a decimal at or above 0, or None if it is absent or empty.

    Raises:
        Refusal: If it is no plain decimal text: `1e-7` is none.
    """
    raw = text(params, name)
    if not raw:
        return None
    if not _DECIMAL.fullmatch(raw):
        raise bad_parameter(f"params error: {name} invalid")
    try:
        return Decimal(raw)
    except InvalidOperation as error:
        raise bad_parameter(f"params error: {name} invalid") from error


def level(params: Params, name: str) -> Decimal | None:
    """Return a price, or None if it is absent, empty or 0 ("none" at Bybit)."""
    return amount(params, name) or None


def whole(params: Params, name: str, default: int, *, least: int = 0, most: int = 2**53) -> int:
    """Return a whole number, kept within bounds.

    Raises:
        Refusal: If it is no whole number, or below the least.
    """
    raw = text(params, name)
    if not raw:
        return default
    try:
        value = int(raw)
    except ValueError as error:
        raise bad_parameter(f"params error: {name} invalid") from error
    if value < least:
        raise bad_parameter(f"params error: {name} invalid")
    return min(value, most)


def flag(params: Params, name: str) -> bool:
    """Return a boolean that may come as JSON or as text."""
    value = params.get(name)
    return value is True or str(value).lower() == "true"


def link_id(params: Params) -> str:
    """Return the client's order id; empty if it gave none.

    Raises:
        Refusal: If it is too long or has characters outside `[A-Za-z0-9_-]`.
    """
    value = text(params, "orderLinkId")
    if len(value) > _LONGEST_LINK_ID:
        raise bad_parameter("order link id is longer than 45")
    if value and not _LINK_ID.fullmatch(value):
        raise bad_parameter("params error: OrderLinkId invalid")
    return value


def order_request(params: Params) -> OrderRequest:
    """Return the order that the parameters describe.

    Raises:
        Refusal: If one is missing or malformed.
    """
    side = _SIDES.get(text(params, "side"))
    if side is None:
        raise bad_parameter("params error: Side invalid")
    try:
        order_type = OrderType(text(params, "orderType"))
    except ValueError as error:
        raise bad_parameter("params error: OrderType invalid") from error
    try:
        time_in_force = TimeInForce(text(params, "timeInForce") or "GTC")
    except ValueError as error:
        raise bad_parameter("params error: TimeInForce invalid") from error
    quantity = amount(params, "qty")
    if quantity is None:
        raise bad_parameter("params error: Qty invalid")
    price = level(params, "price") if order_type is OrderType.LIMIT else None
    if order_type is OrderType.LIMIT and price is None:
        raise bad_parameter("params error: Price invalid")
    trigger = level(params, "triggerPrice")
    direction = whole(params, "triggerDirection", 0, most=3)
    if (trigger is not None and direction not in {1, 2}) or direction > 2:
        raise bad_parameter("params error: TriggerDirection invalid")
    ratio, ticks = _slippage(params)
    return OrderRequest(
        symbol=text(params, "symbol"),
        side=side,
        order_type=order_type,
        quantity=quantity,
        price=price,
        time_in_force=TimeInForce.IOC if order_type is OrderType.MARKET else time_in_force,
        order_link_id=link_id(params),
        reduce_only=flag(params, "reduceOnly"),
        close_on_trigger=flag(params, "closeOnTrigger"),
        position_index=_position_index(params),
        trigger_price=trigger,
        trigger_direction=direction,
        trigger_by=text(params, "triggerBy") or ("LastPrice" if trigger else ""),
        take_profit=level(params, "takeProfit"),
        stop_loss=level(params, "stopLoss"),
        slippage_ratio=ratio,
        slippage_ticks=ticks,
    )


def _position_index(params: Params) -> int:
    index = whole(params, "positionIdx", 0, most=3)
    if index > 2:
        raise bad_parameter("params error: PositionIdx invalid")
    return index


def _slippage(params: Params) -> tuple[Decimal | None, int | None]:
    kind = text(params, "slippageToleranceType")
    size = amount(params, "slippageTolerance")
    if not kind:
        return None, None
    if size is None:
        raise bad_parameter("params error: SlippageTolerance invalid")
    if kind == "Percent":
        return size / 100, None
    if kind == "TickSize":
        return None, int(size)
    raise bad_parameter("params error: SlippageToleranceType invalid")
