"""Replay over the wire: orders match as of their stamp, answers wait for the feed, arrival order does not matter."""

import asyncio
import hashlib
import hmac
import itertools
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.asyncio.client import connect

from breakwater_core.market import TradeBatch
from breakwater_core.venue_rules import FUNDING_INTERVAL_MS
from paper_exchange_service.engine.markets import Costs
from paper_exchange_service.server import PaperExchange
from paper_exchange_service.venue import wall_clock_ms

DAY_MS = 1_688_169_600_000  # 2023-07-01T00:00Z
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
Replayed = Callable[..., PaperExchange]


class Client:
    """A client whose requests carry event time."""

    def __init__(self, exchange: PaperExchange) -> None:
        self.http = httpx.AsyncClient(base_url=exchange.rest_url, timeout=30)

    async def send(self, method: str, path: str, at_ms: int, **values: Any) -> dict[str, Any]:
        query = "&".join(f"{name}={value}" for name, value in values.items()) if method == "GET" else ""
        payload = query if method == "GET" else json.dumps(values)
        sign = hmac.new(b"test-secret", f"{at_ms}test-key5000{payload}".encode(), hashlib.sha256).hexdigest()
        headers = {
            "X-BAPI-API-KEY": "test-key",
            "X-BAPI-TIMESTAMP": str(at_ms),
            "X-BAPI-RECV-WINDOW": "5000",
            "X-BAPI-SIGN": sign,
        }
        url = f"/v5/{path}?{query}" if query else f"/v5/{path}"
        answer = await self.http.request(method, url, headers=headers, content=None if method == "GET" else payload)
        body = answer.json()
        assert body["retCode"] == 0, body
        return body["result"]

    async def order(
        self, at_ms: int, symbol: str, side: str, quantity: str, link: str, **values: Any
    ) -> dict[str, Any]:
        return await self.send(
            "POST",
            "order/create",
            at_ms,
            category="linear",
            symbol=symbol,
            side=side,
            orderType="Market",
            qty=quantity,
            orderLinkId=link,
            **values,
        )

    async def found(self, at_ms: int, link: str) -> dict[str, Any]:
        result = await self.send("GET", "order/realtime", at_ms, category="linear", orderLinkId=link)
        return result["list"][0]


