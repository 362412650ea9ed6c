from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.errors import InvalidInputError, InvariantError
from breakwater_core.events import DailyPerformance, Side
from breakwater_core.performance import PerformanceSeries, growth_factor, slippage_bps

DAY = date(2023, 7, 4)
NOTHING = Decimal(0)


def series(*equities: str, initial: str = "1000") -> tuple[PerformanceSeries, list[DailyPerformance]]:
    made = PerformanceSeries(run_id="live", account="main", initial_equity=Decimal(initial))
    rows = [
        made.close_day(DAY + timedelta(days=number), Decimal(equity), NOTHING) for number, equity in enumerate(equities)
    ]
    return made, rows


def test_a_month_by_hand() -> None:
    _, rows = series("1100", "990", "1089", "1200")
    assert [row.ror for row in rows] == [Decimal("1.1"), Decimal("0.9"), Decimal("1.1"), Decimal("1.101928374656")]
    assert [row.cumulative for row in rows] == [
        Decimal("1.1"),
        Decimal("0.99"),
        Decimal("1.089"),
        Decimal("1.2"),
    ]
    assert [row.drawdown for row in rows] == [0, Decimal("0.1"), Decimal("0.01"), 0]
    assert [row.mdd for row in rows] == [0, Decimal("0.1"), Decimal("0.1"), Decimal("0.1")]


def test_figures_have_twelve_decimals() -> None:
    _, (row,) = series("1001", initial="3000")
    assert str(row.ror) == "0.333666666667"
    assert str(row.drawdown) == "0.666333333333"


def test_drawdown_counts_from_the_start_if_nothing_was_ever_gained() -> None:
    _, rows = series("900", "950")
    assert [row.drawdown for row in rows] == [Decimal("0.1"), Decimal("0.05").quantize(Decimal("1E-12"))]


def test_a_deposit_is_no_return_and_a_withdrawal_no_loss() -> None:
    made, _ = series("1000")
    row = made.close_day(DAY + timedelta(days=1), Decimal(1550), Decimal(500))
    assert row.ror == Decimal("1.05")
    row = made.close_day(DAY + timedelta(days=2), Decimal(550), Decimal(-1000))
    assert (row.ror, row.drawdown) == (1, 0)


def test_losing_more_than_everything_is_growth_by_zero_and_stays_so() -> None:
    _, rows = series("-50", "-50")
    assert [(row.ror, row.cumulative, row.drawdown) for row in rows] == [(0, 0, 1), (1, 0, 1)]


def test_a_result_without_equity_before_it_has_no_rate() -> None:
    made, _ = series("0")
    with pytest.raises(InvalidInputError, match="has no rate of return"):
        made.close_day(DAY + timedelta(days=1), Decimal(10), NOTHING)
    assert made.close_day(DAY + timedelta(days=1), Decimal(10), Decimal(10)).ror == 1
    with pytest.raises(InvalidInputError, match="initial_equity"):
        series(initial="0")


def test_closing_the_last_day_again_gives_the_same_row_or_stops() -> None:
    made, (row,) = series("1100")
    assert made.close_day(DAY, Decimal(1100), NOTHING) is row
    with pytest.raises(InvariantError, match="was closed with equity 1100"):
        made.close_day(DAY, Decimal(1101), NOTHING)
    with pytest.raises(InvalidInputError, match="already closed"):
        made.close_day(DAY - timedelta(days=1), Decimal(1100), NOTHING)


@given(
    st.lists(st.tuples(st.decimals(1, 10_000, places=6), st.decimals(-500, 500, places=6)), min_size=1, max_size=30),
    st.integers(0, 30),
)
def test_series_resumed_from_stored_rows_goes_on_unchanged(days: list[tuple[Decimal, Decimal]], cut: int) -> None:
    made = PerformanceSeries(run_id="live", account="main", initial_equity=Decimal(1000))
    rows = [made.close_day(DAY + timedelta(days=number), *figures) for number, figures in enumerate(days)]
    again = PerformanceSeries(run_id="live", account="main", initial_equity=Decimal(1000))
    again.resume(rows[:cut])
    rest = [again.close_day(row.day, row.equity, row.net_deposits) for row in rows[cut:]]
    assert rest == rows[cut:]
    assert (again.cumulative, again.peak) == (made.cumulative, made.peak)


@given(st.lists(st.decimals("500", "2000", places=4), min_size=1, max_size=40))
def test_figures_are_those_of_the_formulas(equities: list[Decimal]) -> None:
    _, rows = series(*map(str, equities))
    exact, before = [], Fraction(1000)
    for equity in equities:
        exact.append((exact[-1] if exact else Fraction(1)) * Fraction(equity) / before)
        before = Fraction(equity)
    worst = Fraction(0)
    for number, row in enumerate(rows):
        drawdown = 1 - exact[number] / max(1, *exact[: number + 1])
        worst = max(worst, drawdown)
        assert abs(Fraction(row.cumulative) - exact[number]) < Fraction(1, 10**9)
        assert abs(Fraction(row.drawdown) - drawdown) < Fraction(1, 10**9)
        assert abs(Fraction(row.mdd) - worst) < Fraction(1, 10**9)
        assert 0 <= row.drawdown <= row.mdd <= 1


def test_stored_rows_that_do_not_add_up_stop_everything() -> None:
    _, (row,) = series("1100")
    again = PerformanceSeries(run_id="other", account="main", initial_equity=Decimal(1000))
    with pytest.raises(InvariantError, match="stored row"):
        again.resume([row])


def test_growth_factor_leaves_deposits_out() -> None:
    growth = growth_factor(equity=Decimal(1210), net_deposits=Decimal(100), equity_before=Decimal(1000))
    assert growth == Decimal("1.11")


def test_slippage_is_positive_when_worse_than_the_target_on_either_side() -> None:
    assert slippage_bps(Side.BUY, Decimal("100.01"), Decimal(100)) == 1
    assert slippage_bps(Side.SELL, Decimal("100.01"), Decimal(100)) == -1
    assert str(slippage_bps(Side.SELL, Decimal(29990), Decimal(30001))) == "3.6665"
    with pytest.raises(InvalidInputError, match="target_price"):
        slippage_bps(Side.BUY, Decimal(1), NOTHING)
