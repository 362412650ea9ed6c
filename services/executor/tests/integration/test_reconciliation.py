"""The account's books beside the exchange's: what other hands do to the account, and what is done about it."""

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from pybit.unified_trading import HTTP
from pydantic import SecretStr

from breakwater_core.events import AccountSnapshot, Alert, Fill, Leg, OrderEvent, Side, SnapshotKind
from breakwater_runtime.bus import Bus
from breakwater_runtime.subjects import ACCOUNT_BUCKET, INTENTS_BUCKET, cursor_key
from executor_service.intent_record import IntentRecord
from executor_service.order_life import Refusal
from executor_service.outcomes import of_refusal
from executor_service.venue_clock import ClockMode, wall_clock_ms
from paper_exchange_service.engine.accounts import Transaction
from paper_exchange_service.engine.bookkeeping import book_fill
from paper_exchange_service.engine.markets import Costs
from paper_exchange_service.engine.orders import Order, OrderRequest, OrderType, TimeInForce
from paper_exchange_service.playback import play_synthetic
from paper_exchange_service.server import Options, PaperExchange
from paper_exchange_service.settings import AccountSettings

WALL = {
    "clock": ClockMode.WALL,
    "catch_up_interval_s": 1.0,
    "snapshot_interval_s": 1.0,
    "reconcile_interval_s": 0.2,
    "reconcile_confirm_s": 0.05,
    "settle_s": 5.5,
}


@pytest.fixture
async def exchange(faults: Any) -> AsyncIterator[PaperExchange]:
    playback = play_synthetic(
        seed=1, symbols=("BTCUSDT",), trades_per_day=20_000, history_days=1, now_ms=wall_clock_ms()
    )
    options = Options(
        accounts=(
            AccountSettings(name="main", key="test-key", secret=SecretStr("test-secret"), usdt=Decimal(100_000)),
        ),
        costs=Costs(slippage_ratio=Decimal(0), latency_ms=5),
        faults=faults,
        rate_limits=True,
    )
    async with PaperExchange(options, playback) as exchange:
        yield exchange


class Hand:
    """A person who trades on the account with the account's own key."""

    def __init__(self, exchange: PaperExchange) -> None:
        self._http = HTTP(api_key="test-key", api_secret="test-secret")
        self._http.endpoint = exchange.rest_url

    async def order(self, side: str, quantity: str, **changes: Any) -> str:
        values = {"category": "linear", "symbol": "BTCUSDT", "side": side, "orderType": "Market", "qty": quantity}
        answer = await asyncio.to_thread(self._http.place_order, **values | changes)
        return str(answer["result"]["orderId"])


@pytest.fixture
def hand(exchange: PaperExchange) -> Hand:
    return Hand(exchange)


def alerts(log: Any, name: str) -> list[Alert]:
    return [alert for alert in log.of(Alert) if alert.name == name]


def size(exchange: PaperExchange) -> Decimal:
    return exchange.engine.accounts["main"].position("BTCUSDT", 0).size


def closing(log: Any) -> list[OrderEvent]:
    return [event for event in log.of(OrderEvent) if event.intent_closed]


async def day_opens(log: Any) -> None:
    await log.until(lambda log: any(s.kind is SnapshotKind.DAY_OPEN for s in log.of(AccountSnapshot)))


async def books_open(bus: Bus, roles: SimpleNamespace) -> None:
    def accepts(value: bytes) -> bool:
        ledger = json.loads(value).get("ledger")
        return ledger is not None and ledger["initial"] is not None

    await roles.until_value(bus, ACCOUNT_BUCKET, cursor_key(roles.RUN_ID, "main"), accepts)


async def reconciled(bus: Bus, times: int = 2) -> None:
    """Wait until the account was compared so often more."""
    from executor_service import metrics

    def count() -> float:
        return sum(
            metrics.RECONCILIATIONS.labels("main", outcome)._value.get()
            for outcome in ("equal", "different", "unsettled")
        )

    end = count() + times
    async with asyncio.timeout(90):
        while count() < end:
            await asyncio.sleep(0.02)


def intent(kit: SimpleNamespace, roles: SimpleNamespace, exchange: PaperExchange, leg: Leg, **changes: Any) -> Any:
    now_ms = wall_clock_ms()
    price = exchange.engine.market("BTCUSDT").last_at(now_ms)
    values: dict[str, Any] = {
        "day": roles.SESSION.day_of(now_ms),
        "trigger_time_ms": now_ms,
        "trigger_price": price,
        "target_price": price,
        "valid_until_ms": None if leg.reduces else now_ms + 10_000,
    }
    return kit.intent(leg, **values | changes)


