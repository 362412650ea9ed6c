"""Payloads that Bybit sent, or documents, through the functions that run live."""

import csv
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from breakwater_bybit import decoding
from breakwater_bybit.errors import (
    ClockSkew,
    CredentialError,
    DuplicateOrderLinkId,
    ExchangeError,
    NotModified,
    OrderNotFound,
    RateLimited,
    Rejected,
    RejectReason,
    RequestKind,
    error_of_code,
)
from breakwater_bybit.fields import MalformedPayload
from breakwater_bybit.model import DAY_MS, Interval
from breakwater_core.events import FillKind, OrderStatus, Side

D = Decimal


def _load(payloads: Path, name: str) -> Any:
    return json.loads((payloads / name).read_text())


def _kline(result: Any) -> Any:
    return decoding.decode_candles(result, symbol="BTCUSDT", interval=Interval.DAY, answered_at_ms=1_709_891_679_050)


def _wallet(result: Any) -> Any:
    return decoding.decode_wallet(result, answered_at_ms=1)


def _tickers(result: Any) -> Any:
    return decoding.decode_tickers(result, answered_at_ms=1)


def _check_filled_market(orders: Any) -> None:
    (order,) = orders
    assert (order.status, order.is_final, order.side) == (OrderStatus.FILLED, True, Side.SELL)
    assert (order.filled_quantity, order.average_price, order.fee) == (D("0.001"), D("122529.9"), D("0.06739145"))
    assert order.reduce_only
    assert (order.reject_reason, order.cancel_type, order.order_link_id) == ("", "", "")


def _check_rejected_with_fills(orders: Any) -> None:
    (order,) = orders
    assert (order.status, order.filled_quantity, order.average_price) == (OrderStatus.REJECTED, D("0.005"), D(30000))
    assert order.reject_reason == "INSUFFICIENT_MARGIN"


def _check_cancelled_without_fills(orders: Any) -> None:
    (order,) = orders
    assert (order.status, order.filled_quantity, order.average_price) == (OrderStatus.CANCELLED, 0, None)
    assert (order.cancel_type, order.updated_ms) == ("CancelByUser", 1_700_000_005_000)


def _check_open_orders(orders: Any) -> None:
    assert [order.order_id for order in orders] == ["open-order-2", "open-order-1"]  # newest last
    assert all(order.status is OrderStatus.SUBMITTED and not order.is_final for order in orders)


def _check_untriggered(orders: Any) -> None:
    assert {order.exchange_status for order in orders} == {"Untriggered"}
    assert {order.status for order in orders} == {OrderStatus.SUBMITTED}


def _check_instruments(instruments: Any) -> None:
    btc = next(rules for rules in instruments if rules.symbol == "BTCUSDT")
    assert (btc.tick_size, btc.quantity_step, btc.min_quantity) == (D("0.5"), D("0.001"), D("0.001"))
    assert (btc.max_quantity, btc.max_market_quantity, btc.min_notional) == (D(100), D(50), D(5))


def _check_recorded_instruments(instruments: Any) -> None:
    assert len(instruments) == 533  # 560 rows less 27 dated futures
    btc = next(rules for rules in instruments if rules.symbol == "BTCUSDT")
    assert (btc.tick_size, btc.quantity_step, btc.max_market_quantity) == (D("0.1"), D("0.001"), D(150))
    assert btc.max_leverage == 100
    assert all(rules.min_notional == 5 and rules.min_quantity == rules.quantity_step for rules in instruments)


def _check_positions(positions: Any) -> None:
    sizes = {position.symbol: position.size for position in positions}
    assert sizes == {"BTCUSDT": D("0.5"), "ETHUSDT": D(-5), "SOLUSDT": 0}
    flat = next(position for position in positions if position.is_flat)
    assert (flat.average_price, flat.liquidation_price, flat.mark_price) == (None, None, D(150))
    short = next(position for position in positions if position.size < 0).to_position()
    assert (short.average_price, short.unrealised_pnl) == (D(3000), D(250))


def _check_old_position(positions: Any) -> None:
    (position,) = positions
    assert (position.average_price, position.unrealised_pnl) == (D("1073.85"), None)
    assert position.to_position().unrealised_pnl == D("0.5") * (D("1080.65") - D("1073.85"))


def _check_key(information: Any) -> None:
    assert information.read_only
    assert not information.may_trade_contracts
    assert not information.may_withdraw
    assert information.permissions["ContractTrade"] == ("Order", "Position")
    assert information.ips == ("18.181.170.164", "13.212.45.47", "13.212.45.48")
    assert (information.deadline_day, information.expires_at_ms, information.user_id) == (None, None, "1448939")
    assert information.is_unified


