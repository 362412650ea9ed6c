"""Entries: what is refused and why, what expires, what the exchange's answers lead to."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from breakwater_bybit import errors
from breakwater_core.config import RiskSettings
from breakwater_core.control import Control
from breakwater_core.errors import PermanentError
from breakwater_core.events import Leg, OrderStatus
from executor_service.drain import Draining
from executor_service.order_life import Patience
from executor_service.venue_clock import ClockMode, wall_clock_ms


def only_closing(world: Any) -> Any:
    assert len(world.publisher.closing) == 1
    return world.publisher.closing[0]


async def test_an_entry_is_sized_by_the_days_open_and_told_with_its_average_price(kit: SimpleNamespace) -> None:
    world = kit.World()
    await world.deliver(kit.intent())
    event = only_closing(world)
    assert event.status is OrderStatus.FILLED
    assert event.quantity == event.filled_quantity == Decimal(2)  # 100,000 * 2 / 2 / 50,000
    assert event.average_price == Decimal(50_000)
    assert event.event_time_ms == kit.TRIGGER_MS + kit.LATENCY_MS
    assert world.publisher.statuses == [OrderStatus.SUBMITTED, OrderStatus.FILLED]


async def test_requests_of_a_replay_are_stamped_with_the_event_time(kit: SimpleNamespace) -> None:
    world = kit.World()
    await world.deliver(kit.intent())
    assert world.exchange.requests == [(only_closing(world).order_link_id, kit.TRIGGER_MS)]


async def test_an_order_that_is_open_for_a_while_is_told_as_submitted_once(kit: SimpleNamespace) -> None:
    world = kit.World()
    world.exchange.hidden_look_ups = 3
    await world.deliver(kit.intent())
    assert world.publisher.statuses == [OrderStatus.SUBMITTED, OrderStatus.FILLED]


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "notional": ({"risk": RiskSettings(max_order_notional=Decimal(1000))}, "max_order_notional"),
    "positions": ({"risk": RiskSettings(max_open_positions=1)}, "max_open_positions"),
    "daily_loss": ({"risk": RiskSettings(daily_loss_stop=Decimal("0.1"))}, "daily_loss_stop"),
    "drawdown": ({"risk": RiskSettings(drawdown_stop=Decimal("0.1"))}, "drawdown_stop"),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_a_limit_refuses_with_its_rule(kit: SimpleNamespace, case: str) -> None:
    changes, rule = REFUSALS[case]
    world = kit.World(**changes)
    world.exchange.positions["ETHUSDT"] = Decimal(1)
    world.exchange.stated_equity = Decimal(80_000)
    await world.deliver(kit.intent())
    event = only_closing(world)
    assert (event.status, event.reason, event.order_link_id) == (OrderStatus.REFUSED, rule, "")
    assert event.detail
    assert not world.exchange.requests


async def test_a_deposit_does_not_hide_a_loss(kit: SimpleNamespace) -> None:
    world = kit.World(risk=RiskSettings(daily_loss_stop=Decimal("0.1")))
    world.exchange.stated_equity, world.exchange.deposits = Decimal(100_000), Decimal(20_000)
    await world.deliver(kit.intent())
    assert only_closing(world).reason == "daily_loss_stop"


async def test_drawdown_counts_from_the_peak_of_earlier_days(kit: SimpleNamespace) -> None:
    world = kit.World(risk=RiskSettings(drawdown_stop=Decimal("0.25")))
    world.day_opens.entries["main", kit.DAY] = kit.day_open(cumulative=Decimal("1.2"), peak=Decimal("1.5"))
    world.exchange.stated_equity = Decimal(95_000)  # 1.2 * 0.95 / 1.5 = 0.76
    await world.deliver(kit.intent())
    assert world.publisher.closing[-1].status is OrderStatus.FILLED
    world.exchange.stated_equity = Decimal(93_000)  # 1.2 * 0.93 / 1.5 = 0.744
    await world.deliver(kit.intent(attempt=2))
    assert world.publisher.closing[-1].reason == "drawdown_stop"


async def test_a_halt_refuses_entries_and_lets_exits_through(kit: SimpleNamespace) -> None:
    world = kit.World()
    world.control.state = Control().halt()
    world.exchange.positions["BTCUSDT"] = Decimal(1)
    await world.deliver(kit.intent())
    assert only_closing(world).reason == "halted"
    await world.deliver(kit.intent(Leg.EXIT))
    assert world.exchange.positions["BTCUSDT"] == 0


async def test_an_entry_of_an_earlier_epoch_is_fenced_off(kit: SimpleNamespace) -> None:
    world = kit.World()
    world.control.state = Control().halt().halt().resume()
    await world.deliver(kit.intent(epoch=1))
    assert only_closing(world).reason == "fenced"


async def test_a_control_state_that_cannot_be_read_halts_entries(kit: SimpleNamespace) -> None:
    world = kit.World()
    world.control.take(b"halt!")
    await world.deliver(kit.intent())
    assert only_closing(world).reason == "halted"
    world.control.take(b"")
    assert world.control.state == Control()


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"min_quantity": Decimal(3)}, "below_min_quantity"),
        ({"min_notional": Decimal(10**9)}, "below_min_notional"),
    ],
)
async def test_a_size_under_the_minimum_is_refused_and_never_rounded_up(
    kit: SimpleNamespace, changes: dict[str, Decimal], rule: str
) -> None:
    world = kit.World()
    world.exchange.instruments["BTCUSDT"] = kit.instrument(**changes)
    await world.deliver(kit.intent())
    assert only_closing(world).reason == rule


async def test_an_entry_without_a_days_open_is_refused(kit: SimpleNamespace) -> None:
    world = kit.World()
    world.day_opens.entries.clear()
    await world.deliver(kit.intent())
    assert only_closing(world).reason == "no_day_open"


async def test_an_entry_in_an_unknown_instrument_is_refused(kit: SimpleNamespace) -> None:
    world = kit.World()
    await world.deliver(kit.intent(symbol="NOSUCHUSDT"))
    assert only_closing(world).reason == "unknown_instrument"


async def test_an_entry_whose_time_is_over_expires_and_is_never_sent(kit: SimpleNamespace) -> None:
    world = kit.World(mode=ClockMode.WALL)
    await world.deliver(kit.intent())
    assert only_closing(world).status is OrderStatus.EXPIRED
    assert not world.exchange.requests


async def test_an_entry_that_the_exchange_refuses_is_rejected_with_its_code(kit: SimpleNamespace) -> None:
    world = kit.World()
    refusal = errors.Rejected("not enough", reason=errors.RejectReason.INSUFFICIENT_MARGIN, ret_code=110007)
    world.exchange.script = [kit.Placement(error=refusal)]
    await world.deliver(kit.intent())
    event = only_closing(world)
    assert (event.status, event.reason) == (OrderStatus.REJECTED, "insufficient_margin")
    assert event.order_link_id


async def test_an_entry_held_back_by_the_rate_limit_is_sent_again_under_its_id(kit: SimpleNamespace) -> None:
    world = kit.World()
    limited = errors.RateLimited("too many", reset_at_ms=None, ret_code=10006)
    world.exchange.script = [kit.Placement(error=limited)] * 2
    await world.deliver(kit.intent())
    assert only_closing(world).status is OrderStatus.FILLED
    assert len({link for link, _ in world.exchange.requests}) == 1
    assert len(world.exchange.requests) == 3


async def test_an_entry_held_back_until_its_time_is_over_expires(kit: SimpleNamespace) -> None:
    world = kit.World(mode=ClockMode.WALL)
    now_ms = wall_clock_ms()
    world.exchange.script = [kit.Placement(error=errors.NotSent("no connection"))] * 50
    await world.deliver(kit.intent(trigger_time_ms=now_ms, valid_until_ms=now_ms + 300))
    assert only_closing(world).status is OrderStatus.EXPIRED
    assert not world.exchange.orders


async def test_a_lost_answer_is_told_as_unknown_and_then_found_out(kit: SimpleNamespace) -> None:
    world = kit.World()
    world.exchange.script = [kit.Placement(error=kit.lost_answer())]
    world.exchange.hidden_look_ups = 2
    await world.deliver(kit.intent())
    assert world.publisher.statuses == [OrderStatus.UNKNOWN, OrderStatus.FILLED]
    assert len(world.exchange.requests) == 1


async def test_an_order_that_stays_unknown_raises_an_alert_and_closes_as_unknown_so_that_the_exit_can_run(
    kit: SimpleNamespace,
) -> None:
    ticks = iter(range(10_000))
    patience = Patience(look_ups_s=(0.002,), settle_s=0.0, give_up_s=100.0)
    world = kit.World(patience=patience, unknown_alert_s=0.01, monotonic=lambda: float(next(ticks)))
    world.exchange.script = [kit.Placement(error=kit.lost_answer())]
    world.exchange.failing_queries = 10**6
    await world.deliver(kit.intent())
    event = only_closing(world)
    assert (event.status, event.reason) == (OrderStatus.UNKNOWN, "not_found_out")
    assert {alert.name for alert in world.publisher.alerts} == {"order_unknown", "entry_lost"}


async def test_an_entry_above_the_largest_market_order_is_sent_in_parts_that_sum_up(kit: SimpleNamespace) -> None:
    world = kit.World()
    world.exchange.instruments["BTCUSDT"] = kit.instrument(max_market_quantity=Decimal("0.8"))
    await world.deliver(kit.intent())
    filled = [event for event in world.publisher.events if event.status is OrderStatus.FILLED]
    assert [event.quantity for event in filled] == [Decimal("0.8"), Decimal("0.8"), Decimal("0.4")]
    assert [event.intent_closed for event in filled] == [False, False, True]
    assert world.exchange.positions["BTCUSDT"] == 2


async def test_entries_of_one_account_cannot_pass_the_position_limit_together(kit: SimpleNamespace) -> None:
    world = kit.World(risk=RiskSettings(max_open_positions=1))
    world.exchange.instruments["ETHUSDT"] = kit.instrument(symbol="ETHUSDT")
    handler = world.process()
    await asyncio.gather(handler.handle(kit.intent()), handler.handle(kit.intent(symbol="ETHUSDT")))
    assert sorted(event.status for event in world.publisher.closing) == [OrderStatus.FILLED, OrderStatus.REFUSED]


async def test_nothing_new_is_begun_while_stopping(kit: SimpleNamespace) -> None:
    world = kit.World()
    world.drain.begun.set()
    with pytest.raises(Draining):
        await world.process().handle(kit.intent())
    assert not world.exchange.requests
    assert not world.records.entries


async def test_an_entry_for_an_account_without_a_key_is_put_aside(kit: SimpleNamespace) -> None:
    world = kit.World()
    with pytest.raises(PermanentError, match="EXECUTOR_ACCOUNTS"):
        await world.process().handle(replace(kit.intent(), account="other"))


async def test_a_rejection_of_a_repeat_is_not_believed_while_the_first_request_may_have_filled(
    kit: SimpleNamespace,
) -> None:
    world = kit.World(patience=Patience(look_ups_s=(0.0,), settle_s=1e6, settles_before_resend=False))
    refusal = errors.Rejected("no margin left", reason=errors.RejectReason.INSUFFICIENT_MARGIN, ret_code=110007)
    world.exchange.script = [kit.Placement(error=kit.lost_answer()), kit.Placement(error=refusal, arrives=False)]
    world.exchange.hidden_look_ups = 5
    await world.deliver(kit.intent())
    assert only_closing(world).status is OrderStatus.FILLED
    assert len(world.exchange.requests) == 2


@pytest.mark.parametrize("is_first", [True, False])
async def test_of_two_decisions_under_different_configurations_only_the_first_enters(
    kit: SimpleNamespace, is_first: bool
) -> None:
    world = kit.World()
    await world.process().handle(kit.intent())
    late = kit.intent(strategy_version="changed", trigger_price=Decimal(51_000))
    for _ in range(2):
        await world.process().handle(late, is_first=is_first)
    refused = [event for event in world.publisher.closing if event.intent_id == late.intent_id]
    assert {(event.status, event.reason) for event in refused} == {(OrderStatus.REFUSED, "already_decided")}
    assert len({event.event_id for event in refused}) == 1
    assert len(world.exchange.requests) == 1
    await world.process().handle(kit.intent())  # the first one's outcome stands
    assert world.publisher.closing[-1].status is OrderStatus.FILLED