async def test_what_we_ordered_and_what_was_moved_is_no_finding(
    roles: SimpleNamespace, exchange: Any, desk: Any, log: Any, bus: Bus, kit: SimpleNamespace
) -> None:
    async with roles.account(**WALL), roles.order(**WALL):
        await day_opens(log)
        await books_open(bus, roles)
        await desk.decide(intent(kit, roles, exchange, Leg.ENTRY))
        await log.until(lambda log: len(closing(log)) == 1)
        exchange.engine.transfer(exchange.engine.accounts["main"], Decimal("-123.45"), wall_clock_ms())
        await reconciled(bus)
        await desk.decide(intent(kit, roles, exchange, Leg.EXIT))
        await log.until(lambda log: len(closing(log)) == 2)
        await reconciled(bus)
    assert size(exchange) == 0
    assert [alert.name for alert in log.of(Alert)] == []


async def test_a_manual_trade_is_told_once_by_two_roles_and_left_alone(
    roles: SimpleNamespace, exchange: Any, log: Any, bus: Bus, hand: Hand
) -> None:
    async with roles.account(**WALL), roles.account(**WALL):
        await books_open(bus, roles)
        await hand.order("Buy", "0.3", orderLinkId="by-hand-1")
        await log.until(lambda log: bool(alerts(log, "unordered_position")))
        await reconciled(bus, 4)
    (alert,) = alerts(log, "unordered_position")
    assert (alert.symbol, alert.facts["quantity"], alert.facts["held"]) == ("BTCUSDT", "0.3", "0.3")
    assert (alert.facts["outcome"], alert.facts["order_link_ids"]) == ("left alone", "by-hand-1")
    assert len(log.of(Alert)) == 1
    assert len(log.of(Fill)) == 1
    assert size(exchange) == Decimal("0.3")


async def test_a_restart_neither_repeats_nor_forgets_a_finding(
    roles: SimpleNamespace, exchange: Any, log: Any, bus: Bus, hand: Hand
) -> None:
    async with roles.account(**WALL):
        await books_open(bus, roles)
        await hand.order("Sell", "0.2")
        await log.until(lambda log: bool(alerts(log, "unordered_position")))
    await hand.order("Sell", "0.1")
    async with roles.account(**WALL):
        await log.until(lambda log: len(alerts(log, "unordered_position")) == 2)
        await reconciled(bus)
    assert [alert.facts["held"] for alert in alerts(log, "unordered_position")] == ["-0.2", "-0.3"]
    assert len(log.of(Alert)) == 2


@pytest.mark.parametrize("lost", ["nothing", "the_request", "the_answer"])
async def test_a_position_that_nobody_ordered_is_closed_by_exactly_one_order(
    roles: SimpleNamespace, exchange: Any, log: Any, bus: Bus, hand: Hand, faults: Any, lost: str
) -> None:
    close = WALL | {"unordered": "close"}
    async with roles.account(**close), roles.account(**close):
        await books_open(bus, roles)
        await hand.order("Buy", "0.3")
        if lost != "nothing":  # of the roles' orders, as the hand's is through
            fault = roles.Fault(lose_answer=True) if lost == "the_answer" else roles.Fault(before=(502, b"bad gateway"))
            faults.script["/order/create"] = [fault, fault]
        await log.until(lambda log: bool(alerts(log, "unordered_position")))
        async with asyncio.timeout(90):
            while size(exchange) != 0:
                await asyncio.sleep(0.02)
        await reconciled(bus, 4)
    ours = [order for order in exchange.engine.accounts["main"].orders.values() if order.link_id.startswith("bw-")]
    (order,) = ours
    assert (order.side, order.filled, order.request.reduce_only) == (Side.SELL, Decimal("0.3"), True)
    assert [alert.facts["outcome"] for alert in alerts(log, "unordered_position")] == ["being closed"]
    assert len(log.of(Alert)) == 1


async def test_a_role_that_ends_while_its_closing_order_is_on_its_way_leaves_exactly_one(
    roles: SimpleNamespace, exchange: Any, log: Any, bus: Bus, hand: Hand, faults: Any
) -> None:
    close = WALL | {"unordered": "close"}
    async with roles.account(**close):
        await books_open(bus, roles)
        await hand.order("Buy", "0.3")
        faults.script["/order/create"] = [roles.Fault(delay_s=1.0)]
        async with asyncio.timeout(90):
            while sum(path.endswith("/order/create") for path in faults.seen) < 2:
                await asyncio.sleep(0.005)
    async with roles.account(**close):
        async with asyncio.timeout(90):
            while size(exchange) != 0:
                await asyncio.sleep(0.02)
        await reconciled(bus, 2)
    ours = [order for order in exchange.engine.accounts["main"].orders.values() if order.link_id.startswith("bw-")]
    assert [order.filled for order in ours] == [Decimal("0.3")]
    assert len(log.of(Alert)) == 1