def _check_wallet(wallet: Any) -> None:
    assert (wallet.coin, wallet.equity, wallet.wallet_balance) == ("USDT", D("1000.50"), D("1000.50"))
    assert (wallet.total_available_balance, wallet.cumulative_realised_pnl) == (D("3.00326056"), D("50.25"))


def _check_wallet_without_usdt(wallet: Any) -> None:
    assert (wallet.coin, wallet.equity, wallet.total_equity) == ("USDT", 0, D("18070.32797922"))


def _check_xrp_execution(executions: Any) -> None:
    (execution,) = executions
    assert (execution.price, execution.quantity, execution.fee) == (D("1190.15"), D("0.1"), D("0.071409"))
    assert (execution.kind, execution.is_maker, execution.closed_quantity) == (FillKind.TRADE, False, None)


def _check_two_executions(executions: Any) -> None:
    assert [execution.symbol for execution in executions] == ["ETHUSDT", "BTCUSDT"]  # the list is newest first
    assert executions[1].is_maker
    fill = executions[0].to_fill(run_id="live", account="main")
    assert (fill.side, fill.fee, fill.fee_rate, fill.kind) == (Side.SELL, D("0.9"), D("0.0006"), FillKind.TRADE)


def _check_transactions(entries: Any) -> None:
    assert [entry.entry_type for entry in entries] == ["TRADE", "TRADE", "SETTLEMENT"]
    assert (entries[2].funding, entries[2].change, entries[2].is_transfer) == (D("-0.003676"), D("-0.003676"), False)
    assert entries[0].funding is None


def _check_btc_rates(rates: Any) -> None:
    assert [rate.rate for rate in rates] == [D("0.00015"), D("0.0001")]  # oldest first


REST = {
    "recorded/rest_instruments_info_linear.json": (decoding.decode_instruments, _check_recorded_instruments),
    "nautilus/rest_instruments_info_linear_two.json": (decoding.decode_instruments, _check_instruments),
    "nautilus/rest_market_kline_linear.json": (
        _kline,
        lambda candles: [(c.open, c.close, c.volume, c.is_closed) for c in candles] == [(27450, 27455, 123.45, False)],
    ),
    "nautilus/rest_market_recent_trade.json": (
        lambda result: decoding.decode_recent_trades(result, "BTCUSDT"),
        lambda trades: (trades.batch.prices.tolist(), trades.batch.taker_sides.tolist()) == ([27450.5], [1]),
    ),
    "nautilus/rest_market_funding_history.json": (decoding.decode_funding_rates, _check_btc_rates),
    "ccxt/rest_market_funding_history.json": (
        decoding.decode_funding_rates,
        lambda rates: (rates[0].symbol, rates[0].time_ms) == ("ETHPERP", 1_672_041_600_000),
    ),
    "ccxt/rest_market_time.json": (decoding.decode_server_time_ms, lambda time_ms: time_ms == 1_666_879_482_792),
    "ccxt/rest_market_tickers_linear.json": (
        _tickers,
        lambda tickers: (tickers["BTCUSDT"].mark_price, tickers["BTCUSDT"].bid_price) == (19255.0, None),
    ),
    "bybit-net/rest_market_tickers.json": (
        _tickers,
        lambda tickers: (tickers["BTCUSD"].ask_price, tickers["BTCUSD"].funding_rate) == (16597.5, -0.001034),
    ),
    "nautilus/rest_order_history.json": (decoding.decode_orders, _check_cancelled_without_fills),
    "nautilus/rest_order_realtime.json": (decoding.decode_orders, _check_open_orders),
    "nautilus/rest_order_realtime_tp_sl.json": (decoding.decode_orders, _check_untriggered),
    "nautilus/rest_order_partially_filled_then_rejected.json": (decoding.decode_orders, _check_rejected_with_fills),
    "ccxt/rest_order_realtime_filled_market.json": (decoding.decode_orders, _check_filled_market),
    "bybit-net/rest_order_cancel.json": (
        lambda result: decoding.decode_order_ack(result, "order/cancel"),
        lambda ack: (ack.order_id[:8], ack.order_link_id) == ("c6f055d9", "linear-004"),
    ),
    "bybit-net/rest_order_cancel_all.json": (
        decoding.decode_cancelled_orders,
        lambda acks: [ack.order_link_id for ack in acks] == ["1616024329462743809", "1616024287544869633"],
    ),
    "ccxt/rest_order_cancel_all_linear.json": (
        decoding.decode_cancelled_orders,
        lambda acks: [ack.order_link_id for ack in acks] == ["a001"],
    ),
    "nautilus/rest_execution_list.json": (decoding.decode_executions, _check_two_executions),
    "ccxt/rest_execution_list.json": (decoding.decode_executions, _check_xrp_execution),
    "bybit-net/rest_execution_list.json": (decoding.decode_executions, _check_xrp_execution),
    "nautilus/rest_position_list.json": (decoding.decode_positions, _check_positions),
    "ccxt/rest_position_list_old_shape.json": (decoding.decode_positions, _check_old_position),
    "nautilus/rest_account_wallet_balance.json": (_wallet, _check_wallet),
    "ccxt/rest_account_wallet_balance.json": (_wallet, _check_wallet_without_usdt),
    "bybit-net/rest_account_transaction_log.json": (decoding.decode_transactions, _check_transactions),
    "nautilus/rest_account_fee_rate.json": (
        decoding.decode_fee_rates,
        lambda rates: (rates["SOLUSDT"].taker, rates["BTCUSDT"].maker) == (D("0.00075"), D("0.0001")),
    ),
    "nautilus/rest_account_info.json": (
        decoding.decode_account_info,
        lambda info: info.is_cross_margin and info.is_unified,
    ),
    "ccxt/rest_account_info.json": (decoding.decode_account_info, lambda info: info.unified_margin_status == 4),
    "nautilus/rest_user_query_api.json": (decoding.decode_key_information, _check_key),
}