def ticks(symbol: str, start_ms: int, end_ms: int, first: float = 30_000.0) -> TradeBatch:
    """A trade every 100 ms whose price tells its time: `first` + 0.1 for each of them since the day began."""
    times = np.arange(start_ms, end_ms, 100, dtype=np.int64)
    prices = np.round(first + (times - DAY_MS) // 100 * 0.1, 1)
    return TradeBatch(symbol, times, prices, np.ones(times.size), np.ones(times.size, dtype=np.int8))


def feed(exchange: PaperExchange, start_ms: int, end_ms: int, now_ms: int) -> None:
    for symbol in SYMBOLS:
        exchange.replay.feed_trades(ticks(symbol, start_ms, end_ms))
    exchange.replay.feed_clock(end_ms, now_ms)


async def test_an_order_matches_as_of_its_stamp_and_latency_and_is_filled_when_acknowledged(replayed: Replayed) -> None:
    async with replayed(costs=Costs(slippage_ratio=Decimal(0), latency_ms=250)) as exchange:
        client = Client(exchange)
        feed(exchange, DAY_MS, DAY_MS + 60_000, DAY_MS + 30_000)
        await client.order(DAY_MS + 1_000, "BTCUSDT", "Buy", "0.1", "first")
        order = await client.found(DAY_MS + 1_000, "first")
        assert (order["orderStatus"], order["avgPrice"], order["updatedTime"]) == (
            "Filled",
            "30001.2",
            str(DAY_MS + 1_250),
        )
        fills = await client.send("GET", "execution/list", DAY_MS + 1_000, category="linear", orderLinkId="first")
        assert fills["list"][0]["execTime"] == str(DAY_MS + 1_250)


async def test_an_order_waits_until_the_feed_has_passed_its_matching_time(replayed: Replayed) -> None:
    async with replayed() as exchange:
        client = Client(exchange)
        feed(exchange, DAY_MS, DAY_MS + 1_000, DAY_MS)
        waiting = asyncio.create_task(client.order(DAY_MS + 950, "BTCUSDT", "Buy", "0.1", "early"))
        await client.send("GET", "order/realtime", DAY_MS + 950, category="linear", settleCoin="USDT")
        assert not waiting.done()
        feed(exchange, DAY_MS + 1_000, DAY_MS + 2_000, DAY_MS + 1_000)
        await waiting
        assert (await client.found(DAY_MS + 950, "early"))["avgPrice"] == "30004.1"


async def test_the_end_of_the_run_releases_what_waits(replayed: Replayed) -> None:
    async with replayed() as exchange:
        client = Client(exchange)
        feed(exchange, DAY_MS, DAY_MS + 1_000, DAY_MS)
        waiting = asyncio.create_task(client.order(DAY_MS + 5_000, "BTCUSDT", "Buy", "0.1", "last"))
        await client.send("GET", "order/realtime", DAY_MS, category="linear", settleCoin="USDT")
        exchange.replay.end()
        await waiting
        assert (await client.found(DAY_MS + 5_000, "last"))["orderStatus"] == "Filled"


async def test_a_request_that_still_waits_is_refused_when_the_exchange_stops(replayed: Replayed) -> None:
    exchange = replayed()
    async with exchange:
        client = Client(exchange)
        feed(exchange, DAY_MS, DAY_MS + 1_000, DAY_MS)
        waiting = asyncio.create_task(client.order(DAY_MS + 5_000, "BTCUSDT", "Buy", "0.1", "never"))
        await client.send("GET", "order/realtime", DAY_MS, category="linear", settleCoin="USDT")
    with pytest.raises((AssertionError, httpx.TransportError)):
        await waiting
    assert not exchange.engine.accounts["main"].orders


async def test_a_repeated_order_in_flight_is_made_once(replayed: Replayed) -> None:
    async with replayed() as exchange:
        client = Client(exchange)
        feed(exchange, DAY_MS, DAY_MS + 1_000, DAY_MS)
        twice = [asyncio.create_task(client.order(DAY_MS + 990, "BTCUSDT", "Buy", "0.1", "same")) for _ in range(2)]
        feed(exchange, DAY_MS + 1_000, DAY_MS + 2_000, DAY_MS + 1_000)
        outcomes = await asyncio.gather(*twice, return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["AssertionError", "dict"]
        assert len(exchange.engine.accounts["main"].orders) == 1


async def test_wallet_and_positions_are_valued_as_of_the_stamp(replayed: Replayed) -> None:
    costs = Costs(slippage_ratio=Decimal(0), latency_ms=0, taker_fee=Decimal(0))
    async with replayed(costs=costs) as exchange:
        client = Client(exchange)
        feed(exchange, DAY_MS, DAY_MS + 60_000, DAY_MS + 30_000)
        await client.order(DAY_MS, "BTCUSDT", "Buy", "1", "held")
        for seconds in (20, 10):
            at_ms = DAY_MS + seconds * 1_000
            (position,) = (await client.send("GET", "position/list", at_ms, category="linear", symbol="BTCUSDT"))[
                "list"
            ]
            assert (position["markPrice"], position["unrealisedPnl"]) == (str(30_000 + seconds), str(seconds))
            (wallet,) = (await client.send("GET", "account/wallet-balance", at_ms, accountType="UNIFIED"))["list"]
            assert wallet["totalEquity"] == str(100_000 + seconds)


async def test_a_question_stamped_by_the_wall_clock_charges_no_funding_ahead_of_an_order_still_on_its_way(
    replayed: Replayed,
) -> None:
    hour_ms = 3_600_000
    async with replayed(
        costs=Costs(slippage_ratio=Decimal(0), latency_ms=50, funding_rate=Decimal("0.0001"))
    ) as exchange:
        client = Client(exchange)
        feed(exchange, DAY_MS + 7 * hour_ms, DAY_MS + 7 * hour_ms + 60_000, DAY_MS + 7 * hour_ms + 30_000)
        await client.order(DAY_MS + 7 * hour_ms + 1_000, "BTCUSDT", "Buy", "0.1", "opens")
        feed(exchange, DAY_MS + 8 * hour_ms, DAY_MS + 8 * hour_ms + 60_000, DAY_MS + 8 * hour_ms + 30_000)
        await client.send("GET", "account/wallet-balance", wall_clock_ms(), accountType="UNIFIED")
        await client.order(DAY_MS + 7 * hour_ms + 50_000, "BTCUSDT", "Sell", "0.1", "closes", reduceOnly=True)
        fills = await client.send("GET", "execution/list", DAY_MS + 8 * hour_ms + 30_000, category="linear")
        assert {fill["execType"] for fill in fills["list"]} == {"Trade"}


async def test_a_client_that_checks_its_key_with_the_wall_clock_is_answered_at_once(replayed: Replayed) -> None:
    async with replayed() as exchange:
        client = Client(exchange)
        now_ms = wall_clock_ms()
        assert (await client.send("GET", "user/query-api", now_ms))["note"] == "main"
        (wallet,) = (await client.send("GET", "account/wallet-balance", now_ms, accountType="UNIFIED"))["list"]
        assert wallet["totalEquity"] == "100000"


PLAN = [
    (number * 700 + offset * 137, symbol, side, quantity, f"{symbol}-{number}", reduces)
    for offset, symbol in enumerate(SYMBOLS)
    for number, (side, quantity, reduces) in enumerate(
        [("Buy", "0.3", False), ("Sell", "0.1", True), ("Sell", "0.5", False), ("Buy", "0", True)]
    )
]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
async def test_the_books_are_the_same_in_whatever_order_symbols_are_served(
    replayed: Replayed, order: tuple[int, ...]
) -> None:
    start_ms = DAY_MS + FUNDING_INTERVAL_MS - 1_500
    books = []
    for sequence in ((0, 1, 2), order):
        costs = Costs(
            slippage_ratio=Decimal("0.0001"),
            latency_ms=50,
            funding_rate=Decimal("0.0001"),
            depth_notional=Decimal(5_000),
        )
        async with replayed(costs=costs) as exchange:
            client = Client(exchange)
            feed(exchange, start_ms - 1_000, start_ms + 60_000, start_ms + 30_000)
            for place in sequence:
                for offset_ms, symbol, side, quantity, link, reduces in PLAN:
                    if symbol == SYMBOLS[place]:
                        flags = {"reduceOnly": reduces, "closeOnTrigger": quantity == "0"}
                        await client.order(start_ms + offset_ms, symbol, side, quantity, link, **flags)
            query = f"/paper/books?at_ms={start_ms + 30_000}"
            books.append((await client.http.get(query)).json())
            assert books[-1].pop("request_rates")["addresses"]["127.0.0.1"]["total"] == len(PLAN)  # in wall-clock time
    assert books[0] == books[1]
    account = books[0]["accounts"]["main"]
    assert [row["symbol"] for row in account["executions"] if row["execType"] == "Funding"]
    assert {row["size"] for row in account["positions"]} == {"0"}


async def test_the_private_stream_is_pushed_in_replay_too(replayed: Replayed) -> None:
    async with replayed() as exchange, connect(f"{exchange.stream_url}/v5/private", close_timeout=1) as socket:
        client = Client(exchange)
        feed(exchange, DAY_MS, DAY_MS + 60_000, DAY_MS)
        expires = wall_clock_ms() + 10_000
        sign = hmac.new(b"test-secret", f"GET/realtime{expires}".encode(), hashlib.sha256).hexdigest()
        await socket.send(json.dumps({"op": "auth", "args": ["test-key", expires, sign]}))
        await socket.send(json.dumps({"op": "subscribe", "args": ["order", "execution"]}))
        assert [json.loads(await socket.recv())["success"] for _ in range(2)] == [True, True]
        await client.order(DAY_MS + 1_000, "ETHUSDT", "Sell", "1", "pushed")
        frames = [json.loads(await socket.recv()) for _ in range(2)]
        assert {frame["topic"]: frame["creationTime"] for frame in frames} == {
            "execution": DAY_MS + 1_050,
            "order": DAY_MS + 1_050,
        }


async def run_with(replayed: Replayed, *rules: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Play the plan as a client does that looks an order up before it sends it again; return books and errors."""
    errors = []
    async with replayed() as exchange:
        client = Client(exchange)
        feed(exchange, DAY_MS - 1_000, DAY_MS + 60_000, DAY_MS + 30_000)
        put = await client.http.put("/paper/faults", json={"seed": 5, "rules": rules})
        assert put.status_code == 200, put.text
        for offset_ms, symbol, side, quantity, link, reduces in PLAN:
            at_ms, flags = DAY_MS + offset_ms, {"reduceOnly": reduces, "closeOnTrigger": quantity == "0"}
            for _ in range(10):
                try:
                    await client.order(at_ms, symbol, side, quantity, link, **flags)
                    break
                except (httpx.TransportError, json.JSONDecodeError, AssertionError) as error:
                    if "110017" in str(error):  # nothing is left to reduce
                        break
                    errors.append(type(error).__name__)
                    query = {"category": "linear", "orderLinkId": link}
                    if (await client.send("GET", "order/realtime", at_ms, **query))["list"]:
                        break
        found = (await client.http.get(f"/paper/books?at_ms={DAY_MS + 30_000}")).json()
    return found["accounts"], errors


async def test_what_fails_on_the_way_leaves_the_result_of_a_replay_as_it_is(replayed: Replayed) -> None:
    on_orders = {"path": "/v5/order/create", "probability": 0.5, "limit_per_request": 2}
    plain, nothing = await run_with(replayed)
    faulty, errors = await run_with(
        replayed,
        {"kind": "latency", "delay_ms": 3, "probability": 0.5},
        *({"kind": kind} | on_orders for kind in ("lost_before", "lost_after", "server_error_after", "system_error")),
    )
    assert nothing == []
    assert {"RemoteProtocolError", "JSONDecodeError", "AssertionError"} >= set(errors)
    assert len(errors) >= 5
    assert faulty == plain


async def test_a_suspension_in_a_replay_goes_by_the_stamps_of_the_orders(replayed: Replayed) -> None:
    async with replayed() as exchange:
        client = Client(exchange)
        feed(exchange, DAY_MS, DAY_MS + 60_000, DAY_MS + 30_000)
        rule = {"kind": "suspend_symbol", "symbol": "BTCUSDT", "from_ms": DAY_MS + 5_000, "duration_ms": 2_000}
        assert (await client.http.put("/paper/faults", json={"rules": [rule]})).status_code == 200
        await client.order(DAY_MS + 4_999, "BTCUSDT", "Buy", "0.1", "before")
        with pytest.raises(AssertionError, match="110074"):
            await client.order(DAY_MS + 5_000, "BTCUSDT", "Buy", "0.1", "during")
        await client.order(DAY_MS + 5_000, "ETHUSDT", "Buy", "0.1", "elsewhere")
        await client.order(DAY_MS + 7_000, "BTCUSDT", "Buy", "0.1", "afterwards")
        assert {order.link_id for order in exchange.engine.accounts["main"].order_log} == {
            "before",
            "elsewhere",
            "afterwards",
        }


async def test_a_short_fill_in_a_replay_is_the_same_every_time(replayed: Replayed) -> None:
    rule = {"kind": "partial_fill", "probability": 0.5}
    first, _ = await run_with(replayed, rule)
    second, _ = await run_with(replayed, rule)
    assert first == second
    assert {row["orderStatus"] for row in first["main"]["orders"]} == {"Filled", "Cancelled"}
