"""The streams and the order socket as the real pybit client sees them."""

import hashlib
import hmac
import json
import queue
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pybit._websocket_trading as pybit_trading
import pytest
from pybit.unified_trading import HTTP, WebSocket, WebSocketTrading
from websockets.sync.client import connect

from paper_exchange_service.server import PaperExchange

LINEAR = {"category": "linear", "symbol": "BTCUSDT"}
MARKET_BUY = LINEAR | {"side": "Buy", "orderType": "Market", "qty": "0.01"}
Inbox = queue.Queue[dict[str, Any]]


class LocalWebSocket(WebSocket):
    """pybit's stream client against the address of a running exchange."""

    def __init__(self, base: str, channel_type: str, **values: Any) -> None:
        self._base = base
        super().__init__(channel_type, testnet=False, **values)

    def _connect(self, url: str) -> None:
        super()._connect(url if url.startswith(self._base) else self._base + url[url.index("/v5/") :])


@pytest.fixture
def public(exchange: PaperExchange) -> Iterator[WebSocket]:
    socket = LocalWebSocket(exchange.stream_url, "linear")
    yield socket
    socket.exit()


@pytest.fixture
def private(exchange: PaperExchange) -> Iterator[WebSocket]:
    socket = LocalWebSocket(
        exchange.stream_url, "private", api_key="test-key", api_secret="test-secret", private_auth_expire=10
    )
    yield socket
    socket.exit()


@pytest.fixture
def client(exchange: PaperExchange) -> HTTP:
    made = HTTP(api_key="test-key", api_secret="test-secret", retry_codes={-1})
    made.endpoint = exchange.rest_url
    return made


def take(inbox: Inbox, wanted: Callable[[dict[str, Any]], bool] = lambda _frame: True) -> dict[str, Any]:
    deadline = time.monotonic() + 5
    while True:
        frame = inbox.get(timeout=max(0.01, deadline - time.monotonic()))
        if wanted(frame):
            return frame


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "did not happen in 5 s"
        time.sleep(0.005)


def test_public_trades_arrive_in_order_once_and_with_the_trades_of_rest(public: WebSocket, client: HTTP) -> None:
    inbox: Inbox = queue.Queue()
    public.trade_stream(symbol="BTCUSDT", callback=inbox.put)
    seen = [row for _ in range(3) for row in take(inbox)["data"]]
    assert [row["T"] for row in seen] == sorted(row["T"] for row in seen)
    assert [row["seq"] for row in seen] == sorted(row["seq"] for row in seen)
    assert abs(seen[-1]["T"] - time.time() * 1000) < 3_000
    known = {row["execId"] for row in client.get_public_trade_history(**LINEAR, limit=1000)["result"]["list"]}
    assert {row["i"] for row in seen} <= known


def test_tickers_begin_with_the_whole_row_and_follow_the_price(public: WebSocket) -> None:
    inbox: Inbox = queue.Queue()
    public.ticker_stream(symbol="BTCUSDT", callback=inbox.put)
    first = take(inbox)["data"]
    assert {
        "lastPrice",
        "markPrice",
        "bid1Price",
        "ask1Size",
        "fundingRate",
        "nextFundingTime",
        "turnover24h",
    } <= first.keys()
    price = first["lastPrice"]
    changed = take(inbox, lambda frame: frame["data"]["lastPrice"] != price)["data"]
    assert changed["symbol"] == "BTCUSDT"


def test_candles_and_books_are_pushed_as_prices_move(public: WebSocket) -> None:
    candles: Inbox = queue.Queue()
    books: dict[int, Inbox] = {depth: queue.Queue() for depth in (1, 50, 200)}
    public.kline_stream(interval=1, symbol="BTCUSDT", callback=candles.put)
    for depth, inbox in books.items():
        public.orderbook_stream(depth=depth, symbol="BTCUSDT", callback=inbox.put)
    bar = take(candles)["data"][-1]
    assert (bar["end"] - bar["start"], bar["interval"], bar["confirm"]) == (59_999, "1", False)
    for depth, inbox in books.items():
        first = take(inbox)["data"]["u"]
        later = take(inbox, lambda frame, first=first: frame["data"]["u"] > first)["data"]
        assert len(later["b"]) == len(later["a"]) == depth
        assert max(float(price) for price, _ in later["b"]) < min(float(price) for price, _ in later["a"])


