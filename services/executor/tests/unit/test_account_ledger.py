"""The account's books: any order of arrival, who holds what, and nothing lost on the way to JSON and back."""

import json
from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_bybit.model import PositionState, TransactionEntry
from breakwater_core.errors import InvariantError
from breakwater_core.events import Fill, FillKind, Side
from breakwater_core.ledger import Ledger
from executor_service.account_ledger import AccountLedger, Owner
from executor_service.reconciliation import Comparison, Reading, compare

OWNERS = {"ours": Owner.OWN, "": Owner.NOBODY, "closing": Owner.CLOSING, "bw-?": Owner.UNCERTAIN}


def owner_of(link_id: str) -> Owner:
    return OWNERS[link_id]


def fill(
    number: int, quantity: str, *, price: str = "100", link: str = "ours", kind: FillKind = FillKind.TRADE
) -> Fill:
    signed = Decimal(quantity)
    return Fill(
        exec_id=f"e{number:03}",
        run_id="run",
        account="main",
        symbol="BTCUSDT",
        order_id="o",
        order_link_id=link,
        side=Side.BUY if signed > 0 else Side.SELL,
        quantity=abs(signed),
        price=Decimal(price),
        fee=Decimal("0.01"),
        fee_rate=Decimal(0),
        is_maker=False,
        kind=kind,
        exec_time_ms=1000 + number,
    )


def state(size: str, average: str = "100") -> PositionState:
    return PositionState("BTCUSDT", Decimal(size), Decimal(average), None, None, None, None, None, 0, 0, 0)


def booked(fills: Sequence[Fill], balance: str = "1000") -> AccountLedger:
    ledger = AccountLedger()
    ledger.open(wallet_balance=Decimal(balance), positions=(), at_ms=0)
    for one in fills:
        ledger.apply(one)
    return ledger


def reading(ledger: AccountLedger, size: str, wallet: Decimal) -> Reading:
    positions = (state(size),) if Decimal(size) else ()
    return Reading(0, positions, wallet, (), 0)


trades = st.lists(
    st.tuples(
        st.integers(-300, 300).filter(bool),
        st.integers(9_000, 11_000),
        st.sampled_from(["ours", "", "closing", "bw-?"]),
    ),
    max_size=12,
)


@st.composite
def fills_and_arrival(draw: st.DrawFn) -> tuple[list[Fill], list[Fill]]:
    fills = [
        fill(number, str(Decimal(quantity) / 100), price=str(Decimal(price) / 100), link=link)
        for number, (quantity, price, link) in enumerate(draw(trades))
    ]
    return fills, draw(st.permutations(fills))


@given(fills_and_arrival())
def test_books_are_those_of_the_ledger_whatever_the_order_of_arrival(case: tuple[list[Fill], list[Fill]]) -> None:
    fills, arrival = case
    reference = Ledger(run_id="run", account="main", initial_balance=Decimal(1000))
    for one in fills:
        reference.apply(one)
    ledger = booked(fills)
    assert ledger.wallet_balance == reference.wallet_balance
    late = booked(arrival)
    assert late.size("BTCUSDT") == reference.book("BTCUSDT").size
    assert late.wallet_balance == reference.wallet_balance


@given(fills_and_arrival())
def test_the_parts_add_up_to_the_position_and_have_its_sign(case: tuple[list[Fill], list[Fill]]) -> None:
    ledger = booked(case[0])
    size, parts = ledger.size("BTCUSDT"), ledger.parts("BTCUSDT", owner_of)
    assert sum(parts.values()) == size
    assert all(part * size >= 0 for part in parts.values())


@given(fills_and_arrival())
def test_books_read_back_are_the_same(case: tuple[list[Fill], list[Fill]]) -> None:
    ledger = booked(case[1])
    again = AccountLedger.of_values(json.loads(json.dumps(ledger.as_values())))
    assert again.as_values() == ledger.as_values()
    assert again.wallet_balance == ledger.wallet_balance
    assert again.parts("BTCUSDT", owner_of) == ledger.parts("BTCUSDT", owner_of)


def test_fills_of_positions_long_closed_are_forgotten_and_their_result_is_kept() -> None:
    hours = [fill(number * 3_600_000, "1" if number % 2 == 0 else "-1", price="100") for number in range(8)]
    ledger = booked(hours)
    assert len(ledger.as_values()["positions"]["BTCUSDT"]["fills"]) <= 4
    assert ledger.wallet_balance == Decimal("999.92")


