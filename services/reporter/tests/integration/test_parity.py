"""The daily parity report: each closed day once, with what differs; what cannot be compared says so."""

import asyncio
import copy
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from breakwater_core.config import BreakwaterConfig
from breakwater_core.events import DayParity
from breakwater_core.session import Session
from breakwater_research.parity import Tolerance, compare
from breakwater_runtime.health import Health
from reporter_service.api import reporter_application
from reporter_service.database import Database
from reporter_service.group_writer import open_writer
from reporter_service.parity_job import ParityJob
from reporter_service.parity_reports import ATTEMPTS, ComparisonFailed, ParityReports, compare_in_process
from reporter_service.reading import load_report
from reporter_service.recording import record_day_config
from reporter_service.settings import ReporterSettings
from reporter_service.tables import RunRow

RUN = "replay-1"
FIRST_DAY = date(2023, 7, 4)
LONG_AFTER_MS = Session().day_end_ms(FIRST_DAY + timedelta(days=60))


@dataclass
class Bus:
    """Takes messages; may be told to fail before it takes one."""

    taken: list[DayParity] = field(default_factory=list)
    dies: bool = False

    async def publish_persistently(self, event: DayParity) -> int:
        if self.dies:
            raise RuntimeError("killed")
        self.taken.append(event)
        return len(self.taken)


async def backtest_is_equal(job: ParityJob) -> dict[str, Any]:
    return compare(job.actual, copy.deepcopy(job.actual)).as_values()


async def backtest_bought_cheaper(job: ParityJob) -> dict[str, Any]:
    """Compare with a backtest whose entries filled 1.2 basis points better."""
    expected = copy.deepcopy(job.actual)
    for order in expected["orders"]:
        if order["leg"] == "entry":
            order["avg_price"] = str(Decimal(order["avg_price"]) / Decimal("1.00012"))
            order["slippage_bps"] = None
    for fill in expected["fills"]:
        if fill["side"] == "buy" and fill["kind"] == "trade":
            fill["price"] = str(Decimal(fill["price"]) / Decimal("1.00012"))
            fill["fee"] = str(Decimal(fill["fee"]) / Decimal("1.00012"))
    return compare(expected, job.actual, tolerance=Tolerance(Decimal(1))).as_values()


@asynccontextmanager
async def reports_over(
    database: Database, bus: Bus, compare_day: Callable[[ParityJob], Awaitable[dict[str, Any]]], **changes: Any
) -> AsyncIterator[ParityReports]:
    wall_ms = changes.pop("wall_ms", LONG_AFTER_MS)
    settings = ReporterSettings(
        run_id=RUN,
        database_url=SecretStr(database.url.render_as_string(hide_password=False)),
        recordings="/recordings",
        **changes,
    )
    async with asyncio.timeout(90), open_writer(database, Health(), asyncio.Event()) as writer:
        yield ParityReports(settings, database, writer, bus, compare=compare_day, wall_ms=lambda: wall_ms)


@pytest.fixture
async def told(database: Database, story: Any, open_desk: Any) -> Database:
    """A database that has heard of three closed days of two accounts."""
    async with open_desk(database) as desk:
        await desk.take_all(story().tell().events)
    return database


async def rows_of(database: Database, **query: Any) -> list[dict[str, Any]]:
    application: Any = reporter_application(database, Health())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://reporter") as client:
        answer = await client.get(f"/runs/{RUN}/parity", params=query)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["items"])


async def test_each_closed_day_of_each_account_is_compared_stored_and_told_once(told: Database) -> None:
    bus = Bus()
    async with reports_over(told, bus, backtest_is_equal) as reports:
        await reports.turn()
        await reports.turn()
    async with reports_over(told, bus, backtest_is_equal) as reports:  # a restart
        await reports.turn()
    expected = [(FIRST_DAY + timedelta(days=n), account) for n in range(3) for account in ("main", "second")]
    assert [(row.day, row.account) for row in bus.taken] == expected
    assert all(row.comparable and not row.orders_different and row.orders_equal == 2 for row in bus.taken)
    rows = await rows_of(told)
    assert [(row["day"], row["account"], row["comparable"]) for row in rows] == [
        (day.isoformat(), account, True) for day, account in expected
    ]
    assert len(await rows_of(told, account="main", day="2023-07-05")) == 1


