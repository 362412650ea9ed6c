"""The REST API as the real pybit client sees it."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any

import pytest
from pybit.exceptions import FailedRequestError, InvalidRequestError
from pybit.unified_trading import HTTP

from paper_exchange_service.engine.candles import DAY_MS
from paper_exchange_service.server import PaperExchange

LINEAR = {"category": "linear", "symbol": "BTCUSDT"}


def client_of(exchange: PaperExchange, key: str = "test-key", secret: str = "test-secret", **values: Any) -> HTTP:
    client = HTTP(api_key=key, api_secret=secret, retry_codes={-1}, **values)
    client.endpoint = exchange.rest_url
    return client


@pytest.fixture
def client(exchange: PaperExchange) -> Iterator[HTTP]:
    made = client_of(exchange)
    yield made
    made.cancel_all_orders(category="linear", settleCoin="USDT")
    for row in made.get_positions(category="linear", settleCoin="USDT")["result"]["list"]:
        side = "Sell" if row["side"] == "Buy" else "Buy"
        order = made.place_order(
            category="linear",
            symbol=row["symbol"],
            side=side,
            orderType="Market",
            qty="0",
            reduceOnly=True,
            closeOnTrigger=True,
        )
        settled(made, order["result"]["orderId"])
    made.client.close()


def rows(answer: dict[str, Any]) -> list[Any]:
    assert answer["retCode"] == 0
    return answer["result"]["list"]


def settled(client: HTTP, order_id: str) -> dict[str, Any]:
    """Poll an order until it is closed, as a client has to."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        (order,) = rows(client.get_open_orders(**LINEAR, orderId=order_id))
        if order["orderStatus"] in {"Filled", "Cancelled", "Rejected"}:
            return order
    raise AssertionError(f"order {order_id} is still {order['orderStatus']}")


def buy(client: HTTP, quantity: str = "0.01", **values: Any) -> dict[str, Any]:
    wanted = {"side": "Buy", "orderType": "Market", "qty": quantity, **values}
    return client.place_order(**LINEAR, **wanted)["result"]


def code_of(call: Callable[[], Any]) -> int:
    with pytest.raises(InvalidRequestError) as caught:
        call()
    return caught.value.status_code


def test_market_data_has_the_shapes_that_clients_read(client: HTTP) -> None:
    assert abs(int(client.get_server_time()["result"]["timeSecond"]) - time.time()) < 5
    (instrument,) = rows(client.get_instruments_info(**LINEAR))
    assert (instrument["lotSizeFilter"]["qtyStep"], instrument["priceFilter"]["tickSize"]) == ("0.001", "0.1")
    assert {row["symbol"] for row in rows(client.get_instruments_info(category="linear"))} == {"BTCUSDT", "ETHUSDT"}
    assert [rows(client.get_instruments_info(category=name)) for name in ("spot", "inverse", "option")] == [[], [], []]
    (ticker,) = rows(client.get_tickers(**LINEAR))
    assert 30_000 <= float(ticker["lastPrice"]) <= 30_010
    assert float(ticker["bid1Price"]) < float(ticker["ask1Price"])
    book = client.get_orderbook(**LINEAR, limit=50)["result"]
    assert len(book["b"]) == len(book["a"]) == 50
    trades = rows(client.get_public_trade_history(**LINEAR, limit=1000))
    assert [row["time"] for row in trades] == sorted((row["time"] for row in trades), reverse=True)
    assert len({row["execId"] for row in trades}) == 1000
    (limits,) = [client.get_price_limit(symbol="BTCUSDT")["result"]]
    assert float(limits["sellLmt"]) < 30_000 < float(limits["buyLmt"])
    assert rows(client.get_risk_limit(**LINEAR))[0]["maintenanceMargin"] == "0.005"
    funding = rows(client.get_funding_rate_history(**LINEAR))
    assert {row["fundingRate"] for row in funding} == {"0.0001"}
    assert all(int(row["fundingRateTimestamp"]) % (8 * 3_600_000) == 0 for row in funding)


@pytest.mark.parametrize("interval", ["1", "60", "D", "W", "M"])
def test_candles_of_every_interval_come_newest_first(client: HTTP, interval: str) -> None:
    bars = rows(client.get_kline(**LINEAR, interval=interval, limit=3))
    starts = [int(bar[0]) for bar in bars]
    assert starts == sorted(starts, reverse=True)
    assert all(float(bar[3]) <= float(bar[4]) <= float(bar[2]) for bar in bars)


