"""A helper: the least exchange that the executor's order role can work with, on plain HTTP; orders fill at once.

    {"symbols": [...], "order_delay_s": 0.03}      says {"port": ...}
    word `orders`: says every order/create that has arrived, as [order link id, symbol, arrival ns, answer ns]

Every request is answered at once but order/create, which is answered after `order_delay_s`. Signatures are not looked
at. The time of arrival is taken when the last byte of a request has been read.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import orjson

from bench.helper_talk import Words, run_helper, say

LEVERAGE = "10"
PRICE = "100"
_HEAD_END = b"\r\n\r\n"
_INSTRUMENT = {
    "contractType": "LinearPerpetual",
    "status": "Trading",
    "baseCoin": "X",
    "quoteCoin": "USDT",
    "settleCoin": "USDT",
    "priceFilter": {"tickSize": "0.01", "minPrice": "0.01", "maxPrice": "100000"},
    "lotSizeFilter": {
        "qtyStep": "0.001",
        "minOrderQty": "0.001",
        "maxOrderQty": "1000000",
        "maxMktOrderQty": "1000000",
        "minNotionalValue": "5",
    },
    "leverageFilter": {"minLeverage": "1", "maxLeverage": "100", "leverageStep": "0.01"},
}
_KEY = {
    "readOnly": 0,
    "permissions": {"ContractTrade": ["Order", "Position"], "Wallet": []},
    "ips": ["127.0.0.1"],
    "deadlineDay": -2,
    "expiredAt": "1970-01-01T00:00:00Z",
    "userID": 1,
    "uta": 1,
    "unified": 0,
    "vipLevel": "No VIP",
}
_WALLET = {"list": [{"coin": [{"coin": "USDT", "equity": "100000", "walletBalance": "100000"}]}]}


@dataclass
class Request:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    body: dict[str, Any]
    arrived_ns: int


@dataclass
class Book:
    """What the exchange knows.

    Attributes:
        symbols: Symbols that may be traded.
        orders: Rows of `order/realtime` by order link id.
        log: Order link id, symbol, arrival and answer (Unix nanoseconds) of each order/create.
        repeats: order/create requests with an order link id that was known.
    """

    symbols: list[str]
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    log: list[list[Any]] = field(default_factory=list)
    repeats: int = 0

    def answer(self, request: Request) -> dict[str, Any]:
        """Return `result` of the answer; KeyError: there is no such endpoint."""
        return _ENDPOINTS[request.path](self, request)

    def create(self, request: Request) -> dict[str, Any]:
        """Take an order; it is filled at once."""
        link_id = request.body["orderLinkId"]
        if link_id in self.orders:
            self.repeats += 1
        else:
            self.log.append([link_id, request.body["symbol"], request.arrived_ns, 0])
            self.orders[link_id] = _filled(request.body, len(self.log), request.arrived_ns // 1_000_000)
        return {"orderId": self.orders[link_id]["orderId"], "orderLinkId": link_id}

    def find(self, request: Request) -> dict[str, Any]:
        """Return an order by its link id."""
        order = self.orders.get(request.query.get("orderLinkId", ""))
        return {"category": "linear", "list": [] if order is None else [order], "nextPageCursor": ""}

    def positions(self, request: Request) -> dict[str, Any]:
        """Return the position of a symbol: none."""
        symbol = request.query.get("symbol", "")
        flat = {"symbol": symbol, "size": "0", "side": "", "positionIdx": 0, "leverage": LEVERAGE, "avgPrice": "0"}
        return {"category": "linear", "list": [flat] if symbol else [], "nextPageCursor": ""}

    def instruments(self, request: Request) -> dict[str, Any]:
        """Return the trading rules."""
        wanted = request.query.get("symbol")
        first = request.query.get("cursor") is None
        rows = [_INSTRUMENT | {"symbol": name} for name in self.symbols if first and wanted in {None, name}]
        return {"category": "linear", "list": rows, "nextPageCursor": ""}

    def time(self, request: Request) -> dict[str, Any]:
        """Return the time of arrival."""
        return {"timeSecond": str(request.arrived_ns // 1_000_000_000), "timeNano": str(request.arrived_ns)}

    def nothing(self, _request: Request) -> dict[str, Any]:
        """Return an empty list."""
        return {"list": [], "nextPageCursor": ""}


_ENDPOINTS: dict[str, Callable[[Book, Request], dict[str, Any]]] = {
    "/v5/order/create": Book.create,
    "/v5/order/realtime": Book.find,
    "/v5/order/history": Book.find,
    "/v5/execution/list": Book.nothing,
    "/v5/position/list": Book.positions,
    "/v5/position/set-leverage": Book.nothing,
    "/v5/market/instruments-info": Book.instruments,
    "/v5/market/time": Book.time,
    "/v5/account/info": lambda _book, _request: {"marginMode": "REGULAR_MARGIN", "unifiedMarginStatus": 6},
    "/v5/account/wallet-balance": lambda _book, _request: _WALLET,
    "/v5/user/query-api": lambda _book, _request: _KEY,
}


def _filled(body: dict[str, Any], number: int, at_ms: int) -> dict[str, Any]:
    return {
        "symbol": body["symbol"],
        "orderId": f"stub-{number}",
        "orderLinkId": body["orderLinkId"],
        "side": body["side"],
        "orderType": "Market",
        "orderStatus": "Filled",
        "qty": body["qty"],
        "cumExecQty": body["qty"],
        "avgPrice": PRICE,
        "cumExecFee": "0",
        "reduceOnly": bool(body.get("reduceOnly")),
        "rejectReason": "EC_NoError",
        "cancelType": "UNKNOWN",
        "createdTime": str(at_ms),
        "updatedTime": str(at_ms),
    }


class Connection(asyncio.Protocol):
    """One kept-alive HTTP connection; requests on it are answered in order, as each waits for its answer."""

    def __init__(self, book: Book, order_delay_s: float) -> None:
        """Answer from the book."""
        self._book = book
        self._order_delay_s = order_delay_s
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        self._received += data
        while (head_end := self._received.find(_HEAD_END)) >= 0:
            head = self._received[:head_end].decode("latin-1").split("\r\n")
            length = next((int(line[15:]) for line in head if line[:15].lower() == "content-length:"), 0)
            body_start = head_end + len(_HEAD_END)
            if len(self._received) < body_start + length:
                return
            arrived_ns = time.time_ns()
            body = self._received[body_start : body_start + length]
            self._received = self._received[body_start + length :]
            method, target, _ = head[0].split(" ", 2)
            self._handle(_request(method, target, body, arrived_ns))

    def _handle(self, request: Request) -> None:
        try:
            values = {"retCode": 0, "retMsg": "OK", "result": self._book.answer(request)}
        except KeyError:
            values = {"retCode": 10001, "retMsg": f"{request.path} is not served here", "result": {}}
        content = orjson.dumps(values | {"retExtInfo": {}, "time": request.arrived_ns // 1_000_000})
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        answer = head.encode() + content
        if request.path == "/v5/order/create":
            entry = self._book.log[-1]
            asyncio.get_running_loop().call_later(self._order_delay_s, self._answer_order, entry, answer)
        else:
            self._write(answer)

    def _answer_order(self, entry: list[Any], answer: bytes) -> None:
        entry[3] = time.time_ns()
        self._write(answer)

    def _write(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)


def _request(method: str, target: str, body: bytes, arrived_ns: int) -> Request:
    parts = urlsplit(target)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    return Request(method, parts.path, query, orjson.loads(body) if body else {}, arrived_ns)


async def main(request: dict[str, Any], words: Words) -> None:
    """Serve until the benchmark ends."""
    book = Book(symbols=request["symbols"])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(book, request["order_delay_s"]), "127.0.0.1", 0, backlog=1024)
    say({"port": server.sockets[0].getsockname()[1]})
    while await words.next() == "orders":
        say({"orders": book.log, "repeats": book.repeats})


if __name__ == "__main__":
    run_helper(main)
