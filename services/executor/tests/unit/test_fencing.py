"""A halt between the check of an entry and its sending; what was sent before is followed to its end."""

import asyncio
import time
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from breakwater_bybit.client import BybitClient
from breakwater_bybit.errors import NotSent
from breakwater_core.control import Control
from breakwater_core.events import Intent, Leg, OrderEvent, OrderStatus, Side
from breakwater_runtime.bus import BusError
from breakwater_runtime.control import ControlStore, StoredControl
from executor_service.entry_flights import EntryFlights
from executor_service.entry_gate import control_gate
from executor_service.order_life import Patience
from executor_service.venue_clock import ClockMode, VenueClock, wall_clock_ms


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


async def test_the_stamp_is_taken_before_the_document_is_read_and_the_request_carries_it(kit: SimpleNamespace) -> None:
    asked: list[int] = []

    class SlowStore(ControlStore):
        def __init__(self) -> None:
            """Needs no bus."""

        async def read(self) -> StoredControl:
            asked.append(wall_clock_ms())
            while wall_clock_ms() == asked[-1]:
                await asyncio.sleep(0)
            return StoredControl(Control())

    world = kit.World(mode=ClockMode.WALL)
    world.gate = control_gate(SlowStore(), VenueClock(ClockMode.WALL))
    now_ms = wall_clock_ms()
    await world.deliver(kit.intent(trigger_time_ms=now_ms, valid_until_ms=now_ms + 10_000))
    ((_, stamp_ms),) = world.exchange.requests
    assert stamp_ms is not None
    assert stamp_ms <= asked[0]


async def test_a_request_whose_time_is_over_does_not_leave() -> None:
    async with BybitClient("http://127.0.0.1:1", api_key="key", api_secret="secret") as client:
        with pytest.raises(NotSent, match="time to be sent was over"):
            await client.place_market_order(
                symbol="BTCUSDT",
                side=Side.BUY,
                quantity=Decimal(1),
                order_link_id="bw-1",
                reduce_only=False,
                send_by_s=time.monotonic() - 0.001,
            )


async def test_an_exit_goes_from_order_to_order_without_the_bus_and_tells_all_of_them_in_the_end(
    kit: SimpleNamespace,
) -> None:
    world = kit.World()
    world.exchange.positions["BTCUSDT"] = Decimal("2.5")
    world.exchange.script = [kit.Placement(fills=Decimal("0.4"))]
    write, try_to_publish = world.records.write, world.publisher.try_to_publish

    def is_away() -> bool:
        return world.exchange.positions["BTCUSDT"] != 0

    async def write_if_there(*values: Any) -> int:
        if is_away():
            raise BusError("away")
        return await write(*values)

    async def publish_if_there(event: OrderEvent) -> bool:
        return False if is_away() else await try_to_publish(event)

    world.records.write, world.publisher.try_to_publish = write_if_there, publish_if_there
    await world.deliver(kit.intent(Leg.EXIT))
    ended = [(event.child, event.status) for event in world.publisher.events]
    final = [one for one in ended if one[1] is not OrderStatus.SUBMITTED]
    assert final == [(0, OrderStatus.CANCELLED), (1, OrderStatus.FILLED)]
    assert all(count == 1 for count in world.exchange.accepted.values())


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
