"""Records, day opens and control states read back as they were written; anything else is an error."""

from datetime import date
from decimal import Decimal
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.errors import InvariantError
from breakwater_core.events import OrderStatus, Position, Side
from executor_service.day_open import DayOpen, growth_since
from executor_service.intent_record import ChildState, IntentRecord, Outcome

MONEY = st.decimals(min_value=0, max_value=10**9, places=6)


@given(
    quantities=st.lists(st.tuples(MONEY, st.sampled_from(ChildState), MONEY, st.integers(0, 2**42)), max_size=5),
    status=st.none() | st.sampled_from(OrderStatus),
    average=st.none() | MONEY,
    detail=st.text(max_size=30),
)
def test_a_record_reads_back_as_written(
    quantities: list[tuple[Decimal, ChildState, Decimal, int]],
    status: OrderStatus | None,
    average: Decimal | None,
    detail: str,
) -> None:
    record = IntentRecord("run/main/version/BTCUSDT/2024-03-01/entry/1")
    for quantity, state, filled, at_ms in quantities:
        record = record.with_new_child(Side.BUY, quantity, state=state, after_ms=at_ms)
        if state is ChildState.ENDED:
            record = record.with_child(record.children[-1].ended(filled_quantity=filled, at_ms=at_ms))
    if status is not None:
        record = record.closed(Outcome(status, 1, "bw-1", Side.SELL, Decimal(1), Decimal(0), average, 5, "r", detail))
    assert IntentRecord.decode(record.encode()) == record


def test_rounds_without_fills_are_counted_from_the_last_one_back() -> None:
    record = IntentRecord("intent")
    for filled in (0, 3, 0, 0):
        record = record.with_new_child(Side.BUY, Decimal(5))
        record = record.with_child(record.children[-1].ended(filled_quantity=Decimal(filled), at_ms=1))
    assert record.fruitless_rounds == 2
    assert IntentRecord("intent").fruitless_rounds == 0
    assert record.with_new_child(Side.BUY, Decimal(5)).fruitless_rounds == 2


@pytest.mark.parametrize("payload", [b"", b"[]", b'{"intent_id": "x"}', b'{"intent_id": "x", "children": [{}]}'])
def test_a_record_that_cannot_be_read_stops_rather_than_guesses(payload: bytes) -> None:
    with pytest.raises(InvariantError, match="record of an intent"):
        IntentRecord.decode(payload)


def test_a_day_open_reads_back_as_written(kit: SimpleNamespace) -> None:
    position = Position("BTCUSDT", Decimal(-1), Decimal(100), Decimal("101.5"), Decimal("-1.5"))
    day_open = kit.day_open(positions=(position,), fills_total=7, cumulative=Decimal("1.01"), peak=Decimal("1.2"))
    assert DayOpen.decode(day_open.encode()) == day_open
    with pytest.raises(InvariantError, match="day's open"):
        DayOpen.decode(b'{"equity": "1"}')


def test_growth_leaves_deposits_out_and_keeps_its_peak(kit: SimpleNamespace) -> None:
    assert growth_since(None, equity=Decimal(5), net_deposits=Decimal(0)) == (1, 1)
    first = kit.day_open(day=date(2024, 3, 1), equity=Decimal(1000))
    up = growth_since(first, equity=Decimal(1600), net_deposits=Decimal(500))
    assert up == (Decimal("1.1"), Decimal("1.1"))
    second = kit.day_open(equity=Decimal(1600), cumulative=up[0], peak=up[1])
    assert growth_since(second, equity=Decimal(800), net_deposits=Decimal(0)) == (Decimal("0.55"), Decimal("1.1"))


def test_a_day_without_equity_has_no_growth(kit: SimpleNamespace) -> None:
    broke = kit.day_open(equity=Decimal(0), cumulative=Decimal("0.5"), peak=Decimal(2))
    assert growth_since(broke, equity=Decimal(100), net_deposits=Decimal(100)) == (Decimal("0.5"), Decimal(2))
