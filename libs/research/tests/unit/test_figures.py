"""Figures of a run, from rows to what stands at the head of the page."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_reports import made_day, made_fill, made_order, made_report, made_run

from breakwater_research.figures import run_figures
from breakwater_research.report_rows import read_rows


def test_figures_follow_from_the_rows() -> None:
    figures = run_figures(read_rows(made_run()))
    assert (figures.days, figures.first_day, figures.last_day) == (3, date(2023, 7, 4), date(2023, 7, 6))
    assert (figures.closed_trades, figures.open_trades) == (2, 1)
    assert figures.win_rate == Decimal("0.5")
    assert figures.fees == Decimal("0.25")
    assert figures.average_slippage_bps == Decimal("6.8")
    assert figures.median_slippage_bps == 10
    [account] = figures.accounts
    assert account.total_return == Decimal("0.007475")
    assert account.max_drawdown == Decimal("0.05")
    assert (account.best_day.day.day, account.worst_day.day.day) == (6, 5)
    assert account.returns.total_return == pytest.approx(float(account.total_return))
    assert account.returns.max_drawdown == pytest.approx(float(account.max_drawdown))


def test_slippage_is_what_fills_cost_beyond_their_targets() -> None:
    """Targets are 100: bought at 101 costs 1 each, sold at 99.5 costs 0.5 each; funding has no target."""
    bought, sold = made_order(1, qty="2"), made_order(2, side="sell", leg="exit", qty="2")
    funding = made_fill(bought, "100", exec_id="f", kind="funding", fee="0.3")
    fills = [made_fill(bought, "101"), funding, made_fill(sold, "99.5")]
    figures = run_figures(read_rows(made_report(orders=[bought, sold], fills=fills)))
    assert (figures.slippage, figures.fees, figures.funding) == (3, Decimal("0.1"), Decimal("0.3"))
    [symbol] = figures.symbols
    assert (symbol.slippage, symbol.fees, symbol.funding) == (3, Decimal("0.1"), Decimal("0.3"))


def test_exposure_counts_the_time_in_which_anything_was_held_once() -> None:
    """Two positions that overlap, 0 to 6 h and 3 to 12 h of one day of two: 12 of 48 hours."""
    hour_ms, start_ms = 3_600_000, 1_688_428_800_000
    orders = [made_order(number, symbol) for number, symbol in enumerate(("BTCUSDT", "ETHUSDT") * 2)]
    sides, hours = ("buy", "sell", "sell", "buy"), (0, 3, 6, 12)
    fills = [
        made_fill(order, "100", side=side, exec_time_ms=start_ms + hour * hour_ms)
        for order, side, hour in zip(orders, sides, hours, strict=True)
    ]
    days = [made_day("2023-07-04"), made_day("2023-07-05")]
    [account] = run_figures(read_rows(made_report(orders=orders, fills=fills, days=days))).accounts
    assert account.exposure == 0.25


def test_symbols_tell_longs_from_shorts() -> None:
    bitcoin, ether, solana = run_figures(read_rows(made_run())).symbols
    assert (bitcoin.symbol, bitcoin.long_trades, bitcoin.short_trades) == ("BTCUSDT", 2, 0)
    assert (bitcoin.long_result, bitcoin.closed_trades, bitcoin.won_trades) == (Decimal("9.85"), 1, 1)
    assert (ether.short_trades, ether.short_result, ether.won_trades) == (1, Decimal("-5.1"), 0)
    assert (solana.trades, solana.result, solana.average_slippage_bps) == (0, 0, None)


def test_a_run_in_which_nothing_happened_has_no_rates() -> None:
    figures = run_figures(read_rows(made_report()))
    assert figures.accounts == ()
    assert figures.symbols == ()
    assert (figures.days, figures.first_day, figures.win_rate, figures.average_slippage_bps) == (0, None, None, None)
    assert figures.median_slippage_bps is None


def test_a_day_of_several_accounts_counts_once() -> None:
    days = [made_day("2023-07-04", "a", cumulative="1.1"), made_day("2023-07-04", "b", cumulative="0.9")]
    figures = run_figures(read_rows(made_report(days=days)))
    assert figures.days == 1
    assert [account.total_return for account in figures.accounts] == [Decimal("0.1"), Decimal("-0.1")]


def test_funding_is_no_fee() -> None:
    order = made_order(1)
    funding = made_fill(order, "100", exec_id="f", kind="funding", fee="-0.5")
    figures = run_figures(read_rows(made_report(orders=[order], fills=[made_fill(order, "100"), funding])))
    assert (figures.fees, figures.funding) == (Decimal("0.05"), Decimal("-0.5"))
    assert figures.symbols[0].result == Decimal("0.45")


@given(st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from(["buy", "sell"]), st.integers(1, 5)), max_size=20))
def test_results_and_trades_of_the_symbols_add_up_to_the_run(rows: list[tuple[str, str, int]]) -> None:
    orders = [made_order(number, symbol, side, qty=str(size)) for number, (symbol, side, size) in enumerate(rows)]
    fills = [made_fill(order, str(100 + number)) for number, order in enumerate(orders)]
    figures = run_figures(read_rows(made_report(orders=orders, fills=fills)))
    assert sum(row.trades for row in figures.symbols) == figures.closed_trades + figures.open_trades
    assert sum((row.fees for row in figures.symbols), Decimal(0)) == figures.fees
