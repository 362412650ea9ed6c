"""The client against a real HTTP server: what goes over the wire, and what each fault becomes."""

import asyncio
import hashlib
import hmac
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr

from breakwater_bybit.budget import Lease, Priority, ProcessBudget
from breakwater_bybit.client import BybitClient
from breakwater_bybit.errors import (
    ClockSkew,
    CredentialError,
    DuplicateOrderLinkId,
    ExchangeError,
    IpBanned,
    NotSent,
    RateLimited,
    Rejected,
    Unavailable,
    UnknownOutcome,
)
from breakwater_bybit.fields import MalformedPayload
from breakwater_bybit.model import Interval
from breakwater_core.errors import InvalidInputError
from breakwater_core.events import OrderStatus, Side

LINK = "bw-0123456789abcdef0123456789abcdef"
ORDER = {
    "symbol": "BTCUSDT",
    "orderId": "o-1",
    "orderLinkId": LINK,
    "side": "Buy",
    "orderType": "Market",
    "orderStatus": "Filled",
    "qty": "0.5",
    "cumExecQty": "0.5",
    "avgPrice": "100",
    "createdTime": "1",
    "updatedTime": "2",
}


def _execution(number: int, time_ms: int, link: str = LINK) -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT",
        "execId": f"e-{number}",
        "orderId": "o-1",
        "orderLinkId": link,
        "side": "Buy",
        "execQty": "1",
        "execPrice": "100",
        "execFee": "0.1",
        "execType": "Trade",
        "execTime": str(time_ms),
    }


@pytest.fixture
async def client(exchange: Any, key: str, secret: str) -> AsyncIterator[BybitClient]:
    async with BybitClient(exchange.url, api_key=SecretStr(key), api_secret=secret + "\n", timeout_s=0.5) as client:
        yield client


async def _place(client: BybitClient, **changes: Any) -> Any:
    order = {
        "symbol": "BTCUSDT",
        "side": Side.BUY,
        "quantity": Decimal("1E-7"),
        "order_link_id": LINK,
        "reduce_only": False,
    }
    return await client.place_market_order(**(order | changes))


def _is_signed(request: Any, key: str, secret: str) -> bool:
    payload = request.body.decode() if request.method == "POST" else request.raw_query
    headers = request.headers
    text = headers["x-bapi-timestamp"] + key + headers["x-bapi-recv-window"] + payload
    signature = hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
    return headers["x-bapi-sign"] == signature and headers["x-bapi-api-key"] == key


async def test_market_order_goes_out_as_plain_decimals_signed_and_once(
    exchange: Any, say: Any, client: BybitClient, key: str, secret: str
) -> None:
    exchange.script.append(say({"orderId": "o-1", "orderLinkId": LINK}))
    ack = await _place(client, reduce_only=True)
    assert (ack.order_id, ack.order_link_id) == ("o-1", LINK)
    (request,) = exchange.received
    assert (request.method, request.path) == ("POST", "/v5/order/create")
    assert request.json == {
        "category": "linear",
        "symbol": "BTCUSDT",
        "side": "Buy",
        "orderType": "Market",
        "qty": "0.0000001",
        "orderLinkId": LINK,
        "reduceOnly": True,
        "positionIdx": 0,
    }
    assert _is_signed(request, key, secret)