def test_a_topic_that_does_not_exist_is_refused_with_bybits_words(exchange: PaperExchange) -> None:
    with connect(f"{exchange.stream_url}/v5/public/linear", close_timeout=1) as socket:
        socket.send(json.dumps({"op": "subscribe", "req_id": "r1", "args": ["orderbook.500.BTCUSDT"]}))
        answer = json.loads(socket.recv(timeout=5))
    assert (answer["success"], answer["ret_msg"]) == (False, "error:handler not found,topic:orderbook.500.BTCUSDT")
    assert (answer["req_id"], answer["op"]) == ("r1", "subscribe")


def test_an_order_shows_on_every_private_topic_with_matching_ids(
    exchange: PaperExchange, private: WebSocket, client: HTTP
) -> None:
    inboxes: dict[str, Inbox] = {name: queue.Queue() for name in ("order", "execution", "fast", "position", "wallet")}
    private.order_stream(callback=inboxes["order"].put)
    private.execution_stream(callback=inboxes["execution"].put)
    private.fast_execution_stream(callback=inboxes["fast"].put)
    private.position_stream(callback=inboxes["position"].put)
    private.wallet_stream(callback=inboxes["wallet"].put)
    until(lambda: private.auth)
    link = uuid.uuid4().hex
    until(lambda: len(exchange.private.subscribed("main")) == 5)
    order_id = client.place_order(**MARKET_BUY, orderLinkId=link)["result"]["orderId"]

    def mine(frame: dict[str, Any]) -> bool:
        return any(row.get("orderLinkId") == link for row in frame["data"])

    order = take(inboxes["order"], mine)["data"][0]
    assert (order["orderId"], order["orderStatus"], order["category"]) == (order_id, "Filled", "linear")
    fill = take(inboxes["execution"], mine)["data"][0]
    assert (fill["orderId"], fill["execType"], fill["execQty"]) == (order_id, "Trade", "0.01")
    fast = take(inboxes["fast"], mine)["data"][0]
    assert fast["execId"] == fill["execId"]
    assert "execFee" not in fast
    position = take(inboxes["position"], lambda frame: frame["data"][0]["seq"] == fill["seq"])["data"][0]
    assert "entryPrice" in position
    assert "avgPrice" not in position
    assert take(inboxes["wallet"])["data"][0]["coin"][0]["coin"] == "USDT"
    assert {row["execId"] for row in client.get_executions(category="linear", orderId=order_id)["result"]["list"]} == {
        fill["execId"]
    }


def test_a_resting_order_is_pushed_as_new_and_as_cancelled(
    exchange: PaperExchange, private: WebSocket, client: HTTP
) -> None:
    inbox: Inbox = queue.Queue()
    private.order_stream(callback=inbox.put)
    until(lambda: "order" in exchange.private.subscribed("main"))
    wanted = MARKET_BUY | {"orderType": "Limit", "price": "29000"}
    order_id = client.place_order(**wanted)["result"]["orderId"]

    def status_of(frame: dict[str, Any]) -> str:
        return next((row["orderStatus"] for row in frame["data"] if row["orderId"] == order_id), "")

    take(inbox, lambda frame: status_of(frame) == "New")
    client.cancel_order(**LINEAR, orderId=order_id)
    take(inbox, lambda frame: status_of(frame) == "Cancelled")


def test_a_wrong_secret_closes_the_private_stream(exchange: PaperExchange) -> None:
    socket = LocalWebSocket(
        exchange.stream_url, "private", api_key="test-key", api_secret="wrong", private_auth_expire=10
    )
    until(lambda: socket.exited)
    assert socket.auth is False


