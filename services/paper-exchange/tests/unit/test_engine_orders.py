"""What becomes of orders: matching, statuses, refusals."""

from decimal import Decimal
from types import SimpleNamespace

import pytest

from breakwater_core.events import Side
from paper_exchange_service.engine.engine import Engine
from paper_exchange_service.engine.markets import Costs
from paper_exchange_service.engine.orders import Order, OrderRequest, OrderType, Status, TimeInForce
from paper_exchange_service.engine.refusal import Refusal


@pytest.fixture
def engine(tools: SimpleNamespace) -> Engine:
    made = tools.engine()
    made.feed(tools.batch("BTCUSDT", [(1_000, 30_000.0), (2_000, 30_010.0), (3_000, 29_990.0)]))
    return made


def request(side: Side = Side.BUY, quantity: str = "0.1", **values: object) -> OrderRequest:
    kind = OrderType.LIMIT if values.get("price") else OrderType.MARKET
    values.setdefault("time_in_force", TimeInForce.GTC if values.get("price") else TimeInForce.IOC)
    return OrderRequest(symbol="BTCUSDT", side=side, order_type=kind, quantity=Decimal(quantity), **values)


def send(engine: Engine, wanted: OrderRequest, at_ms: int, latency_ms: int = 0) -> Order:
    order = engine.place(engine.accounts["main"], wanted, at_ms)
    engine.execute(order, at_ms + latency_ms)
    return order


def code_of(engine: Engine, wanted: OrderRequest, at_ms: int = 2_500) -> int:
    with pytest.raises(Refusal) as caught:
        send(engine, wanted, at_ms)
    return caught.value.code


def test_a_market_order_fills_at_the_last_trade_at_or_before_its_matching_time(engine: Engine) -> None:
    assert [send(engine, request(), at_ms).average for at_ms in (1_999, 2_000, 2_999, 3_000)] == [
        30_000,
        30_010,
        30_010,
        29_990,
    ]


def test_slippage_moves_the_price_against_the_taker_and_rounds_away_from_it(tools: SimpleNamespace) -> None:
    engine = tools.engine(Costs(slippage_ratio=Decimal("0.00015"), latency_ms=0))
    engine.feed(tools.batch("BTCUSDT", [(0, 30_000.3)]))
    assert send(engine, request(), 1).average == Decimal("30004.9")
    assert send(engine, request(Side.SELL), 2).average == Decimal("29995.7")


def test_a_shallow_book_gives_several_fills_and_cancels_what_the_bound_leaves(tools: SimpleNamespace) -> None:
    costs = Costs(slippage_ratio=Decimal(0), latency_ms=0, depth_notional=Decimal(3_000), band_ratio=Decimal("0.00001"))
    engine = tools.engine(costs)
    engine.feed(tools.batch("BTCUSDT", [(0, 30_000.0)]))
    order = send(engine, request(quantity="1"), 1)
    fills = [(fill.price, fill.quantity) for fill in order.executions]
    assert fills == [
        (Decimal("30000.0"), Decimal("0.100")),
        (Decimal("30000.1"), Decimal("0.099")),
        (Decimal("30000.2"), Decimal("0.099")),
        (Decimal("30000.3"), Decimal("0.099")),
    ]
    assert (order.status, order.filled, order.leaves) == (Status.CANCELLED, Decimal("0.397"), 0)
    assert engine.accounts["main"].position("BTCUSDT", 0).size == Decimal("0.397")


def test_a_resting_order_fills_at_its_own_price_as_maker_when_a_later_trade_reaches_it(engine: Engine) -> None:
    order = send(engine, request(price=Decimal(29_995)), 2_000)
    account = engine.accounts["main"]
    assert order.status is Status.NEW
    engine.settlement.advance_account(account, 2_999)
    assert order.status is Status.NEW
    engine.settlement.advance_account(account, 3_000)
    (fill,) = order.executions
    assert (order.status, fill.price, fill.is_maker, fill.fee, fill.time_ms) == (
        Status.FILLED,
        29_995,
        True,
        Decimal("0.1") * 29_995 * Decimal("0.0002"),
        3_000,
    )


