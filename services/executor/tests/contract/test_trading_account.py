"""What the order role relies on, kept by the exchange in memory and by a real one that speaks Bybit v5."""

from collections.abc import AsyncIterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from breakwater_bybit import errors
from breakwater_bybit.client import BybitClient
from breakwater_core.errors import InvalidInputError
from breakwater_core.events import OrderStatus, Side
from breakwater_core.market import TradeBatch
from executor_service.bybit_account import BybitAccount
from paper_exchange_service.engine.markets import Costs
from paper_exchange_service.server import Options, PaperExchange
from paper_exchange_service.settings import AccountSettings, Mode


@pytest.fixture(params=["memory", "paper"])
async def account(request: pytest.FixtureRequest, kit: SimpleNamespace) -> AsyncIterator[Any]:
    if request.param == "memory":
        yield kit.MemoryExchange()
        return
    options = Options(
        mode=Mode.REPLAY,
        accounts=(AccountSettings(name="main", key="key", secret=SecretStr("secret"), usdt=Decimal(100_000)),),
        costs=Costs(slippage_ratio=Decimal(0), latency_ms=kit.LATENCY_MS),
    )
    async with PaperExchange(options) as exchange:
        exchange.replay.feed_trades(
            TradeBatch(
                symbol="BTCUSDT",
                times_ms=np.array([kit.TRIGGER_MS - 1000], dtype=np.int64),
                prices=np.array([50_000.0]),
                sizes=np.ones(1),
                taker_sides=np.ones(1, dtype=np.int8),
                window=1,
            )
        )
        exchange.replay.feed_clock(kit.TRIGGER_MS + 600_000, kit.TRIGGER_MS)
        async with BybitClient(exchange.rest_url, api_key="key", api_secret="secret", timeout_s=10.0) as client:
            yield BybitAccount(client)


async def place(account: Any, kit: SimpleNamespace, link: str, *, side: Side = Side.BUY, **changes: Any) -> None:
    order: dict[str, Any] = {
        "symbol": "BTCUSDT",
        "side": side,
        "quantity": Decimal(1),
        "order_link_id": link,
        "reduce_only": False,
        "at_ms": kit.TRIGGER_MS,
    }
    await account.place_market_order(**order | changes)


async def find(account: Any, kit: SimpleNamespace, link: str) -> Any:
    return await account.find_order(symbol="BTCUSDT", order_link_id=link, at_ms=kit.TRIGGER_MS, urgent=False)


async def test_an_order_is_found_by_its_id_with_its_fills(account: Any, kit: SimpleNamespace) -> None:
    await place(account, kit, "bw-1")
    order = await find(account, kit, "bw-1")
    assert (order.status, order.is_final, order.side) == (OrderStatus.FILLED, True, Side.BUY)
    assert order.filled_quantity == 1
    assert order.average_price == Decimal(50_000)
    assert order.updated_ms == kit.TRIGGER_MS + kit.LATENCY_MS


async def test_an_order_that_was_never_sent_is_not_found(account: Any, kit: SimpleNamespace) -> None:
    assert await find(account, kit, "bw-none") is None


async def test_an_id_is_accepted_once(account: Any, kit: SimpleNamespace) -> None:
    await place(account, kit, "bw-1")
    with pytest.raises(errors.DuplicateOrderLinkId):
        await place(account, kit, "bw-1")
    assert await account.position_size(symbol="BTCUSDT", at_ms=kit.TRIGGER_MS) == 1


async def test_a_short_position_is_negative_and_listed_as_open(account: Any, kit: SimpleNamespace) -> None:
    assert await account.position_size(symbol="BTCUSDT", at_ms=kit.TRIGGER_MS) == 0
    assert await account.open_positions(at_ms=kit.TRIGGER_MS) == []
    await place(account, kit, "bw-1", side=Side.SELL)
    assert await account.position_size(symbol="BTCUSDT", at_ms=kit.TRIGGER_MS) == -1
    (position,) = await account.open_positions(at_ms=kit.TRIGGER_MS)
    assert (position.symbol, position.size) == ("BTCUSDT", Decimal(-1))


async def test_a_reduce_only_order_without_a_position_is_refused_for_good(account: Any, kit: SimpleNamespace) -> None:
    with pytest.raises(errors.Rejected) as raised:
        await place(account, kit, "bw-1", reduce_only=True)
    assert raised.value.ret_code == 110017
    assert await find(account, kit, "bw-1") is None


async def test_a_reduce_only_order_never_turns_a_position_around(account: Any, kit: SimpleNamespace) -> None:
    await place(account, kit, "bw-1")
    await place(account, kit, "bw-2", side=Side.SELL, quantity=Decimal(3), reduce_only=True)
    assert await account.position_size(symbol="BTCUSDT", at_ms=kit.TRIGGER_MS) == 0
    order = await find(account, kit, "bw-2")
    assert (order.is_final, order.filled_quantity) == (True, Decimal(1))


async def test_an_order_that_closes_all_closes_what_no_ordinary_order_could(account: Any, kit: SimpleNamespace) -> None:
    await place(account, kit, "bw-1")
    dust = Decimal("0.00001")
    await place(account, kit, "bw-2", side=Side.SELL, quantity=dust, reduce_only=True, closes_all=True)
    assert await account.position_size(symbol="BTCUSDT", at_ms=kit.TRIGGER_MS) == 0
    assert (await find(account, kit, "bw-2")).filled_quantity == 1


async def test_rules_are_read_anew_when_asked_for(account: Any) -> None:
    first = await account.instrument("BTCUSDT")
    assert await account.instrument("BTCUSDT", is_fresh=True) == first


async def test_equity_and_deposits_are_stated(account: Any, kit: SimpleNamespace) -> None:
    assert await account.equity(at_ms=kit.TRIGGER_MS) == Decimal(100_000)
    deposits = await account.net_deposits(start_ms=kit.TRIGGER_MS - 1000, end_ms=kit.TRIGGER_MS, at_ms=kit.TRIGGER_MS)
    assert deposits == 0


async def test_an_instrument_is_known_by_its_symbol_and_an_unknown_one_is_an_error(account: Any) -> None:
    instrument = await account.instrument("BTCUSDT")
    assert instrument.quantity_step > 0
    assert await account.instrument("BTCUSDT") is instrument
    with pytest.raises(InvalidInputError):
        await account.instrument("NOSUCHUSDT")