@pytest.mark.parametrize("name", REST)
def test_rest_result_is_decoded(payloads: Path, name: str) -> None:
    decode, check = REST[name]
    verdict = check(decode(_load(payloads, name)["result"]))
    assert verdict is not False


def _check_ws_filled(orders: Any) -> None:
    (order,) = orders
    assert (order.status, order.filled_quantity, order.average_price) == (OrderStatus.FILLED, D("0.1"), D("30000.50"))
    assert order.order_link_id == "test-client-order-001"


def _check_ws_short(positions: Any) -> None:
    (position,) = positions
    assert (position.size, position.average_price, position.sequence) == (D("-0.01"), D("3641.075"), 325852190774)


def _check_ws_flat(positions: Any) -> None:
    (position,) = positions
    assert (position.is_flat, position.average_price, position.liquidation_price) == (True, None, None)
    assert position.current_realised_pnl == D("1.26")


def _check_ws_wallet(wallet: Any) -> None:
    assert (wallet.equity, wallet.wallet_balance) == (D("10226.20575506"), D("9647.75537647"))
    assert wallet.unrealised_pnl == D("578.45037859")  # not stated: what equity has beyond the balance
    assert (wallet.initial_margin, wallet.time_ms) == (D("127.8573161"), 1_700_034_722_104)


def _check_rollover(candles: Any) -> None:
    closed, opened = candles
    assert (closed.start_ms, closed.is_closed, closed.close) == (1_786_310_760_000, True, 65114.2)
    assert (opened.start_ms, opened.is_closed, opened.volume) == (1_786_310_820_000, False, 0.0)
    assert opened.open == opened.high == opened.low == opened.close == closed.close


def _check_trades(count: int, price: float, side: int) -> Callable[[Any], None]:
    def check(trades: Any) -> None:
        assert len(trades) == count == len(set(trades.trade_ids))
        assert trades.batch.prices.dtype == np.float64
        assert (trades.batch.prices[0], int(trades.batch.taker_sides[0])) == (price, side)
        assert not trades.are_block.any()

    return check


def _check_ticker_delta(ticker: Any) -> None:
    assert ticker.is_delta
    assert (ticker.bid_price, ticker.ask_size, ticker.last_price) == (65114.2, 10.486, None)


def _check_ticker_snapshot(ticker: Any) -> None:
    assert not ticker.is_delta
    assert (ticker.mark_price, ticker.funding_rate) == (65117.44, 0.0001)
    assert (ticker.next_funding_ms, ticker.time_ms) == (1_786_320_000_000, 1_786_310_817_583)