async def test_what_an_account_did_on_a_day_is_that_day_alone_with_the_equity_it_opened_with(told: Database) -> None:
    jobs: list[ParityJob] = []

    async def keep(job: ParityJob) -> dict[str, Any]:
        jobs.append(job)
        return await backtest_is_equal(job)

    async with reports_over(told, Bus(), keep) as reports:
        await reports.turn()
    job = next(job for job in jobs if (job.day, job.account) == ("2023-07-05", "main"))
    assert {order["intent_id"].split("/")[1] for order in job.actual["orders"]} == {"main"}
    assert {order["intent_id"].split("/")[4] for order in job.actual["orders"]} == {"2023-07-05"}
    assert len(job.actual["fills"]) == 4
    assert [refused["reason"] for refused in job.actual["refused"]] == ["below_min_quantity", "expired"]
    (day,) = job.actual["days"]
    opened = Decimal(job.equity)
    assert Decimal(day["ror"]) == round((Decimal(day["equity"]) / opened), 12)
    assert day["cumulative"] == day["ror"]
    assert opened != 100_000  # the second day opened with what the first one left


async def test_an_order_that_filled_elsewhere_is_named_with_its_cost(told: Database) -> None:
    bus = Bus()
    async with reports_over(told, bus, backtest_bought_cheaper) as reports:
        await reports.turn()
    first = bus.taken[0]
    assert (first.orders_equal, first.orders_different) == (1, 1)
    found = first.differences[0]
    assert (found.subject, found.cause, found.cost_bps) == ("BTCUSDT entry", "slippage", Decimal("1.2"))
    assert first.total_bps > 0
    (row,) = await rows_of(told, account="main", day="2023-07-04")
    assert row["differences"][0] | {"expected": ""} == {
        "cause": "slippage",
        "subject": "BTCUSDT entry",
        "field": "avg_price",
        "expected": "",
        "actual": "30001.1",
        "cost": row["differences"][0]["cost"],
        "cost_bps": "1.2",
    }


async def test_a_day_that_is_not_recorded_is_told_as_such_and_never_passed_over(told: Database) -> None:
    async def gap(_job: ParityJob) -> dict[str, Any]:
        return {"reason": "gap in BTCUSDT"}

    bus = Bus()
    async with reports_over(told, bus, gap) as reports:
        await reports.turn()
    assert [(row.comparable, row.reason) for row in bus.taken] == [(False, "gap in BTCUSDT")] * 6
    assert {row["reason"] for row in await rows_of(told)} == {"gap in BTCUSDT"}


async def test_a_day_that_was_traded_under_another_configuration_is_not_compared_with_todays(told: Database) -> None:
    with told.writing() as session:
        session.get_one(RunRow, RUN).strategy_version = "newer"
    bus = Bus()
    async with reports_over(told, bus, backtest_is_equal) as reports:
        await reports.turn()
    assert len(bus.taken) == 6
    assert all("the day's is newer" in row.reason for row in bus.taken)


