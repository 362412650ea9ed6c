"""What only shows below the client libraries: statuses, headers, envelopes, raw signatures."""

import hashlib
import hmac
import json
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import httpx
import pytest

from breakwater_runtime.errors import DependencyError
from paper_exchange_service.faults import NO_FAULT, Fault, NoFaults
from paper_exchange_service.server import Options, PaperExchange


def signed(payload: str, *, secret: str = "test-secret") -> dict[str, str]:
    stamp = str(int(time.time() * 1000))
    origin = f"{stamp}test-key5000{payload}"
    return {
        "X-BAPI-API-KEY": "test-key",
        "X-BAPI-TIMESTAMP": stamp,
        "X-BAPI-RECV-WINDOW": "5000",
        "X-BAPI-SIGN": hmac.new(secret.encode(), origin.encode(), hashlib.sha256).hexdigest(),
    }


def test_an_unknown_path_is_404_and_missing_headers_are_401(exchange: PaperExchange) -> None:
    assert httpx.get(f"{exchange.rest_url}/v5/market/nothing").status_code == 404
    assert httpx.post(f"{exchange.rest_url}/v5/market/time").status_code == 404
    assert httpx.get(f"{exchange.rest_url}/v5/account/info").status_code == 401


def test_a_get_with_a_body_is_403(exchange: PaperExchange) -> None:
    assert httpx.request("GET", f"{exchange.rest_url}/v5/market/time", content=b"{}").status_code == 403


def test_answers_have_bybits_envelope_and_headers(exchange: PaperExchange) -> None:
    query = "category=linear&symbol=BTCUSDT"
    answer = httpx.get(f"{exchange.rest_url}/v5/position/list?{query}", headers=signed(query))
    assert answer.status_code == 200
    assert answer.json().keys() == {"retCode", "retMsg", "result", "retExtInfo", "time"}
    assert {
        "traceid",
        "timenow",
        "x-bapi-limit",
        "x-bapi-limit-status",
        "x-bapi-limit-reset-timestamp",
    } <= answer.headers.keys()


def test_the_signature_is_checked_against_the_query_as_it_was_sent(exchange: PaperExchange) -> None:
    for query in ("symbol=BTCUSDT&category=linear", "category=linear&symbol=BTC%55SDT"):
        answer = httpx.get(
            httpx.URL(f"{exchange.rest_url}/v5/position/list", query=query.encode()), headers=signed(query)
        )
        assert answer.json()["retCode"] == 0
    other = httpx.get(
        f"{exchange.rest_url}/v5/position/list?category=linear&symbol=BTCUSDT",
        headers=signed("symbol=BTCUSDT&category=linear"),
    )
    assert other.json()["retCode"] == 10004


def test_the_signature_is_checked_against_the_body_as_it_was_sent(exchange: PaperExchange) -> None:
    body = '{ "category":"linear",\n "settleCoin":"USDT" }'
    url = f"{exchange.rest_url}/v5/order/cancel-all"
    assert httpx.post(url, content=body, headers=signed(body)).json()["retCode"] == 0
    compact = json.dumps(json.loads(body))
    assert httpx.post(url, content=compact, headers=signed(body)).json()["retCode"] == 10004


@pytest.mark.parametrize("body", ["not json", "[1]", '{"category":"linear","request":[]}'])
def test_a_body_that_is_no_request_is_refused(exchange: PaperExchange, body: str) -> None:
    answer = httpx.post(f"{exchange.rest_url}/v5/order/create-batch", content=body, headers=signed(body))
    assert answer.json()["retCode"] == 10001


def test_health_readiness_and_metrics_are_served_beside_the_exchange(exchange: PaperExchange) -> None:
    assert httpx.get(f"{exchange.rest_url}/ready").json()["ready"] is True
    assert httpx.get(f"{exchange.rest_url}/health").status_code == 200
    assert "python_info" in httpx.get(f"{exchange.rest_url}/metrics").text
    assert httpx.get(f"{exchange.rest_url}/paper/health").json()["accounts"] == {"main": [], "second": []}


async def test_a_taken_port_is_a_clear_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DependencyError, match=f"127.0.0.1:{port}"):
            async with PaperExchange(Options(port=port)):
                pass


def test_a_fault_layer_can_answer_instead_of_the_exchange(
    serve: Callable[..., AbstractContextManager[PaperExchange]],
) -> None:
    class BrokenOrders(NoFaults):
        def of_request(self, method: str, path: str, account: str) -> Fault:
            return Fault(before=(502, b"bad gateway")) if path == "/v5/order/create" and account == "main" else NO_FAULT

    with serve(faults=BrokenOrders()) as exchange:
        body = '{"category":"linear"}'
        answer = httpx.post(f"{exchange.rest_url}/v5/order/create", content=body, headers=signed(body))
        assert (answer.status_code, answer.text) == (502, "bad gateway")
        assert httpx.get(f"{exchange.rest_url}/v5/account/info", headers=signed("")).json()["retCode"] == 0


def test_a_fault_layer_can_lose_the_answer_to_an_order_that_was_made(
    serve: Callable[..., AbstractContextManager[PaperExchange]],
) -> None:
    class LostAnswers(NoFaults):
        def of_request(self, method: str, path: str, account: str) -> Fault:
            return Fault(lose_answer=path == "/v5/order/create")

    body = (
        '{"category":"linear","symbol":"BTCUSDT","side":"Buy","orderType":"Market","qty":"0.01","orderLinkId":"lost"}'
    )
    with serve(faults=LostAnswers()) as exchange:
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{exchange.rest_url}/v5/order/create", content=body, headers=signed(body))
        query = "category=linear&orderLinkId=lost"
        answer = httpx.get(f"{exchange.rest_url}/v5/order/realtime?{query}", headers=signed(query))
        assert [row["orderLinkId"] for row in answer.json()["result"]["list"]] == ["lost"]


def test_a_deposit_shows_in_wallet_transactions_and_books(exchange: PaperExchange) -> None:
    before = httpx.get(f"{exchange.rest_url}/paper/books").json()["accounts"]["second"]["totals"]
    answer = httpx.post(f"{exchange.rest_url}/paper/deposit", json={"account": "second", "amount": "12.5"})
    assert float(answer.json()["wallet"]) == float(before["wallet"]) + 12.5
    books = httpx.get(f"{exchange.rest_url}/paper/books").json()["accounts"]["second"]
    assert (books["transactions"][-1]["type"], books["transactions"][-1]["change"]) == ("TRANSFER_IN", "12.5")
    for bad in ({"account": "nobody", "amount": "1"}, {"account": "main", "amount": "much"}, []):
        assert httpx.post(f"{exchange.rest_url}/paper/deposit", json=bad).status_code == 400


def test_a_stopped_exchange_frees_its_port(serve: Callable[..., AbstractContextManager[PaperExchange]]) -> None:
    with serve() as exchange:
        port = int(exchange.rest_url.rpartition(":")[2])
    with serve(port=port) as exchange:
        assert exchange.rest_url.endswith(str(port))
