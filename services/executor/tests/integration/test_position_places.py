"""The limit of open positions holds over executors that decide at the same time."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from breakwater_core.events import OrderEvent, OrderStatus
from breakwater_runtime.bus import Bus
from breakwater_runtime.subjects import ACCOUNT_BUCKET, places_key
from executor_service.position_places import PositionPlaces

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT")


async def nothing_held() -> set[str]:
    await asyncio.sleep(0)
    return set()


async def test_no_more_places_are_taken_than_there_are_however_many_processes_try(
    bus: Bus, kit: SimpleNamespace
) -> None:
    intents = [kit.intent(symbol=symbol) for symbol in SYMBOLS]
    places = [PositionPlaces(bus) for _ in intents]
    takers = (one.take(intent, most=2, held=nothing_held) for one, intent in zip(places, intents, strict=True))
    answers = await asyncio.gather(*takers)
    assert sorted(answers, key=str) == [2, 2, 2, None, None]
    winner = intents[answers.index(None)]
    assert await places[0].take(winner, most=2, held=nothing_held) is None  # a repeat has its place
    loser = next(intent for intent, answer in zip(intents, answers, strict=True) if answer is not None)
    await places[0].give_back(loser)  # it has none, and takes none away
    assert await places[0].take(loser, most=2, held=nothing_held) == 2
    await places[0].give_back(winner)
    assert await places[0].take(loser, most=2, held=nothing_held) is None


async def test_a_position_at_the_exchange_needs_no_place_to_count(bus: Bus, kit: SimpleNamespace) -> None:
    async def held() -> set[str]:
        return {"SOLUSDT"}

    assert await PositionPlaces(bus).take(kit.intent(), most=1, held=held) == 1


async def test_two_executors_open_one_position_if_one_is_allowed_and_leave_no_place_taken(
    roles: SimpleNamespace, exchange: Any, desk: Any, log: Any, bus: Bus, kit: SimpleNamespace, tmp_path: Path
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"risk": {"max_open_positions": 1}}))

    def closing(log: Any) -> list[OrderEvent]:
        return [event for event in log.of(OrderEvent) if event.intent_closed]

    async with roles.account(config_file=config), roles.order(config_file=config), roles.order(config_file=config):
        await desk.open_day(roles.DAY, 0)
        await asyncio.gather(desk.decide(kit.intent()), desk.decide(kit.intent(symbol="ETHUSDT")))
        await log.until(lambda log: len(closing(log)) == 2)
    assert sorted(event.status for event in closing(log)) == [OrderStatus.FILLED, OrderStatus.REFUSED]
    assert {event.reason for event in closing(log)} == {"", "max_open_positions"}
    assert await bus.read(ACCOUNT_BUCKET, places_key(roles.RUN_ID, "main")) == b"{}"
