"""A burst of intents on twenty accounts and four executors behind one address: the exchange refuses nothing."""

from pathlib import Path

import pytest

from bench.burst_run import run_burst
from breakwater_bybit.budget import Priority, most_of
from breakwater_core.events import OrderStatus

ADDRESS_LIMIT = 400
"""Requests in five seconds: what executors reach on two busy cores, so that it is the budget that holds them."""

ENTRIES = 280
"""Each takes two requests, so that their part of the window is used up soon after half of them are done."""


@pytest.mark.slow
async def test_a_burst_uses_what_the_exchange_allows_and_no_more_and_exits_go_before_waiting_entries(
    tmp_path: Path,
) -> None:
    burst = await run_burst(tmp_path / "run", entries=ENTRIES, exits=20, address_limit=ADDRESS_LIMIT)
    assert burst.breaches == 0
    assert burst.most_in_a_window <= ADDRESS_LIMIT
    assert burst.most_in_a_window >= 0.9 * most_of(ADDRESS_LIMIT, Priority.ENTRY)
    assert burst.outcomes == {OrderStatus.FILLED: ENTRIES + 20}
    assert burst.duplicates == 0
    # When the exits come there is room for a quarter of the entries that are left; the others wait, the exits do not.
    assert burst.entries_after_the_last_exit >= ENTRIES // 6
