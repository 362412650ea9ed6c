"""A halt between the check of an entry and its sending; what was sent before is followed to its end."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from breakwater_core.control import Control
from breakwater_core.events import Intent, Leg, OrderStatus
from breakwater_runtime.bus import BusError
from executor_service.entry_flights import EntryFlights
from executor_service.order_life import Patience


def closing(world: Any) -> Any:
    (event,) = world.publisher.closing
    return event


async def test_a_halt_after_the_check_and_before_the_sending_stops_the_entry(kit: SimpleNamespace) -> None:
    world = kit.World()

    def halt(_intent: Intent) -> None:
        world.control.state = Control().halt()

    world.gate.before = halt
    await world.deliver(kit.intent())
    assert (closing(world).status, closing(world).reason) == (OrderStatus.REFUSED, "halted")
    assert not world.exchange.requests


async def test_a_halt_that_is_over_by_then_still_fences_the_entry_off(kit: SimpleNamespace) -> None:
    world = kit.World()

    def halt(_intent: Intent) -> None:
        world.control.state = Control().halt().resume()

    world.gate.before = halt
    await world.deliver(kit.intent())
    assert (closing(world).status, closing(world).reason) == (OrderStatus.REFUSED, "fenced")
    assert not world.exchange.requests


async def test_an_entry_at_the_exchange_when_the_halt_comes_is_followed_to_its_end(kit: SimpleNamespace) -> None:
    world = kit.World()
    world.exchange.script = [kit.Placement(error=kit.lost_answer())]
    world.exchange.hidden_look_ups = 2
    asked = []

    def halt_later(intent: Intent) -> None:
        asked.append(intent)
        if len(asked) > 1:
            world.control.state = Control().halt()

    world.gate.before = halt_later
    await world.deliver(kit.intent())
    assert closing(world).status is OrderStatus.FILLED


async def test_an_entry_that_never_arrived_is_not_sent_again_after_a_halt(kit: SimpleNamespace) -> None:
    world = kit.World()
    world.exchange.script = [kit.Placement(error=kit.lost_answer(), arrives=False)]
    asked = []

    def halt_later(intent: Intent) -> None:
        asked.append(intent)
        if len(asked) > 1:
            world.control.state = Control().halt()

    world.gate.before = halt_later
    await world.deliver(kit.intent())
    assert (closing(world).status, closing(world).reason) == (OrderStatus.REFUSED, "halted")
    assert len(world.exchange.requests) == 1


async def test_a_barred_entry_that_may_exist_is_not_called_absent_before_the_window_has_passed(
    kit: SimpleNamespace,
) -> None:
    ticks = iter(range(10_000))
    patience = Patience(look_ups_s=(0.0,), settle_s=50.0)
    world = kit.World(patience=patience, monotonic=lambda: float(next(ticks)))
    world.exchange.script = [kit.Placement(error=kit.lost_answer())]
    world.exchange.hidden_look_ups = 10  # more than the three look-ups after which it would be sent again
    asked = []

    def halt_later(intent: Intent) -> None:
        asked.append(intent)
        if len(asked) > 1:
            world.control.state = Control().halt()

    world.gate.before = halt_later
    await world.deliver(kit.intent())
    assert closing(world).status is OrderStatus.FILLED
    assert len(world.exchange.requests) == 1


async def test_nothing_is_entered_while_nobody_can_tell_whether_it_may(kit: SimpleNamespace) -> None:
    world = kit.World()
    failures = 2

    def fail(_intent: Intent) -> None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise BusError("away")

    world.gate.before = fail
    await world.deliver(kit.intent())
    assert closing(world).status is OrderStatus.FILLED
    assert failures == -1
    assert len(world.exchange.requests) == 1


async def test_an_exit_asks_nobody(kit: SimpleNamespace) -> None:
    world = kit.World()
    world.exchange.positions["BTCUSDT"] = 1
    world.control.state = Control().halt().halt()
    world.gate.before = lambda _intent: pytest.fail("an exit was asked about")
    await world.deliver(kit.intent(Leg.EXIT))
    assert closing(world).status is OrderStatus.FILLED


async def test_an_acknowledgement_waits_for_the_answers_of_what_is_being_sent() -> None:
    flights = EntryFlights()
    assert await flights.wait_for_answers(0)
    with flights.sending():
        assert not await flights.wait_for_answers(0)
        waiting = asyncio.create_task(flights.wait_for_answers(60))
        await asyncio.sleep(0)
        with flights.sending():  # began later, and has asked later
            pass
        assert not waiting.done()
    assert await waiting


async def test_entries_are_unsettled_until_their_end_is_known(kit: SimpleNamespace) -> None:
    world = kit.World()
    seen: list[dict[str, int]] = []
    world.gate.before = lambda _intent: seen.append(world.flights.of_accounts())
    await world.deliver(kit.intent())
    assert seen == [{"main": 1}]
    assert world.flights.of_accounts() == {}
