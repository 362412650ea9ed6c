"""Round trips: which fills make which trade, and that no money is lost between them."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.errors import InvalidInputError
from breakwater_core.events import FillKind, Side
from breakwater_research.report_rows import FillRow
from breakwater_research.round_trips import round_trips


def fill(
    time_ms: int,
    signed_quantity: str,
    price: str,
    fee: str = "0",
    *,
    account: str = "main",
    symbol: str = "BTCUSDT",
    kind: FillKind = FillKind.TRADE,
) -> FillRow:
    quantity = Decimal(signed_quantity)
    side = Side.BUY if quantity > 0 else Side.SELL
    return FillRow(account, symbol, side, quantity.copy_abs(), Decimal(price), Decimal(fee), time_ms, kind)


def test_a_trade_runs_from_the_first_fill_to_the_one_that_brings_the_position_to_zero() -> None:
    [trip] = round_trips([fill(1, "1", "100", "0.1"), fill(2, "1", "110", "0.1"), fill(3, "-2", "120", "0.2")])
    assert (trip.direction, trip.opened_ms, trip.closed_ms) == (Side.BUY, 1, 3)
    assert trip.result == Decimal("29.6")
    assert trip.is_won


def test_a_short_earns_when_the_price_falls() -> None:
    [trip] = round_trips([fill(1, "-2", "100"), fill(2, "2", "90")])
    assert (trip.direction, trip.result) == (Side.SELL, 20)


def test_a_trade_that_costs_eat_up_is_not_won() -> None:
    [trip] = round_trips([fill(1, "1", "100", "0.5"), fill(2, "-1", "101", "0.5")])
    assert trip.result == 0
    assert not trip.is_won


def test_an_open_trade_carries_what_is_realised_so_far() -> None:
    [trip] = round_trips([fill(1, "2", "100", "0.2"), fill(2, "-1", "110", "0.1")])
    assert not trip.is_closed
    assert not trip.is_won
    assert trip.result == Decimal("9.7")


def test_a_fill_that_turns_the_position_closes_one_trade_and_opens_the_next() -> None:
    first, second = round_trips([fill(1, "1", "100"), fill(2, "-4", "110", "0.4"), fill(3, "3", "100")])
    assert (first.direction, first.closed_ms, first.result) == (Side.BUY, 2, Decimal("9.9"))
    assert (second.direction, second.opened_ms, second.result) == (Side.SELL, 2, Decimal("29.7"))


def test_accounts_and_symbols_are_apart() -> None:
    fills = [fill(1, "1", "100"), fill(2, "-1", "100", account="b"), fill(3, "-1", "100", symbol="ETHUSDT")]
    assert [trip.is_closed for trip in round_trips(fills)] == [False, False, False]


def test_funding_changes_the_result_and_not_the_position() -> None:
    paid = fill(2, "1", "100", "0.3", kind=FillKind.FUNDING)
    [trip] = round_trips([paid, fill(1, "1", "100"), paid, fill(3, "-1", "101"), paid])
    assert (trip.closed_ms, trip.result) == (3, Decimal("0.4"))


@pytest.mark.parametrize(("quantity", "price"), [("0", "1"), ("1", "0"), ("1", "-1")])
def test_a_fill_of_nothing_is_refused(quantity: str, price: str) -> None:
    with pytest.raises(InvalidInputError, match="must be above 0"):
        round_trips([fill(1, quantity, price)])


def test_numbers_that_cannot_be_added_up_exactly_are_refused() -> None:
    long = f"1{'0' * 25}.{'1' * 40}"
    with pytest.raises(InvalidInputError, match="too many digits"):
        round_trips([fill(1, long, long), fill(2, f"-{long}", "0." + "1" * 40), fill(3, "1", long)])


CENTS = st.integers(1, 10_000).map(lambda cents: f"{cents / 100:.2f}")
QUANTITIES = st.integers(-9, 9).filter(bool).map(str)


@given(st.lists(st.tuples(QUANTITIES, CENTS, CENTS), max_size=30))
def test_a_run_that_ends_flat_has_as_its_results_the_sum_of_its_cash_flows(rows: list[tuple[str, str, str]]) -> None:
    fills = [fill(number, *row) for number, row in enumerate(rows)]
    held = sum((row.quantity * row.side.sign for row in fills), Decimal(0))
    if held:
        fills.append(fill(len(fills), str(-held), "50", "1"))
    cash = sum((-row.quantity * row.side.sign * row.price - row.fee for row in fills), Decimal(0))
    trips = round_trips(fills)
    assert all(trip.is_closed for trip in trips)
    assert sum((trip.result for trip in trips), Decimal(0)) == pytest.approx(cash, abs=Decimal("1e-20"))
    assert all(before.closed_ms <= after.opened_ms for before, after in pairwise(trips))
