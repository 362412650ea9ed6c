"""A process may die before or after anything it does; the next one goes on, and the exchange sees each order once."""

from collections.abc import Callable, Coroutine, Generator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breakwater_core.config import RiskSettings
from breakwater_core.events import Leg, OrderStatus

Prepare = Callable[[SimpleNamespace, Any], None]


def _nothing(kit: SimpleNamespace, world: Any) -> None:
    """Everything works."""


def _partial(kit: SimpleNamespace, world: Any) -> None:
    world.exchange.script = [kit.Placement(fills=Decimal("0.4"))]


def _unfilled(kit: SimpleNamespace, world: Any) -> None:
    world.exchange.script = [kit.Placement(fills=Decimal(0))]


def _lost_after_acceptance(kit: SimpleNamespace, world: Any) -> None:
    world.exchange.script = [kit.Placement(error=kit.lost_answer())]
    world.exchange.hidden_look_ups = 2


def _lost_before_arrival(kit: SimpleNamespace, world: Any) -> None:
    world.exchange.script = [kit.Placement(error=kit.lost_answer(), arrives=False)]


def _split(kit: SimpleNamespace, world: Any) -> None:
    world.exchange.instruments["BTCUSDT"] = kit.instrument(max_market_quantity=Decimal("0.8"))


def _refused(kit: SimpleNamespace, world: Any) -> None:
    world.risk = RiskSettings(max_order_notional=Decimal(10))


def _long(kit: SimpleNamespace, world: Any) -> None:
    world.exchange.positions["BTCUSDT"] = Decimal("2.5")


def _short_in_pieces(kit: SimpleNamespace, world: Any) -> None:
    world.exchange.positions["BTCUSDT"] = Decimal("-2.5")
    world.exchange.script = [
        kit.Placement(fills=Decimal("0.5")),
        kit.Placement(fills=Decimal(0)),
        kit.Placement(error=kit.lost_answer()),
    ]
    world.exchange.hidden_look_ups = 1


def _long_above_the_maximum(kit: SimpleNamespace, world: Any) -> None:
    world.exchange.positions["BTCUSDT"] = Decimal("2.5")
    world.exchange.instruments["BTCUSDT"] = kit.instrument(max_market_quantity=Decimal(1))


SCENARIOS: dict[str, tuple[Leg, Prepare]] = {
    "entry_filled": (Leg.ENTRY, _nothing),
    "entry_partly_filled": (Leg.ENTRY, _partial),
    "entry_unfilled": (Leg.ENTRY, _unfilled),
    "entry_lost_after_acceptance": (Leg.ENTRY, _lost_after_acceptance),
    "entry_lost_before_arrival": (Leg.ENTRY, _lost_before_arrival),
    "entry_in_three_orders": (Leg.ENTRY, _split),
    "entry_refused": (Leg.ENTRY, _refused),
    "exit_of_a_long": (Leg.EXIT, _long),
    "exit_of_a_short_in_pieces": (Leg.EXIT, _short_in_pieces),
    "exit_above_the_maximum": (Leg.EXIT, _long_above_the_maximum),
    "exit_of_nothing": (Leg.EXIT, _nothing),
    "stop": (Leg.STOP, _long),
}


async def run(kit: SimpleNamespace, scenario: str, kills: list[tuple[int, bool]]) -> tuple[Any, int]:
    leg, prepare = SCENARIOS[scenario]
    world = kit.World()
    prepare(kit, world)
    world.steps.kills = kills
    deaths = await world.deliver(kit.intent(leg))
    return world, deaths


def assert_same_end(world: Any, plain: Any) -> None:
    assert all(count == 1 for count in world.exchange.accepted.values())
    assert set(world.exchange.orders) == set(plain.exchange.orders)
    assert world.exchange.positions == plain.exchange.positions
    assert set(world.publisher.closing) == set(plain.publisher.closing)
    assert len(set(world.publisher.closing)) == 1
    finals = {event.event_id: event for event in plain.publisher.events if event.filled_quantity}
    assert {event.event_id: event for event in world.publisher.events if event.filled_quantity} == finals
    assert {key: value[0] for key, value in world.records.entries.items()} == {
        key: value[0] for key, value in plain.records.entries.items()
    }


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_a_death_at_any_step_neither_loses_nor_doubles_an_order(kit: SimpleNamespace, scenario: str) -> None:
    plain, _ = await run(kit, scenario, [])
    steps = plain.steps.count
    assert steps >= 3
    for step in range(1, steps + 1):
        for after in (False, True):
            world, deaths = await run(kit, scenario, [(step, after)])
            # a process that dies right after its last step has done everything; the repeat finds a closed intent
            assert deaths == 1, (scenario, step, after, plain.steps.names[step - 1])
            assert_same_end(world, plain)