@pytest.mark.parametrize("change", [{"quantity": Decimal(0)}, {"quantity": Decimal("NaN")}, {"order_link_id": "a b"}])
async def test_absurd_order_is_not_sent(exchange: Any, client: BybitClient, change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        await _place(client, **change)
    assert exchange.received == []


async def test_queries_are_signed_over_exactly_what_is_sent(
    exchange: Any, say: Any, client: BybitClient, key: str, secret: str
) -> None:
    cursor = "132766%3A2%2C132766%3A2%2Dx"  # an escape that HTTP libraries like to rewrite
    exchange.script.extend(
        [say({"list": [_execution(2, 20)], "nextPageCursor": cursor}), say({"list": [], "nextPageCursor": cursor})]
    )
    assert len(await client.executions(start_ms=0, end_ms=100)) == 1
    assert [_is_signed(request, key, secret) for request in exchange.received] == [True, True]
    assert f"cursor={cursor}" in exchange.received[1].raw_query


async def test_stamps_are_per_call_across_threads(exchange: Any, say: Any, client: BybitClient) -> None:
    exchange.otherwise = lambda request: say({"orderId": "o", "orderLinkId": request.json["orderLinkId"]})
    stamps = {f"link-{number}": 1_600_000_000_000 + number for number in range(60)}
    acks = await asyncio.gather(*(_place(client, order_link_id=link, at_ms=stamp) for link, stamp in stamps.items()))
    assert [ack.order_link_id for ack in acks] == list(stamps)
    seen = {request.json["orderLinkId"]: int(request.headers["x-bapi-timestamp"]) for request in exchange.received}
    assert seen == stamps


async def test_stamp_of_a_replay_does_not_stick_to_the_connection(exchange: Any, key: str, secret: str) -> None:
    async with BybitClient(
        exchange.url, api_key=key, api_secret=secret, clock=lambda: 1_700_000_000_000, workers=1
    ) as client:
        await client.set_leverage("BTCUSDT", Decimal(2), at_ms=5)
        await client.set_leverage("BTCUSDT", Decimal(2))
    assert [request.headers["x-bapi-timestamp"] for request in exchange.received] == ["5", "1700000000000"]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"fault": "drop"}, UnknownOutcome),
        ({"fault": "hang"}, UnknownOutcome),
        ({"status": 500}, UnknownOutcome),
        ({"status": 502, "body": b"<html>bad gateway</html>"}, UnknownOutcome),
        ({"status": 429}, UnknownOutcome),
        ({"status": 403}, IpBanned),
        ({"status": 401}, CredentialError),
        ({"status": 404}, Rejected),
        ({"status": 302, "headers": {"Location": "/elsewhere"}}, UnknownOutcome),
        ({"body": b"not json"}, UnknownOutcome),
        ({"body": b"[]"}, UnknownOutcome),
        ({"body": b"{}"}, UnknownOutcome),
        ({"body": b'{"retCode": 0, "result": {}}'}, UnknownOutcome),
        ({"body": b'{"retCode": "110007", "retMsg": "ab not enough"}'}, Rejected),
    ],
    ids=str,
)
async def test_fault_on_an_order_has_its_class_and_is_not_repeated(
    exchange: Any, said: Any, client: BybitClient, fault: dict[str, Any], kind: type[ExchangeError]
) -> None:
    exchange.script.append(said(**fault))
    with pytest.raises(ExchangeError) as caught:
        await _place(client)
    assert type(caught.value) is kind
    assert [request.path for request in exchange.received] == ["/v5/order/create"]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (10000, UnknownOutcome),
        (10002, ClockSkew),
        (10006, RateLimited),
        (10016, UnknownOutcome),
        (110007, Rejected),
        (110072, DuplicateOrderLinkId),
    ],
)
async def test_codes_that_pybit_retries_or_hides_come_through_once(
    exchange: Any, say: Any, client: BybitClient, code: int, kind: type[ExchangeError]
) -> None:
    exchange.script.append(say(code=code, text="words", X_Bapi_Limit_Reset_Timestamp="1"))
    with pytest.raises(kind) as caught:
        await _place(client)
    assert caught.value.ret_code == code
    assert len(exchange.received) == 1


async def test_fault_on_a_query_is_only_unavailable(exchange: Any, said: Any, client: BybitClient) -> None:
    exchange.script.append(said(fault="drop"))
    with pytest.raises(Unavailable):
        await client.wallet()


async def test_refused_connection_is_definite(free_port: int, key: str, secret: str) -> None:
    async with BybitClient(f"http://127.0.0.1:{free_port}", api_key=key, api_secret=secret) as client:
        with pytest.raises(NotSent, match="no connection"):
            await _place(client)


async def test_signed_call_without_a_key_says_what_is_missing(exchange: Any) -> None:
    async with BybitClient(exchange.url) as client:
        with pytest.raises(CredentialError, match="set key and secret"):
            await client.wallet()
    assert exchange.received == []


async def test_order_is_sought_among_open_ones_then_in_the_history(
    exchange: Any, say: Any, client: BybitClient
) -> None:
    exchange.script.extend([say({"list": []}), say({"list": [ORDER | {"orderLinkId": "other"}, ORDER]})])
    order = await client.find_order("BTCUSDT", LINK, priority=Priority.EXIT)
    assert order is not None
    assert (order.status, order.order_link_id) == (OrderStatus.FILLED, LINK)
    assert [request.path for request in exchange.received] == ["/v5/order/realtime", "/v5/order/history"]
    assert exchange.received[0].query["orderLinkId"] == LINK
    exchange.script.extend([say({"list": []}), say({"list": []})])
    assert await client.find_order("BTCUSDT", LINK) is None


