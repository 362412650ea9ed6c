"""What time does: funding, liquidation, and that the books always add up."""

from decimal import Decimal
from types import SimpleNamespace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from breakwater_core.events import Fill, FillKind, Side
from breakwater_core.ledger import Ledger
from breakwater_core.market import Instrument, TradeBatch
from breakwater_core.venue_rules import FUNDING_INTERVAL_MS
from breakwater_recordings.funding import FundingRecords
from paper_exchange_service.engine.accounts import Account, Credentials
from paper_exchange_service.engine.engine import Engine
from paper_exchange_service.engine.markets import Costs
from paper_exchange_service.engine.orders import Execution, OrderRequest, OrderType, Status
from paper_exchange_service.engine.refusal import Refusal

HOUR_MS = 3_600_000
SYMBOLS = ("BTCUSDT", "ETHUSDT")
COSTS = Costs(
    slippage_ratio=Decimal("0.0003"),
    latency_ms=0,
    funding_rate=Decimal("0.0001"),
    depth_notional=Decimal(20_000),
    band_ratio=Decimal("0.01"),
)


def market(symbol: str, side: Side, quantity: str, **values: object) -> OrderRequest:
    return OrderRequest(symbol=symbol, side=side, order_type=OrderType.MARKET, quantity=Decimal(quantity), **values)


def send(engine: Engine, request: OrderRequest, at_ms: int) -> None:
    engine.execute(engine.place(engine.accounts["main"], request, at_ms), at_ms)


def test_longs_pay_shorts_at_each_stamp_when_the_rate_is_positive(tools: SimpleNamespace) -> None:
    engine = tools.engine(
        Costs(slippage_ratio=Decimal(0), latency_ms=0, taker_fee=Decimal(0), funding_rate=Decimal("0.0001")),
        symbols=SYMBOLS,
    )
    for symbol in SYMBOLS:
        engine.feed(
            tools.batch(symbol, [(0, 30_000.0), (FUNDING_INTERVAL_MS - 1, 31_000.0), (3 * FUNDING_INTERVAL_MS, 9.0)])
        )
    account = engine.accounts["main"]
    send(engine, market("BTCUSDT", Side.BUY, "1"), 10)
    send(engine, market("ETHUSDT", Side.SELL, "2"), 10)
    engine.settlement.advance_account(account, 2 * FUNDING_INTERVAL_MS)
    paid = [(fill.symbol, fill.time_ms, fill.fee) for fill in account.executions if fill.kind == "Funding"]
    assert paid == [
        ("BTCUSDT", FUNDING_INTERVAL_MS, Decimal("3.1")),
        ("ETHUSDT", FUNDING_INTERVAL_MS, Decimal("-6.2")),
        ("BTCUSDT", 2 * FUNDING_INTERVAL_MS, Decimal("3.1")),
        ("ETHUSDT", 2 * FUNDING_INTERVAL_MS, Decimal("-6.2")),
    ]
    assert account.wallet == Decimal(100_000) + Decimal("6.2")


def test_a_position_closed_before_the_stamp_pays_no_funding(tools: SimpleNamespace) -> None:
    engine = tools.engine(Costs(latency_ms=0, funding_rate=Decimal("0.0001")))
    engine.feed(tools.batch("BTCUSDT", [(0, 30_000.0), (FUNDING_INTERVAL_MS + 5, 30_000.0)]))
    send(engine, market("BTCUSDT", Side.BUY, "1"), 10)
    send(engine, market("BTCUSDT", Side.SELL, "1", reduce_only=True), FUNDING_INTERVAL_MS - 1)
    engine.settlement.advance_account(engine.accounts["main"], FUNDING_INTERVAL_MS + 5)
    assert engine.accounts["main"].funding == 0