async def test_only_the_part_that_nobody_ordered_is_closed(
    roles: SimpleNamespace, exchange: Any, desk: Any, log: Any, bus: Bus, hand: Hand, kit: SimpleNamespace
) -> None:
    close = WALL | {"unordered": "close"}
    async with roles.account(**close), roles.order(**WALL):
        await day_opens(log)
        await books_open(bus, roles)
        await desk.decide(intent(kit, roles, exchange, Leg.ENTRY))
        await log.until(lambda log: len(closing(log)) == 1)
        own = closing(log)[0].filled_quantity
        await hand.order("Buy", "0.05")
        await log.until(lambda log: len(log.of(Fill)) == 3)
        await reconciled(bus)
    assert size(exchange) == own > 0


async def test_nothing_is_done_while_an_order_of_ours_is_on_its_way(
    roles: SimpleNamespace, exchange: Any, log: Any, bus: Bus, hand: Hand, kit: SimpleNamespace
) -> None:
    open_record = IntentRecord(kit.intent().intent_id).with_new_child(Side.BUY, Decimal(1))
    key = open_record.children[0].order_link_id
    await bus.write(INTENTS_BUCKET, key, open_record.encode())
    close = WALL | {"unordered": "close"}
    async with roles.account(**close):
        await books_open(bus, roles)
        await hand.order("Buy", "0.3")
        await log.until(lambda log: bool(alerts(log, "unordered_position")))
        await reconciled(bus, 2)
        assert size(exchange) == Decimal("0.3")
        child = open_record.children[0]
        outcome = of_refusal(child, Refusal(110007, "insufficient_margin", ""), at_ms=wall_clock_ms())
        await bus.write(INTENTS_BUCKET, key, open_record.closed(outcome).encode())
        async with asyncio.timeout(90):
            while size(exchange) != 0:
                await asyncio.sleep(0.02)


async def test_an_order_in_our_form_that_no_record_names_is_told_of_and_never_touched(
    roles: SimpleNamespace, exchange: Any, log: Any, bus: Bus, hand: Hand
) -> None:
    close = WALL | {"unordered": "close"}
    async with roles.account(**close):
        await books_open(bus, roles)
        await hand.order("Buy", "0.3", orderLinkId="bw-" + 32 * "a")
        await log.until(lambda log: bool(alerts(log, "unordered_position")))
        await reconciled(bus, 2)
    (alert,) = alerts(log, "unordered_position")
    assert alert.facts["outcome"] == "left alone"
    assert "no record names" in alert.summary
    assert size(exchange) == Decimal("0.3")


