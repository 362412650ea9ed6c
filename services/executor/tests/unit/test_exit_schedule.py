"""Exits begin one after the other within their lead, and are alarmed before the day ends."""

from datetime import date
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.events import Leg
from breakwater_core.session import Session
from executor_service.exit_schedule import DayRules, ExitSchedule
from executor_service.venue_clock import ClockMode, wall_clock_ms

SYMBOLS = tuple(f"S{number}USDT" for number in range(10))
DAY = date(2024, 3, 1)


def test_all_exits_begin_and_are_alarmed_within_the_lead(kit: SimpleNamespace) -> None:
    @given(lead_ms=st.integers(1_000, 600_000), spread_s=st.floats(0, 60), deadline_s=st.floats(1, 600))
    def check(lead_ms: int, spread_s: float, deadline_s: float) -> None:
        session = Session(exit_lead_ms=lead_ms)
        schedule = ExitSchedule(session, SYMBOLS, spread_s, deadline_s)
        opens_ms = session.exit_opens_ms(DAY)
        exits = [kit.intent(Leg.EXIT, symbol=symbol, day=DAY, trigger_time_ms=opens_ms) for symbol in SYMBOLS]
        begins = [schedule.begins_ms(intent) for intent in exits]
        assert begins == sorted(begins)
        assert begins[0] == opens_ms
        assert begins[-1] - opens_ms <= min(spread_s * 1000, lead_ms / 4)
        assert all(opens_ms < schedule.alarm_ms(intent) < session.day_end_ms(DAY) for intent in exits)

    check()


def due(symbols: str, *, version: str = "version") -> list[SimpleNamespace]:
    return [
        SimpleNamespace(strategy_version=version, leg=Leg.EXIT, symbol=symbol, trigger_time_ms=1000)
        for symbol in symbols
    ]


def test_exits_are_spread_evenly() -> None:
    schedule = ExitSchedule(Session(), ("A", "B", "C", "D"), 2.0)
    assert [schedule.begins_ms(intent) for intent in due("ABCD")] == [1000, 1500, 2000, 2500]


def test_exits_are_spread_over_the_symbols_of_their_own_configuration() -> None:
    rules = {"new": DayRules(Session(exit_lead_ms=4_000), ("C", "A"))}
    schedule = ExitSchedule(Session(), ("A", "B", "C", "D"), 2.0, rules_of=rules.get)
    assert [schedule.begins_ms(intent) for intent in due("AC", version="new")] == [1500, 1000]
    assert [schedule.begins_ms(intent) for intent in due("BD", version="other")] == [1500, 2500]


@pytest.mark.parametrize("leg", [Leg.STOP, Leg.FLATTEN])
def test_what_is_urgent_begins_at_once(kit: SimpleNamespace, leg: Leg) -> None:
    intent = kit.intent(leg, symbol=SYMBOLS[9])
    schedule = ExitSchedule(Session(), SYMBOLS, 2.0, 20.0)
    assert schedule.begins_ms(intent) == intent.trigger_time_ms
    assert schedule.alarm_ms(intent) == intent.trigger_time_ms + 20_000


def test_an_exit_that_falls_due_late_has_its_whole_deadline(kit: SimpleNamespace) -> None:
    session = Session()
    late = kit.intent(Leg.EXIT, day=DAY, trigger_time_ms=session.day_end_ms(DAY) + 5_000)
    assert ExitSchedule(session).alarm_ms(late) == late.trigger_time_ms + 20_000


async def test_an_exit_waits_for_its_turn_and_a_late_one_does_not(kit: SimpleNamespace) -> None:
    for symbol, is_late in (("ETHUSDT", False), ("ETHUSDT", True), ("BTCUSDT", False)):
        world = kit.World(mode=ClockMode.WALL, exit_symbols=("BTCUSDT", "ETHUSDT"), exit_spread_s=0.4)
        world.exchange.positions[symbol] = 2 * kit.instrument().min_quantity
        world.exchange.instruments[symbol] = kit.instrument(symbol=symbol)
        due_ms = wall_clock_ms() - (10_000 if is_late else 0)
        await world.deliver(kit.intent(Leg.EXIT, symbol=symbol, trigger_time_ms=due_ms))
        (_, sent_ms) = world.exchange.requests[0]
        assert sent_ms >= due_ms + (200 if symbol == "ETHUSDT" else 0)