def test_daily_candles_cover_history_and_the_running_day(client: HTTP) -> None:
    bars = rows(client.get_kline(**LINEAR, interval="D"))
    today = int(time.time() * 1000) // DAY_MS * DAY_MS
    assert [int(bar[0]) for bar in bars] == [today, today - DAY_MS, today - 2 * DAY_MS]
    assert bars[1][1:5] == ["30000", "30009.9", "30000", "30009.9"]


def test_a_market_order_is_acknowledged_then_filled_with_fee_position_and_wallet(client: HTTP) -> None:
    before = Decimal(rows(client.get_wallet_balance(accountType="UNIFIED"))[0]["totalWalletBalance"])
    link = uuid.uuid4().hex
    order = settled(client, buy(client, orderLinkId=link)["orderId"])
    assert (order["orderStatus"], order["cumExecQty"], order["timeInForce"]) == ("Filled", "0.01", "IOC")
    (fill,) = rows(client.get_executions(category="linear", orderLinkId=link))
    assert Decimal(fill["execFee"]) == Decimal(fill["execValue"]) * Decimal("0.00055")
    assert fill["execPrice"] == order["avgPrice"]
    (position,) = rows(client.get_positions(**LINEAR))
    assert (position["side"], position["size"], position["avgPrice"]) == ("Buy", "0.01", fill["execPrice"])
    after = Decimal(rows(client.get_wallet_balance(accountType="UNIFIED"))[0]["totalWalletBalance"])
    assert after == before - Decimal(fill["execFee"])
    entry = rows(client.get_transaction_log(category="linear"))[0]
    assert (entry["type"], Decimal(entry["cashBalance"])) == ("TRADE", after)


def test_closing_realises_the_result_and_leaves_a_flat_row(client: HTTP) -> None:
    opened = settled(client, buy(client)["orderId"])
    closed = settled(client, buy(client, side="Sell", reduceOnly=True)["orderId"])
    (position,) = rows(client.get_positions(**LINEAR))
    assert (position["size"], position["side"], position["avgPrice"]) == ("0", "", "0")
    assert rows(client.get_positions(category="linear", settleCoin="USDT")) == []
    entry = rows(client.get_closed_pnl(**LINEAR))[0]
    fees = Decimal(opened["cumExecFee"]) + Decimal(closed["cumExecFee"])
    gained = Decimal(closed["cumExecValue"]) - Decimal(opened["cumExecValue"])
    assert Decimal(entry["closedPnl"]) == (gained - fees).quantize(Decimal("1e-8"))


def test_an_open_order_is_listed_amended_and_cancelled(client: HTTP) -> None:
    order_id = buy(client, orderType="Limit", price="29000")["orderId"]
    assert [row["orderId"] for row in rows(client.get_open_orders(**LINEAR))] == [order_id]
    client.amend_order(**LINEAR, orderId=order_id, price="28999.5", qty="0.02")
    (row,) = rows(client.get_open_orders(**LINEAR))
    assert (row["price"], row["qty"], row["orderStatus"]) == ("28999.5", "0.02", "New")
    client.cancel_order(**LINEAR, orderId=order_id)
    assert rows(client.get_open_orders(**LINEAR)) == []
    (closed,) = rows(client.get_order_history(**LINEAR, orderId=order_id))
    assert (closed["orderStatus"], closed["cancelType"]) == ("Cancelled", "CancelByUser")
    assert code_of(lambda: client.cancel_order(**LINEAR, orderId=order_id)) == 110001
    assert code_of(lambda: client.amend_order(**LINEAR, orderId=order_id, price="29000.5")) == 110001