async def test_executions_come_oldest_first_over_pages_and_weeks(exchange: Any, say: Any, client: BybitClient) -> None:
    week = 7 * 86_400_000
    exchange.script.extend(
        [
            say({"list": [_execution(3, 30), _execution(2, 20)], "nextPageCursor": "c1"}),
            say({"list": [_execution(2, 20), _execution(1, 10)], "nextPageCursor": ""}),
            say({"list": [_execution(4, week + 5)]}),
        ]
    )
    found = await client.executions(start_ms=0, end_ms=week + 10)
    assert [execution.exec_id for execution in found] == ["e-1", "e-2", "e-3", "e-4"]
    ranges = [(int(r.query["startTime"]), int(r.query["endTime"])) for r in exchange.received]
    assert ranges == [(0, week - 1), (0, week - 1), (week, week + 10)]


async def test_fills_of_another_order_are_left_out(exchange: Any, say: Any, client: BybitClient) -> None:
    exchange.script.append(say({"list": [_execution(2, 20, link=""), _execution(1, 10)]}))
    assert [execution.exec_id for execution in await client.executions_of("BTCUSDT", LINK)] == ["e-1"]


async def test_list_ends_when_the_cursor_repeats(exchange: Any, say: Any, client: BybitClient) -> None:
    exchange.otherwise = lambda _: say({"list": [_execution(1, 10)], "nextPageCursor": "same"})
    assert len(await client.executions(start_ms=0, end_ms=10)) == 1
    assert len(exchange.received) == 2


async def test_instruments_are_paged_and_missing_ones_are_named(exchange: Any, say: Any, client: BybitClient) -> None:
    def row(symbol: str, contract: str = "LinearPerpetual") -> dict[str, Any]:
        return {
            "symbol": symbol,
            "contractType": contract,
            "leverageFilter": {"maxLeverage": "100"},
            "priceFilter": {"tickSize": "0.10"},
            "lotSizeFilter": {"maxOrderQty": "10", "minOrderQty": "0.001", "qtyStep": "0.001", "maxMktOrderQty": ""},
        }

    exchange.script.extend(
        [
            say({"list": [row("BTCUSDT"), row("BTCUSDT-26DEC25", "LinearFutures")], "nextPageCursor": "next"}),
            say({"list": [row("ETHUSDT")], "nextPageCursor": ""}),
        ]
    )
    found = await client.instruments()
    assert list(found) == ["BTCUSDT", "ETHUSDT"]
    assert found["BTCUSDT"].max_market_quantity == 10
    exchange.script.append(say({"list": []}))
    with pytest.raises(InvalidInputError, match="NOPEUSDT"):
        await client.instruments(["NOPEUSDT"])


@pytest.mark.parametrize("counts_from_the_start", [True, False], ids=["from-the-start", "from-the-end"])
@pytest.mark.parametrize("end_ms", [None, 2399 * 60_000], ids=["until-now", "until-then"])
async def test_long_candle_range_is_fetched_in_pages_and_joined(
    exchange: Any, say: Any, client: BybitClient, end_ms: int | None, counts_from_the_start: bool
) -> None:
    def answer(request: Any) -> Any:
        start, end = int(request.query["start"]), int(request.query.get("end", 2499 * 60_000))
        begins = [begin for begin in range(0, 2500 * 60_000, 60_000) if start <= begin <= end]
        is_from_start = counts_from_the_start and "end" not in request.query
        begins = begins[:1000] if is_from_start else begins[-1000:]
        return say({"list": [[str(begin), *["1"] * 6] for begin in reversed(begins)]})

    exchange.otherwise = answer
    candles = await client.candles("BTCUSDT", Interval.MINUTE, start_ms=0, end_ms=end_ms)
    count = 2500 if end_ms is None else 2400
    assert [candle.start_ms for candle in candles] == list(range(0, count * 60_000, 60_000))
    assert len(exchange.received) <= 4


async def test_candles_need_a_limit_or_a_start(client: BybitClient) -> None:
    with pytest.raises(InvalidInputError):
        await client.daily_candles("BTCUSDT")


