"""The exchange as the real ccxt client sees it: blocking, asynchronous and streaming; only the addresses differ."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import ccxt
import ccxt.async_support
import ccxt.pro
import pytest

from paper_exchange_service.server import PaperExchange

SYMBOL = "BTC/USDT:USDT"


def pointed_at(client: Any, exchange: PaperExchange) -> Any:
    client.urls["api"] = dict.fromkeys(client.urls["api"], exchange.rest_url)
    private = f"{exchange.stream_url}/v5/private"
    client.urls["api"]["ws"] = {
        "public": {"linear": f"{exchange.stream_url}/v5/public/linear"},
        "private": {"contract": private, "usdc": private, "trade": f"{exchange.stream_url}/v5/trade"},
    }
    return client


def options() -> dict[str, Any]:
    return {
        "apiKey": "test-key",
        "secret": "test-secret",
        "enableRateLimit": False,
        "options": {"defaultType": "swap"},
    }


@pytest.fixture(scope="module")
def client(exchange: PaperExchange) -> Any:
    return pointed_at(ccxt.bybit(options()), exchange)


def test_markets_load_with_precision_and_limits(client: Any) -> None:
    market = client.load_markets()[SYMBOL]
    assert (market["linear"], market["swap"], market["contractSize"]) == (True, True, 1.0)
    assert (market["precision"]["amount"], market["precision"]["price"], market["limits"]["cost"]["min"]) == (
        0.001,
        0.1,
        5.0,
    )
    assert "USDT" in client.currencies


def test_market_data_can_be_fetched(client: Any) -> None:
    assert abs(client.fetch_time() - client.milliseconds()) < 5_000
    assert 30_000 <= client.fetch_ticker(SYMBOL)["last"] <= 30_010
    assert SYMBOL in client.fetch_tickers([SYMBOL])
    bars = client.fetch_ohlcv(SYMBOL, "1d", limit=3)
    assert [bar[0] for bar in bars] == sorted(bar[0] for bar in bars)
    assert len(client.fetch_trades(SYMBOL, limit=10)) == 10
    book = client.fetch_order_book(SYMBOL, limit=5)
    assert book["bids"][0][0] < book["asks"][0][0]
    assert client.fetch_funding_rate(SYMBOL)["fundingRate"] == 0.0001
    assert client.fetch_funding_rate_history(SYMBOL, limit=2)[-1]["fundingRate"] == 0.0001


def test_balance_fees_and_leverage(client: Any) -> None:
    assert client.fetch_balance()["USDT"]["total"] > 90_000
    assert client.fetch_trading_fee(SYMBOL)["taker"] == 0.00055
    client.set_leverage(3, SYMBOL)
    assert client.fetch_leverage(SYMBOL)["longLeverage"] == 3
    client.set_leverage(10, SYMBOL)


def wait_for(fetch: Callable[[], dict[str, Any]], status: str) -> dict[str, Any]:
    for _ in range(500):
        order = fetch()
        if order["status"] == status:
            return order
    raise AssertionError(f"the order is still {order['status']}")


def test_a_market_order_fills_and_shows_as_position_and_trade(client: Any) -> None:
    placed = client.create_order(SYMBOL, "market", "buy", 0.01, params={"clientOrderId": uuid.uuid4().hex})
    order = wait_for(lambda: client.fetch_order(placed["id"], SYMBOL, {"acknowledged": True}), "closed")
    assert (order["filled"], order["remaining"]) == (0.01, 0.0)
    trades = client.fetch_my_trades(SYMBOL, params={"orderId": placed["id"]})
    assert (trades[0]["amount"], trades[0]["takerOrMaker"]) == (0.01, "taker")
    position = client.fetch_position(SYMBOL)
    assert (position["side"], position["contracts"]) == ("long", 0.01)
    closing = client.create_order(SYMBOL, "market", "sell", 0.01, params={"reduceOnly": True})
    wait_for(lambda: client.fetch_order(closing["id"], SYMBOL, {"acknowledged": True}), "closed")
    assert not client.fetch_positions([SYMBOL])[0]["contracts"]
    assert client.fetch_closed_orders(SYMBOL)
    assert client.fetch_ledger("USDT")


def test_limit_orders_are_edited_cancelled_and_listed(client: Any) -> None:
    placed = client.create_order(SYMBOL, "limit", "buy", 0.01, 29_000)
    assert [order["id"] for order in client.fetch_open_orders(SYMBOL)] == [placed["id"]]
    client.edit_order(placed["id"], SYMBOL, "limit", "buy", 0.02, 28_999)
    (order,) = client.fetch_open_orders(SYMBOL)
    assert (order["amount"], order["price"]) == (0.02, 28_999.0)
    client.cancel_order(placed["id"], SYMBOL)
    many = client.create_orders(
        [
            {"symbol": SYMBOL, "type": "limit", "side": "buy", "amount": 0.01, "price": price}
            for price in (29_000, 29_001)
        ]
    )
    assert len(many) == 2
    client.cancel_all_orders(SYMBOL)
    assert client.fetch_open_orders(SYMBOL) == []


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        (("market", "buy", 100, None, {}), ccxt.InsufficientFunds),
        (("market", "sell", 0.01, None, {"reduceOnly": True}), ccxt.InvalidOrder),
        (("limit", "buy", 0.001, 1_000, {}), ccxt.InvalidOrder),
    ],
)
def test_refusals_become_ccxts_own_errors(client: Any, wanted: tuple[Any, ...], error: type[Exception]) -> None:
    kind, side, amount, price, params = wanted
    with pytest.raises(error):
        client.create_order(SYMBOL, kind, side, amount, price, params)


def test_a_repeated_client_order_id_and_a_missing_order_are_recognised(client: Any) -> None:
    link = uuid.uuid4().hex
    client.create_order(SYMBOL, "limit", "buy", 0.01, 29_000, {"clientOrderId": link})
    with pytest.raises(ccxt.InvalidOrder):
        client.create_order(SYMBOL, "limit", "buy", 0.01, 29_000, {"clientOrderId": link})
    client.cancel_all_orders(SYMBOL)
    with pytest.raises(ccxt.OrderNotFound):
        client.cancel_order(str(uuid.uuid4()), SYMBOL)


async def test_the_asynchronous_client_trades_too(exchange: PaperExchange) -> None:
    client = pointed_at(ccxt.async_support.bybit(options()), exchange)
    try:
        await client.load_markets()
        placed = await client.create_order(SYMBOL, "limit", "buy", 0.01, 29_000)
        balance, orders = await asyncio.gather(client.fetch_balance(), client.fetch_open_orders(SYMBOL))
        assert balance["USDT"]["used"] is not None
        assert placed["id"] in [order["id"] for order in orders]
        await client.cancel_order(placed["id"], SYMBOL)
    finally:
        await client.close()


@pytest.fixture
async def stream(exchange: PaperExchange) -> AsyncIterator[Any]:
    client = pointed_at(ccxt.pro.bybit(options()), exchange)
    await client.load_markets()
    yield client
    await client.close()


async def test_public_streams_are_watched(stream: Any) -> None:
    async with asyncio.timeout(90):
        trades = await stream.watch_trades(SYMBOL)
        ticker = await stream.watch_ticker(SYMBOL)
        book = await stream.watch_order_book(SYMBOL, 50)
        bars = await stream.watch_ohlcv(SYMBOL, "1m")
    assert 30_000 <= trades[0]["price"] <= 30_010
    assert ticker["last"]
    assert len(book["bids"]) == 50
    assert bars


async def test_orders_trades_positions_and_balance_are_watched(stream: Any) -> None:
    async with asyncio.timeout(90):
        watched = asyncio.gather(
            stream.watch_orders(SYMBOL),
            stream.watch_my_trades(SYMBOL),
            stream.watch_positions([SYMBOL]),
            stream.watch_balance(),
        )
        placed: list[str] = []
        while not watched.done():
            order = await stream.create_order(SYMBOL, "market", "buy" if len(placed) % 2 == 0 else "sell", 0.01)
            placed.append(order["id"])
            await asyncio.wait({watched}, timeout=0.1)
        orders, trades, positions, balance = await watched
    assert orders[-1]["id"] in placed
    assert trades[-1]["order"] in placed
    assert positions
    assert balance["USDT"]["total"]