STREAM = {
    "recorded/ws_publicTrade_single_BTCUSDT.json": (decoding.decode_trade_frame, _check_trades(1, 65114.2, -1)),
    "recorded/ws_publicTrade_one_taker_few_fills_DOGEUSDT.json": (
        decoding.decode_trade_frame,
        _check_trades(4, 0.07055, -1),
    ),
    "recorded/ws_publicTrade_one_taker_many_fills_BTCUSDT.json": (
        decoding.decode_trade_frame,
        _check_trades(41, 65114.2, -1),
    ),
    "bybit-net/ws_publicTrade.json": (decoding.decode_trade_frame, _check_trades(1, 16578.5, 1)),
    "recorded/ws_kline_open_BTCUSDT.json": (
        decoding.decode_candle_frame,
        lambda candles: [(c.interval, c.is_closed, c.volume) for c in candles] == [(Interval.MINUTE, False, 1.576)],
    ),
    "recorded/ws_kline_rollover_two_rows_BTCUSDT.json": (decoding.decode_candle_frame, _check_rollover),
    "recorded/ws_tickers_snapshot_BTCUSDT.json": (decoding.decode_ticker_frame, _check_ticker_snapshot),
    "recorded/ws_tickers_delta_touch_only_BTCUSDT.json": (decoding.decode_ticker_frame, _check_ticker_delta),
    "recorded/ws_tickers_delta_last_price_BTCUSDT.json": (
        decoding.decode_ticker_frame,
        lambda ticker: (ticker.last_price, ticker.mark_price) == (65114.2, None),
    ),
    "recorded/ws_tickers_delta_open_interest_DOGEUSDT.json": (
        decoding.decode_ticker_frame,
        lambda ticker: (ticker.symbol, ticker.last_price) == ("DOGEUSDT", None),
    ),
    "ccxt/ws_tickers_snapshot.json": (
        decoding.decode_ticker_frame,
        lambda ticker: (ticker.last_price, ticker.ask_size) == (17216.0, 83.02),
    ),
    "nautilus/ws_order_cancelled.json": (decoding.decode_order_frame, _check_cancelled_without_fills),
    "nautilus/ws_order_filled.json": (decoding.decode_order_frame, _check_ws_filled),
    "nautilus/ws_order_untriggered_stop_market.json": (decoding.decode_order_frame, _check_untriggered),
    "nautilus/ws_order_untriggered_take_profit.json": (decoding.decode_order_frame, _check_untriggered),
    "nautilus/ws_execution.json": (
        decoding.decode_execution_frame,
        lambda rows: (
            (rows[0].fee, rows[0].closed_quantity, rows[0].sequence) == (D("26.3725275"), D("0.5"), 140612148849382)
        ),
    ),
    "ccxt/ws_execution.json": (
        decoding.decode_execution_frame,
        lambda rows: (rows[0].quantity, rows[0].price, rows[0].sequence) == (D(25), D("0.3374"), 0),
    ),
    "bybit-net/ws_execution.json": (
        decoding.decode_execution_frame,
        lambda rows: (rows[0].side, rows[0].exec_time_ms) == (Side.SELL, 1_672_364_174_443),
    ),
    "nautilus/ws_position_short.json": (decoding.decode_position_frame, _check_ws_short),
    "bybit-net/ws_position_flat.json": (decoding.decode_position_frame, _check_ws_flat),
    "nautilus/ws_wallet.json": (decoding.decode_wallet_frame, _check_ws_wallet),
    "nautilus/ws_wallet_negative_upl.json": (
        decoding.decode_wallet_frame,
        lambda wallet: (wallet.initial_margin, wallet.total_available_balance) == (D(120), 0),
    ),
    "bybit-net/ws_wallet.json": (decoding.decode_wallet_frame, lambda wallet: wallet is None),
    "ccxt/ws_wallet.json": (
        decoding.decode_wallet_frame,
        lambda wallet: (wallet.coin, wallet.total_equity) == ("USDT", D("12837.78330098")),
    ),
}


@pytest.mark.parametrize("name", STREAM)
def test_stream_frame_is_decoded(payloads: Path, name: str) -> None:
    decode, check = STREAM[name]
    verdict = check(decode(_load(payloads, name)))
    assert verdict is not False


def test_fast_execution_is_refused_because_it_states_no_fee(payloads: Path) -> None:
    with pytest.raises(MalformedPayload, match=r"execution\.fast: field 'exec"):
        decoding.decode_execution_frame(_load(payloads, "nautilus/ws_execution_fast.json"))