async def test_setting_that_is_as_wanted_counts_as_success(exchange: Any, say: Any, client: BybitClient) -> None:
    exchange.script.extend(
        [
            say(code=110043, text="leverage not modified"),
            say(),
            say(code=110025, text="Position mode is not modified"),
        ]
    )
    assert not await client.set_leverage("BTCUSDT", Decimal("2.0"))
    assert await client.set_leverage("BTCUSDT", Decimal("2.0"))
    assert not await client.switch_position_mode()
    assert exchange.received[0].json["buyLeverage"] == exchange.received[0].json["sellLeverage"] == "2"
    assert exchange.received[2].json == {"category": "linear", "mode": 0, "coin": "USDT"}


async def test_cancel_of_an_order_that_is_gone_is_no_error(exchange: Any, say: Any, client: BybitClient) -> None:
    exchange.script.extend([say(code=110001, text="order not exists or too late to cancel"), say({"orderId": "o"})])
    assert not await client.cancel_order("BTCUSDT", LINK)
    assert await client.cancel_order("BTCUSDT", LINK)


async def test_account_calls_return_typed_values(exchange: Any, say: Any, client: BybitClient) -> None:
    position = {"symbol": "BTCUSDT", "size": "0", "side": "", "avgPrice": "0", "positionIdx": 0}
    coin = {"coin": "USDT", "equity": "10", "walletBalance": "9"}
    transfer = {"id": "1", "type": "TRANSFER_IN", "currency": "USDT", "change": "5", "transactionTime": "3"}
    answers: dict[str, Any] = {
        "/v5/market/time": {"timeNano": "1700000000123456789"},
        "/v5/position/list": {"list": [position]},
        "/v5/account/wallet-balance": {"list": [{"coin": [coin]}]},
        "/v5/account/transaction-log": {"list": [transfer]},
        "/v5/account/fee-rate": {"list": [{"symbol": "BTCUSDT", "takerFeeRate": "0.00055", "makerFeeRate": "0"}]},
        "/v5/account/info": {"marginMode": "REGULAR_MARGIN", "unifiedMarginStatus": 6},
        "/v5/order/cancel-all": {"list": [{"orderId": "o", "orderLinkId": LINK}], "success": "1"},
        "/v5/order/realtime": {"list": [ORDER | {"orderStatus": "New"}]},
        "/v5/market/tickers": {"list": [{"symbol": "BTCUSDT", "lastPrice": "5"}]},
        "/v5/market/funding/history": {
            "list": [{"symbol": "BTCUSDT", "fundingRate": "0.0001", "fundingRateTimestamp": "7"}]
        },
        "/v5/market/recent-trade": {"list": []},
        "/v5/user/query-api": {"readOnly": 0, "permissions": {}, "userID": 5, "deadlineDay": 10},
    }
    exchange.otherwise = lambda request: say(answers[request.path])
    assert await client.server_time_ms() == 1_700_000_000_123
    assert (await client.position("BTCUSDT")).is_flat
    assert await client.positions() == []
    assert (await client.wallet()).unrealised_pnl == 1
    assert [entry.is_transfer for entry in await client.transaction_log(start_ms=0, end_ms=9)] == [True]
    assert (await client.fee_rate("BTCUSDT")).taker == Decimal("0.00055")
    assert (await client.account_info()).is_cross_margin
    assert [ack.order_link_id for ack in await client.cancel_all()] == [LINK]
    assert [order.status for order in await client.open_orders()] == [OrderStatus.SUBMITTED]
    assert (await client.tickers("BTCUSDT"))["BTCUSDT"].last_price == 5.0
    assert [rate.time_ms for rate in await client.funding_history("BTCUSDT", start_ms=0, end_ms=9)] == [7]
    assert len(await client.recent_trades("BTCUSDT")) == 0
    assert (await client.key_information()).deadline_day == 10
    with pytest.raises(MalformedPayload, match="ETHUSDT"):
        await client.fee_rate("ETHUSDT")


async def test_connection_is_kept_and_reused(exchange: Any, client: BybitClient) -> None:
    for _ in range(20):
        await client.set_leverage("BTCUSDT", Decimal(2))
    assert len({request.connection for request in exchange.received}) == 1


