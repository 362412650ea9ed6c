"""Of processes that flatten an account, one that lost an intent to another leaves it to that one for a while."""

import asyncio
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from breakwater_bybit.model import PositionState
from breakwater_core.control import FlattenOrder
from breakwater_core.events import Intent
from breakwater_core.session import Session
from executor_service.drain import Drain
from executor_service.flatten_orders import FlattenLine
from executor_service.flatten_run import AccountFlatten, FlattenTools
from executor_service.record_store import TakenOver

ROUNDS = 50
POSITION = PositionState("BTCUSDT", Decimal(1), Decimal(100), Decimal(100), None, None, None, None, 0, 0, 0)


class Account:
    """An account whose position stays open."""

    rounds = 0

    async def exchange_time_ms(self) -> int:
        self.rounds += 1
        return 0

    async def open_positions(self, **_options: Any) -> list[PositionState]:
        return [POSITION]

    async def open_orders(self, **_options: Any) -> list[Any]:
        return []

    async def cancel_all_orders(self, **_options: Any) -> None:
        raise AssertionError("there is no order")


class Handler:
    """Counts the intents that it is given; each belongs to another process already."""

    claims = 0

    async def handle(self, intent: Intent) -> None:
        self.claims += 1
        raise TakenOver(intent.intent_id)


class Book:
    """Remembers what was found."""

    async def proof(self, _account: str, _epoch: int) -> None:
        return None

    async def lines(self, _account: str, _epoch: int, found: list[FlattenLine]) -> dict[str, FlattenLine]:
        return {line.symbol: line for line in found}


class QuickDrain(Drain):
    """Lets a rest pass at once."""

    async def rest(self, pause_s: float) -> None:
        await asyncio.sleep(0)


async def test_an_intent_that_was_lost_is_not_claimed_again_in_each_round(kit: SimpleNamespace) -> None:
    world, account, handler = kit.World(), Account(), Handler()
    tools = FlattenTools(
        run_id="test-run",
        instance="one",
        handler=handler,
        records=world.records,
        book=Book(),
        publisher=world.publisher,
        drain=QuickDrain(),
        session=Session(),
        symbols=(),
        deadline_s=60.0,
    )
    flatten = AccountFlatten("main", account, tools)
    order = FlattenOrder(epoch=1, account="main")
    assert await flatten.run(order, is_wanted=lambda: account.rounds < ROUNDS, obstacle=lambda: "") is None
    await flatten.settle()
    assert account.rounds == ROUNDS
    assert handler.claims == 1
