"""Days are closed after their fills, announced, and compared with the exchange's wallet."""

import asyncio
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from breakwater_core.events import AccountSnapshot, Fill, Position, SnapshotKind
from reporter_service.database import Database
from reporter_service.handler import FillsMissingError
from reporter_service.tables import DailyPerformanceRow

DAY = date(2023, 7, 4)


def openings(events: list[Any]) -> list[AccountSnapshot]:
    return [event for event in events if isinstance(event, AccountSnapshot) and event.kind is SnapshotKind.DAY_OPEN]


def rest(events: list[Any]) -> list[Any]:
    return [event for event in events if event not in openings(events)]


async def test_each_opening_closes_and_announces_the_day_before(database: Database, story: Any, open_desk: Any) -> None:
    async with open_desk(database) as desk:
        await desk.take_all(story(accounts=("main",)).tell().events)
    first, second, third = desk.published.days
    assert [day.day for day in (first, second, third)] == [date(2023, 7, 4), date(2023, 7, 5), date(2023, 7, 6)]
    # bought 0.3 at 30001.1 and sold at 30100; fees of 0.055 % on both; 0.123456789 of funding received
    result = Decimal("0.3") * (Decimal(30_100) - Decimal("30001.1"))
    fees = Decimal("0.00055") * Decimal("0.3") * (Decimal(30_100) + Decimal("30001.1"))
    assert first.equity == Decimal(100_000) + result - fees + Decimal("0.123456789")
    assert first.ror == (first.equity / 100_000).quantize(Decimal("1E-12"))
    assert (first.orders, first.fills, first.drawdown) == (2, 4, 0)
    assert third.mdd == third.drawdown > 0
    assert desk.published.alerts == []


async def test_a_deposit_is_no_return_and_no_mismatch(database: Database, story: Any, open_desk: Any) -> None:
    async with open_desk(database) as desk:
        await desk.take_all(story(accounts=("main",), deposit=Decimal(5_000)).tell().events)
    first = desk.published.days[0]
    assert first.net_deposits == 5_000
    assert first.ror == ((first.equity - 5_000) / 100_000).quantize(Decimal("1E-12"))
    assert desk.published.alerts == []


async def test_a_repeated_opening_announces_the_same_day_again_and_changes_nothing(
    database: Database, story: Any, open_desk: Any
) -> None:
    events = story(accounts=("main",)).tell().events
    async with open_desk(database) as desk:
        await desk.take_all(events)
        announced = list(desk.published.days)
        await desk.take(openings(events)[1])
    assert desk.published.days == [*announced, announced[0]]


async def test_a_day_is_not_closed_before_all_its_fills_have_arrived(
    database: Database, story: Any, open_desk: Any
) -> None:
    events = story(accounts=("main",), days=1).tell().events
    fills = [event for event in events if isinstance(event, Fill)]
    async with open_desk(database) as desk:
        await desk.take_all(event for event in events[:3] if event not in fills)
        for fill in fills[:-1]:
            await desk.take(fill)
        with pytest.raises(FillsMissingError, match="1 fills that account main counted by 2023-07-05 are missing"):
            await desk.take(openings(events)[-1])
        assert desk.published.days == []
        assert "1 fills" in desk.health.faults["fills"]
        await desk.take(fills[-1])
        await desk.take(openings(events)[-1])
        assert [day.fills for day in desk.published.days] == [4]
        assert desk.health.ready


async def test_a_day_is_closed_as_soon_as_the_last_missing_fill_is_applied(
    database: Database, story: Any, open_desk: Any
) -> None:
    events = story(accounts=("main",), days=1).tell().events
    async with open_desk(database, retry_after_s=25.0) as desk:
        await desk.take(openings(events)[0])
        closing = asyncio.create_task(desk.take(openings(events)[-1]))
        await asyncio.sleep(0)
        for fill in (event for event in events if isinstance(event, Fill)):
            assert not closing.done()
            await desk.take(fill)
        async with asyncio.timeout(5):
            await closing
    assert [day.fills for day in desk.published.days] == [4]


