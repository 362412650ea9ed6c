"""Faults as the real pybit client meets them: what it raises, and what the exchange's books say afterwards."""

import json
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pybit._websocket_trading as pybit_trading
import pytest
import requests
from pybit.exceptions import FailedRequestError, InvalidRequestError
from pybit.unified_trading import HTTP, WebSocket, WebSocketTrading
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from paper_exchange_service.server import PaperExchange

LINEAR = {"category": "linear", "symbol": "BTCUSDT"}
MARKET_BUY = LINEAR | {"side": "Buy", "orderType": "Market", "qty": "0.01"}
CREATE = {"path": "/v5/order/create"}
Inbox = queue.Queue[dict[str, Any]]


class LocalWebSocket(WebSocket):
    """pybit's stream client against the address of a running exchange."""

    def __init__(self, base: str, channel_type: str, **values: Any) -> None:
        self._base = base
        super().__init__(channel_type, testnet=False, **values)

    def _connect(self, url: str) -> None:
        super()._connect(url if url.startswith(self._base) else self._base + url[url.index("/v5/") :])


@pytest.fixture
def client(exchange: PaperExchange) -> HTTP:
    made = HTTP(api_key="test-key", api_secret="test-secret", retry_codes={-1})
    made.endpoint = exchange.rest_url
    return made


@pytest.fixture
def private(exchange: PaperExchange) -> Iterator[WebSocket]:
    socket = LocalWebSocket(
        exchange.stream_url, "private", api_key="test-key", api_secret="test-secret", private_auth_expire=10
    )
    yield socket
    socket.exit()


@pytest.fixture
def trading(exchange: PaperExchange, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebSocketTrading]:
    monkeypatch.setattr(pybit_trading, "TRADE_WSS", f"{exchange.stream_url}/v5/trade")
    socket = WebSocketTrading(testnet=False, api_key="test-key", api_secret="test-secret", private_auth_expire=10)
    until(lambda: socket.auth)
    yield socket
    socket.exit()


@contextmanager
def faults(exchange: PaperExchange, *rules: dict[str, Any], seed: int = 1) -> Iterator[None]:
    answer = httpx.put(f"{exchange.rest_url}/paper/faults", json={"seed": seed, "rules": rules})
    assert answer.status_code == 200, answer.text
    try:
        yield
    finally:
        httpx.delete(f"{exchange.rest_url}/paper/faults")


def injected(exchange: PaperExchange) -> dict[str, int]:
    return httpx.get(f"{exchange.rest_url}/paper/books").json()["injected"]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "did not happen in 5 s"
        threading.Event().wait(0.003)


def orders_of(client: HTTP, link: str) -> list[dict[str, Any]]:
    """The orders with the id, once they are closed."""
    found: list[dict[str, Any]] = []

    def closed() -> bool:
        found[:] = client.get_open_orders(**LINEAR, orderLinkId=link)["result"]["list"]
        return all(row["orderStatus"] in {"Filled", "Cancelled", "Rejected"} for row in found)

    until(closed)
    return found


def take(inbox: Inbox, wanted: Callable[[dict[str, Any]], bool] = lambda _frame: True) -> dict[str, Any]:
    deadline = time.monotonic() + 5
    while True:
        frame = inbox.get(timeout=max(0.01, deadline - time.monotonic()))
        if wanted(frame):
            return frame


