"""Defects of the program that Breakwater replaces, in what is decided: each has a test that would fail on it.

Those in how orders are carried out are in `services/executor/tests/integration/test_defects_of_the_original.py`.
"""

import json
import os
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from breakwater_core.config import BreakwaterConfig
from breakwater_core.events import Leg, Side
from breakwater_core.market import BarState, DailyBar, TradeBatch
from breakwater_core.portfolio import Decision, PortfolioStrategy

DAY = date(2023, 7, 4)
START_MS = 1_688_428_800_000
EXIT_MS = START_MS + 86_400_000 - 30_000


def decide(trades: list[tuple[int, float]], *, until_ms: int, session: dict[str, str] | None = None) -> list[Decision]:
    """Return what is decided on trades of (second of the day, price); the targets are 110 and 90."""
    config = BreakwaterConfig.parse({"strategy": {"ma_window": 1, "filter": "none"}, "session": session or {}})
    portfolio = PortfolioStrategy(config, ("AAA",))
    start_ms = config.session.session().day_start_ms(DAY)
    for back in range(5, 0, -1):
        prices = (100.0, 110.0, 90.0, 104.0, 1.0)
        portfolio.feed_bar(DailyBar("AAA", DAY - timedelta(days=back), BarState.CLOSED, *prices, True))
    portfolio.feed_bar(DailyBar("AAA", DAY, BarState.OPEN, 100.0, 100.0, 100.0, 100.0, 0.0, True))
    count = len(trades)
    portfolio.feed_trades(
        TradeBatch(
            symbol="AAA",
            times_ms=np.array([start_ms + second * 1000 for second, _ in trades], dtype=np.int64),
            prices=np.array([price for _, price in trades]),
            sizes=np.ones(count),
            taker_sides=np.ones(count, dtype=np.int8),
        )
    )
    portfolio.advance(until_ms)
    decided: list[Decision] = []
    while decisions := portfolio.next_decisions():
        decided.extend(decisions)
    return decided


def test_exit_never_sent_a_position_is_closed_at_the_days_end_even_if_the_entry_was_never_confirmed() -> None:
    decided = decide([(60, 100.0), (120, 110.0)], until_ms=EXIT_MS + 1)
    assert [(decision.leg, decision.side) for decision in decided] == [(Leg.ENTRY, Side.BUY), (Leg.EXIT, Side.SELL)]
    assert decided[1].trigger_time_ms == EXIT_MS


def test_late_start_guard_that_never_rearms_a_price_back_inside_the_band_arms_the_symbol_again() -> None:
    late = [(36_000, 115.0), (36_060, 116.0)]
    assert decide(late, until_ms=EXIT_MS) == []
    rearmed = decide([*late, (36_120, 109.0), (36_180, 110.5)], until_ms=EXIT_MS)
    assert [(decision.leg, str(decision.trigger_price)) for decision in rearmed] == [(Leg.ENTRY, "110.5")]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Seoul", "America/New_York"])
def test_naive_local_time_decisions_do_not_depend_on_the_zone_of_the_machine(zone: str) -> None:
    code = (
        "import json, time; time.tzset()\n"
        "from tests.e2e.test_defects_of_the_original import rows\n"
        "print(json.dumps([time.strftime('%z', time.localtime(1688428800)), rows()]))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
        env=os.environ | {"TZ": zone},
    )
    offset, decided = json.loads(finished.stdout)
    assert offset == {"UTC": "+0000", "Asia/Seoul": "+0900", "America/New_York": "-0400"}[zone]
    assert decided == rows()
    assert [row[0] for row in decided] == ["entry", "exit"] * 2


def rows() -> list[list[str | int]]:
    """Return the decisions of one day, under a session in UTC and under one in Seoul."""
    trades = [(60, 100.0), (120, 110.0)]
    sessions = ({}, {"start": "09:30", "timezone": "Asia/Seoul"})
    return [
        [decision.leg.value, decision.day.isoformat(), decision.trigger_time_ms, str(decision.trigger_price)]
        for session in sessions
        for decision in decide(trades, until_ms=EXIT_MS + 86_400_000, session=session)
        if decision.day == DAY
    ]
