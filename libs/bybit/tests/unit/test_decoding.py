"""What decoding promises for frames that no recording holds: several takers, disorder, gaps, malformed fields."""

import json
from contextlib import suppress
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_bybit import decoding
from breakwater_bybit.fields import MalformedPayload, Row
from breakwater_bybit.model import Interval, Ticker
from breakwater_core.events import FillKind, OrderStatus, Side

TRADE = {"T": 1000, "s": "BTCUSDT", "S": "Buy", "v": "0.5", "p": "100.5", "i": "a", "BT": False, "seq": 1}
ORDER = {
    "category": "linear",
    "symbol": "BTCUSDT",
    "orderId": "o",
    "orderLinkId": "bw-1",
    "side": "Buy",
    "orderType": "Market",
    "orderStatus": "Cancelled",
    "qty": "2",
    "cumExecQty": "0.5",
    "avgPrice": "100",
    "cumExecFee": "0.01",
    "reduceOnly": False,
    "rejectReason": "EC_NoImmediateQtyToFill",
    "cancelType": "UNKNOWN",
    "createdTime": "1",
    "updatedTime": "2",
}
EXECUTION = {
    "category": "linear",
    "symbol": "BTCUSDT",
    "execId": "e",
    "orderId": "o",
    "orderLinkId": "",
    "side": "Sell",
    "execQty": "1",
    "execPrice": "100",
    "execFee": "-0.2",
    "feeRate": "0.0001",
    "isMaker": False,
    "execType": "Trade",
    "execTime": "5",
}


def _trades(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": 1, "data": [TRADE | row for row in rows]}


def _frame(topic: str, *rows: dict[str, Any]) -> dict[str, Any]:
    return {"topic": topic, "creationTime": 9, "data": list(rows)}


def test_frame_with_several_takers_keeps_each_one_side_and_time() -> None:
    trades = decoding.decode_trade_frame(
        _trades({"i": "a"}, {"i": "b"}, {"i": "c", "S": "Sell", "T": 1001, "p": "100.4", "seq": 2})
    )
    assert trades.batch.taker_sides.tolist() == [1, 1, -1]
    assert trades.batch.times_ms.tolist() == [1000, 1000, 1001]
    assert trades.batch.prices.tolist() == [100.5, 100.5, 100.4]


def test_block_trades_are_marked() -> None:
    assert decoding.decode_trade_frame(_trades({}, {"BT": True, "i": "b"})).are_block.tolist() == [False, True]


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=50))
def test_trades_come_out_in_time_order_and_complete(times: list[int]) -> None:
    trades = decoding.decode_trade_frame(
        _trades(*({"T": time, "i": str(index), "p": str(index + 1)} for index, time in enumerate(times)))
    )
    assert (np.diff(trades.batch.times_ms) >= 0).all()
    expected = sorted(range(len(times)), key=lambda index: times[index])
    assert trades.trade_ids == tuple(map(str, expected))
    assert trades.batch.prices.tolist() == [index + 1 for index in expected]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"p": "0"}, "p"),
        ({"p": "nan"}, "p"),
        ({"p": ""}, "p"),
        ({"v": "-1"}, "v"),
        ({"v": None}, "v"),
        ({"T": "soon"}, "T"),
        ({"s": "ETHUSDT"}, "s"),
    ],
)
def test_malformed_trade_names_topic_and_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(MalformedPayload, match=rf"publicTrade\.BTCUSDT: field '{field}'") as caught:
        decoding.decode_trade_frame(_trades({}, change))
    assert (caught.value.topic, caught.value.field) == ("publicTrade.BTCUSDT", field)


def test_candles_of_a_frame_are_sorted_whatever_their_order() -> None:
    row = {"open": "1", "high": "1", "low": "1", "close": "1", "volume": "0", "turnover": "0"}
    frame = {
        "topic": "kline.D.BTCUSDT",
        "data": [row | {"start": 86_400_000, "confirm": False}, row | {"start": 0, "confirm": True}],
    }
    assert [candle.is_closed for candle in decoding.decode_candle_frame(frame)] == [True, False]


def test_cancelled_order_may_have_fills() -> None:
    (order,) = decoding.decode_order_frame(_frame("order", ORDER))
    assert (order.status, order.is_final) == (OrderStatus.CANCELLED, True)
    assert (order.filled_quantity, order.average_price) == (Decimal("0.5"), Decimal(100))
    assert (order.reject_reason, order.cancel_type) == ("EC_NoImmediateQtyToFill", "")


def test_status_that_is_not_known_is_not_final() -> None:
    (order,) = decoding.decode_order_frame(_frame("order", ORDER | {"orderStatus": "Pondering"}))
    assert (order.status, order.is_final, order.exchange_status) == (OrderStatus.UNKNOWN, False, "Pondering")


