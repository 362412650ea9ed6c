"""Our rows have every field of the payloads that were published or recorded for a linear contract."""

import json
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from breakwater_core.events import Side
from paper_exchange_service.api import market_rows, rows
from paper_exchange_service.engine.engine import Engine
from paper_exchange_service.engine.orders import Execution, OrderRequest, OrderType

SHARED = Path(os.environ.get("BREAKWATER_SHARED", Path(__file__).parents[5] / "shared")) / "bybit-payloads"
needs_payloads = pytest.mark.skipif(not SHARED.is_dir(), reason="the recorded payloads are not on this machine")

NOT_OURS = {
    "order": {"marketUnit"},
    "execution": {"underlyingPrice"},
    "tickers": {"singleOpenInterest", "singleOpenInterestValue"},
    "wallet": {"totalPerpUpl"},
}
"""Fields of single fixtures only: renamed, retired, or of other products."""


@pytest.fixture
def engine(tools: SimpleNamespace) -> Engine:
    made: Engine = tools.engine()
    made.feed(tools.batch("BTCUSDT", [(1_000, 30_000.0), (2_000, 30_010.0)]))
    account = made.accounts["main"]
    for side, reduces in ((Side.BUY, False), (Side.SELL, True)):
        request = OrderRequest(
            "BTCUSDT", side, OrderType.MARKET, Decimal("0.2" if not reduces else "0.1"), reduce_only=reduces
        )
        made.execute(made.place(account, request, 1_500), 1_500)
    return made


def fields_of(name: str) -> set[str]:
    found: set[str] = set()
    for row in listed(json.loads((SHARED / name).read_text())):
        found |= set(row)
    return found


def listed(payload: dict[str, Any]) -> Iterator[dict[str, Any]]:
    data = payload.get("result", payload).get("list") or payload["data"]
    yield from data if isinstance(data, list) else [data]


def last_fill(engine: Engine) -> Execution:
    return list(engine.accounts["main"].executions)[-1]


@needs_payloads
@pytest.mark.parametrize(
    "name",
    [
        "ccxt/rest_order_realtime_filled_market.json",
        "nautilus/rest_order_history.json",
        "nautilus/rest_order_realtime.json",
        "nautilus/ws_order_filled.json",
        "nautilus/ws_order_cancelled.json",
    ],
)
def test_orders_have_every_field(engine: Engine, name: str) -> None:
    row = rows.order_frame_row(next(iter(engine.accounts["main"].orders.values())))
    assert fields_of(name) - row.keys() - NOT_OURS["order"] == set()


@needs_payloads
@pytest.mark.parametrize(
    "name", ["nautilus/rest_execution_list.json", "nautilus/ws_execution.json", "bybit-net/ws_execution.json"]
)
def test_executions_have_every_field(engine: Engine, name: str) -> None:
    assert fields_of(name) - rows.execution_frame_row(last_fill(engine)).keys() == set()


@needs_payloads
def test_fast_executions_have_exactly_the_fields(engine: Engine) -> None:
    assert fields_of("nautilus/ws_execution_fast.json") == rows.fast_execution_row(last_fill(engine)).keys()


@needs_payloads
@pytest.mark.parametrize(
    "name", ["nautilus/rest_position_list.json", "nautilus/ws_position_short.json", "bybit-net/ws_position_flat.json"]
)
def test_positions_have_every_field(engine: Engine, name: str) -> None:
    account = engine.accounts["main"]
    position = account.position("BTCUSDT", 0)
    build = rows.position_row if "rest" in name else rows.position_frame_row
    assert fields_of(name) - build(engine, account, position, 2_000).keys() == set()


@needs_payloads
@pytest.mark.parametrize("name", ["nautilus/rest_account_wallet_balance.json", "ccxt/ws_wallet.json"])
def test_wallets_have_every_field(engine: Engine, name: str) -> None:
    row = rows.wallet_row(engine, engine.accounts["main"], 2_000)
    assert fields_of(name) - row.keys() - NOT_OURS["wallet"] == set()
    coins = set().union(
        *(coin for wallet in listed(json.loads((SHARED / name).read_text())) for coin in wallet["coin"])
    )
    assert coins - row["coin"][0].keys() == set()


@needs_payloads
def test_other_rows_have_every_field(engine: Engine) -> None:
    account, market = engine.accounts["main"], engine.markets["BTCUSDT"]
    transaction = rows.transaction_row(account, list(account.transactions)[-1], account.wallet)
    assert fields_of("bybit-net/rest_account_transaction_log.json") <= transaction.keys()
    closed = rows.closed_pnl_row(next(iter(account.closed_pnl)))
    assert fields_of("ccxt/rest_position_closed_pnl.json") <= closed.keys()
    instrument = market_rows.instrument_row(market)
    recorded = json.loads((SHARED / "recorded/rest_instruments_info_linear.json").read_text())["result"]["list"][0]
    assert recorded.keys() == instrument.keys()
    for part in ("leverageFilter", "priceFilter", "lotSizeFilter", "riskParameters"):
        assert recorded[part].keys() == instrument[part].keys()
    ticker = market_rows.ticker_row(engine, market, 2_000)
    assert ticker is not None
    assert fields_of("recorded/ws_tickers_snapshot_BTCUSDT.json") - ticker.keys() - NOT_OURS["tickers"] == set()
    trades = market_rows.public_trade_rows(market, market.prices.last_trades(1, 2_000)[0])
    assert fields_of("recorded/ws_publicTrade_single_BTCUSDT.json") == trades[0].keys()