async def test_a_day_is_compared_under_its_own_configuration_whatever_came_later(told: Database) -> None:
    newer = BreakwaterConfig.parse({"strategy": {"k_long": 0.9}})
    jobs: list[ParityJob] = []

    async def keep_job(job: ParityJob) -> dict[str, Any]:
        jobs.append(job)
        return await backtest_is_equal(job)

    with told.writing() as session:
        run = session.get_one(RunRow, RUN)
        old_version, old_values = run.strategy_version, run.config
        for number in range(3):
            day = FIRST_DAY + timedelta(days=number)
            record_day_config(session, run_id=RUN, day=day, strategy_version=old_version, config=old_values)
        later = FIRST_DAY + timedelta(days=3)
        record_day_config(session, run_id=RUN, day=later, strategy_version=newer.version, config=newer.as_values())
        assert session.get_one(RunRow, RUN).strategy_version == newer.version
    async with reports_over(told, Bus(), keep_job) as reports:
        await reports.turn()
    assert [job.config for job in jobs] == [old_values] * 6
    report = await asyncio.to_thread(load_report, told.url.render_as_string(hide_password=False), RUN)
    assert report["config"] == newer.as_values()
    assert [(row["version"], row["first_day"], row["last_day"]) for row in report["versions"]] == [
        (old_version, "2023-07-04", "2023-07-06"),
        (newer.version, "2023-07-07", "2023-07-07"),
    ]


async def test_a_recording_that_is_not_finished_is_waited_for(told: Database) -> None:
    answers: list[dict[str, Any]] = [{"reason": "gap in BTCUSDT"}] * 2

    async def later_whole(job: ParityJob) -> dict[str, Any]:
        return answers.pop() if answers else await backtest_is_equal(job)

    bus = Bus()
    soon_ms = Session().day_end_ms(FIRST_DAY) + 60_000
    async with reports_over(told, bus, later_whole, wall_ms=soon_ms, parity_wait_s=600) as reports:
        await reports.turn()
        assert bus.taken == []  # the first day's file is not there yet, the other days have not ended
        await reports.turn()
    assert [(row.day, row.comparable) for row in bus.taken] == [(FIRST_DAY, True)] * 2


async def test_a_death_between_the_row_and_the_message_costs_neither(told: Database) -> None:
    bus = Bus(dies=True)
    async with reports_over(told, bus, backtest_is_equal) as reports:
        with pytest.raises(RuntimeError, match="killed"):
            await reports.turn()
    assert len(await rows_of(told)) == 1
    bus.dies = False
    async with reports_over(told, bus, backtest_is_equal) as reports:
        await reports.turn()
    assert len({(row.day, row.account) for row in bus.taken}) == len(bus.taken) == 6


async def test_of_two_reporters_the_first_comparison_counts(told: Database) -> None:
    async def other_result(job: ParityJob) -> dict[str, Any]:
        async with reports_over(told, first, backtest_is_equal) as faster:
            await faster.turn()
        return {"reason": f"slower on {job.day}"}

    first, second = Bus(), Bus()
    async with reports_over(told, second, other_result) as slower:
        await slower.turn()
    assert len(first.taken) == 6
    assert second.taken == []
    assert {row["reason"] for row in await rows_of(told)} == {""}


async def test_a_comparison_that_fails_again_and_again_ends_as_not_comparable(told: Database) -> None:
    async def fails(_job: ParityJob) -> dict[str, Any]:
        raise ComparisonFailed("the comparison ended with exit code 9; its log says why")

    bus = Bus()
    async with reports_over(told, bus, fails) as reports:
        for _ in range(ATTEMPTS):
            assert bus.taken == []
            await reports.turn()
    assert len(bus.taken) == 6
    assert "exit code 9" in bus.taken[0].reason


def test_the_reporter_itself_loads_no_reader_of_recordings() -> None:
    program = (
        "import sys, reporter_service.main; sys.exit(any(m in sys.modules for m in ('pyarrow', 'pandas', 'numba')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


async def test_a_process_that_ends_without_a_result_is_a_failed_comparison() -> None:
    job = ParityJob("/nowhere", "main", "2023-07-04", "1", {}, {}, "1", 0)
    with pytest.raises(ComparisonFailed, match="exit code 1"):
        await compare_in_process(job, module="reporter_service.no_such_module")
    with pytest.raises(ComparisonFailed, match="no JSON"):
        await compare_in_process(job, module="this")