def test_a_limit_order_beyond_the_market_takes_at_the_market(engine: Engine) -> None:
    order = send(engine, request(price=Decimal(30_500)), 1_000)
    assert (order.status, order.average, order.executions[0].is_maker) == (Status.FILLED, 30_000, False)


def test_a_limit_beyond_the_band_is_moved_to_it(engine: Engine) -> None:
    assert send(engine, request(price=Decimal(40_000)), 1_000).bound == Decimal(31500)
    assert send(engine, request(Side.SELL, price=Decimal(20_000)), 1_000).bound == Decimal(28500)


def test_post_only_is_cancelled_where_it_would_take(engine: Engine) -> None:
    order = send(engine, request(price=Decimal(30_001), time_in_force=TimeInForce.POST_ONLY), 1_000)
    assert (order.status, order.reject_reason, order.fills) == (Status.CANCELLED, "EC_PostOnlyWillTakeLiquidity", 0)
    resting = send(engine, request(price=Decimal(29_999), time_in_force=TimeInForce.POST_ONLY), 1_000)
    assert resting.status is Status.NEW


def test_fill_or_kill_fills_whole_or_not_at_all(tools: SimpleNamespace) -> None:
    engine = tools.engine(Costs(slippage_ratio=Decimal(0), latency_ms=0, depth_notional=Decimal(3_000)))
    engine.feed(tools.batch("BTCUSDT", [(0, 30_000.0)]))
    killed = send(engine, request(quantity="0.2", price=Decimal(30_000), time_in_force=TimeInForce.FOK), 1)
    filled = send(engine, request(quantity="0.1", price=Decimal(30_000), time_in_force=TimeInForce.FOK), 1)
    assert [(order.status, order.filled) for order in (killed, filled)] == [
        (Status.CANCELLED, 0),
        (Status.FILLED, Decimal("0.1")),
    ]


def test_immediate_or_cancel_cancels_what_does_not_fill_at_once(engine: Engine) -> None:
    order = send(engine, request(price=Decimal(29_000), time_in_force=TimeInForce.IOC), 1_000)
    assert (order.status, order.reject_reason) == (Status.CANCELLED, "EC_NoImmediateQtyToFill")


def test_a_conditional_order_waits_for_its_trigger_and_then_takes(engine: Engine) -> None:
    order = send(engine, request(trigger_price=Decimal(30_005), trigger_direction=1), 1_000)
    assert (order.status, order.stop_order_type) == (Status.UNTRIGGERED, "Stop")
    engine.settlement.advance_account(engine.accounts["main"], 5_000)
    assert (order.status, order.average, order.executions[0].time_ms) == (Status.FILLED, 30_010, 2_000)


def test_reduce_only_is_capped_to_the_position(engine: Engine) -> None:
    send(engine, request(quantity="0.1"), 1_000)
    order = send(engine, request(Side.SELL, "0.5", reduce_only=True), 1_500)
    assert (order.status, order.quantity, order.filled) == (Status.FILLED, Decimal("0.1"), Decimal("0.1"))
    assert engine.accounts["main"].position("BTCUSDT", 0).size == 0


def test_a_reduce_only_order_whose_position_went_before_it_matched_is_cancelled(engine: Engine) -> None:
    account = engine.accounts["main"]
    send(engine, request(quantity="0.1"), 1_000)
    late = engine.place(account, request(Side.SELL, "0.1", reduce_only=True), 1_100)
    send(engine, request(Side.SELL, "0.1", reduce_only=True), 1_100)
    engine.execute(late, 1_200)
    assert (late.status, late.cancel_type, late.fills) == (Status.CANCELLED, "CancelByReduceOnly", 0)