def test_a_batch_answers_item_by_item(client: HTTP) -> None:
    wanted = {"symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "29000"}
    answer = client.place_batch_order(category="linear", request=[wanted, wanted | {"qty": "0.0001"}])
    assert [item["code"] for item in answer["retExtInfo"]["list"]] == [0, 10001]
    first, second = rows(answer)
    assert first["orderId"]
    assert second["orderId"] == ""
    gone = client.cancel_batch_order(
        category="linear", request=[{"symbol": "BTCUSDT", "orderId": first["orderId"]}] * 2
    )
    assert [item["code"] for item in gone["retExtInfo"]["list"]] == [0, 110001]


def test_cancel_all_needs_a_scope_and_cancels_everything_in_it(client: HTTP) -> None:
    ids = {buy(client, orderType="Limit", price=price)["orderId"] for price in ("29000", "29001")}
    assert code_of(lambda: client.cancel_all_orders(category="linear")) == 10001
    answer = client.cancel_all_orders(category="linear", settleCoin="USDT")
    assert {row["orderId"] for row in rows(answer)} == ids


def test_history_is_paged_by_cursor_without_gap_or_repeat(client: HTTP) -> None:
    wanted = [settled(client, buy(client, "0.001")["orderId"])["orderId"] for _ in range(5)]
    found: list[str] = []
    cursor = None
    while len(found) < 5:
        answer = client.get_order_history(**LINEAR, limit=2, cursor=cursor)
        found += [row["orderId"] for row in rows(answer)]
        cursor = answer["result"]["nextPageCursor"]
    assert found[:5] == wanted[::-1]


def test_a_lost_answer_can_be_settled_by_the_order_link_id(client: HTTP) -> None:
    link = uuid.uuid4().hex
    assert rows(client.get_open_orders(**LINEAR, orderLinkId=link)) == []
    order_id = buy(client, orderLinkId=link)["orderId"]
    assert code_of(lambda: buy(client, orderLinkId=link)) == 110072
    settled(client, order_id)
    for answer in (
        client.get_open_orders(**LINEAR, orderLinkId=link),
        client.get_order_history(**LINEAR, orderLinkId=link),
    ):
        assert [row["orderId"] for row in rows(answer)] == [order_id]


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"qty": "1e-3"}, 10001),
        ({"qty": "-1"}, 10001),
        ({"qty": "0.0015"}, 10001),
        ({"side": "Long"}, 10001),
        ({"orderType": "Stop"}, 10001),
        ({"orderType": "Limit"}, 10001),
        ({"orderType": "Limit", "price": "29000.05"}, 10001),
        ({"symbol": "NOSUCHUSDT"}, 10001),
        ({"category": "spot"}, 10001),
        ({"positionIdx": 2}, 10001),
        ({"orderLinkId": "x" * 37}, 10001),
        ({"orderLinkId": "not allowed"}, 10001),
        ({"triggerPrice": "31000"}, 10001),
        ({"reduceOnly": True}, 110017),
        ({"qty": "100"}, 110007),
        ({"orderType": "Limit", "price": "100", "qty": "0.001"}, 110094),
        ({"triggerPrice": "1000", "triggerDirection": 1}, 110092),
        ({"triggerPrice": "90000", "triggerDirection": 2}, 110093),
    ],
)
def test_a_bad_order_is_refused_with_bybits_code(client: HTTP, values: dict[str, Any], code: int) -> None:
    wanted = LINEAR | {"side": "Buy", "orderType": "Market", "qty": "0.01"} | values
    assert code_of(lambda: client.place_order(**wanted)) == code


def test_leverage_and_position_mode_say_when_nothing_changes(client: HTTP) -> None:
    def set_leverage(value: str) -> Any:
        return client.set_leverage(**LINEAR, buyLeverage=value, sellLeverage=value)

    set_leverage("7")
    assert code_of(lambda: set_leverage("7")) == 110043
    assert code_of(lambda: set_leverage("101")) == 110013
    assert code_of(lambda: client.switch_position_mode(category="linear", symbol="BTCUSDT", mode=0)) == 110025
    set_leverage("10")


def test_a_trading_stop_is_set_shown_and_gone_with_the_position(client: HTTP) -> None:
    settled(client, buy(client)["orderId"])
    client.set_trading_stop(**LINEAR, takeProfit="31000", stopLoss="29000", positionIdx=0)
    (position,) = rows(client.get_positions(**LINEAR))
    assert (position["takeProfit"], position["stopLoss"]) == ("31000", "29000")
    assert {row["stopOrderType"] for row in rows(client.get_open_orders(**LINEAR))} == {"TakeProfit", "StopLoss"}
    settled(client, buy(client, side="Sell", reduceOnly=True)["orderId"])
    assert rows(client.get_open_orders(**LINEAR)) == []