def test_other_categories_are_left_out() -> None:
    assert decoding.decode_order_frame(_frame("order", ORDER | {"category": "spot"})) == []


@pytest.mark.parametrize(
    ("execution_type", "kind"),
    [
        ("Trade", FillKind.TRADE),
        ("Funding", FillKind.FUNDING),
        ("BustTrade", FillKind.LIQUIDATION),
        ("AdlTrade", FillKind.LIQUIDATION),
        ("Settle", FillKind.OTHER),
    ],
)
def test_executions_tell_what_caused_them(execution_type: str, kind: FillKind) -> None:
    (execution,) = decoding.decode_execution_frame(_frame("execution", EXECUTION | {"execType": execution_type}))
    assert (execution.kind, execution.fee, execution.side) == (kind, Decimal("-0.2"), Side.SELL)


@pytest.mark.parametrize("field", ["execId", "execPrice", "execFee", "side", "execTime"])
def test_execution_without_a_needed_field_is_malformed(field: str) -> None:
    with pytest.raises(MalformedPayload, match=f"execution: field '{field}'"):
        decoding.decode_execution_frame(_frame("execution", EXECUTION | {field: ""}))


def test_wallet_frame_about_other_coins_says_nothing() -> None:
    frame = _frame("wallet", {"coin": [{"coin": "BTC", "equity": "1", "walletBalance": "1"}]})
    assert decoding.decode_wallet_frame(frame) is None


def test_key_that_may_withdraw_and_expires_is_seen() -> None:
    information = decoding.decode_key_information(
        {
            "readOnly": 0,
            "permissions": {"ContractTrade": ["Order", "Position"], "Wallet": ["AccountTransfer", "Withdraw"]},
            "ips": ["*"],
            "deadlineDay": 83,
            "expiredAt": "2026-01-02T03:04:05Z",
            "uta": 1,
            "userID": 7,
            "apiKey": "canary",
            "secret": "canary",
        }
    )
    assert (information.may_trade_contracts, information.may_withdraw) == (True, True)
    assert (information.deadline_day, information.expires_at_ms) == (83, 1_767_323_045_000)
    assert "canary" not in repr(information)


def test_transfers_are_told_from_trades() -> None:
    entry = {"id": "1", "type": "TRANSFER_IN", "currency": "USDT", "change": "100", "transactionTime": "3"}
    result = {"list": [entry, entry | {"type": "TRADE"}]}
    assert [entry.is_transfer for entry in decoding.decode_transactions(result)] == [False, True]


def test_ticker_delta_changes_only_what_it_names() -> None:
    state = Ticker("BTCUSDT", 1, False, last_price=1.0, mark_price=2.0)
    state = state.updated(Ticker("BTCUSDT", 2, True, last_price=3.0))
    assert (state.last_price, state.mark_price, state.time_ms, state.is_delta) == (3.0, 2.0, 2, False)


@pytest.mark.parametrize("interval", list(Interval))
def test_interval_length_is_positive_and_divides_a_week(interval: Interval) -> None:
    assert 7 * 86_400_000 % interval.milliseconds == 0


def test_a_number_out_of_place_is_read_as_well() -> None:
    row = Row({"int": 5, "text": "5", "bare": 0.1, "none": "", "null": None}, "t")
    assert (row.integer("int"), row.integer("text"), row.decimal("bare")) == (5, 5, Decimal("0.1"))
    assert (row.optional_decimal("none"), row.optional_decimal("null"), row.optional_integer("absent")) == (None,) * 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FRAMES = [
    (decoding.decode_trade_frame, _trades({})),
    (decoding.decode_order_frame, _frame("order", ORDER)),
    (decoding.decode_execution_frame, _frame("execution", EXECUTION)),
    (
        decoding.decode_position_frame,
        _frame("position", {"symbol": "BTCUSDT", "size": "1", "side": "Buy", "entryPrice": "1", "category": "linear"}),
    ),
    (
        decoding.decode_wallet_frame,
        _frame("wallet", {"coin": [{"coin": "USDT", "equity": "1", "walletBalance": "1"}]}),
    ),
]


@given(data=st.data(), which=st.integers(0, len(FRAMES) - 1))
def test_any_damage_to_a_frame_is_either_tolerated_or_named(data: st.DataObject, which: int) -> None:
    decode, intact = FRAMES[which]
    frame = json.loads(json.dumps(intact))
    row = frame["data"][0]
    target = data.draw(st.sampled_from([frame, row]))
    target[data.draw(st.sampled_from(sorted(target)))] = data.draw(JSON)
    with suppress(MalformedPayload):  # any other exception fails the test
        decode(frame)