def test_quantity_zero_with_both_flags_closes_the_whole_position(engine: Engine) -> None:
    send(engine, request(Side.SELL, "0.123"), 1_000)
    order = send(engine, request(quantity="0", reduce_only=True, close_on_trigger=True), 2_000)
    assert (order.status, order.filled) == (Status.FILLED, Decimal("0.123"))
    assert not engine.accounts["main"].held


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (request(quantity="0.0005"), 10001),
        (request(quantity="0"), 10001),
        (request(quantity="150.001"), 10001),
        (request(quantity="1501", price=Decimal(30_000)), 10001),
        (request(price=Decimal("30000.05")), 10001),
        (request(price=Decimal("1999999.9")), 110003),
        (request(quantity="0.001", price=Decimal(4_999)), 110094),
        (request(position_index=1), 10001),
        (request(Side.SELL, reduce_only=True), 110017),
        (request(Side.SELL, "0", reduce_only=True, close_on_trigger=True), 110017),
        (request(trigger_price=Decimal(30_000), trigger_direction=1), 110092),
        (request(trigger_price=Decimal(30_020), trigger_direction=2), 110093),
        (request(quantity="40"), 110007),
    ],
)
def test_an_order_against_the_rules_is_refused_with_bybits_code_and_leaves_nothing(
    engine: Engine, wanted: OrderRequest, code: int
) -> None:
    assert code_of(engine, wanted) == code
    account = engine.accounts["main"]
    assert (len(account.orders), account.order_margin, account.wallet) == (0, 0, 100_000)


def test_reduce_only_with_the_side_of_the_position_is_refused(engine: Engine) -> None:
    send(engine, request(), 1_000)
    assert code_of(engine, request(reduce_only=True)) == 110017


def test_an_order_link_id_is_refused_for_ever_even_after_its_order_ended(engine: Engine) -> None:
    first = send(engine, request(order_link_id="once"), 1_000)
    assert first.status is Status.FILLED
    assert code_of(engine, request(order_link_id="once")) == 110072
    assert code_of(engine, request(order_link_id="once", price=Decimal(29_000)), 10**12) == 110072


def test_a_refused_order_does_not_use_up_its_order_link_id(engine: Engine) -> None:
    assert code_of(engine, request(quantity="40", order_link_id="again")) == 110007
    assert send(engine, request(order_link_id="again"), 2_500).status is Status.FILLED


def test_a_symbol_without_a_trade_yet_is_not_live(tools: SimpleNamespace) -> None:
    assert code_of(tools.engine(), request()) == 110074


def test_resting_orders_set_margin_aside_and_give_it_back(engine: Engine) -> None:
    account = engine.accounts["main"]
    order = send(engine, request(price=Decimal(29_000), quantity="10"), 1_000)
    assert order.margin == Decimal(10) * 29_000 / 10 + 2 * Decimal(10) * 29_000 * Decimal("0.00055")
    assert engine.value(account, 1_000).available == 100_000 - order.margin
    engine.cancel(account, order, 1_500)
    assert (order.status, order.cancel_type, account.order_margin) == (Status.CANCELLED, "CancelByUser", 0)


def test_amending_moves_an_order_and_may_make_it_take(engine: Engine) -> None:
    account = engine.accounts["main"]
    order = send(engine, request(price=Decimal(29_000)), 1_000)
    engine.amend(account, order, price=Decimal(29_500), quantity=Decimal("0.2"), trigger=None, at_ms=1_100)
    assert (order.status, order.bound, order.quantity) == (Status.NEW, 29_500, Decimal("0.2"))
    engine.amend(account, order, price=Decimal(30_100), quantity=None, trigger=None, at_ms=1_200)
    assert (order.status, order.average) == (Status.FILLED, 30_000)


def test_amending_to_the_same_values_is_refused(engine: Engine) -> None:
    order = send(engine, request(price=Decimal(29_000)), 1_000)
    with pytest.raises(Refusal, match="unchanged"):
        engine.amend(engine.accounts["main"], order, price=Decimal(29_000), quantity=None, trigger=None, at_ms=1_100)


