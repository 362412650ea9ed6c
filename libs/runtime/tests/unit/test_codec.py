"""Every event survives the wire, and the columns have the published wire form."""

import contextlib
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_contracts.market.v1 import market_pb2
from breakwater_core.events import (
    AccountSnapshot,
    Alert,
    DailyPerformance,
    DayDifference,
    DayParity,
    Fill,
    FillKind,
    Intent,
    Leg,
    OrderEvent,
    OrderStatus,
    Position,
    Severity,
    Side,
    SnapshotKind,
)
from breakwater_core.market import BarState, Clock, ClockKind, DailyBar, TradeBatch
from breakwater_runtime import codec

DAY = date(2024, 5, 31)
AMOUNT = Decimal("1234567890.000000000123456789")

EVENTS: list[Any] = [
    DailyBar("BTCUSDT", DAY, BarState.CLOSED, 1.5, 2.5, 0.5, 2.0, 3.25, complete=True, window=7),
    DailyBar("BTCUSDT", DAY, BarState.OPEN, 1.5, 1.5, 1.5, 1.5, 0.0, complete=False, window=0),
    *(Clock(kind, 1_717_113_600_000, 1_717_113_600_001, DAY, 3, 99) for kind in ClockKind),
    *(
        Intent(
            intent_id="r/a/v/BTCUSDT/2024-05-31/entry/1",
            run_id="run",
            account="main",
            strategy_version="abc",
            symbol="BTCUSDT",
            day=DAY,
            leg=leg,
            attempt=2,
            side=Side.SELL,
            target_price=AMOUNT,
            trigger_price=Decimal("0.00000001"),
            trigger_time_ms=5,
            valid_until_ms=6 if leg is Leg.ENTRY else None,
            gross_leverage=Decimal("2.5"),
            portfolio_size=10,
            epoch=4,
        )
        for leg in Leg
    ),
    *(
        OrderEvent(
            event_id="e",
            run_id="run",
            account="main",
            symbol="BTCUSDT",
            day=DAY,
            strategy_version="abc",
            intent_id="i",
            order_link_id="bw-1",
            child=3,
            status=status,
            leg=Leg.EXIT,
            side=Side.BUY,
            reduce_only=True,
            quantity=Decimal(2),
            filled_quantity=Decimal("0.5"),
            average_price=None if status is OrderStatus.REFUSED else AMOUNT,
            target_price=Decimal(3),
            trigger_price=Decimal(4),
            trigger_time_ms=5,
            intent_closed=True,
            event_time_ms=6,
            reason="why",
            detail="because",
        )
        for status in OrderStatus
    ),
    *(
        Fill(
            exec_id="x",
            run_id="run",
            account="main",
            symbol="BTCUSDT",
            order_id="o",
            order_link_id="",
            side=Side.SELL,
            quantity=AMOUNT,
            price=Decimal("0.1"),
            fee=Decimal("-0.01"),
            fee_rate=Decimal("0.00055"),
            is_maker=True,
            kind=kind,
            exec_time_ms=1,
        )
        for kind in FillKind
    ),
    *(
        AccountSnapshot(
            run_id="run",
            account="main",
            kind=kind,
            day=DAY,
            equity=AMOUNT,
            wallet_balance=Decimal(1),
            net_deposits=Decimal(-5),
            positions=(Position("BTCUSDT", Decimal(-1), Decimal(2), Decimal(3), Decimal(-1)),),
            fills_total=12,
            event_time_ms=3,
        )
        for kind in SnapshotKind
    ),
    DailyPerformance("run", "main", DAY, AMOUNT, Decimal(0), Decimal("1.01"), Decimal("1.2"), Decimal(0), AMOUNT, 4, 5),
    DayParity("run", "main", DAY, comparable=False, reason="not recorded"),
    DayParity(
        "run",
        "main",
        DAY,
        comparable=True,
        orders_equal=8,
        orders_different=1,
        total_bps=Decimal("-0.4"),
        differences=(
            DayDifference("BTCUSDT entry", "slippage", "avg_price", "1", "2", Decimal("1.2")),
            DayDifference("", "day", "equity", "1", "", None),
        ),
        differences_total=7,
    ),
    *(
        Alert("id", "run", severity, "signal", "name", "text", 5, "main", "BTCUSDT", {"a": "b"})
        for severity in Severity
    ),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_survives_the_wire(event: Any) -> None:
    message = codec.encode(event, "run")
    decoded = codec.decode(message.subject, message.payload)
    assert decoded.run_id == "run"
    assert decoded.value == event


def batch_of(rows: list[tuple[int, float, float, int]], window: int = 1) -> TradeBatch:
    times, prices, sizes, sides = zip(*rows, strict=True) if rows else ((), (), (), ())
    return TradeBatch(
        "BTCUSDT",
        np.array(times, np.int64),
        np.array(prices, np.float64),
        np.array(sizes, np.float64),
        np.array(sides, np.int8),
        window,
    )


trades = st.tuples(
    st.integers(0, 2**62),
    st.floats(1e-12, 1e12),
    st.floats(0, 1e12),
    st.sampled_from([-1, 0, 1]),
)


@given(st.lists(trades, max_size=50))
def test_trade_columns_survive_the_wire_to_the_last_bit(rows: list[tuple[int, float, float, int]]) -> None:
    batch = batch_of(rows)
    message = codec.encode(batch, "run")
    value = codec.decode(message.subject, message.payload).value
    for name in ("times_ms", "prices", "sizes", "taker_sides"):
        assert getattr(value, name).tobytes() == getattr(batch, name).tobytes()


@given(st.lists(trades, max_size=20))
def test_the_columns_have_the_published_wire_form(rows: list[tuple[int, float, float, int]]) -> None:
    ours = codec.encode(batch_of(rows), "run").payload
    published = market_pb2.TradeBatch.FromString(ours)
    assert list(published.time_ms) == [row[0] for row in rows]
    assert list(published.price) == [row[1] for row in rows]
    assert codec.decode("md.trades.bybit.BTCUSDT", published.SerializeToString()).value.prices.tolist() == [
        row[1] for row in rows
    ]


def test_columns_of_different_length_are_refused() -> None:
    broken = market_pb2.TradeBatch(run_id="run", symbol="BTCUSDT", time_ms=[1, 2], price=[1.0], size=[1.0])
    with pytest.raises(codec.DecodeError, match="one length"):
        codec.decode("md.trades.bybit.BTCUSDT", broken.SerializeToString())


@pytest.mark.parametrize(
    "subject", ["md.trades.x.y", "md.bars.1d.x.y", "md.clock.x", "intent.0.a.b", "order.a.b", "fill.a.b"]
)
@given(payload=st.binary(max_size=40))
def test_rubbish_is_a_decode_error_and_nothing_else(subject: str, payload: bytes) -> None:
    with contextlib.suppress(codec.DecodeError):
        codec.decode(subject, payload)


def test_an_unknown_subject_is_a_decode_error() -> None:
    with pytest.raises(codec.DecodeError, match="no event"):
        codec.decode("somewhere.else", b"")


def test_a_days_parity_has_a_subject_and_an_id_of_its_own_beside_the_days_performance() -> None:
    message = codec.encode(DayParity("run", "main", DAY, comparable=False, reason="x"), "run")
    assert (message.subject, message.message_id) == ("performance.parity.main", f"run/parity/main/{DAY}")
    of_an_account_named_alike = codec.encode(DailyPerformance("run", "parity", DAY, *[Decimal(1)] * 6), "run")
    assert isinstance(
        codec.decode(of_an_account_named_alike.subject, of_an_account_named_alike.payload).value, DailyPerformance
    )


def test_message_ids_of_a_replay_do_not_depend_on_the_sender() -> None:
    assert codec.encode(batch_of([(7, 1.0, 1.0, 1)]), "run").message_id == "run/trades/BTCUSDT/1/7"
    assert codec.encode(batch_of([(7, 1.0, 1.0, 1)], window=0), "live").message_id == ""


@pytest.mark.parametrize(
    "subject", ["intent.0.main.BTCUSDT", "order.main.BTCUSDT", "fill.main.BTCUSDT", "md.clock.bybit", "alert.info.x"]
)
@pytest.mark.parametrize(
    "answer",
    [
        b'{"stream":"ALERT","seq":2}',
        b'{"type":"io.nats.jetstream.api.v1.stream_names_response","total":0,"streams":[]}',
        b"{|",  # an empty group, and then whatever fields somebody has put behind it
        b"{|\x0a\x06forged",
    ],
)
def test_an_answer_of_the_server_is_no_event(subject: str, answer: bytes) -> None:
    with pytest.raises(codec.DecodeError, match="answer of the server"):
        codec.decode(subject, answer)