@pytest.mark.parametrize(
    ("rule", "error", "codes", "made"),
    [
        ({"kind": "lost_before"}, requests.exceptions.ConnectionError, set(), 0),
        ({"kind": "lost_after"}, requests.exceptions.ConnectionError, set(), 1),
        ({"kind": "server_error_before"}, FailedRequestError, {500, 502, 503, 504}, 0),
        ({"kind": "server_error_after", "status": 504}, FailedRequestError, {504}, 1),
        ({"kind": "rate_limited"}, InvalidRequestError, {10006}, 0),
        ({"kind": "address_ban", "duration_ms": 60_000, "limit": 1}, FailedRequestError, {403}, 0),
        ({"kind": "maintenance"}, InvalidRequestError, {110066}, 0),
        ({"kind": "suspend_symbol", "symbol": "BTCUSDT"}, InvalidRequestError, {110074}, 0),
        ({"kind": "reject_order", "code": 110007}, InvalidRequestError, {110007}, 0),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_a_fault_before_acceptance_leaves_no_order_and_one_after_it_exactly_one(
    exchange: PaperExchange, client: HTTP, rule: dict[str, Any], error: type[Exception], codes: set[int], made: int
) -> None:
    link = uuid.uuid4().hex
    before = injected(exchange).get(rule["kind"], 0)
    with faults(exchange, rule), pytest.raises(error) as caught:
        client.place_order(**MARKET_BUY, orderLinkId=link)
    assert getattr(caught.value, "status_code", None) in codes or not codes
    assert len(orders_of(client, link)) == made
    assert injected(exchange)[rule["kind"]] == before + 1
    if made:
        with pytest.raises(InvalidRequestError) as again:
            client.place_order(**MARKET_BUY, orderLinkId=link)
        assert again.value.status_code == 110072
        assert len(orders_of(client, link)) == 1


def test_a_system_error_says_nothing_about_the_order(exchange: PaperExchange, client: HTTP) -> None:
    outcomes = set()
    with faults(exchange, {"kind": "system_error", **CREATE}):
        for number in range(16):
            link = f"system-error-{number}"
            with pytest.raises(InvalidRequestError) as caught:
                client.place_order(**MARKET_BUY, orderLinkId=link)
            outcomes.add((caught.value.status_code, len(orders_of(client, link))))
    assert outcomes == {(10000, 0), (10000, 1), (10016, 0), (10016, 1)}


def test_a_late_answer_is_a_timeout_for_the_client_and_an_order_for_the_exchange(exchange: PaperExchange) -> None:
    client = HTTP(api_key="test-key", api_secret="test-secret", retry_codes={-1}, timeout=0.3)
    client.endpoint = exchange.rest_url
    link = uuid.uuid4().hex
    with (
        faults(exchange, {"kind": "latency", "delay_ms": 3_000, **CREATE}),
        pytest.raises(requests.exceptions.ReadTimeout),
    ):
        client.place_order(**MARKET_BUY, orderLinkId=link)
    assert [row["orderStatus"] for row in orders_of(client, link)] == ["Filled"]


def test_a_limit_that_is_told_used_up_has_honest_headers_and_is_no_real_breach(
    exchange: PaperExchange, client: HTTP
) -> None:
    with faults(exchange, {"kind": "rate_limited", "duration_ms": 700}), pytest.raises(InvalidRequestError) as caught:
        client.place_order(**MARKET_BUY)
    headers = caught.value.resp_headers
    assert (headers["X-Bapi-Limit"], headers["X-Bapi-Limit-Status"]) == ("10", "0")
    assert 0 < int(headers["X-Bapi-Limit-Reset-Timestamp"]) - int(headers["Timenow"]) <= 700
    books = httpx.get(f"{exchange.rest_url}/paper/books").json()
    assert books["address_limit_breaches"] == 0


def test_a_banned_address_is_refused_everything_until_the_ban_ends(exchange: PaperExchange, client: HTTP) -> None:
    with faults(exchange, {"kind": "address_ban", "duration_ms": 60_000, "limit": 1, **CREATE}):
        client.get_account_info()
        for call in (lambda: client.place_order(**MARKET_BUY), client.get_account_info, client.get_server_time):
            with pytest.raises(FailedRequestError) as caught:
                call()
            assert caught.value.status_code == 403
        state = httpx.get(f"{exchange.rest_url}/paper/faults").json()
        assert (state["total"], state["rules"][0]["hits"], state["hits"]) == (1, 1, {"address_ban": 1})
    client.get_account_info()


def test_a_suspended_symbol_says_so_and_others_trade_on(exchange: PaperExchange, client: HTTP) -> None:
    def status(symbol: str) -> str:
        (row,) = client.get_instruments_info(category="linear", symbol=symbol)["result"]["list"]
        return row["status"]

    with faults(exchange, {"kind": "suspend_symbol", "symbol": "BTCUSDT", "duration_ms": 60_000, "code": 110066}):
        assert (status("BTCUSDT"), status("ETHUSDT")) == ("Closed", "Trading")
        with pytest.raises(InvalidRequestError) as caught:
            client.place_order(**MARKET_BUY)
        assert caught.value.status_code == 110066
        client.place_order(**MARKET_BUY | {"symbol": "ETHUSDT"})
    assert status("BTCUSDT") == "Trading"


@pytest.mark.parametrize(
    ("rule", "status", "filled", "reason"),
    [
        ({"kind": "partial_fill", "share": "0.4"}, "Cancelled", "0.004", "EC_NoImmediateQtyToFill"),
        ({"kind": "unfilled_ioc"}, "Cancelled", "0", "EC_NoImmediateQtyToFill"),
        ({"kind": "reject_order", "asynchronous": True}, "Rejected", "0", "EC_Others"),
    ],
    ids=["partial_fill", "unfilled_ioc", "rejected_afterwards"],
)
def test_an_accepted_order_ends_short_of_its_quantity(
    exchange: PaperExchange, client: HTTP, rule: dict[str, Any], status: str, filled: str, reason: str
) -> None:
    link = uuid.uuid4().hex
    with faults(exchange, rule | {"order_link_id": link}):
        assert client.place_order(**MARKET_BUY, orderLinkId=link)["retCode"] == 0
    (order,) = orders_of(client, link)
    assert (order["orderStatus"], order["cumExecQty"], order["rejectReason"]) == (status, filled, reason)
    fills = client.get_executions(category="linear", orderLinkId=link)["result"]["list"]
    assert [fill["execQty"] for fill in fills] == ([filled] if filled != "0" else [])


@pytest.mark.parametrize("skew_ms", [-5_000, 10_000])
def test_a_clock_that_is_off_tells_another_time_and_refuses_stamps(
    exchange: PaperExchange, client: HTTP, skew_ms: int
) -> None:
    with faults(exchange, {"kind": "clock_skew", "delay_ms": skew_ms}):
        told_ms = int(client.get_server_time()["result"]["timeNano"]) // 1_000_000
        with pytest.raises(InvalidRequestError) as caught:
            client.get_account_info()
    assert abs(told_ms - skew_ms - time.time() * 1000) < 3_000
    assert caught.value.status_code == 10002
    assert client.get_account_info()["retCode"] == 0


def subscribe_orders(exchange: PaperExchange, private: WebSocket, *topics: str) -> Inbox:
    inbox: Inbox = queue.Queue()
    for topic in topics:
        getattr(private, f"{topic}_stream")(callback=inbox.put)
    until(lambda: exchange.private.subscribed("main") == set(topics))
    return inbox


def test_a_doubled_push_comes_twice_under_one_id(exchange: PaperExchange, private: WebSocket, client: HTTP) -> None:
    inbox = subscribe_orders(exchange, private, "execution")
    with faults(exchange, {"kind": "duplicate_push", "topic": "execution"}):
        client.place_order(**MARKET_BUY, orderLinkId=uuid.uuid4().hex)
        first, second = take(inbox), take(inbox)
    assert first == second
    assert first["data"][0]["execType"] == "Trade"


def test_a_reordered_push_lets_the_next_one_pass(exchange: PaperExchange, private: WebSocket, client: HTTP) -> None:
    inbox = subscribe_orders(exchange, private, "execution", "order")
    link = uuid.uuid4().hex
    client.place_order(**MARKET_BUY, orderLinkId=link)
    assert [take(inbox)["topic"] for _ in range(2)] == ["execution", "order"]
    with faults(exchange, {"kind": "reorder_push", "topic": "execution", "delay_ms": 5_000}):
        client.place_order(**MARKET_BUY, orderLinkId=uuid.uuid4().hex)
        assert [take(inbox)["topic"] for _ in range(2)] == ["order", "execution"]


def test_a_delayed_push_arrives_and_keeps_its_place(exchange: PaperExchange, private: WebSocket, client: HTTP) -> None:
    inbox = subscribe_orders(exchange, private, "execution", "order")
    with faults(exchange, {"kind": "delay_push", "topic": "execution", "delay_ms": 150}):
        links = [uuid.uuid4().hex for _ in range(3)]
        for link in links:
            client.place_order(**MARKET_BUY, orderLinkId=link)
        frames = [take(inbox) for _ in range(6)]
    assert [frame["topic"] for frame in frames] == ["execution", "order"] * 3
    assert [frame["data"][0]["orderLinkId"] for frame in frames[::2]] == links


def test_a_dropped_private_socket_loses_what_is_said_meanwhile_and_is_made_anew(
    exchange: PaperExchange, private: WebSocket, client: HTTP
) -> None:
    inbox = subscribe_orders(exchange, private, "order")
    lost, seen = uuid.uuid4().hex, uuid.uuid4().hex
    before = set(exchange.private._connections["main"])
    with faults(exchange, {"kind": "private_drop", "order_link_id": lost}):
        client.place_order(**MARKET_BUY, orderLinkId=lost)
        assert [row["orderStatus"] for row in orders_of(client, lost)] == ["Filled"]
        until(lambda: before.isdisjoint(exchange.private._connections["main"]))
        until(lambda: "order" in exchange.private.subscribed("main"))
        client.place_order(**MARKET_BUY, orderLinkId=seen)
        assert take(inbox)["data"][0]["orderLinkId"] == seen


@pytest.mark.parametrize("kind", ["public", "private", "trade"])
def test_sockets_are_dropped_on_demand(exchange: PaperExchange, kind: str) -> None:
    path = {"public": "public/linear"}.get(kind, kind)
    with connect(f"{exchange.stream_url}/v5/{path}", close_timeout=1) as socket:
        socket.send(json.dumps({"op": "ping", "req_id": "1"}))
        socket.recv(timeout=5)
        answer = httpx.post(f"{exchange.rest_url}/paper/drop", json={"socket": kind})
        assert answer.json() == {"socket": kind, "dropped": 1}
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=5)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"socket": "all"}', b'{"socket": "private", "account": "nobody"}'])
def test_a_drop_of_what_does_not_exist_is_refused(exchange: PaperExchange, body: bytes) -> None:
    answer = httpx.post(f"{exchange.rest_url}/paper/drop", content=body)
    assert (answer.status_code, answer.json()["error"].partition(":")[0]) in {(400, "socket"), (400, "account")}