@pytest.fixture
def trading(exchange: PaperExchange, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebSocketTrading]:
    monkeypatch.setattr(pybit_trading, "TRADE_WSS", f"{exchange.stream_url}/v5/trade")
    socket = WebSocketTrading(testnet=False, api_key="test-key", api_secret="test-secret", private_auth_expire=10)
    until(lambda: socket.auth)
    yield socket
    socket.exit()


def test_orders_are_created_amended_and_cancelled_over_the_order_socket(
    trading: WebSocketTrading, client: HTTP
) -> None:
    inbox: Inbox = queue.Queue()
    wanted = MARKET_BUY | {"orderType": "Limit", "price": "29000"}
    trading.place_order(inbox.put, inbox.put, **wanted)
    placed = take(inbox)
    assert (placed["retCode"], placed["op"]) == (0, "order.create")
    assert placed["header"]["X-Bapi-Limit"] == "10"
    order_id = placed["data"]["orderId"]
    trading.amend_order(inbox.put, inbox.put, **LINEAR, orderId=order_id, price="29001")
    assert take(inbox)["retCode"] == 0
    assert client.get_open_orders(**LINEAR, orderId=order_id)["result"]["list"][0]["price"] == "29001"
    trading.cancel_order(inbox.put, inbox.put, **LINEAR, orderId=order_id)
    assert take(inbox)["retCode"] == 0
    trading.cancel_order(inbox.put, inbox.put, **LINEAR, orderId=order_id)
    assert take(inbox)["retCode"] == 110001
    trading.place_batch_order(inbox.put, inbox.put, category="linear", request=[wanted, wanted | {"qty": "0"}])
    batch = take(inbox)
    assert [item["code"] for item in batch["retExtInfo"]["list"]] == [0, 10001]


def test_no_answer_of_the_order_socket_is_lost_to_a_fast_client(trading: WebSocketTrading) -> None:
    inbox: Inbox = queue.Queue()
    for _ in range(40):
        trading.place_order(inbox.put, inbox.put, **MARKET_BUY)
    assert sorted(take(inbox)["retCode"] for _ in range(40)) == [0] * 40


def test_the_order_socket_needs_a_login_and_knows_its_operations(exchange: PaperExchange) -> None:
    with connect(f"{exchange.stream_url}/v5/trade", close_timeout=1) as socket:

        def ask(**frame: Any) -> dict[str, Any]:
            socket.send(json.dumps(frame))
            return json.loads(socket.recv(timeout=5))

        header = {"X-BAPI-TIMESTAMP": str(int(time.time() * 1000))}
        assert ask(op="ping", reqId="p")["op"] == "pong"
        assert ask(op="order.create", reqId="1", header=header, args=[MARKET_BUY])["retCode"] == 10003
        expires = int(time.time() * 1000) + 5_000
        sign = hmac.new(b"test-secret", f"GET/realtime{expires}".encode(), hashlib.sha256).hexdigest()
        assert ask(op="auth", args=["test-key", expires, sign])["retCode"] == 0
        assert ask(op="auth", args=["test-key", expires, sign])["retCode"] == 20001
        assert ask(op="order.create", reqId="1", header=header, args=[MARKET_BUY])["retCode"] == 20006
        assert ask(op="order.fly", reqId="2", header=header, args=[MARKET_BUY])["retCode"] == 10404
        assert (
            ask(op="order.create", reqId="3", header=header, args=[MARKET_BUY | {"category": "spot"}])["retCode"]
            == 10404
        )
        old = {"X-BAPI-TIMESTAMP": "1000"}
        assert ask(op="order.create", reqId="4", header=old, args=[MARKET_BUY])["retCode"] == 10002
        assert ask(op="order.create", reqId="5", header=header, args=[MARKET_BUY])["retCode"] == 0
