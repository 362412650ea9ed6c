"""Orders and executions over REST and the order socket."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from paper_exchange_service.api.call import Answer, Call, Endpoint, Result, Settles, Waits, listing
from paper_exchange_service.api.forms import (
    Params,
    amount,
    level,
    link_id,
    order_request,
    require_linear,
    text,
    whole,
)
from paper_exchange_service.api.market_rows import coins_of
from paper_exchange_service.api.paging import page
from paper_exchange_service.api.rows import execution_row, order_row
from paper_exchange_service.engine.accounts import Account
from paper_exchange_service.engine.orders import Execution, Order
from paper_exchange_service.engine.refusal import Refusal, bad_parameter

LARGEST_BATCH = 20
_WEEK_MS = 7 * 86_400_000
_RECENTLY_CLOSED = 500
_UNFILLED_KEPT_MS = 86_400_000


def create(call: Call) -> Answer:
    """POST order/create: accepted and acknowledged; the outcome comes later."""
    order = _place(call, call.params)
    return Answer({"orderId": order.order_id, "orderLinkId": order.link_id})


def create_batch(call: Call) -> Answer:
    """POST order/create-batch: each item stands for itself."""

    def place(item: Params) -> Result:
        order = _place(call, item)
        return {"orderId": order.order_id, "orderLinkId": order.link_id, "createAt": str(order.created_ms)}

    return _batch(call, place, {"orderId": "", "orderLinkId": "", "createAt": ""})


def amend(call: Call) -> Answer:
    """POST order/amend."""
    return Answer(_amend(call, call.params))


def amend_batch(call: Call) -> Answer:
    """POST order/amend-batch."""
    return _batch(call, lambda item: _amend(call, item), {"orderId": "", "orderLinkId": ""})


def cancel(call: Call) -> Answer:
    """POST order/cancel."""
    return Answer(_cancel(call, call.params))


def cancel_batch(call: Call) -> Answer:
    """POST order/cancel-batch."""
    return _batch(call, lambda item: _cancel(call, item), {"orderId": "", "orderLinkId": ""})


def cancel_all(call: Call) -> Answer:
    """POST order/cancel-all of a symbol, a base coin or a settle coin."""
    require_linear(call.params)
    names = _symbols(call)
    orders = [order for name in names for order in call.account.open_orders.get(name, {}).values()]
    for order in orders:
        call.engine.cancel(call.account, order, call.at_ms)
    rows = [{"orderId": order.order_id, "orderLinkId": order.link_id} for order in orders]
    return Answer({"list": rows, "success": "1"})


def pre_check(call: Call) -> Answer:
    """POST order/pre-check: what the margin rates would be."""
    require_linear(call.params)
    request = order_request(call.params)
    engine, account = call.engine, call.account
    worth = engine.value(account, call.at_ms)
    last = engine.market(request.symbol).last_at(call.at_ms)
    if last is None:
        raise Refusal(110074, "This contract is not live")
    value = request.quantity * (request.price or last)
    initial = worth.position_initial + worth.order_initial
    maintenance = worth.maintenance

    def ten_thousandths(part: object) -> int:
        return int(10_000 * float(str(part)) / float(worth.equity)) if worth.equity > 0 else 0

    return Answer(
        {
            "orderId": "",
            "orderLinkId": request.order_link_id,
            "preImrE4": ten_thousandths(initial),
            "preMmrE4": ten_thousandths(maintenance),
            "postImrE4": ten_thousandths(initial + value / account.leverage_of(request.symbol)),
            "postMmrE4": ten_thousandths(maintenance + value * engine.costs.maintenance_ratio),
        }
    )


def realtime(call: Call) -> Answer:
    """GET order/realtime: open orders; by id, or with openOnly=1, recently closed ones too."""
    require_linear(call.params)
    account, params = call.account, call.params
    named = _named(account, params)
    orders: Iterable[Order]
    if named is not None:
        orders = named
    else:
        names = set(_symbols(call))
        if whole(params, "openOnly", 0) == 0:
            waiting = (order for name in names for order in account.open_orders.get(name, {}).values())
            orders = sorted(waiting, key=lambda order: (order.created_ms, order.order_id), reverse=True)
        else:
            closed = (
                order
                for order in account.order_log.newest_first()
                if order.symbol in names and not order.status.is_open
            )
            orders = islice(closed, _RECENTLY_CLOSED)
    return _order_page(call, (order for order in orders if _matches(order, params)))


def history(call: Call) -> Answer:
    """GET order/history: closed orders; those without fills are kept for a day unless asked for by id."""
    require_linear(call.params)
    account, params = call.account, call.params
    orders: Iterable[Order] | None = _named(account, params)
    if orders is None:
        start_ms, end_ms = _range(call)
        orders = (
            order
            for order in account.order_log.newest_first(start_ms, end_ms)
            if order.filled or order.created_ms >= call.at_ms - _UNFILLED_KEPT_MS
        )
    closed = (order for order in orders if not order.status.is_open and _matches(order, params))
    return _order_page(call, closed)


def executions(call: Call) -> Answer:
    """GET execution/list, newest first."""
    require_linear(call.params)
    account, params = call.account, call.params
    named = _named(account, params)
    fills: Iterable[Execution]
    if named is not None:
        fills = [fill for order in named for fill in reversed(order.executions)]
    else:
        fills = account.executions.newest_first(*_range(call))
    wanted, kind = text(params, "symbol"), text(params, "execType")
    found = (fill for fill in fills if wanted in {"", fill.symbol} and kind in {"", fill.kind})
    limit = whole(params, "limit", 50, least=1, most=100)
    rows, cursor = page(
        found, limit=limit, cursor=text(params, "cursor"), mark=lambda fill: (fill.exec_id, fill.time_ms)
    )
    return Answer({"nextPageCursor": cursor, "category": "linear", "list": [execution_row(fill) for fill in rows]})


def _place(call: Call, params: Params) -> Order:
    require_linear(params if "category" in params else call.params)
    order = call.engine.place(call.account, order_request(params), call.at_ms)
    call.desk.submit(order, call.at_ms)
    return order


def _amend(call: Call, params: Params) -> Result:
    order = _open_order(call, params, "replace")
    call.engine.amend(
        call.account,
        order,
        price=level(params, "price"),
        quantity=amount(params, "qty"),
        trigger=level(params, "triggerPrice"),
        at_ms=call.at_ms,
    )
    return {"orderId": order.order_id, "orderLinkId": order.link_id}


def _cancel(call: Call, params: Params) -> Result:
    order = _open_order(call, params, "cancel")
    call.engine.cancel(call.account, order, call.at_ms)
    return {"orderId": order.order_id, "orderLinkId": order.link_id}


def _open_order(call: Call, params: Params, action: str) -> Order:
    require_linear(params if "category" in params else call.params)
    market = call.engine.market(text(params, "symbol"))
    order_id, client_id = text(params, "orderId"), link_id(params)
    if not order_id and not client_id:
        raise bad_parameter("params error: orderId or orderLinkId is required")
    return call.engine.find_open(call.account, market.symbol, order_id, client_id, action)


def _batch(call: Call, run: Callable[[Params], Result], refused: Result) -> Answer:
    require_linear(call.params)
    items = call.params.get("request")
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise bad_parameter("params error: request is empty")
    if len(items) > LARGEST_BATCH:
        raise bad_parameter(f"params error: request has more than {LARGEST_BATCH} orders")
    rows: list[Result] = []
    codes: list[tuple[int, str]] = []
    for number, item in enumerate(items):
        frame = {"category": "linear", "symbol": text(item, "symbol")}
        try:
            if call.allowed is not None and number >= call.allowed:
                raise Refusal(10006, "Too many visits. Exceeded the API Rate Limit.")
            rows.append(frame | run(item))
            codes.append((0, "OK"))
        except Refusal as refusal:
            rows.append(frame | refused | {"orderLinkId": text(item, "orderLinkId")})
            codes.append((refusal.code, refusal.text))
    return Answer({"list": rows}, tuple(codes))


def _named(account: Account, params: Params) -> list[Order] | None:
    """Return the order that the parameters name, or None if they name none."""
    order_id, client_id = text(params, "orderId"), text(params, "orderLinkId")
    if not order_id and not client_id:
        return None
    order = account.orders.get(order_id) if order_id else account.links.get(client_id)
    return [] if order is None else [order]


def _symbols(call: Call) -> list[str]:
    """Return the symbols that symbol, baseCoin or settleCoin select."""
    symbol, base, settle = (text(call.params, name) for name in ("symbol", "baseCoin", "settleCoin"))
    if symbol:
        return [call.engine.market(symbol).symbol]
    if not base and not settle:
        raise bad_parameter("params error: symbol or settleCoin or baseCoin is required")
    return [
        name
        for name in sorted(call.engine.markets)
        if base in {"", coins_of(name)[0]} and settle in {"", coins_of(name)[1]}
    ]


def _matches(order: Order, params: Params) -> bool:
    symbol, status, kind = (text(params, name) for name in ("symbol", "orderStatus", "orderFilter"))
    if symbol not in {"", order.symbol} or status not in {"", order.status.value}:
        return False
    conditional = order.trigger_price is not None
    return kind in {"", "Order" if not conditional else "StopOrder"} or (kind == "tpslOrder" and conditional)


def _range(call: Call) -> tuple[int, int]:
    """Return the range of time asked for: at most 7 days, by default the last 7."""
    start_text, end_text = text(call.params, "startTime"), text(call.params, "endTime")
    if start_text:
        start_ms = whole(call.params, "startTime", 0)
        end_ms = whole(call.params, "endTime", start_ms + _WEEK_MS)
    else:
        end_ms = whole(call.params, "endTime", max(call.at_ms + call.engine.costs.latency_ms, call.desk.now_ms()))
        start_ms = end_ms - _WEEK_MS
    if start_ms > end_ms:
        raise bad_parameter("params error: startTime is after endTime")
    if start_text and end_text and end_ms - start_ms > _WEEK_MS:
        raise bad_parameter("The time range between startTime and endTime cannot exceed 7 days")
    return start_ms, end_ms


def _order_page(call: Call, orders: Iterator[Order]) -> Answer:
    limit = whole(call.params, "limit", 20, least=1, most=50)
    rows, cursor = page(
        orders,
        limit=limit,
        cursor=text(call.params, "cursor"),
        mark=lambda order: (order.order_id, order.created_ms),
    )
    return Answer({"nextPageCursor": cursor, "category": "linear", "list": [order_row(order) for order in rows]})


def _change(
    handler: Callable[[Call], Answer], group: str, *, batch: bool = False, waits: Waits = Waits.MATCH
) -> Endpoint:
    return Endpoint(
        handler,
        private=True,
        changes=True,
        limit=10,
        group=group,
        batch=batch,
        waits=waits,
        settles=Settles.SYMBOL,
        needs="Order",
    )


def _query(handler: Callable[[Call], Answer], group: str) -> Endpoint:
    return Endpoint(listing(handler), private=True, limit=50, group=group, waits=Waits.STAMP, settles=Settles.SYMBOL)


ORDER_ENDPOINTS = {
    ("POST", "/v5/order/create"): _change(create, "order/create"),
    ("POST", "/v5/order/create-batch"): _change(create_batch, "order/create-batch", batch=True),
    ("POST", "/v5/order/amend"): _change(amend, "order/amend", waits=Waits.STAMP),
    ("POST", "/v5/order/amend-batch"): _change(amend_batch, "order/amend-batch", batch=True, waits=Waits.STAMP),
    ("POST", "/v5/order/cancel"): _change(cancel, "order/cancel", waits=Waits.STAMP),
    ("POST", "/v5/order/cancel-batch"): _change(cancel_batch, "order/cancel-batch", batch=True, waits=Waits.STAMP),
    ("POST", "/v5/order/cancel-all"): _change(cancel_all, "order/cancel-all", waits=Waits.STAMP),
    ("POST", "/v5/order/pre-check"): _change(pre_check, "order/pre-check", waits=Waits.STAMP),
    ("GET", "/v5/order/realtime"): _query(realtime, "order/realtime"),
    ("GET", "/v5/order/history"): _query(history, "order/history"),
    ("GET", "/v5/execution/list"): _query(executions, "execution/list"),
}
"""REST operations on orders."""

SOCKET_OPERATIONS = {
    "order.create": "/v5/order/create",
    "order.amend": "/v5/order/amend",
    "order.cancel": "/v5/order/cancel",
    "order.create-batch": "/v5/order/create-batch",
    "order.amend-batch": "/v5/order/amend-batch",
    "order.cancel-batch": "/v5/order/cancel-batch",
}
"""Operations of the order socket, with the REST endpoint each is the same as."""