async def test_slow_queries_do_not_hold_up_an_exit(exchange: Any, say: Any, said: Any, key: str, secret: str) -> None:
    exchange.otherwise = lambda request: (
        say({"orderId": "o", "orderLinkId": LINK}) if request.method == "POST" else said(fault="hang")
    )
    async with BybitClient(exchange.url, api_key=key, api_secret=secret, timeout_s=2, workers=1) as client:
        queries = [asyncio.create_task(client.wallet()) for _ in range(4)]
        ack = await asyncio.wait_for(_place(client, reduce_only=True), 1)
        assert ack.order_id == "o"
        exchange.released.set()
        outcomes = await asyncio.gather(*queries, return_exceptions=True)
    assert all(isinstance(outcome, Unavailable | NotSent) for outcome in outcomes)


async def test_request_that_never_left_the_queue_is_known_not_to_be_sent(
    exchange: Any, said: Any, key: str, secret: str
) -> None:
    exchange.otherwise = lambda _: said(fault="hang")
    async with BybitClient(exchange.url, api_key=key, api_secret=secret, timeout_s=0.4, workers=1) as client:
        outcomes = await asyncio.gather(*(_place(client) for _ in range(8)), return_exceptions=True)
    kinds = [type(outcome) for outcome in outcomes]
    assert set(kinds) == {UnknownOutcome, NotSent}
    assert kinds.count(UnknownOutcome) == len(exchange.received)


async def test_ban_stops_every_further_request(exchange: Any, said: Any, key: str, secret: str) -> None:
    exchange.script.append(said(status=403))
    async with BybitClient(exchange.url, api_key=key, api_secret=secret, budget=ProcessBudget()) as client:
        for _ in range(3):
            with pytest.raises(IpBanned):
                await client.wallet()
    assert len(exchange.received) == 1


class SlowBudget:
    """Lets nobody go before it is told to, and says that the first leases are late."""

    def __init__(self, late: int = 0) -> None:
        self.opened = asyncio.Event()
        self.taken = 0
        self._late = late

    @asynccontextmanager
    async def take(self, endpoint: str, uid: str, priority: Priority) -> AsyncIterator[Lease]:
        await self.opened.wait()
        self.taken += 1
        yield _FixedLease(is_late=self.taken <= self._late)


@dataclass(frozen=True)
class _FixedLease:
    is_late: bool

    def report(self, *, headers: Mapping[str, str], ret_code: int | None, http_status: int | None) -> None: ...


async def test_an_order_whose_time_is_over_while_it_waits_for_leave_is_not_sent_and_takes_none(
    exchange: Any, key: str, secret: str
) -> None:
    budget = SlowBudget()
    async with BybitClient(exchange.url, api_key=key, api_secret=secret, budget=budget) as client:
        with pytest.raises(NotSent, match="turn"):
            await client.place_market_order(
                symbol="BTCUSDT",
                side=Side.BUY,
                quantity=Decimal(1),
                order_link_id=LINK,
                reduce_only=False,
                send_by_s=time.monotonic() + 0.05,
            )
    assert budget.taken == 0
    assert exchange.received == []


async def test_a_request_whose_leave_is_late_takes_another_one_and_is_sent_once(
    exchange: Any, key: str, secret: str
) -> None:
    budget = SlowBudget(late=2)
    budget.opened.set()
    async with BybitClient(exchange.url, api_key=key, api_secret=secret, budget=budget) as client:
        await client.set_leverage("BTCUSDT", Decimal(2))
    assert budget.taken == 3
    assert len(exchange.received) == 1


async def test_client_leaves_no_thread_and_refuses_after_closing(exchange: Any, key: str, secret: str) -> None:
    before = {thread for thread in threading.enumerate() if thread.name.startswith("bybit-")}
    client = BybitClient(exchange.url, api_key=key, api_secret=secret)
    await client.set_leverage("BTCUSDT", Decimal(2))
    workers = {thread for thread in threading.enumerate() if thread.name.startswith("bybit-")} - before
    assert workers
    await client.close()
    for thread in workers:
        thread.join(2)
    assert not any(thread.is_alive() for thread in workers)
    with pytest.raises(NotSent, match="closed"):
        await client.wallet()


@pytest.mark.parametrize("change", [{"endpoint": "api.bybit.com"}, {"timeout_s": 0}, {"workers": 0}])
def test_absurd_settings_are_refused(change: dict[str, Any]) -> None:
    settings: dict[str, Any] = {"endpoint": "http://127.0.0.1:1"} | change
    make: Callable[..., BybitClient] = BybitClient
    with pytest.raises(InvalidInputError):
        make(settings.pop("endpoint"), **settings)