ERRORS: dict[str, tuple[type[ExchangeError], RejectReason | None]] = {
    "errors/10001_order_link_id_too_long.json": (Rejected, RejectReason.BAD_PARAMETER),
    "errors/10001_position_mode_invalid.json": (Rejected, RejectReason.BAD_PARAMETER),
    "ccxt/error_10001_symbol_params_err.json": (Rejected, RejectReason.BAD_PARAMETER),
    "errors/10002_timestamp.json": (ClockSkew, None),
    "errors/10003_api_key_invalid.json": (CredentialError, None),
    "errors/10004_error_sign.json": (CredentialError, None),
    "errors/10006_too_many_visits.json": (RateLimited, None),
    "errors/110001_order_not_exists_cancel.json": (OrderNotFound, None),
    "errors/110007_not_enough_balance.json": (Rejected, RejectReason.INSUFFICIENT_MARGIN),
    "errors/110017_position_zero.json": (Rejected, RejectReason.REDUCE_ONLY),
    "errors/110017_reduce_only_not_satisfied.json": (Rejected, RejectReason.REDUCE_ONLY),
    "errors/110025_position_mode_not_modified.json": (NotModified, None),
    "errors/110072_duplicate_order_link_id.json": (DuplicateOrderLinkId, None),
    "ccxt/ws_trade_error_170131.json": (Rejected, RejectReason.OTHER),
}


@pytest.mark.parametrize("name", ERRORS)
def test_error_payload_is_classed(payloads: Path, name: str) -> None:
    payload = _load(payloads, name)
    kind, reason = ERRORS[name]
    error = error_of_code(
        payload["retCode"], payload["retMsg"], endpoint="order/create", kind=RequestKind.ORDER, secrets=("APIKEY",)
    )
    assert type(error) is kind
    assert error.ret_code == payload["retCode"]
    assert getattr(error, "reason", None) is reason
    assert "APIKEY" not in f"{error} {error.text}"


def test_every_error_payload_is_covered(payloads: Path) -> None:
    present = {f"errors/{path.name}" for path in (payloads / "errors").glob("[0-9]*.json")}
    assert present <= ERRORS.keys()


@pytest.mark.parametrize("symbol", ["BTCUSDT", "DOGEUSDT"])
def test_recorded_session_decodes_without_loss(payloads: Path, symbol: str) -> None:
    lines = (payloads / "recorded/ws_linear_session_BTCUSDT_DOGEUSDT.jsonl").read_text().splitlines()
    frames = [entry["frame"] for entry in map(json.loads, lines) if entry["t"] == "recv"]
    topics = [frame for frame in frames if str(frame.get("topic", "")).endswith(symbol)]

    trades = [frame for frame in topics if frame["topic"].startswith("publicTrade")]
    rows = [row for frame in trades for row in frame["data"]]
    batches = [decoding.decode_trade_frame(frame) for frame in trades]
    assert [ident for batch in batches for ident in batch.trade_ids] == [row["i"] for row in rows]
    assert np.concatenate([batch.batch.prices for batch in batches]).tolist() == [float(row["p"]) for row in rows]
    assert all((np.diff(batch.batch.times_ms) >= 0).all() for batch in batches)

    closed = [
        candle
        for frame in topics
        if frame["topic"].startswith("kline")
        for candle in decoding.decode_candle_frame(frame)
        if candle.is_closed
    ]
    assert len(closed) == 1

    state = None
    for frame in topics:
        if frame["topic"].startswith("tickers"):
            ticker = decoding.decode_ticker_frame(frame)
            state = ticker if state is None else state.updated(ticker)
    assert state is not None
    assert None not in (state.last_price, state.mark_price, state.bid_price, state.ask_price, state.funding_rate)


def test_archived_trades_agree_with_the_recent_trades_format(payloads: Path) -> None:
    with (payloads / "archive/public_trades_FXSUSDT_2023-10-10.csv").open() as file:
        rows = list(csv.DictReader(file))
    newest_first = [
        {
            "execId": row["trdMatchID"],
            "price": row["price"],
            "size": row["size"],
            "side": row["side"],
            "time": str(int(float(row["timestamp"]) * 1000)),
        }
        for row in reversed(rows)
    ]
    trades = decoding.decode_recent_trades({"list": newest_first}, "FXSUSDT")
    assert trades.trade_ids == tuple(row["trdMatchID"] for row in rows)
    assert trades.batch.sizes.sum() == pytest.approx(sum(float(row["homeNotional"]) for row in rows))


def test_day_candle_is_closed_once_the_exchange_says_its_day_is_over() -> None:
    result = {"list": [[str(2 * DAY_MS), *["1"] * 6], [str(DAY_MS), *["1"] * 6]]}
    candles = decoding.decode_candles(result, symbol="BTCUSDT", interval=Interval.DAY, answered_at_ms=3 * DAY_MS - 1)
    assert [candle.is_closed for candle in candles] == [True, False]
