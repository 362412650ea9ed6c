"""The daily parity report of a whole run: each day equals its backtest; an altered order is named on the day's line."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from breakwater_cli.nats_process import NatsProcess
from breakwater_core.config import BreakwaterConfig
from breakwater_core.report import Report
from breakwater_recordings.daily_bars import OpeningBars, bars_before
from breakwater_recordings.day_openings import DayOpening, write_day_opening
from breakwater_recordings.selection import warm_up_days
from breakwater_recordings.sources import open_recording
from reporter_service.database import Database
from reporter_service.tables import DayParityRow, FillRow, OrderRow, RunRow
from tests.e2e.command import breakwater

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def write_openings(recording: Path, config: BreakwaterConfig) -> None:
    """Write what market-data writes beside the trades that it records live: the bars that each day is traded with."""
    opened = open_recording([str(recording)], session=config.session.session())
    opens = OpeningBars(opened)
    for day in opened.days:
        before = bars_before(opened, day, days=warm_up_days(config.strategy))
        write_day_opening(recording, DayOpening(day, (*before, *opens.of(day))))


def set_up_live(folder: Path) -> dict[str, Any]:
    """Trade a small market through all services; leave it as a live run's database and recording would be."""
    finished = breakwater("demo", "--out", folder, "--days", "6", "--trades-per-day", "6000", "--json")
    assert finished.returncode == 0, finished.stderr[-2000:]
    report: Report = json.loads((folder / "report.json").read_text())
    write_openings(folder / "recording", BreakwaterConfig.parse(report["config"]))
    return report


def alter_an_entry(database: Database, run_id: str) -> tuple[str, str, date]:
    """Let the last entry of the run have filled 12 basis points worse than it did; return account, symbol and day."""
    worse = Decimal("1.0012")
    with database.writing() as session:
        order = session.scalars(
            select(OrderRow)
            .where(OrderRow.run_id == run_id, OrderRow.leg == "entry", OrderRow.side == "buy")
            .order_by(OrderRow.trigger_time_ms.desc())
            .limit(1)
        ).one()
        assert order.average_price is not None
        order.average_price *= worse
        for fill in session.scalars(
            select(FillRow).where(FillRow.run_id == run_id, FillRow.order_link_id == order.order_link_id)
        ):
            fill.price *= worse
            fill.fee *= worse
        return order.account, order.symbol, order.day


def service(name: str, log: Path, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", f"{name}_service"],
        stdout=log.open("wb"),
        stderr=log.with_suffix(".err").open("wb"),
        env=os.environ | environment,
    )


def lines_of(log: Path) -> list[str]:
    return [line for line in log.read_text().splitlines() if "parity " in line]


async def test_each_day_equals_its_backtest_and_an_altered_order_is_named_on_the_days_line(
    nats_server: NatsProcess, tmp_path: Path
) -> None:
    report = await asyncio.to_thread(set_up_live, tmp_path / "live")
    run_id, recording = report["run_id"], tmp_path / "live" / "recording"
    database = Database(f"sqlite:///{tmp_path}/live/breakwater.db")
    account, symbol, altered_day = alter_an_entry(database, run_id)
    days = [date.fromisoformat(row["day"]) for row in report["days"]]
    unrecorded = next(day for day in days if day != altered_day)
    shutil.rmtree(recording / symbol / unrecorded.isoformat())

    common = {"NATS_URL": nats_server.url, "RUN_ID": run_id, "HTTP_PORT": "0"}
    config = str(tmp_path / "live" / "config.json")
    reporter = service(
        "reporter",
        tmp_path / "reporter.log",
        **{f"REPORTER_{name}": value for name, value in common.items()},
        REPORTER_CONFIG_FILE=config,
        REPORTER_DATABASE_URL=f"sqlite:///{tmp_path}/live/breakwater.db",
        REPORTER_RECORDINGS=str(recording),
        REPORTER_PARITY_INTERVAL_S="0.1",
        REPORTER_PARITY_TOLERANCE_BPS="0",
        REPORTER_PARITY_TOLERANCE_MS="0",
    )
    notifier = service(
        "notifier", tmp_path / "notifier.log", **{f"NOTIFIER_{name}": value for name, value in common.items()}
    )
    try:
        async with asyncio.timeout(120):
            while len(lines_of(tmp_path / "notifier.log")) < len(days):
                assert reporter.poll() is None, (tmp_path / "reporter.err").read_text()[-2000:]
                assert notifier.poll() is None, (tmp_path / "notifier.err").read_text()[-2000:]
                await asyncio.sleep(0.1)
    finally:
        for process in (reporter, notifier):
            process.terminate()
            process.wait(30)
    lines = lines_of(tmp_path / "notifier.log")
    with database.reading() as session:
        rows = {row.day: row for row in session.scalars(select(DayParityRow).where(DayParityRow.run_id == run_id))}
        assert session.scalars(select(RunRow)).one().run_id == run_id
    database.close()
    assert set(rows) == set(days)
    for day in days:
        (line,) = (line for line in lines if f"parity {day} {account}:" in line)
        orders = sum(row["intent_id"].split("/")[4] == day.isoformat() for row in report["orders"])
        if day == unrecorded:
            assert f"not comparable: no trades of {symbol} are recorded on {day}" in line
        elif day == altered_day:
            assert f"{orders - 1} orders equal, 1 differs: {symbol} entry slippage 12 bps; total " in line
            assert rows[day].differences[0]["cause"] == "slippage"
            assert rows[day].total_bps > 0
        else:
            assert line.endswith(f"{orders} orders equal; total 0 bps"), line
            assert rows[day].differences == []
