"""Exits, stops and flattens: they go on until the position is flat."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_bybit import errors
from breakwater_core.errors import TransientError
from breakwater_core.events import Leg, OrderStatus, Side
from breakwater_core.reduction import reducing_order, round_pause_s
from executor_service.drain import Draining
from executor_service.intent_record import IntentRecord
from executor_service.order_life import Patience
from executor_service.venue_clock import ClockMode, wall_clock_ms

REDUCE_ONLY = errors.Rejected("current position is zero", reason=errors.RejectReason.REDUCE_ONLY, ret_code=110017)


@pytest.mark.parametrize("size", [Decimal("1.5"), Decimal("-1.5")])
async def test_the_side_follows_the_position_whatever_the_intent_says(kit: SimpleNamespace, size: Decimal) -> None:
    world = kit.World()
    world.exchange.positions["BTCUSDT"] = size
    await world.deliver(kit.intent(Leg.EXIT, side=Side.SELL))
    (event,) = world.publisher.closing
    assert event.side is (Side.SELL if size > 0 else Side.BUY)
    assert event.reduce_only
    assert world.exchange.positions["BTCUSDT"] == 0


async def test_partial_fills_are_followed_by_further_orders_until_flat(kit: SimpleNamespace) -> None:
    world = kit.World()
    world.exchange.positions["BTCUSDT"] = Decimal(2)
    world.exchange.script = [kit.Placement(fills=Decimal("0.5")), kit.Placement(fills=Decimal("0.5"))]
    await world.deliver(kit.intent(Leg.EXIT))
    told = [
        (event.child, event.status, event.filled_quantity, event.intent_closed)
        for event in world.publisher.events
        if event.status is not OrderStatus.SUBMITTED
    ]
    assert told == [
        (0, OrderStatus.CANCELLED, Decimal(1), False),
        (1, OrderStatus.CANCELLED, Decimal("0.5"), False),
        (2, OrderStatus.FILLED, Decimal("0.5"), True),
    ]


async def test_each_further_order_of_a_replay_is_stamped_after_the_one_before(kit: SimpleNamespace) -> None:
    world = kit.World()
    world.exchange.positions["BTCUSDT"] = Decimal(2)
    world.exchange.script = [kit.Placement(fills=Decimal(0)), kit.Placement(fills=Decimal(0))]
    intent = kit.intent(Leg.EXIT)
    await world.deliver(intent)
    stamps = [at_ms for _, at_ms in world.exchange.requests]
    first = intent.trigger_time_ms
    second = first + kit.LATENCY_MS + 200
    assert stamps == [first, second, second + kit.LATENCY_MS + 500]


async def test_an_exit_that_finds_nothing_says_flat(kit: SimpleNamespace) -> None:
    world = kit.World()
    await world.deliver(kit.intent(Leg.EXIT))
    (event,) = world.publisher.events
    assert (event.status, event.intent_closed, event.order_link_id) == (OrderStatus.FLAT, True, "")


async def test_live_a_position_that_reads_flat_is_read_again_because_the_entry_may_be_reported_late(
    kit: SimpleNamespace,
) -> None:
    world = kit.World(mode=ClockMode.WALL)
    world.exchange.positions["BTCUSDT"] = Decimal(1)
    world.exchange.fresh_lag = 1
    await world.deliver(kit.intent(Leg.EXIT, trigger_time_ms=wall_clock_ms()))
    assert world.exchange.positions["BTCUSDT"] == 0
    assert world.publisher.closing[0].status is OrderStatus.FILLED


async def test_a_reduce_only_refusal_is_answered_by_reading_the_position_anew(kit: SimpleNamespace) -> None:
    world = kit.World()
    world.exchange.positions["BTCUSDT"] = Decimal(1)
    world.exchange.script = [kit.Placement(error=REDUCE_ONLY)]
    await world.deliver(kit.intent(Leg.EXIT))
    (event,) = world.publisher.closing
    assert (event.status, event.child) == (OrderStatus.FILLED, 0)  # the id of a refused order is free
    assert world.exchange.positions["BTCUSDT"] == 0


async def test_a_position_that_others_closed_meanwhile_ends_the_exit(kit: SimpleNamespace) -> None:
    world = kit.World()
    world.exchange.positions["BTCUSDT"] = Decimal(1)
    world.exchange.script = [kit.Placement(error=REDUCE_ONLY)]
    place = world.exchange.place_market_order

    async def closed_by_hand(**order: object) -> None:
        world.exchange.positions["BTCUSDT"] = Decimal(0)
        await place(**order)

    world.exchange.place_market_order = closed_by_hand
    await world.deliver(kit.intent(Leg.EXIT))
    assert world.publisher.closing[0].status is OrderStatus.FLAT


@pytest.mark.parametrize(
    "error",
    [
        errors.RateLimited("too many", reset_at_ms=None, ret_code=10006),
        errors.NotSent("no connection"),
        errors.CredentialError("key expired", ret_code=33004),
        errors.Rejected("settlement", reason=errors.RejectReason.NOT_TRADABLE, ret_code=110063),
    ],
    ids=["rate_limited", "no_connection", "credentials", "not_tradable"],
)
async def test_no_refusal_makes_an_exit_give_up(kit: SimpleNamespace, error: errors.ExchangeError) -> None:
    world = kit.World()
    world.exchange.positions["BTCUSDT"] = Decimal(1)
    world.exchange.script = [kit.Placement(error=error)] * 2
    await world.deliver(kit.intent(Leg.EXIT))
    assert world.exchange.positions["BTCUSDT"] == 0
    assert len(world.exchange.orders) == 1


async def test_queries_that_fail_are_repeated(kit: SimpleNamespace) -> None:
    world = kit.World()
    world.exchange.positions["BTCUSDT"] = Decimal(1)
    world.exchange.failing_queries = 2
    await world.deliver(kit.intent(Leg.EXIT))
    assert world.exchange.positions["BTCUSDT"] == 0


async def test_a_position_still_open_after_the_deadline_raises_one_alert(kit: SimpleNamespace) -> None:
    world = kit.World(flat_deadline_s=0.05)
    world.exchange.positions["BTCUSDT"] = Decimal(1)
    world.exchange.script = [kit.Placement(error=REDUCE_ONLY)] * 2
    await world.deliver(kit.intent(Leg.EXIT))
    assert [(alert.name, alert.severity.value) for alert in world.publisher.alerts] == [
        ("position_not_flat", "critical")
    ]


async def test_an_exit_between_two_orders_is_left_when_the_process_stops_and_resumed_by_the_next(
    kit: SimpleNamespace,
) -> None:
    world = kit.World()
    world.exchange.positions["BTCUSDT"] = Decimal(1)
    world.exchange.script = [kit.Placement(error=REDUCE_ONLY)] * 1000
    task = asyncio.create_task(world.process().handle(kit.intent(Leg.EXIT)))
    while not world.exchange.requests:
        await asyncio.sleep(0)
    world.drain.begun.set()
    with pytest.raises(Draining):
        await task
    world.drain.begun.clear()
    world.exchange.script = []
    await world.deliver(kit.intent(Leg.EXIT))
    assert world.exchange.positions["BTCUSDT"] == 0
    assert all(count == 1 for count in world.exchange.accepted.values())


async def test_an_exit_for_an_account_without_a_key_is_never_put_aside(kit: SimpleNamespace) -> None:
    world = kit.World()
    with pytest.raises(TransientError, match="EXECUTOR_ACCOUNTS"):
        await world.process().handle(replace(kit.intent(Leg.EXIT), account="other"))


@given(size=st.decimals(min_value=-1000, max_value=1000, places=3))
def test_a_reducing_order_never_exceeds_the_position_nor_grows_it(size: Decimal) -> None:
    order = reducing_order(size, None)
    if size == 0:
        assert order is None
    else:
        assert order is not None
        assert size + order.side.sign * order.quantity == 0


def test_pauses_between_rounds_grow_to_a_limit() -> None:
    assert [round_pause_s(count) for count in range(6)] == [0.0, 0.2, 0.5, 1.0, 2.0, 2.0]


BAD_PARAMETER = errors.Rejected("Qty invalid", reason=errors.RejectReason.BAD_PARAMETER, ret_code=10001)


@pytest.mark.parametrize("size", [Decimal("0.0004"), Decimal("1.0004")], ids=["below_the_minimum", "off_the_step"])
async def test_a_residue_that_no_ordinary_order_can_close_is_closed_as_a_whole(
    kit: SimpleNamespace, size: Decimal
) -> None:
    world = kit.World()
    world.exchange.positions["BTCUSDT"] = size
    sent = _note_orders(world)
    await world.deliver(kit.intent(Leg.EXIT))
    assert [(order["closes_all"], order["quantity"]) for order in sent] == [(True, size)]


async def test_a_quantity_within_the_rules_is_ordered_as_it_is(kit: SimpleNamespace) -> None:
    world = kit.World()
    world.exchange.positions["BTCUSDT"] = Decimal("-0.001")
    sent = _note_orders(world)
    await world.deliver(kit.intent(Leg.EXIT))
    assert [order["closes_all"] for order in sent] == [False]
    assert world.exchange.positions["BTCUSDT"] == 0


async def test_rules_that_have_changed_are_read_again_after_a_refusal(kit: SimpleNamespace) -> None:
    world = kit.World()
    world.exchange.positions["BTCUSDT"] = Decimal(2)
    world.exchange.script = [kit.Placement(error=BAD_PARAMETER)]
    asked: list[bool] = []

    async def instrument(symbol: str, *, is_fresh: bool = False) -> object:
        asked.append(is_fresh)
        return kit.instrument(max_market_quantity=Decimal("0.5") if is_fresh else Decimal(150))

    world.exchange.instrument = instrument
    await world.deliver(kit.intent(Leg.EXIT))
    assert asked[:2] == [False, True]
    assert world.exchange.positions["BTCUSDT"] == 0


def test_an_ordinary_order_keeps_to_the_rules_and_any_order_to_the_position(kit: SimpleNamespace) -> None:
    @given(
        size=st.decimals(min_value=-1000, max_value=1000, places=4),
        is_other_form=st.booleans(),
        maximum=st.sampled_from([Decimal(0), Decimal("0.5"), Decimal(10_000)]),
    )
    def check(size: Decimal, is_other_form: bool, maximum: Decimal) -> None:
        rules = kit.instrument(max_market_quantity=maximum)
        order = reducing_order(size, rules, is_other_form=is_other_form)
        if order is None:
            assert size == 0
            return
        assert order.side.sign * size < 0
        assert 0 < order.quantity <= abs(size)
        if order.closes_all:
            assert order.quantity == abs(size)
        elif not is_other_form:
            assert order.quantity % rules.quantity_step == 0
            assert order.quantity >= rules.min_quantity

    check()


async def test_an_order_of_which_nothing_is_learned_does_not_hold_the_exit_up(kit: SimpleNamespace) -> None:
    ticks = iter(range(10_000))
    patience = Patience(look_ups_s=(0.0,), settle_s=0.0, settles_before_resend=False)
    world = kit.World(patience=patience, exit_give_up_s=20.0, monotonic=lambda: float(next(ticks)))
    world.exchange.positions["BTCUSDT"] = Decimal(2)
    world.exchange.script = [kit.Placement(error=kit.lost_answer(), fills=Decimal("0.5"))]
    find, silent = world.exchange.find_order, []

    async def find_order(*, order_link_id: str, **query: object) -> object:
        silent.append(order_link_id)
        if order_link_id == silent[0]:  # of the first order nothing is ever learned
            raise errors.Unavailable("try again")
        return await find(order_link_id=order_link_id, **query)

    world.exchange.find_order = find_order
    await world.deliver(kit.intent(Leg.EXIT))
    assert world.exchange.positions["BTCUSDT"] == 0
    told = [(event.child, event.status) for event in world.publisher.events if event.filled_quantity == 0]
    assert told[0] == (0, OrderStatus.UNKNOWN)
    (event,) = world.publisher.closing
    assert (event.child, event.status, event.filled_quantity) == (1, OrderStatus.FILLED, 1)
    assert all(count == 1 for count in world.exchange.accepted.values())


async def test_the_record_of_an_exit_that_needs_very_many_orders_stays_small(kit: SimpleNamespace) -> None:
    world = kit.World()
    world.exchange.positions["BTCUSDT"] = Decimal(2)
    world.exchange.script = [kit.Placement(fills=Decimal("0.01"))] + [kit.Placement(fills=Decimal(0))] * 300
    await world.deliver(kit.intent(Leg.EXIT))
    assert world.exchange.positions["BTCUSDT"] == 0
    assert len(world.exchange.orders) == 302
    ((payload, _),) = world.records.entries.values()
    assert len(payload) < 8000
    record = IntentRecord.decode(payload)
    assert (record.next_number, record.filled_quantity) == (302, Decimal(2))


async def test_an_exit_ends_with_the_evidence_that_the_position_is_flat(kit: SimpleNamespace) -> None:
    for size in (Decimal(0), Decimal(2)):
        world = kit.World()
        world.exchange.positions["BTCUSDT"] = size
        intent = kit.intent(Leg.EXIT)
        await world.deliver(intent)
        (event,) = world.publisher.closing
        flat_at_ms = intent.trigger_time_ms + (kit.LATENCY_MS if size else 0)
        ((payload, _),) = world.records.entries.values()
        assert IntentRecord.decode(payload).outcome.flat_at_ms == flat_at_ms
        assert (
            event.detail
            == f"the exchange reported the position as 0 at 2024-03-01T08:01:00.{'050' if size else '000'}+00:00"
        )


def _note_orders(world: object) -> list[dict[str, object]]:
    """Return a list to which every order request is added."""
    sent: list[dict[str, object]] = []
    place = world.exchange.place_market_order

    async def note(**order: object) -> None:
        sent.append(order)
        await place(**order)

    world.exchange.place_market_order = note
    return sent
