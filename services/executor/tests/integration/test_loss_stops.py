"""Daily-loss and drawdown stop on a real paper exchange: losses count, deposits and withdrawals do not."""

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from breakwater_bybit.client import BybitClient
from breakwater_core.events import AccountSnapshot, Alert, OrderEvent, OrderStatus, Severity, Side, SnapshotKind
from executor_service.venue_clock import ClockMode, wall_clock_ms
from paper_exchange_service.engine.markets import Costs
from paper_exchange_service.playback import play_synthetic
from paper_exchange_service.server import Options, PaperExchange
from paper_exchange_service.settings import AccountSettings

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


@pytest.fixture
async def exchange() -> AsyncIterator[PaperExchange]:
    playback = play_synthetic(seed=1, symbols=SYMBOLS, trades_per_day=20_000, history_days=1, now_ms=wall_clock_ms())
    account = AccountSettings(name="main", key="test-key", secret=SecretStr("test-secret"), usdt=Decimal(100_000))
    costs = Costs(slippage_ratio=Decimal(0), latency_ms=5, taker_fee=Decimal("0.01"))  # trading loses, at a known rate
    async with PaperExchange(Options(accounts=(account,), costs=costs), playback) as exchange:
        yield exchange


def closing(log: Any) -> list[OrderEvent]:
    return [event for event in log.of(OrderEvent) if event.intent_closed]


async def deposit(exchange: PaperExchange, amount: int) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        body = {"account": "main", "amount": str(amount)}
        (await client.post(f"{exchange.rest_url}/paper/deposit", json=body)).raise_for_status()


async def lose_by_trading(exchange: PaperExchange) -> None:
    """Buy and sell by hand for about 100,000 USDT each: fees of about 2,000 USDT."""
    price = exchange.engine.market("BTCUSDT").last_at(wall_clock_ms())
    quantity = (Decimal(100_000) / price).quantize(Decimal("0.001"))
    async with BybitClient(exchange.rest_url, api_key="test-key", api_secret="test-secret") as client:
        for number, side in enumerate((Side.BUY, Side.SELL)):
            link = f"by-hand-{number}"
            await client.place_market_order(
                symbol="BTCUSDT", side=side, quantity=quantity, order_link_id=link, reduce_only=False
            )
            while not (order := await client.find_order("BTCUSDT", link)) or not order.is_final:
                pass


@pytest.mark.parametrize("rule", ["daily_loss_stop", "drawdown_stop"])
async def test_a_loss_stops_entries_whatever_is_paid_in_or_out_and_is_told_once(
    roles: SimpleNamespace,
    exchange: PaperExchange,
    desk: Any,
    log: Any,
    kit: SimpleNamespace,
    tmp_path: Path,
    rule: str,
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"risk": {rule: "0.01"}}))
    wall: dict[str, Any] = {"clock": ClockMode.WALL, "config_file": config}
    day = roles.SESSION.day_of(wall_clock_ms())

    async def enter(symbol: str) -> None:
        now_ms, before = wall_clock_ms(), len(closing(log))
        price = exchange.engine.market(symbol).last_at(now_ms)
        changes = {"symbol": symbol, "day": day, "trigger_price": price, "target_price": price}
        changes |= {"trigger_time_ms": now_ms, "valid_until_ms": now_ms + 10_000, "gross_leverage": Decimal("0.01")}
        await desk.decide(kit.intent(**changes))
        await log.until(lambda log: len(closing(log)) == before + 1)

    async with roles.account(**wall), roles.order(**wall):
        await log.until(lambda log: any(one.kind is SnapshotKind.DAY_OPEN for one in log.of(AccountSnapshot)))
        await deposit(exchange, -20_000)
        await enter("BTCUSDT")  # a withdrawal is no loss
        await deposit(exchange, 50_000)
        await lose_by_trading(exchange)
        await enter("ETHUSDT")  # and a deposit hides none
        await enter("SOLUSDT")
        await log.until(lambda log: any(alert.name == rule for alert in log.of(Alert)))
    assert closing(log)[0].status is OrderStatus.FILLED
    assert [event.reason for event in closing(log)[1:]] == [rule, rule]
    (alert,) = [alert for alert in log.of(Alert) if alert.name == rule]
    assert (alert.name, alert.severity, alert.account) == (rule, Severity.CRITICAL, "main")
