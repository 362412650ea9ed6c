"""Messages become rows: once, in any order, the same in both databases."""

import asyncio
import random
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from breakwater_core.errors import PermanentError
from breakwater_core.events import Fill, Leg, OrderStatus, SnapshotKind
from breakwater_core.market import Clock, ClockKind
from reporter_service.database import Database
from reporter_service.migrate import migrate
from reporter_service.reading import load_report
from reporter_service.tables import FillRow, IntentRow, OrderRow, PositionRow, RunRow, SnapshotRow

DAY = date(2023, 7, 4)


@pytest.fixture(scope="module")
def shared_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One database for many examples, each under a run id of its own."""
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('shared')}/breakwater.db")
    migrate(database)
    yield database
    database.close()


async def test_both_databases_hold_the_same_rows_after_the_same_story(
    story: Any, open_desk: Any, dump_of: Any, tmp_path: Path, postgres: Any
) -> None:
    dumps, reports = [], []
    for url in (f"sqlite:///{tmp_path}/breakwater.db", postgres.new_database()):
        database = Database(url)
        migrate(database)
        async with open_desk(database) as desk:
            await desk.take_all(story().tell().events)
        dumps.append(dump_of(database))
        reports.append(load_report(url, "replay-1"))
        database.close()
    assert dumps[0] == dumps[1]
    assert reports[0] == reports[1]
    assert {name: len(rows) for name, rows in dumps[0].items() if name != "alembic_version"} == {
        "runs": 1,
        "day_parity": 0,
        "day_configs": 0,
        "intents": 30,
        "orders": 12,
        "fills": 24,
        "positions": 2,
        "account_snapshots": 14,
        "daily_performance": 6,
        "alerts": 1,
    }


async def test_a_story_told_twice_changes_nothing(database: Database, story: Any, open_desk: Any, dump_of: Any) -> None:
    events = story().tell().events
    async with open_desk(database) as desk:
        await desk.take_all(events)
    once = dump_of(database)
    async with open_desk(database) as desk:
        await desk.take_all(events)
    assert dump_of(database) == once


@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(seed=st.integers(0, 1_000_000), share_repeated=st.floats(0, 1), split=st.floats(0, 1))
def test_any_order_and_repetition_and_a_restart_give_the_same_rows(
    shared_database: Database,
    story: Any,
    open_desk: Any,
    dump_of: Any,
    seed: int,
    share_repeated: float,
    split: float,
) -> None:
    shuffler = random.Random(seed)
    in_order, shuffled = f"in-order-{uuid.uuid4().hex}", f"shuffled-{uuid.uuid4().hex}"
    events = story(run_id=shuffled, days=2, deposit=Decimal("12.5")).tell().events
    events += [event for event in events if shuffler.random() < share_repeated]
    shuffler.shuffle(events)
    cut = round(split * len(events))

    async def tell() -> None:
        async with open_desk(shared_database, in_order) as desk:
            await desk.take_all(story(run_id=in_order, days=2, deposit=Decimal("12.5")).tell().events)
        async with open_desk(shared_database, shuffled) as desk:
            unfinished = await taken(desk, events[:cut])
        async with open_desk(shared_database, shuffled) as desk:
            await desk.take_all(unfinished + events[cut:])

    asyncio.run(tell())
    assert dump_of(shared_database, run_id=shuffled) == dump_of(shared_database, run_id=in_order)


async def taken(desk: Any, events: list[Any]) -> list[Any]:
    """Hand over the events once; return those that a restart leaves to be delivered again."""
    again = []
    for event in events:
        try:
            await desk.take(event)
        except Exception:  # noqa: BLE001  # whatever it was, the message comes again
            again.append(event)
    return again


async def test_messages_handled_side_by_side_share_commits_and_lose_nothing(
    database: Database, story: Any, open_desk: Any, dump_of: Any
) -> None:
    events = story(accounts=("main",), days=8).tell().events
    others = [event for event in events if not hasattr(event, "wallet_balance")]
    snapshots = [event for event in events if hasattr(event, "wallet_balance")]
    async with open_desk(database) as desk:
        await asyncio.gather(*(desk.take(event) for event in others + others))
        await desk.take_all(snapshots)
    together = dump_of(database, run_id="replay-1")
    async with open_desk(database, "one-by-one") as desk:
        await desk.take_all(story(run_id="one-by-one", accounts=("main",), days=8).tell().events)
    assert dump_of(database, run_id="one-by-one") == together


async def test_an_order_keeps_its_furthest_state_and_its_slippage(
    database: Database, story: Any, open_desk: Any
) -> None:
    told = story()
    filled = told.order(
        "main", DAY, Leg.ENTRY, OrderStatus.FILLED, filled=Decimal("0.3"), average=Decimal(30_030), closed=True
    )
    async with open_desk(database) as desk:
        await desk.take(filled)
        await desk.take(told.order("main", DAY, Leg.ENTRY, OrderStatus.SUBMITTED))
        await desk.take(
            told.order("main", DAY, Leg.ENTRY, OrderStatus.PARTIALLY_FILLED, filled=Decimal("0.1"), average=Decimal(1))
        )
    with database.reading() as session:
        row = session.get_one(OrderRow, ("replay-1", filled.order_link_id))
        intent = session.get_one(IntentRow, ("replay-1", filled.intent_id))
        assert (row.status, row.filled_quantity, row.average_price) == ("filled", Decimal("0.3"), Decimal(30_030))
        assert row.slippage_bps == Decimal(10)
        assert (intent.status, intent.closed) == ("filled", True)


async def test_refused_and_expired_intents_are_kept_with_their_reasons_and_without_orders(
    database: Database, story: Any, open_desk: Any
) -> None:
    told = story()
    refused = told.order(
        "main", DAY, Leg.ENTRY, OrderStatus.REFUSED, closed=True, reason="halted", detail="entries are halted"
    )
    async with open_desk(database) as desk:
        await desk.take(refused)
    with database.reading() as session:
        row = session.get_one(IntentRow, ("replay-1", refused.intent_id))
        assert (row.status, row.reason, row.detail) == ("refused", "halted", "entries are halted")
        assert session.query(OrderRow).count() == 0


async def test_decimals_come_back_to_the_last_digit(database: Database, story: Any, open_desk: Any) -> None:
    told = story()
    order = told.order("main", DAY, Leg.ENTRY, OrderStatus.SUBMITTED)
    exact = Decimal("123456789012345678.123456789012345678")
    fill = replace(told.fill(order, 1, "0.1", exact), fee=Decimal("-0.000000000000000001"))
    async with open_desk(database) as desk:
        await desk.take(fill)
    with database.reading() as session:
        row = session.get_one(FillRow, ("replay-1", fill.exec_id))
        position = session.get_one(PositionRow, ("replay-1", "main", "BTCUSDT"))
        assert (row.price, row.fee) == (exact, Decimal("-0.000000000000000001"))
        assert position.cash_flow == Decimal("-12345678901234567.8123456789012345678")


async def test_an_execution_that_comes_again_with_other_content_is_put_aside(
    database: Database, story: Any, open_desk: Any
) -> None:
    told = story()
    fill = told.fill(told.order("main", DAY, Leg.ENTRY, OrderStatus.SUBMITTED), 1, "0.1", Decimal(30_000))
    async with open_desk(database) as desk:
        await desk.take(fill)
        with pytest.raises(PermanentError, match="came again as"):
            await desk.take(replace(fill, price=Decimal(30_001)))
        with pytest.raises(PermanentError, match="must be above 0"):
            await desk.take(replace(fill, exec_id="another", quantity=Decimal(0)))
    with database.reading() as session:
        assert [row.price for row in session.query(FillRow)] == [Decimal(30_000)]


async def test_one_bad_message_does_not_spoil_those_committed_with_it(
    database: Database, story: Any, open_desk: Any
) -> None:
    told = story()
    order = told.order("main", DAY, Leg.ENTRY, OrderStatus.SUBMITTED)
    fills: list[Fill] = [told.fill(order, number, "0.1", Decimal(30_000)) for number in range(20)]
    fills[7] = replace(fills[7], price=Decimal(0))
    async with open_desk(database) as desk:
        outcomes = await asyncio.gather(*(desk.take(fill) for fill in fills), return_exceptions=True)
    assert [number for number, outcome in enumerate(outcomes) if isinstance(outcome, PermanentError)] == [7]
    with database.reading() as session:
        assert session.query(FillRow).count() == 19
        assert session.get_one(PositionRow, ("replay-1", "main", "BTCUSDT")).size == Decimal("1.9")


async def test_of_a_days_periodic_snapshots_the_last_is_kept(database: Database, story: Any, open_desk: Any) -> None:
    opening = next(event for event in story().tell().events if hasattr(event, "wallet_balance"))
    noon, evening = (
        replace(opening, kind=SnapshotKind.PERIODIC, event_time_ms=opening.event_time_ms + hours, equity=Decimal(hours))
        for hours in (12, 20)
    )
    async with open_desk(database) as desk:
        await desk.take_all([evening, noon, opening])
    with database.reading() as session:
        kept = session.get_one(SnapshotRow, ("replay-1", "main", "periodic", DAY))
        assert kept.equity == Decimal(20)


async def test_the_end_of_the_recording_is_noted_once_with_the_time_it_took(database: Database, open_desk: Any) -> None:
    ended = Clock(ClockKind.ENDED, 5_000, 5_000, DAY, window=9, trades_total=77)
    async with open_desk(database) as desk:
        await desk.take_all([ended, ended, Clock(ClockKind.ADVANCED, 9_000, 9_000, DAY, trades_total=99)])
    with database.reading() as session:
        row = session.get_one(RunRow, "replay-1")
        assert (row.started_at_ms, row.ended_at_ms, row.trades_total, row.now_ms) == (1_000, 61_000, 77, 5_000)