def test_fills_that_come_late_within_an_open_position_are_put_in_their_place() -> None:
    fills = [fill(1, "1", price="100"), fill(2, "1", price="120"), fill(3, "-1", price="130")]
    assert booked([fills[0], fills[2], fills[1]]).wallet_balance == booked(fills).wallet_balance


@pytest.mark.parametrize(
    ("fills", "own", "nobody"),
    [
        ([fill(1, "2"), fill(2, "1", link="")], "2", "1"),
        ([fill(1, "2"), fill(2, "-1", link="")], "1", "0"),
        ([fill(1, "2"), fill(2, "-3", link="")], "0", "-1"),
        ([fill(1, "2"), fill(2, "1", link=""), fill(3, "-2")], "0", "1"),
        ([fill(1, "2"), fill(2, "1", link=""), fill(3, "-3")], "0", "0"),
        ([fill(1, "2"), fill(2, "1", link=""), fill(3, "-1", link="closing")], "2", "0"),
        ([fill(1, "2"), fill(2, "1", link=""), fill(3, "-1.5", link="", kind=FillKind.LIQUIDATION)], "1.5", "0"),
    ],
)
def test_who_reduces_takes_what_is_theirs_first(fills: list[Fill], own: str, nobody: str) -> None:
    parts = booked(fills).parts("BTCUSDT", owner_of)
    assert (parts[Owner.OWN], parts[Owner.NOBODY]) == (Decimal(own), Decimal(nobody))


def test_adopted_parts_leave_with_our_exit_and_are_no_surplus() -> None:
    ledger = booked([fill(1, "2"), fill(2, "1", link="")])
    ledger.adopt("BTCUSDT", owner_of)
    parts = ledger.parts("BTCUSDT", owner_of)
    assert (parts[Owner.NOBODY], parts[Owner.ADOPTED]) == (0, 1)
    ledger.apply(fill(3, "-3"))
    assert ledger.size("BTCUSDT") == 0


def test_what_was_held_when_the_books_were_opened_is_of_uncertain_origin_and_moves_no_money() -> None:
    ledger = AccountLedger()
    ledger.open(wallet_balance=Decimal(500), positions=(state("2", "90"),), at_ms=5)
    assert ledger.parts("BTCUSDT", owner_of)[Owner.UNCERTAIN] == 2
    assert ledger.wallet_balance == 500
    ledger.apply(fill(1, "-2", price="100"))
    assert ledger.wallet_balance == Decimal("519.99")


def entry(name: str, kind: str, change: str, time_ms: int) -> TransactionEntry:
    return TransactionEntry(name, kind, "USDT", "", Decimal(change), None, None, None, "", "", time_ms)


def test_wallet_entries_count_once_and_only_those_without_an_execution() -> None:
    ledger = AccountLedger()
    ledger.open(wallet_balance=Decimal(1000), positions=(), at_ms=100)
    entries = [
        entry("a", "TRANSFER_IN", "7", 100),
        entry("b", "TRANSFER_OUT", "-5", 101),
        entry("c", "TRADE", "3", 102),
        entry("d", "FEE_REFUND", "0.25", 103),
    ]
    for through_ms in (103, 200):
        ledger.book_entries(entries, through_ms=through_ms, overlap_ms=1000)
    assert ledger.wallet_balance == Decimal("995.25")


def test_differences_are_told_to_the_last_decimal_and_only_if_a_second_reading_agrees() -> None:
    ledger = booked([fill(1, "1")])
    equal = compare(ledger, reading(ledger, "1", ledger.wallet_balance))
    assert equal.is_equal
    off = ledger.wallet_balance + Decimal("0.00000001")
    first = compare(ledger, reading(ledger, "1.001", off))
    assert first.positions[0].difference == Decimal("0.001")
    assert first.wallet is not None
    assert first.wallet.difference == Decimal("0.00000001")
    assert first.confirmed_by(first) == first
    assert first.confirmed_by(equal) == Comparison()
    moved = compare(ledger, reading(ledger, "1.002", off + 1))
    assert first.confirmed_by(moved) == Comparison()
    assert compare(ledger, reading(ledger, "1", off), wallet_tolerance=Decimal("0.00000001")).is_equal


@pytest.mark.parametrize("values", [{}, {"initial": "x"}, {"initial": None, "moved": "0", "positions": 3}])
def test_books_that_cannot_be_read_are_an_invariant_error(values: dict[str, object]) -> None:
    with pytest.raises(InvariantError, match="books of an account"):
        AccountLedger.of_values(values)
