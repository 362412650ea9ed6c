"""The sweep against the exact engine: the same trades, and daily returns but for the rounding of floats."""

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from made_bars import DAY_MS, FIRST, FIRST_MS, MINUTE_MS, RandomRecording, bar_recording, configurations, flat, minutes

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError, InvariantError
from breakwater_core.identities import parse_intent_id
from breakwater_core.report import Report
from breakwater_core.session import Session
from breakwater_recordings.funding import FundingRecords
from breakwater_recordings.recording import Recording
from breakwater_recordings.sources import open_recording
from breakwater_research.bars.bar_table import BarTable, open_bar_table
from breakwater_research.bars.sweep import sweep, sweep_trades
from breakwater_research.cost_records import CostRecords
from breakwater_research.tick_backtest import run_tick_backtest

RETURN_TOLERANCE = 2e-12
"""The exact engine rounds each daily return to 12 decimals; beyond that only float64 differs."""
NOON_MS = DAY_MS // 2
FILTERS = ("trend", "contrarian", "none")


def expected_trades(report: Report, session: Session) -> pd.DataFrame:
    """Return what `sweep_trades` should say, from an exact report of one account.

    Fills are told apart by the day of their order, not by time: late exits may run on into the next day.
    """
    orders = {order["order_link_id"]: order for order in report["orders"]}
    fills: dict[tuple[date, str], list[tuple[str, dict[str, Any]]]] = {}
    for fill in report["fills"]:
        if fill["kind"] == "funding":
            continue
        order = orders.get(fill["order_link_id"])
        day = session.day_of(fill["exec_time_ms"]) if order is None else parse_intent_id(order["intent_id"]).day
        leg = "liquidation" if order is None else order["leg"]
        fills.setdefault((day, fill["symbol"]), []).append((leg, fill))
    rows = []
    for (day, symbol), legs in sorted(fills.items()):
        entered = [fill for leg, fill in legs if leg == "entry"]
        left = [fill for leg, fill in legs if leg != "entry"]
        first = orders[entered[0]["order_link_id"]]
        rows.append(
            {
                "day": pd.Timestamp(day),
                "symbol": symbol,
                "side": 1 if first["side"] == "buy" else -1,
                "trigger_time_ms": first["trigger_time_ms"],
                "target_price": float(first["target_price"]),
                "trigger_price": float(first["trigger_price"]),
                "entry_time_ms": entered[-1]["exec_time_ms"],
                "entry_price": mean_price(entered),
                "exit_time_ms": left[-1]["exec_time_ms"],
                "exit_price": mean_price(left),
                "exit_leg": legs[-1][0],
            }
        )
    return pd.DataFrame(rows)


def mean_price(fills: list[dict[str, Any]]) -> float:
    quantity = sum(Decimal(fill["qty"]) for fill in fills)
    return float(sum(Decimal(fill["qty"]) * Decimal(fill["price"]) for fill in fills) / quantity)


