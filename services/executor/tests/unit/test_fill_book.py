"""Each execution is published once and counted once, in whatever order and however often it comes."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_bybit.model import Execution
from breakwater_core.errors import InvariantError
from breakwater_core.events import FillKind, Side
from executor_service.fill_book import Cursor, FillBook

OVERLAP_MS = 1000


def execution(number: int, time_ms: int) -> Execution:
    return Execution(
        exec_id=f"exec-{number}",
        symbol="BTCUSDT",
        order_id="id",
        order_link_id="bw-1",
        side=Side.BUY,
        quantity=Decimal(1),
        price=Decimal(100),
        fee=Decimal(0),
        fee_rate=Decimal(0),
        is_maker=False,
        kind=FillKind.TRADE,
        execution_type="Trade",
        closed_quantity=None,
        sequence=number,
        exec_time_ms=time_ms,
    )


def publish(book: FillBook, executions: list[Execution]) -> list[str]:
    new = book.new(executions)
    for one in new:
        book.published(one)
    return [one.exec_id for one in new]


def test_a_repeat_within_the_overlap_is_not_new() -> None:
    book = FillBook(Cursor(0, 10_000), overlap_ms=OVERLAP_MS)
    assert publish(book, [execution(1, 9500), execution(1, 9500)]) == ["exec-1"]
    book.read_through(10_400)
    assert publish(book, [execution(1, 9500)]) == []
    assert book.fills_total == 1


def test_what_happened_before_the_run_is_not_of_the_run() -> None:
    book = FillBook(Cursor(10_000, 10_000), overlap_ms=OVERLAP_MS)
    assert book.read_from_ms == 10_000
    assert publish(book, [execution(1, 9999), execution(2, 10_000)]) == ["exec-2"]


def test_memory_reaches_back_only_as_far_as_readings_overlap() -> None:
    book = FillBook(Cursor(0, 1), overlap_ms=OVERLAP_MS)
    publish(book, [execution(number, number * 100) for number in range(1, 100)])
    book.read_through(9_900)
    assert len(book.cursor().recent) == 11
    assert book.fills_total == 99


@given(
    times=st.lists(st.integers(1, 20_000), min_size=1, max_size=40),
    order=st.randoms(use_true_random=False),
    restarts=st.sets(st.integers(0, 20)),
)
def test_fills_are_counted_exactly_over_lost_pushes_repeats_and_restarts(
    times: list[int], order: object, restarts: set[int]
) -> None:
    """The stream loses and repeats; readings cover everything up to their time; the process restarts anywhere."""
    executions = [execution(number, time_ms) for number, time_ms in enumerate(sorted(times))]
    book = FillBook(Cursor(0, 1), overlap_ms=OVERLAP_MS)
    published: list[str] = []
    for step, now_ms in enumerate(range(1000, 21_001, 1000)):
        happened = [one for one in executions if one.exec_time_ms <= now_ms]
        recent = [one for one in happened if one.exec_time_ms > now_ms - 1000]
        pushed = order.sample(recent, order.randint(0, len(recent)))  # type: ignore[attr-defined]  # a Random
        published += publish(book, pushed + pushed)
        published += publish(book, [one for one in happened if one.exec_time_ms >= book.read_from_ms])
        book.read_through(now_ms)
        if step in restarts:
            book = FillBook(Cursor.decode(book.cursor().encode()), overlap_ms=OVERLAP_MS)
    assert sorted(published) == sorted(one.exec_id for one in executions)
    assert book.fills_total == len(executions)


def test_a_cursor_that_cannot_be_read_stops_rather_than_guesses() -> None:
    with pytest.raises(InvariantError, match="cursor"):
        Cursor.decode(b"{}")
