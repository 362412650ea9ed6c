"""A burst of intents on twenty accounts and four executors behind one address: the exchange refuses nothing."""

from pathlib import Path

import pytest

from bench.burst_run import ENTRY_SHARE, run_burst
from breakwater_core.events import OrderStatus

ADDRESS_LIMIT = 300
"""Requests in five seconds: what the executors reach on two cores, so that it is the budget that holds them."""


@pytest.mark.slow
async def test_a_burst_uses_what_the_exchange_allows_and_no_more_and_exits_go_before_waiting_entries(
    tmp_path: Path,
) -> None:
    burst = await run_burst(tmp_path / "run", entries=160, exits=20, address_limit=ADDRESS_LIMIT)
    assert burst.breaches == 0
    assert burst.most_in_a_window <= ADDRESS_LIMIT
    assert burst.most_in_a_window >= 0.9 * ENTRY_SHARE * ADDRESS_LIMIT
    assert burst.outcomes == {OrderStatus.FILLED: 180}
    assert burst.duplicates == 0
    # Requests that were on their way when the exits came could not be called back; all others waited.
    assert burst.entries_after_the_last_exit > burst.entries_before_the_last_exit