async def test_an_adopted_position_waits_for_the_days_exit(
    roles: SimpleNamespace, exchange: Any, log: Any, bus: Bus, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    from breakwater_core.session import Session

    exit_is_open = False

    def exit_opens_ms(_session: Session, _day: Any) -> int:
        return 0 if exit_is_open else wall_clock_ms() + 3_600_000

    monkeypatch.setattr(Session, "exit_opens_ms", exit_opens_ms)
    async with roles.account(**WALL | {"unordered": "adopt"}):
        await books_open(bus, roles)
        await hand.order("Buy", "0.3")
        await log.until(lambda log: bool(alerts(log, "unordered_position")))
        await reconciled(bus, 2)
        assert size(exchange) == Decimal("0.3")
        exit_is_open = True
        async with asyncio.timeout(90):
            while size(exchange) != 0:
                await asyncio.sleep(0.02)
        await reconciled(bus, 2)
    assert [alert.facts["outcome"] for alert in alerts(log, "unordered_position")] == ["adopted"]
    assert len(log.of(Alert)) == 1


@pytest.mark.parametrize("unordered", ["report", "close"])
async def test_an_open_order_of_somebody_else_is_told_of_and_cancelled_only_if_wanted(
    roles: SimpleNamespace, exchange: Any, log: Any, bus: Bus, hand: Hand, unordered: str
) -> None:
    async with roles.account(**WALL | {"unordered": unordered}):
        await books_open(bus, roles)
        low = exchange.engine.market("BTCUSDT").last_at(wall_clock_ms()) * Decimal("0.97")
        order_id = await hand.order(
            "Buy", "0.1", orderType="Limit", price=str(low.quantize(Decimal("0.1"))), timeInForce="GTC"
        )
        await log.until(lambda log: bool(alerts(log, "unordered_order")))
        await reconciled(bus, 2)
    (alert,) = alerts(log, "unordered_order")
    assert alert.facts["order_id"] == order_id
    is_open = exchange.engine.accounts["main"].orders[order_id].status.is_open
    assert is_open is (unordered == "report")


async def test_a_refund_is_booked_and_a_wallet_that_nothing_explains_is_a_mismatch(
    roles: SimpleNamespace, exchange: Any, log: Any, bus: Bus
) -> None:
    account = exchange.engine.accounts["main"]
    zero = Decimal(0)
    async with roles.account(**WALL):
        await books_open(bus, roles)
        await reconciled(bus, 1)
        account.wallet += Decimal("1.25")
        account.transactions.add(
            Transaction(wall_clock_ms(), "refund-1", 1, "FEE_REFUND", "", None, None, Decimal("1.25"), zero, zero, zero)
        )
        await log.until(lambda log: bool(alerts(log, "wallet_adjusted")))
        await reconciled(bus, 2)
        assert not alerts(log, "wallet_mismatch")
        account.wallet -= Decimal("0.00000001")
        await log.until(lambda log: bool(alerts(log, "wallet_mismatch")))
        await reconciled(bus, 2)
    (alert,) = alerts(log, "wallet_mismatch")
    assert alert.facts["difference"] == "-0.00000001"
    assert len(log.of(Alert)) == 2


async def test_a_position_without_executions_is_a_mismatch_and_no_reason_to_trade(
    roles: SimpleNamespace, exchange: Any, log: Any, bus: Bus
) -> None:
    account = exchange.engine.accounts["main"]
    async with roles.account(**WALL | {"unordered": "close"}):
        await books_open(bus, roles)
        position = account.position("BTCUSDT", 0)
        position.book.trade(Decimal("0.4"), Decimal(50_000))
        account.held["BTCUSDT", 0] = position
        await log.until(lambda log: bool(alerts(log, "position_mismatch")))
        await reconciled(bus, 2)
    (alert,) = alerts(log, "position_mismatch")
    assert (alert.symbol, alert.facts["exchange"], alert.facts["ledger"]) == ("BTCUSDT", "0.4", "0")
    assert not account.orders


async def test_an_auto_deleveraging_is_booked_and_is_no_mismatch(
    roles: SimpleNamespace, exchange: Any, desk: Any, log: Any, bus: Bus, kit: SimpleNamespace
) -> None:
    account = exchange.engine.accounts["main"]
    async with roles.account(**WALL), roles.order(**WALL):
        await day_opens(log)
        await books_open(bus, roles)
        await desk.decide(intent(kit, roles, exchange, Leg.ENTRY))
        await log.until(lambda log: len(closing(log)) == 1)
        now_ms = wall_clock_ms()
        price = exchange.engine.market("BTCUSDT").last_at(now_ms)
        request = OrderRequest("BTCUSDT", Side.SELL, OrderType.MARKET, Decimal("0.5"), time_in_force=TimeInForce.IOC)
        order = Order("main", "adl-1", request, Decimal("0.5"), price, now_ms, now_ms, now_ms, price)
        book_fill(
            account,
            order,
            quantity=Decimal("0.5"),
            price=price,
            mark=price,
            time_ms=now_ms,
            is_maker=False,
            costs=exchange.engine.costs,
            kind="AdlTrade",
        )
        await log.until(lambda log: bool(alerts(log, "liquidation")))
        await reconciled(bus, 2)
    assert [alert.name for alert in log.of(Alert)] == ["liquidation"]
    assert size(exchange) == closing(log)[0].filled_quantity - Decimal("0.5")


async def test_books_that_were_lost_are_made_again_from_the_fills(
    roles: SimpleNamespace, exchange: Any, desk: Any, log: Any, bus: Bus, kit: SimpleNamespace
) -> None:
    async with roles.account(**WALL), roles.order(**WALL):
        await day_opens(log)
        await books_open(bus, roles)
        await desk.decide(intent(kit, roles, exchange, Leg.ENTRY))
        await log.until(lambda log: len(closing(log)) == 1 and len(log.of(Fill)) == 1)
        await reconciled(bus, 1)
    key = cursor_key(roles.RUN_ID, "main")
    cursor = json.loads(await bus.read(ACCOUNT_BUCKET, key) or b"")
    kept = cursor.pop("ledger")
    await bus.write(ACCOUNT_BUCKET, key, json.dumps(cursor).encode())
    async with roles.account(**WALL):
        await books_open(bus, roles)
        await reconciled(bus, 2)
    assert log.of(Alert) == []
    again = json.loads(await bus.read(ACCOUNT_BUCKET, key) or b"")["ledger"]
    assert again["initial"] == kept["initial"]
    assert {symbol: row["cash"] for symbol, row in again["positions"].items()} == {
        symbol: row["cash"] for symbol, row in kept["positions"].items()
    }
