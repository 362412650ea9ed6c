from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.errors import InvalidInputError, InvariantError
from breakwater_core.events import Fill, FillKind, Side
from breakwater_core.ledger import Ledger

START = Decimal(100_000)


def fill(
    number: int,
    side: Side,
    quantity: str,
    price: str,
    *,
    fee: str = "0",
    symbol: str = "BTCUSDT",
    kind: FillKind = FillKind.TRADE,
) -> Fill:
    return Fill(
        exec_id=f"exec-{number}",
        run_id="live",
        account="main",
        symbol=symbol,
        order_id="order",
        order_link_id="bw-1",
        side=side,
        quantity=Decimal(quantity),
        price=Decimal(price),
        fee=Decimal(fee),
        fee_rate=Decimal("0.00055"),
        is_maker=False,
        kind=kind,
        exec_time_ms=number,
    )


def ledger(*fills: Fill) -> Ledger:
    books = Ledger("live", "main", START)
    for one in fills:
        books.apply(one)
    return books


def fills(symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")) -> st.SearchStrategy[list[Fill]]:
    one = st.tuples(
        st.sampled_from(symbols),
        st.sampled_from(list(Side)),
        st.integers(1, 2000),
        st.integers(1, 10**9),
        st.decimals("-5", "5", places=8),
        st.sampled_from([FillKind.TRADE] * 6 + [FillKind.FUNDING, FillKind.LIQUIDATION]),
    )

    def build(rows: list[tuple[str, Side, int, int, Decimal, FillKind]]) -> list[Fill]:
        return [
            fill(
                number,
                side,
                str(Decimal(steps) / 1000),
                str(Decimal(ticks) / 100_000),
                fee=str(fee),
                symbol=symbol,
                kind=kind,
            )
            for number, (symbol, side, steps, ticks, fee, kind) in enumerate(rows)
        ]

    return st.lists(one, max_size=30).map(build)


def test_position_grows_at_the_average_price_and_realises_when_reduced() -> None:
    books = ledger(fill(1, Side.BUY, "1", "100"), fill(2, Side.BUY, "3", "104"))
    assert (books.book("BTCUSDT").size, books.book("BTCUSDT").average_price) == (Decimal(4), Decimal(103))
    books.apply(fill(3, Side.SELL, "2", "110"))
    book = books.book("BTCUSDT")
    assert (book.size, book.average_price, book.realised_pnl) == (Decimal(2), Decimal(103), Decimal(14))
    assert books.equity({"BTCUSDT": Decimal(100)}) == START + 14 - 6


def test_short_positions_gain_when_the_price_falls() -> None:
    books = ledger(fill(1, Side.SELL, "2", "100", fee="0.11"), fill(2, Side.BUY, "2", "90", fee="0.10"))
    assert books.realised_pnl == 20
    assert books.wallet_balance == START + 20 - Decimal("0.21")
    assert books.open_symbols == ()


def test_fill_larger_than_the_position_turns_it() -> None:
    books = ledger(fill(1, Side.BUY, "1", "100"), fill(2, Side.SELL, "3", "110"))
    book = books.book("BTCUSDT")
    assert (book.size, book.average_price, book.cost) == (Decimal(-2), Decimal(110), Decimal(-220))
    applied = books.applied("exec-2")
    assert applied is not None
    assert (applied.closed_quantity, applied.realised_pnl) == (Decimal(1), Decimal(10))


def test_average_that_does_not_end_is_rounded_yet_closing_is_exact() -> None:
    books = ledger(fill(1, Side.BUY, "1", "100"), fill(2, Side.BUY, "2", "101"))
    assert books.book("BTCUSDT").average_price == Decimal("100.6666666667")
    books.apply(fill(3, Side.SELL, "1", "101"))
    assert books.realised_pnl == Decimal("0.3333333333")
    books.apply(fill(4, Side.SELL, "2", "101"))
    assert books.wallet_balance == START + 1
    assert books.book("BTCUSDT").average_price == 0


def test_average_price_stays_while_a_large_position_shrinks_to_a_crumb() -> None:
    books = ledger(fill(1, Side.BUY, "1000000000", "0.00001"), fill(2, Side.BUY, "2000000000", "0.00002"))
    average = books.book("BTCUSDT").average_price
    books.apply(fill(3, Side.SELL, "2999999999", "0.00003"))
    assert books.book("BTCUSDT").average_price == average == Decimal("0.0000166667")
    books.apply(fill(4, Side.SELL, "1", "0.00003"))
    assert books.wallet_balance == START + 90_000 - 50_000


def test_funding_moves_the_wallet_only() -> None:
    books = ledger(
        fill(1, Side.BUY, "1", "100"),
        fill(2, Side.BUY, "1", "101", fee="0.01", kind=FillKind.FUNDING),
        fill(3, Side.BUY, "1", "101", fee="-0.03", kind=FillKind.FUNDING),
    )
    assert books.book("BTCUSDT").size == 1
    assert (books.funding, books.fees) == (Decimal("-0.02"), 0)
    assert books.wallet_balance == START + Decimal("0.02")


def test_deposits_are_booked_once_and_are_no_result() -> None:
    books = ledger()
    assert books.apply_transfer("deposit-1", Decimal(500))
    assert not books.apply_transfer("deposit-1", Decimal(500))
    assert books.apply_transfer("withdrawal-1", Decimal(-200))
    assert (books.wallet_balance, books.net_deposits, books.realised_pnl) == (START + 300, 300, 0)
    with pytest.raises(InvariantError, match="different amounts"):
        books.apply_transfer("deposit-1", Decimal(501))


def test_repeated_fill_is_known_and_one_with_other_content_stops_everything() -> None:
    books = ledger(one := fill(1, Side.BUY, "1", "100"))
    assert not books.apply(replace(one, quantity=Decimal("1.000")))
    assert books.fills_total == 1
    with pytest.raises(InvariantError, match="exec-1 came twice with different content"):
        books.apply(replace(one, price=Decimal(101)))


def test_fills_of_another_run_or_account_are_not_booked() -> None:
    for other in ({"run_id": "replay-1"}, {"account": "second"}):
        with pytest.raises(InvariantError, match="this ledger keeps"):
            ledger(replace(fill(1, Side.BUY, "1", "100"), **other))


def test_fills_without_quantity_or_price_are_refused() -> None:
    for quantity, price in (("0", "1"), ("1", "0"), ("-1", "1")):
        with pytest.raises(InvalidInputError, match="must be above 0"):
            ledger(fill(1, Side.BUY, quantity, price))


def test_equity_needs_a_price_for_each_open_symbol() -> None:
    with pytest.raises(InvalidInputError, match="no mark price for BTCUSDT"):
        ledger(fill(1, Side.BUY, "1", "100")).equity({"ETHUSDT": Decimal(1)})


@given(fills(), st.data())
def test_order_between_symbols_and_repeats_do_not_matter(rows: list[Fill], data: st.DataObject) -> None:
    lanes = {symbol: [row for row in rows if row.symbol == symbol] for symbol in ("BTCUSDT", "ETHUSDT")}
    again = Ledger("live", "main", START)
    while any(lanes.values()):
        symbol = data.draw(st.sampled_from([name for name, lane in lanes.items() if lane]))
        row = lanes[symbol].pop(0)
        assert again.apply(row)
        if data.draw(st.booleans()):
            assert not again.apply(row)
    straight = ledger(*rows)
    assert again.wallet_balance == straight.wallet_balance
    for symbol in ("BTCUSDT", "ETHUSDT"):
        assert again.book(symbol) == straight.book(symbol)


@given(fills())
def test_wallet_is_initial_plus_results_minus_fees_and_funding(rows: list[Fill]) -> None:
    books = ledger(*rows)
    results = sum((applied.realised_pnl for row in rows if (applied := books.applied(row.exec_id))), Decimal(0))
    assert books.wallet_balance == START + results - sum((row.fee for row in rows), Decimal(0))


@given(fills(), st.integers(1, 10**9))
def test_equity_is_the_exact_sum_of_cash_flows_and_the_value_held(rows: list[Fill], mark_ticks: int) -> None:
    mark = Decimal(mark_ticks) / 100_000
    books = ledger(*rows)
    cash = Fraction(START)
    held: dict[str, Fraction] = {}
    for row in rows:
        cash -= Fraction(row.fee)
        if row.kind is not FillKind.FUNDING:
            signed = Fraction(row.quantity) * row.side.sign
            cash -= signed * Fraction(row.price)
            held[row.symbol] = held.get(row.symbol, Fraction(0)) + signed
    value = sum(size * Fraction(mark) for size in held.values())
    assert Fraction(books.equity({"BTCUSDT": mark, "ETHUSDT": mark})) == cash + value
    assert {symbol: Fraction(books.book(symbol).size) for symbol in held} == held
    if not books.open_symbols:
        assert Fraction(books.wallet_balance) == cash


@given(fills())
def test_average_price_lies_between_the_prices_paid(rows: list[Fill]) -> None:
    books = ledger(*rows)
    for symbol in books.open_symbols:
        prices = [row.price for row in rows if row.symbol == symbol and row.kind is not FillKind.FUNDING]
        slack = Decimal("0.0001")
        assert min(prices) - slack <= books.book(symbol).average_price <= max(prices) + slack
