"""What to do next with one order, for every order of answers."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_bybit.model import OrderState
from breakwater_core.events import OrderStatus, Side
from executor_service.order_life import (
    Acknowledged,
    Ended,
    LookUp,
    Lost,
    NeverPlaced,
    NotPlaced,
    OrderLife,
    Patience,
    Refusal,
    Rejected,
    Send,
    TooLate,
    Unclear,
    Wait,
    answered,
    found,
    fresh,
    next_step,
    not_found_out,
    resumed,
)

PATIENCE = Patience()
REFUSAL = Refusal(110007, "insufficient_margin", "no money")
ONE = Decimal(1)


def order(status: OrderStatus, filled: Decimal = Decimal(0)) -> OrderState:
    return OrderState(
        symbol="BTCUSDT",
        order_id="id",
        order_link_id="bw-1",
        side=Side.BUY,
        order_type="Market",
        status=status,
        exchange_status="",
        quantity=ONE,
        filled_quantity=filled,
        average_price=None,
        fee=Decimal(0),
        reduce_only=False,
        reject_reason="",
        cancel_type="",
        created_ms=1,
        updated_ms=1,
    )


def test_a_fresh_order_is_sent_at_once() -> None:
    assert next_step(fresh(), now_s=5.0, may_send=True, patience=PATIENCE) == Send()


def test_a_fresh_order_whose_time_is_over_is_too_late() -> None:
    assert next_step(fresh(), now_s=5.0, may_send=False, patience=PATIENCE) == TooLate()


def test_an_acknowledged_order_is_looked_up_at_once_then_ever_more_slowly() -> None:
    life = answered(fresh(), Acknowledged(), sent_s=0.0)
    pauses = []
    for _ in range(9):
        step = next_step(life, now_s=1.0, may_send=True, patience=PATIENCE)
        assert isinstance(step, LookUp)
        pauses.append(step.pause_s)
        life = found(life, order(OrderStatus.SUBMITTED), quantity=ONE, now_s=1.0)
    assert pauses == [0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 1.0, 1.0]


def test_an_acknowledged_order_is_never_sent_again_however_long_it_stays_hidden() -> None:
    life = answered(fresh(), Acknowledged(), sent_s=0.0)
    for _ in range(1000):
        life = found(life, None, quantity=ONE, now_s=1e6)
    assert isinstance(next_step(life, now_s=1e6, may_send=True, patience=PATIENCE), LookUp)


def test_an_unclear_order_is_sent_again_only_after_three_look_ups_found_nothing() -> None:
    life = answered(fresh(), Unclear("timeout"), sent_s=0.0)
    for _ in range(PATIENCE.look_ups_before_resend):
        assert isinstance(next_step(life, now_s=100.0, may_send=True, patience=PATIENCE), LookUp)
        life = found(life, None, quantity=ONE, now_s=100.0)
    assert next_step(life, now_s=100.0, may_send=True, patience=PATIENCE) == Send()


def test_look_ups_that_were_not_answered_prove_nothing() -> None:
    life = answered(fresh(), Unclear("timeout"), sent_s=0.0)
    for _ in range(50):
        life = not_found_out(life)
        assert isinstance(next_step(life, now_s=100.0, may_send=True, patience=PATIENCE), LookUp)


def test_an_order_taken_over_from_another_process_is_looked_up_before_it_is_sent() -> None:
    step = next_step(resumed(10.0), now_s=10.0, may_send=True, patience=PATIENCE)
    assert isinstance(step, LookUp)
    assert step.pause_s > 0  # an empty look-up right after sending proves nothing


def test_an_unclear_order_is_not_declared_absent_while_the_exchange_could_still_accept_it() -> None:
    life = answered(fresh(), Unclear("timeout"), sent_s=0.0)
    for _ in range(20):
        life = found(life, None, quantity=ONE, now_s=1.0)
    assert isinstance(next_step(life, now_s=PATIENCE.settle_s - 0.1, may_send=False, patience=PATIENCE), LookUp)
    assert next_step(life, now_s=PATIENCE.settle_s, may_send=False, patience=PATIENCE) == TooLate()


def test_a_rejection_is_final_when_nothing_was_sent_before() -> None:
    life = answered(fresh(), Rejected(REFUSAL), sent_s=0.0)
    assert next_step(life, now_s=0.0, may_send=True, patience=PATIENCE) == NeverPlaced(REFUSAL)


def test_a_rejection_after_an_unclear_request_is_doubted_because_the_first_may_have_taken_the_margin() -> None:
    life = answered(fresh(), Unclear("timeout"), sent_s=0.0)
    life = answered(life, Rejected(REFUSAL), sent_s=1.0)
    assert isinstance(next_step(life, now_s=1.0, may_send=True, patience=PATIENCE), LookUp)
    filled = found(life, order(OrderStatus.FILLED, ONE), quantity=ONE, now_s=1.2)
    assert isinstance(next_step(filled, now_s=1.2, may_send=True, patience=PATIENCE), Ended)


def test_a_postponed_order_waits_and_is_sent_again_under_its_id() -> None:
    life = answered(fresh(), NotPlaced(0.5, "rate limit"), sent_s=10.0)
    assert next_step(life, now_s=10.2, may_send=True, patience=PATIENCE) == Wait(pytest.approx(0.3))
    assert next_step(life, now_s=10.5, may_send=True, patience=PATIENCE) == LookUp(0.0)
    absent = found(life, None, quantity=ONE, now_s=10.5)
    assert next_step(absent, now_s=10.5, may_send=True, patience=PATIENCE) == Send()
    assert next_step(life, now_s=10.2, may_send=False, patience=PATIENCE) == TooLate()


def test_an_order_that_has_filled_everything_is_at_its_end_even_if_only_its_executions_are_known() -> None:
    life = answered(fresh(), Acknowledged(), sent_s=0.0)
    life = found(life, order(OrderStatus.PARTIALLY_FILLED, ONE), quantity=ONE, now_s=0.0)
    step = next_step(life, now_s=0.0, may_send=True, patience=PATIENCE)
    assert isinstance(step, Ended)
    assert step.order.status is OrderStatus.FILLED


def test_an_entry_of_which_nothing_can_be_learned_is_given_up_and_an_exit_is_not() -> None:
    life = answered(fresh(), Unclear("timeout"), sent_s=0.0)
    entry = Patience(give_up_s=900.0)
    assert isinstance(next_step(life, now_s=899.0, may_send=False, patience=entry), LookUp)
    assert next_step(life, now_s=900.0, may_send=False, patience=entry) == Lost(None)
    assert not isinstance(next_step(life, now_s=1e6, may_send=True, patience=PATIENCE), Lost)


def test_a_request_that_never_left_is_repeated_without_a_look_up() -> None:
    life = answered(fresh(), NotPlaced(0.5, "no connection", has_left=False), sent_s=10.0)
    assert next_step(life, now_s=10.5, may_send=True, patience=PATIENCE) == Send()


def test_an_unclear_entry_is_not_sent_again_before_the_first_request_has_become_unacceptable() -> None:
    life = answered(fresh(), Unclear("timeout"), sent_s=0.0)
    for _ in range(20):
        life = found(life, None, quantity=ONE, now_s=1.0)
    assert isinstance(next_step(life, now_s=PATIENCE.settle_s - 0.1, may_send=True, patience=PATIENCE), LookUp)
    assert next_step(life, now_s=PATIENCE.settle_s, may_send=True, patience=PATIENCE) == Send()
    exit_patience = Patience(settles_before_resend=False)
    assert next_step(life, now_s=1.0, may_send=True, patience=exit_patience) == Send()


def test_an_acknowledged_order_that_does_not_show_up_is_in_doubt() -> None:
    life = answered(fresh(), Acknowledged(), sent_s=0.0)
    doubts = []
    for _ in range(6):
        doubts.append(life.is_doubtful)
        life = not_found_out(life)
    assert doubts == [False, False, False, False, False, True]
    assert not found(life, order(OrderStatus.SUBMITTED), quantity=ONE, now_s=1.0).is_doubtful


ANSWERS = st.sampled_from([Acknowledged(), Rejected(REFUSAL), NotPlaced(0.1, "later"), Unclear("timeout")])


@given(
    world=st.lists(st.tuples(ANSWERS, st.booleans(), st.lists(st.booleans(), max_size=8)), min_size=1, max_size=8),
    taken_over=st.booleans(),
    expires_after=st.integers(0, 40),
)
def test_whatever_is_answered_an_order_that_exists_is_never_called_absent(
    world: list[tuple[Acknowledged | Rejected | NotPlaced | Unclear, bool, list[bool]]],
    taken_over: bool,
    expires_after: int,
) -> None:
    """The exchange may hide an accepted order, but for no longer than it takes to settle."""
    now_s, exists_since, sends = 0.0, None, 0
    life: OrderLife = resumed(now_s) if taken_over else fresh()
    answers = iter(world)
    current: list[bool] = []
    for count in range(400):
        step = next_step(life, now_s=now_s, may_send=count < expires_after, patience=PATIENCE)
        match step:
            case Send():
                answer, arrives, current = next(answers, (Acknowledged(), True, []))
                assert sends == 0 or life.look_ups >= PATIENCE.look_ups_before_resend or not life.may_exist
                sends += 1
                if exists_since is not None and arrives:
                    answer = Acknowledged()  # 110072
                elif isinstance(answer, Acknowledged) or (isinstance(answer, Unclear) and arrives):
                    exists_since = now_s
                life = answered(life, answer, sent_s=now_s)
            case Wait(pause_s):
                now_s += pause_s
            case LookUp(pause_s):
                now_s += pause_s
                shown = exists_since is not None and (
                    now_s - exists_since > PATIENCE.settle_s / 2 or not (current and current.pop())
                )
                seen = order(OrderStatus.FILLED, ONE) if shown else None
                life = found(life, seen, quantity=ONE, now_s=now_s)
            case Ended():
                assert exists_since is not None
                return
            case _:
                assert exists_since is None
                return
    pytest.fail("the order's life did not end")