class Interrupted:
    """A coroutine that dies instead of going on after its suspension number `last`, whatever it waits for there."""

    def __init__(self, work: Coroutine[Any, Any, None], last: int | None, death: type[BaseException]) -> None:
        self._work, self._last, self._death = work, last, death
        self.suspensions = 0

    def __await__(self) -> Generator[Any, Any, None]:
        try:
            waited_for = self._work.send(None)
            while True:
                yield waited_for
                self.suspensions += 1
                waited_for = (
                    self._work.throw(self._death()) if self.suspensions == self._last else self._work.send(None)
                )
        except StopIteration:
            return


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_a_death_at_any_await_neither_loses_nor_doubles_an_order(kit: SimpleNamespace, scenario: str) -> None:
    """Every suspension of the code counts, so that an await that is added later is among them."""
    leg, prepare = SCENARIOS[scenario]

    async def attempt(last: int | None) -> tuple[Any, int]:
        world = kit.World()
        prepare(kit, world)
        work = Interrupted(world.process().handle(kit.intent(leg)), last, kit.Killed)
        try:
            await work
        except kit.Killed:
            await world.deliver(kit.intent(leg))
        return world, work.suspensions

    plain, suspensions = await attempt(None)
    assert suspensions > plain.steps.count / 2
    for last in range(1, suspensions + 1):
        world, _ = await attempt(last)
        assert_same_end(world, plain)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_several_deaths_in_a_row_change_nothing_either(kit: SimpleNamespace, scenario: str) -> None:
    @settings(max_examples=12, deadline=None)
    @given(kills=st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=6, unique=True))
    def check(kills: list[tuple[int, bool]]) -> None:
        import asyncio

        async def compare() -> None:
            plain, _ = await run(kit, scenario, [])
            world, _ = await run(kit, scenario, list(kills))
            assert_same_end(world, plain)

        asyncio.run(compare())

    check()


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_a_repeat_of_a_closed_intent_publishes_the_same_outcome_and_orders_nothing(
    kit: SimpleNamespace, scenario: str
) -> None:
    world, _ = await run(kit, scenario, [])
    requests = list(world.exchange.requests)
    await world.deliver(kit.intent(SCENARIOS[scenario][0]))
    assert world.exchange.requests == requests
    assert len(world.publisher.closing) == 2
    assert len(set(world.publisher.closing)) == 1


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_two_processes_with_the_same_intent_at_once_make_its_orders_once(
    kit: SimpleNamespace, scenario: str
) -> None:
    import asyncio

    plain, _ = await run(kit, scenario, [])
    leg, prepare = SCENARIOS[scenario]
    world = kit.World()
    prepare(kit, world)
    await asyncio.gather(*(world.deliver(kit.intent(leg)) for _ in range(2)))
    assert all(count == 1 for count in world.exchange.accepted.values())
    assert world.exchange.positions == plain.exchange.positions
    assert {event.event_id for event in world.publisher.closing} == {
        event.event_id for event in plain.publisher.closing
    }


@pytest.mark.parametrize("step", [2, 3])
async def test_a_refusal_once_written_or_told_is_not_reconsidered_after_a_death(
    kit: SimpleNamespace, step: int
) -> None:
    world = kit.World(risk=RiskSettings(max_order_notional=Decimal(10)))
    world.steps.kills = [(step, True)]
    assert await _first_delivery_dies(world, kit)
    world.risk = RiskSettings()
    await world.deliver(kit.intent())
    assert not world.exchange.requests
    assert {event.status for event in world.publisher.closing} == {OrderStatus.REFUSED}


async def _first_delivery_dies(world: Any, kit: SimpleNamespace) -> bool:
    try:
        await world.process().handle(kit.intent())
    except kit.Killed:
        return True
    return False