def test_the_key_the_account_and_the_fees_are_told(client: HTTP) -> None:
    key = client.get_api_key_information()["result"]
    assert (key["readOnly"], key["permissions"]["ContractTrade"], key["uta"]) == (0, ["Order", "Position"], 1)
    assert client.get_account_info()["result"]["marginMode"] == "REGULAR_MARGIN"
    (fees,) = rows(client.get_fee_rates(**LINEAR))
    assert (fees["takerFeeRate"], fees["makerFeeRate"]) == ("0.00055", "0.0002")


def test_accounts_do_not_see_each_other(exchange: PaperExchange, client: HTTP) -> None:
    order_id = buy(client, orderType="Limit", price="29000")["orderId"]
    other = client_of(exchange, "second-key")
    assert rows(other.get_open_orders(**LINEAR)) == []
    assert code_of(lambda: other.cancel_order(**LINEAR, orderId=order_id)) == 110001


def test_a_wrong_key_a_wrong_secret_and_a_wrong_clock_have_their_codes(
    exchange: PaperExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert code_of(client_of(exchange, "other").get_account_info) == 10003
    with pytest.raises(InvalidRequestError, match=r"error sign! origin_string\[\d+test-key5000") as caught:
        client_of(exchange, secret="other").get_account_info()
    assert caught.value.status_code == 10004
    for offset_ms in (-6_000, 2_000):
        monkeypatch.setattr(
            "pybit._helpers.generate_timestamp", lambda offset=offset_ms: int(time.time() * 1000) + offset
        )
        with pytest.raises(
            InvalidRequestError, match=r"req_timestamp\[\d+\],server_timestamp\[\d+\],recv_window\[5000\]"
        ) as late:
            client_of(exchange).get_account_info()
        assert late.value.status_code == 10002


def test_keys_that_are_read_only_bound_or_expired_are_refused(
    serve: Callable[..., AbstractContextManager[PaperExchange]], make_account: Callable[..., Any]
) -> None:
    accounts = (
        make_account("reader", "reader", read_only=True),
        make_account("bound", "bound", ips=("10.1.2.3",)),
        make_account("old", "old", expires_ms=1_000),
        make_account("orders", "orders", permissions=("Order",)),
    )
    with serve(accounts=accounts) as exchange:
        reader = client_of(exchange, "reader")
        assert reader.get_api_key_information()["result"]["readOnly"] == 1
        assert code_of(lambda: buy(reader)) == 10005
        assert code_of(client_of(exchange, "bound").get_account_info) == 10010
        assert code_of(client_of(exchange, "old").get_account_info) == 33004
        assert (
            code_of(lambda: client_of(exchange, "orders").set_leverage(**LINEAR, buyLeverage="3", sellLeverage="3"))
            == 10005
        )


def test_limits_show_in_headers_and_the_eleventh_order_within_a_second_is_refused(
    serve: Callable[..., AbstractContextManager[PaperExchange]],
) -> None:
    with serve(rate_limits=True) as exchange:
        client = client_of(exchange, return_response_headers=True)
        wanted = LINEAR | {"side": "Buy", "orderType": "Limit", "price": "29000", "qty": "0.001"}
        for left in range(9, -1, -1):
            _, _, headers = client.place_order(**wanted)
            assert (headers["X-Bapi-Limit"], headers["X-Bapi-Limit-Status"]) == ("10", str(left))
        with pytest.raises(InvalidRequestError) as caught:
            client.place_order(**wanted)
        assert caught.value.status_code == 10006
        reset_ms = int(caught.value.resp_headers["X-Bapi-Limit-Reset-Timestamp"])
        assert 0 < reset_ms - time.time() * 1000 <= 1_000
        batch = [wanted] * 12
        answer, _, _ = client.place_batch_order(category="linear", request=batch)
        assert [item["code"] for item in answer["retExtInfo"]["list"]] == [0] * 10 + [10006] * 2


def test_an_address_that_asks_too_often_meets_403(serve: Callable[..., AbstractContextManager[PaperExchange]]) -> None:
    with serve(rate_limits=True) as exchange:
        client = client_of(exchange)
        for _ in range(600):
            client.get_server_time()
        with pytest.raises(FailedRequestError) as caught:
            client.get_server_time()
        assert caught.value.status_code == 403