def test_a_public_socket_is_dropped_by_a_rule_and_may_come_back(exchange: PaperExchange) -> None:
    def trades() -> None:
        with connect(f"{exchange.stream_url}/v5/public/linear", close_timeout=1) as socket:
            socket.send(json.dumps({"op": "subscribe", "args": ["publicTrade.BTCUSDT"]}))
            while "data" not in json.loads(socket.recv(timeout=5)):
                pass

    with faults(exchange, {"kind": "public_drop", "symbol": "BTCUSDT", "topic": "publicTrade", "limit": 1}):
        with pytest.raises(ConnectionClosed):
            trades()
        trades()


@pytest.mark.parametrize(
    ("rule", "code", "made"),
    [
        ({"kind": "rate_limited"}, 10006, 0),
        ({"kind": "server_error_before"}, 10016, 0),
        ({"kind": "server_error_after"}, 10016, 1),
        ({"kind": "maintenance"}, 110066, 0),
        ({"kind": "reject_order"}, 110007, 0),
        ({"kind": "latency", "delay_ms": 30}, 0, 1),
        ({"kind": "address_ban", "duration_ms": 60_000}, 10403, 0),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_orders_over_the_order_socket_meet_the_same_faults(
    exchange: PaperExchange, trading: WebSocketTrading, client: HTTP, rule: dict[str, Any], code: int, made: int
) -> None:
    inbox: Inbox = queue.Queue()
    link = uuid.uuid4().hex
    with faults(exchange, rule | {"order_link_id": link}):
        trading.place_order(inbox.put, inbox.put, **MARKET_BUY, orderLinkId=link)
        assert take(inbox)["retCode"] == code
    assert len(orders_of(client, link)) == made


@pytest.mark.parametrize(("kind", "made"), [("lost_before", 0), ("lost_after", 1)])
def test_an_answer_of_the_order_socket_is_lost_with_its_connection(
    exchange: PaperExchange, trading: WebSocketTrading, client: HTTP, kind: str, made: int
) -> None:
    link, after = uuid.uuid4().hex, uuid.uuid4().hex
    inbox: Inbox = queue.Queue()
    (before,) = [link for link, known in exchange.sockets.connections.items() if known == "trade"]
    with faults(exchange, {"kind": kind, "order_link_id": link, **CREATE}):
        trading.place_order(inbox.put, inbox.put, **MARKET_BUY, orderLinkId=link)
        until(lambda: before not in exchange.sockets.connections)
        assert len(orders_of(client, link)) == made
        until(lambda: any(known == "trade" and one.account for one, known in exchange.sockets.connections.items()))
        until(lambda: trading.auth and trading.is_connected())
        trading.place_order(inbox.put, inbox.put, **MARKET_BUY, orderLinkId=after)
        assert take(inbox)["data"]["orderLinkId"] == after


@pytest.mark.parametrize(
    "body", [b"{", b'{"rules": [{"kind": "lost"}]}', b'{"rules": [{"kind": "lost_after", "limit": -1}]}']
)
def test_bad_rules_are_refused_with_their_field_and_change_nothing(exchange: PaperExchange, body: bytes) -> None:
    with faults(exchange, {"kind": "lost_after", "symbol": "SOLUSDT"}):
        answer = httpx.put(f"{exchange.rest_url}/paper/faults", content=body)
        assert (answer.status_code, list(answer.json())) == (400, ["error"])
        state = httpx.get(f"{exchange.rest_url}/paper/faults").json()
        assert state["rules"] == [{"kind": "lost_after", "symbol": "SOLUSDT", "hits": 0}]
    assert httpx.get(f"{exchange.rest_url}/paper/faults").json()["rules"] == []


def test_the_books_tell_how_close_a_burst_came_to_the_limits(exchange: PaperExchange, client: HTTP) -> None:
    for _ in range(7):
        client.get_fee_rates(**LINEAR)
    rates = httpx.get(f"{exchange.rest_url}/paper/books").json()["request_rates"]
    fees = rates["endpoints"]["main"]["account/fee-rate"]
    assert (fees["limit"], fees["window_ms"], fees["total"]) == (5, 1000, 7)
    assert 1 <= fees["peak"] <= 7
    assert fees["first_ms"] <= fees["peak_first_ms"] <= fees["peak_last_ms"] <= fees["last_ms"]
    address = rates["addresses"]["127.0.0.1"]
    assert (address["limit"], address["window_ms"]) == (600, 5000)
    assert address["peak"] <= address["total"]