def test_recorded_funding_rates_take_the_place_of_the_constant(tools: SimpleNamespace) -> None:
    records = {"BTCUSDT": {FUNDING_INTERVAL_MS // 2: Decimal("0.01"), FUNDING_INTERVAL_MS: Decimal("-0.02")}}
    engine = tools.engine(
        Costs(
            slippage_ratio=Decimal(0),
            latency_ms=0,
            taker_fee=Decimal(0),
            funding_rate=Decimal("0.05"),
            funding=FundingRecords.of(records),
        )
    )
    engine.feed(tools.batch("BTCUSDT", [(0, 100.0), (9_000, 100.0)]))
    send(engine, market("BTCUSDT", Side.BUY, "1"), 10)
    engine.settlement.advance_account(engine.accounts["main"], 2 * FUNDING_INTERVAL_MS)
    assert engine.accounts["main"].funding == Decimal(-1) + Decimal(2) - Decimal(5)  # the last stamp has no record


def test_an_account_below_its_maintenance_margin_is_liquidated_at_that_moment(tools: SimpleNamespace) -> None:
    engine = tools.engine(Costs(slippage_ratio=Decimal(0), latency_ms=0, taker_fee=Decimal(0)), deposit=Decimal(10_000))
    engine.feed(
        tools.batch(
            "BTCUSDT", [(0, 30_000.0), (1_000, 26_810.0), (2_000, 26_800.0), (3_000, 20_000.0), (4_000, 30_000.0)]
        )
    )
    account = engine.accounts["main"]
    engine.set_leverage(account, "BTCUSDT", Decimal(100))
    send(engine, market("BTCUSDT", Side.BUY, "3"), 10)
    resting = engine.place(
        account,
        OrderRequest(
            symbol="BTCUSDT", side=Side.SELL, order_type=OrderType.LIMIT, quantity=Decimal(1), price=Decimal(31_000)
        ),
        20,
    )
    engine.execute(resting, 20)
    engine.settlement.advance_account(account, 1_999)
    assert account.held
    engine.settlement.advance_account(account, 10_000)
    last = list(account.executions)[-1]
    assert (last.kind, last.time_ms, last.price, last.order.link_id) == ("BustTrade", 2_000, 26_800, "")
    assert (resting.status, resting.cancel_type) == (Status.CANCELLED, "CancelAllBeforeLiq")
    assert not account.held
    assert account.wallet == Decimal(10_000) - 3 * Decimal(3_200)


def test_the_liquidation_moment_does_not_depend_on_how_often_time_is_advanced(tools: SimpleNamespace) -> None:
    rng = np.random.default_rng(7)
    walk = np.round(30_000 + np.cumsum(rng.normal(-2, 20, 2_000)), 1)
    trades = [(10 + 10 * place, float(price)) for place, price in enumerate(walk)]
    moments = set()
    for step in (10, 333, 50_000):
        engine = tools.engine(Costs(slippage_ratio=Decimal(0), latency_ms=0), deposit=Decimal(3_000), symbols=SYMBOLS)
        engine.feed(tools.batch("BTCUSDT", trades))
        engine.feed(tools.batch("ETHUSDT", [(10, 2_000.0), (5_005, 1_950.0)]))
        account = engine.accounts["main"]
        for symbol, quantity in (("BTCUSDT", "0.8"), ("ETHUSDT", "1")):
            engine.set_leverage(account, symbol, Decimal(100))
            send(engine, market(symbol, Side.BUY, quantity), 20)
        for now_ms in range(20, 50_000, step):
            engine.settlement.advance_account(account, now_ms)
        engine.settlement.advance_account(account, 50_000)
        moments.add(tuple((fill.symbol, fill.time_ms) for fill in account.executions if fill.kind == "BustTrade"))
    (only,) = moments
    assert [symbol for symbol, _ in only] == ["BTCUSDT", "ETHUSDT"]


ACTIONS = st.lists(
    st.tuples(
        st.integers(1, 4 * HOUR_MS),
        st.sampled_from(SYMBOLS),
        st.sampled_from([Side.BUY, Side.SELL]),
        st.integers(1, 3_000),
        st.booleans(),
    ),
    max_size=30,
)


def priced_engine(*, balance: Decimal = Decimal(1_000_000)) -> Engine:
    def rules(symbol: str) -> Instrument:
        return Instrument(
            symbol, Decimal("0.1"), Decimal("0.001"), Decimal("0.001"), Decimal(1500), Decimal(150), Decimal(5)
        )

    engine = Engine(COSTS, instruments=[rules(symbol) for symbol in SYMBOLS])
    engine.add_account("main", Credentials("key", "secret"), balance, 0)
    rng = np.random.default_rng(3)
    for symbol, start in zip(SYMBOLS, (30_000.0, 2_000.0), strict=True):
        times = np.arange(0, 72 * HOUR_MS, 60_000, dtype=np.int64)
        prices = np.round(start * np.exp(np.cumsum(rng.normal(0, 0.0005, times.size))), 1)
        engine.feed(TradeBatch(symbol, times, prices, np.ones(times.size), np.ones(times.size, dtype=np.int8)))
    return engine


def play(engine: Engine, actions: list[tuple[int, str, Side, int, bool]]) -> Account:
    account = engine.accounts["main"]
    now_ms = 1_000
    for wait_ms, symbol, side, steps, reduces in actions:
        now_ms += wait_ms
        position = account.position(symbol, 0)
        before = position.size
        request = market(symbol, side, str(Decimal(steps) / 1000), reduce_only=reduces)
        try:
            send(engine, request, now_ms)
        except Refusal:
            continue
        if reduces:
            assert abs(position.size) <= abs(before)
            assert position.size * before >= 0
    engine.settlement.advance_account(account, now_ms + 9 * HOUR_MS)
    return account


def fill_of(execution: Execution) -> Fill:
    kinds = {"Trade": FillKind.TRADE, "Funding": FillKind.FUNDING, "BustTrade": FillKind.LIQUIDATION}
    return Fill(
        exec_id=execution.exec_id,
        run_id="live",
        account="main",
        symbol=execution.symbol,
        order_id=execution.order_id,
        order_link_id="",
        side=execution.side,
        quantity=execution.quantity,
        price=execution.price,
        fee=execution.fee,
        fee_rate=execution.fee_rate,
        is_maker=execution.is_maker,
        kind=kinds[execution.kind],
        exec_time_ms=execution.time_ms,
    )


@settings(max_examples=60, deadline=None)
@given(actions=ACTIONS)
def test_the_wallet_is_deposits_plus_realised_less_fees_plus_funding_and_equals_a_ledger_of_the_executions(
    actions: list[tuple[int, str, Side, int, bool]],
) -> None:
    engine = priced_engine()
    account = play(engine, actions)
    assert account.wallet == account.deposits + account.realised - account.fees + account.funding
    assert account.wallet == sum((entry.change for entry in account.transactions), Decimal(0))
    ledger = Ledger("live", "main", account.deposits)
    for execution in account.executions:
        assert ledger.apply(fill_of(execution))
    assert ledger.wallet_balance == account.wallet
    for symbol in SYMBOLS:
        position = account.position(symbol, 0)
        signed = sum(
            (
                fill.quantity * fill.side.sign
                for fill in account.executions
                if fill.symbol == symbol and fill.kind != "Funding"
            ),
            Decimal(0),
        )
        assert (position.size, position.average) == (signed, ledger.book(symbol).average_price)
        assert position.size == signed


@settings(max_examples=40, deadline=None)
@given(actions=ACTIONS)
def test_an_account_that_is_flat_has_gained_exactly_its_cash_flow(
    actions: list[tuple[int, str, Side, int, bool]],
) -> None:
    engine = priced_engine()
    account = play(engine, actions)
    now_ms = max((fill.time_ms for fill in account.executions), default=1_000) + 1
    while account.held:
        position = next(iter(account.held.values()))
        side = Side.SELL if position.size > 0 else Side.BUY
        send(engine, market(position.symbol, side, "0", reduce_only=True, close_on_trigger=True), now_ms)
        now_ms += 1
    flow = sum(
        (-fill.quantity * fill.side.sign * fill.price for fill in account.executions if fill.kind != "Funding"),
        Decimal(0),
    )
    assert account.realised == flow
    assert account.order_margin == 0


@settings(max_examples=25, deadline=None)
@given(actions=ACTIONS, reverse=st.booleans())
def test_results_do_not_depend_on_the_order_in_which_symbols_are_served(
    actions: list[tuple[int, str, Side, int, bool]], reverse: bool
) -> None:
    """Requests of one symbol keep their order; those of the other come all before or all after them."""
    stamped, now_ms = [], 1_000
    for number, (wait_ms, symbol, side, steps, reduces) in enumerate(actions):
        now_ms += wait_ms
        stamped.append(
            (now_ms, market(symbol, side, str(Decimal(steps) / 1000), reduce_only=reduces, order_link_id=f"n{number}"))
        )
    results = []
    for order in ("time", "symbol"):
        engine = priced_engine(balance=Decimal(10**9))
        queue = list(stamped)
        if order == "symbol":
            queue.sort(key=lambda item: item[1].symbol, reverse=reverse)
        for at_ms, request in queue:
            try:
                send(engine, request, at_ms)
            except Refusal:
                continue
        account = engine.accounts["main"]
        engine.settlement.advance_account(account, now_ms + 9 * HOUR_MS)
        results.append((account.wallet, [fill_of(fill) for fill in account.executions]))
    assert results[0] == results[1]