def assert_same_trades(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert len(found) == len(expected)
    if expected.empty:
        return
    found = found.sort_values(["day", "symbol"], ignore_index=True)[list(expected.columns)]
    pd.testing.assert_frame_equal(found, expected, check_exact=False, rtol=1e-13, atol=0, check_dtype=False)


def exact_returns(report: Report, config: BreakwaterConfig) -> dict[str, float]:
    equity = config.portfolio.initial_equity
    returns = {}
    for day in report["days"]:
        returns[day["day"]] = max(-1.0, float((Decimal(day["equity"]) - equity) / equity))
        equity = Decimal(day["equity"])
    return returns


def assert_same_returns(table: BarTable, config: BreakwaterConfig, report: Report, **span: Any) -> None:
    result = sweep(table, [config], **span)
    days = [str(np.datetime64(int(day), "D")) for day in result.days]
    expected = exact_returns(report, config)
    wanted = np.array([expected.get(day, 0.0) for day in days])
    np.testing.assert_allclose(result.returns[0], wanted, rtol=0, atol=RETURN_TOLERANCE)
    assert result.liquidations[0] == sum(fill["kind"] == "liquidation" for fill in report["fills"])


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), config=configurations, cut=st.booleans())
def test_a_set_s_trades_and_returns_are_the_exact_engine_s_for_every_option(
    seed: int, config: BreakwaterConfig, cut: bool
) -> None:
    portfolio = config.portfolio.model_copy(update={"accounts": ("main",)})
    config = config.model_copy(update={"portfolio": portfolio})
    with RandomRecording(seed, config.session.session()) as recording:
        days = sorted({day for symbol in recording.symbols for day in recording.complete_days(symbol)})
        assume(days)
        span = {"first_day": days[len(days) // 3]} if cut else {}
        try:
            report = run_tick_backtest(recording, config, **span)
        except InvariantError:
            assume(False)  # hypothesis draws another
        table = open_bar_table(recording, config.session.session())
        assert_same_returns(table, config, report, **span)
        found = sweep_trades(table, config, **span)
        assert sweep(table, [config], **span).trades.tolist() == [len(found)]
        assert_same_trades(found, expected_trades(report, table.session))


def hand_made(tmp_path: Path, *changes: Any) -> tuple[BarTable, Recording]:
    """Return a market whose second day has the targets 105 and 95 at k = 0.5, and changes as given."""
    ranged = (*flat(60 * MINUTE_MS, 100.0)[:2], 105.0, 95.0, 100.0, 1.0)
    second = [(FIRST_MS + DAY_MS + row[0], *row[1:]) for row in changes]
    recording = bar_recording(tmp_path, {"AAAUSDT": minutes(ranged, *second)})
    return open_bar_table(recording, Session()), recording


SETTINGS: dict[str, dict[str, Any]] = {
    "strategy": {"ma_window": 1},
    "costs": {"slippage_bps": 0, "taker_fee": "0.001"},
    "portfolio": {"initial_equity": 10_000, "gross_leverage": 1},
}


def changed(**sections: dict[str, Any]) -> BreakwaterConfig:
    names = {*SETTINGS, *sections}
    return BreakwaterConfig.parse({name: SETTINGS.get(name, {}) | sections.get(name, {}) for name in names})


RISE = (NOON_MS, 100.0, 106.0, 100.0, 106.0, 1.0)
TOP = (NOON_MS + MINUTE_MS, 110.0, 110.0, 110.0, 110.0, 1.0)


def test_a_long_is_told_with_every_cost(tmp_path: Path) -> None:
    """Bought at 106 * 1.001 = 106.106 -> 106.11, sold at 110 * 0.999 = 109.89: 94.33 pieces of 10,000."""
    table, _ = hand_made(tmp_path, RISE, TOP)
    config = changed(costs={"slippage_bps": 10, "taker_fee": "0.001", "funding_rate": "0.0005"})
    trades = sweep_trades(table, config)
    assert len(trades) == 1
    trade = trades.iloc[0]
    day_ms = FIRST_MS + DAY_MS
    assert trade["day"] == pd.Timestamp(FIRST + timedelta(days=1))
    assert (trade["symbol"], trade["side"], trade["exit_leg"]) == ("AAAUSDT", 1, "exit")
    assert (trade["target_price"], trade["trigger_price"]) == (105.0, 106.0)
    assert (trade["trigger_time_ms"], trade["entry_time_ms"]) == (day_ms + NOON_MS + 30_000, day_ms + NOON_MS + 30_050)
    assert (trade["entry_price"], trade["exit_price"]) == (106.11, 109.89)
    assert trade["exit_time_ms"] == day_ms + DAY_MS - 30_000 + 50
    assert trade["quantity_share"] == pytest.approx(94.33 * 106 / 10_000)
    assert trade["gross_return"] == pytest.approx(94.33 * 4 / 10_000)
    assert trade["fee"] == pytest.approx(94.33 * (106.11 + 109.89) * 0.001 / 10_000)
    assert trade["slippage"] == pytest.approx(94.33 * 0.22 / 10_000)
    assert trade["funding"] == pytest.approx(94.33 * 110 * 0.0005 / 10_000)  # at 16:00 alone
    costs = trade["fee"] + trade["slippage"] + trade["funding"]
    assert trade["net_return"] == pytest.approx(trade["gross_return"] - costs)
    result = sweep(table, [config])
    assert result.days.tolist() == [19_790, 19_791]
    assert result.returns.tolist() == [[0.0, pytest.approx(trade["net_return"])]]
    assert [result.fees[0], result.slippage[0], result.funding[0]] == pytest.approx(
        [trade["fee"], trade["slippage"], trade["funding"]]
    )
    assert (result.trades[0], result.liquidations[0]) == (1, 0)


def test_recorded_funding_goes_before_the_constant(tmp_path: Path) -> None:
    table, recording = hand_made(tmp_path, RISE, TOP)
    stamps = {FIRST_MS + DAY_MS + hour * 3_600_000: Decimal(rate) for hour, rate in ((8, "0.1"), (16, "-0.002"))}
    records = FundingRecords.of({"AAAUSDT": stamps})
    result = sweep(table, [changed(costs={"funding_rate": "0.01"}), changed()], funding=records)
    assert result.funding.tolist() == pytest.approx([-0.002 * 94.33 * 110 / 10_000] * 2)
    for number, config in enumerate((changed(costs={"funding_rate": "0.01"}), changed())):
        report = run_tick_backtest(recording, config, records=CostRecords(funding=records))
        assert result.returns[number, 1] == pytest.approx(float(report["days"][1]["ror"]) - 1, abs=RETURN_TOLERANCE)


def test_a_liquidation_is_told_as_one_and_leaves_what_the_exact_account_leaves(tmp_path: Path) -> None:
    """At leverage 9 the account holds at 95 and is closed at 94.5, with 65.690475 of 10,000 left."""
    fall = (NOON_MS + 2 * MINUTE_MS, 95.0, 95.0, 94.5, 94.5, 1.0)
    table, _ = hand_made(tmp_path, RISE, fall)
    config = changed(costs={"slippage_bps": 0, "taker_fee": "0.001"}, portfolio={"gross_leverage": 9})
    result = sweep(table, [config])
    assert result.liquidations.tolist() == [1]
    assert result.returns[0, 1] == pytest.approx(65.690475 / 10_000 - 1, abs=RETURN_TOLERANCE)
    trade = sweep_trades(table, config).iloc[0]
    assert (trade["exit_leg"], trade["exit_price"], trade["slippage"]) == ("liquidation", 94.5, 0.0)


def test_an_account_that_has_lost_more_than_everything_returns_minus_one_and_rests(tmp_path: Path) -> None:
    fall = (NOON_MS + 2 * MINUTE_MS, 60.0, 60.0, 60.0, 60.0, 1.0)
    ranged = (*flat(60 * MINUTE_MS, 100.0)[:2], 105.0, 95.0, 100.0, 1.0)
    again = [(FIRST_MS + day * DAY_MS + row[0], *row[1:]) for day in (1, 2) for row in (RISE, fall)]
    recording = bar_recording(tmp_path, {"AAAUSDT": minutes(ranged, *again, days=3)})
    result = sweep(open_bar_table(recording, Session()), [changed(portfolio={"gross_leverage": 9})])
    assert result.returns.tolist() == [[0.0, -1.0, 0.0]]
    assert result.trades.tolist() == [1]


def test_sets_do_not_depend_on_their_neighbours_or_on_threads(tmp_path: Path) -> None:
    with RandomRecording(5, Session()) as recording:
        table = open_bar_table(recording, Session())
    configs = [changed(strategy={"ma_window": 1, "k_long": k, "filter": name}) for k in (0.1, 0.3) for name in FILTERS]
    together = sweep(table, configs, threads=3)
    assert together.trades.sum() > 0
    for number, config in enumerate(configs):
        alone = sweep(table, [config], threads=1)
        assert alone.returns[0].tolist() == together.returns[number].tolist()


def test_a_set_may_trade_some_of_the_symbols(tmp_path: Path) -> None:
    ranged = (*flat(60 * MINUTE_MS, 100.0)[:2], 105.0, 95.0, 100.0, 1.0)
    second = [(FIRST_MS + DAY_MS + row[0], *row[1:]) for row in (RISE, TOP)]
    rows = minutes(ranged, *second)
    table = open_bar_table(bar_recording(tmp_path, {"AAAUSDT": rows, "BBBUSDT": rows}), Session())
    one, both = changed(portfolio={"symbols": ["BBBUSDT"], "initial_equity": 10_000}), changed()
    result = sweep(table, [one, both])
    assert result.trades.tolist() == [1, 2]
    assert sweep_trades(table, one)["symbol"].tolist() == ["BBBUSDT"]
    with pytest.raises(InvalidInputError, match="does not hold CCCUSDT; it holds AAAUSDT, BBBUSDT"):
        sweep(table, [changed(portfolio={"symbols": ["CCCUSDT"]})])


def test_days_that_begin_elsewhere_are_refused_with_the_way_out(tmp_path: Path) -> None:
    table, _ = hand_made(tmp_path)
    with pytest.raises(InvalidInputError, match=r"begin at 09:00:00 in UTC, the table's at 00:00:00 in UTC; open a"):
        sweep(table, [changed(session={"start": "09:00"})])


def test_real_minutes_give_the_exact_engine_s_trades_and_returns(shared: Path) -> None:
    names = [f"{base}USDT" for base in ("BTC", "ETH", "SOL", "DOGE")]
    files = [str(shared / f"data/klines_1m/binance_usdm_{name}_1m_2023JulAug.csv.gz") for name in names]
    config = BreakwaterConfig.parse(
        {"strategy": {"k_long": 0.3, "k_short": 0.4, "stop_loss": 0.02}, "costs": {"funding_rate": "0.0001"}}
    )
    recording = open_recording(files, session=Session())
    table, report = open_bar_table(recording, Session()), run_tick_backtest(recording, config)
    assert_same_returns(table, config, report)
    assert_same_trades(sweep_trades(table, config), expected_trades(report, table.session))