async def test_fills_that_never_come_are_given_up_with_an_alert(database: Database, story: Any, open_desk: Any) -> None:
    events = story(accounts=("main",), days=1).tell().events
    async with open_desk(database, fills_wait_s=0.000001) as desk:
        await desk.take(openings(events)[0])
        with pytest.raises(FillsMissingError):
            await desk.take(openings(events)[1])
        await desk.take(openings(events)[1])  # by now it has waited for long enough
    assert [alert.name for alert in desk.published.alerts] == ["fills_missing", "ledger_mismatch"]
    assert [day.day for day in desk.published.days] == [DAY]


async def test_a_wallet_that_our_fills_do_not_explain_raises_a_critical_alert_with_both_numbers(
    database: Database, story: Any, open_desk: Any
) -> None:
    events = story(accounts=("main",), days=1).tell().events
    last = openings(events)[-1]
    off = replace(last, wallet_balance=last.wallet_balance + Decimal("0.00000001"))
    async with open_desk(database) as desk:
        await desk.take_all([*[event for event in events if event is not last], off])
    [alert] = desk.published.alerts
    assert (alert.name, alert.severity.value, alert.account) == ("ledger_mismatch", "critical", "main")
    assert Decimal(alert.facts["exchange"]) - Decimal(alert.facts["ledger"]) == Decimal("0.00000001")
    assert alert.facts["difference"] == "0.00000001"


async def test_a_position_that_was_open_before_the_run_is_in_the_books_from_its_stated_price(
    database: Database, story: Any, open_desk: Any
) -> None:
    told = story(accounts=("main",), days=1).tell()
    first, last = openings(told.events)
    before = Position("ETHUSDT", Decimal(-2), Decimal(1_900), Decimal(1_890), Decimal(20))
    closed = replace(
        next(event for event in told.events if isinstance(event, Fill)),
        exec_id="closes-the-old-one",
        symbol="ETHUSDT",
        quantity=Decimal(2),
        price=Decimal(1_880),
        fee=Decimal(1),
    )
    gained = Decimal(2 * 20 - 1)
    events = [
        replace(first, positions=(before,)),
        closed,
        *rest(told.events),
        replace(last, wallet_balance=last.wallet_balance + gained, fills_total=last.fills_total + 1),
    ]
    async with open_desk(database) as desk:
        await desk.take_all(events)
    assert len(desk.published.days) == 1
    assert desk.published.alerts == []


async def test_a_restart_in_the_middle_of_the_days_goes_on_with_the_same_figures(
    database: Database, story: Any, open_desk: Any
) -> None:
    events = story(accounts=("main",)).tell().events
    half = len(events) // 2
    async with open_desk(database) as before:
        await before.take_all(events[:half])
    async with open_desk(database) as after:
        await after.take_all(events[half:])
    async with open_desk(database, "unbroken") as unbroken:
        await unbroken.take_all(story(run_id="unbroken", accounts=("main",)).tell().events)
    days = before.published.days + after.published.days
    assert [replace(day, run_id="unbroken") for day in days] == unbroken.published.days
    assert after.published.alerts == []


async def test_an_opening_that_comes_late_sets_the_days_around_it_right(
    database: Database, story: Any, open_desk: Any
) -> None:
    events = story(accounts=("main",)).tell().events
    first, second, third, fourth = openings(events)
    async with open_desk(database) as desk:
        await desk.take_all([*rest(events), first, third, second, fourth])
    async with open_desk(database, "in-order") as in_order:
        await in_order.take_all(story(run_id="in-order", accounts=("main",)).tell().events)
    with database.reading() as session:
        rows = session.query(DailyPerformanceRow).filter_by(run_id="replay-1").order_by(DailyPerformanceRow.day).all()
        assert [(row.day, row.ror, row.mdd) for row in rows] == [
            (day.day, day.ror, day.mdd) for day in in_order.published.days
        ]


async def test_a_day_without_equity_has_no_return_and_says_so(database: Database, story: Any, open_desk: Any) -> None:
    first, last = openings(story(accounts=("main",), days=1).tell().events)
    empty = {"equity": Decimal(0), "wallet_balance": Decimal(0), "fills_total": 0}
    async with open_desk(database) as desk:
        await desk.take_all([replace(first, **empty), replace(last, **empty)])
    assert desk.published.days == []
    assert [alert.name for alert in desk.published.alerts] == ["day_without_return"]