def test_more_than_500_active_or_10_conditional_orders_are_refused(engine: Engine) -> None:
    for _ in range(500):
        send(engine, request(price=Decimal(20_000), quantity="0.001"), 1_000)
    assert code_of(engine, request(price=Decimal(20_000), quantity="0.001"), 1_000) == 110020
    account = engine.accounts["main"]
    for order in list(account.open_orders["BTCUSDT"].values()):
        engine.cancel(account, order, 1_000)
    for _ in range(10):
        send(engine, request(quantity="0.001", trigger_price=Decimal(31_000), trigger_direction=1), 1_000)
    assert (
        code_of(engine, request(quantity="0.001", trigger_price=Decimal(31_000), trigger_direction=1), 1_000) == 110020
    )


def test_hedge_mode_keeps_both_sides_apart_and_closing_sides_only_shrink(engine: Engine) -> None:
    account = engine.accounts["main"]
    engine.switch_mode(account, ["BTCUSDT"], hedged=True, whole_coin=False)
    assert code_of(engine, request()) == 10001
    send(engine, request(position_index=1), 1_000)
    send(engine, request(Side.SELL, "0.3", position_index=2), 1_000)
    assert [account.position("BTCUSDT", index).size for index in (1, 2)] == [Decimal("0.1"), Decimal("-0.3")]
    send(engine, request(Side.SELL, "0.5", position_index=1), 2_000)
    assert [account.position("BTCUSDT", index).size for index in (1, 2)] == [0, Decimal("-0.3")]
    assert code_of(engine, request(position_index=1, reduce_only=True)) == 110017


def switch_code(engine: Engine, *, hedged: bool) -> int:
    with pytest.raises(Refusal) as caught:
        engine.switch_mode(engine.accounts["main"], ["BTCUSDT"], hedged=hedged, whole_coin=False)
    return caught.value.code


def test_the_position_mode_cannot_change_under_a_position_or_an_order(engine: Engine) -> None:
    assert switch_code(engine, hedged=False) == 110025
    order = send(engine, request(price=Decimal(29_000)), 1_000)
    assert switch_code(engine, hedged=True) == 110028
    engine.cancel(engine.accounts["main"], order, 1_000)
    send(engine, request(), 1_000)
    assert switch_code(engine, hedged=True) == 110024


def test_leverage_is_checked_and_unchanged_leverage_is_said_so(engine: Engine) -> None:
    account = engine.accounts["main"]
    engine.set_leverage(account, "BTCUSDT", Decimal(5))
    assert account.leverage_of("BTCUSDT") == 5
    for leverage, code in ((Decimal(5), 110043), (Decimal(101), 110013), (Decimal("0.5"), 10001)):
        with pytest.raises(Refusal) as caught:
            engine.set_leverage(account, "BTCUSDT", leverage)
        assert caught.value.code == code


def test_take_profit_and_stop_loss_close_the_position_and_leave_no_order_behind(engine: Engine) -> None:
    account = engine.accounts["main"]
    send(engine, request(take_profit=Decimal(30_500), stop_loss=Decimal(29_995)), 1_000)
    assert len(account.open_orders["BTCUSDT"]) == 2
    engine.settlement.advance_account(account, 5_000)
    assert not account.held
    assert not account.open_orders["BTCUSDT"]
    statuses = {order.stop_order_type: order.status for order in account.orders.values() if order.stop_order_type}
    assert statuses == {"StopLoss": Status.FILLED, "TakeProfit": Status.CANCELLED}


def test_ids_depend_on_the_account_and_the_order_link_id_alone(tools: SimpleNamespace) -> None:
    ids = []
    for before in (0, 3):
        engine = tools.engine()
        engine.feed(tools.batch("BTCUSDT", [(0, 30_000.0)]))
        for _ in range(before):
            send(engine, request(), 1)
        order = send(engine, request(order_link_id="named"), 2)
        ids.append((order.order_id, order.executions[0].exec_id))
    assert ids[0] == ids[1]
