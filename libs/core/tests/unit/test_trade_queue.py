"""Both kinds of segment must find the same trades."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.config import StrategySettings
from breakwater_core.day_plan import Targets, entry_zones
from breakwater_core.trade_queue import ArraySegment, ListSegment

PRICES = st.lists(st.integers(90, 110).map(float), min_size=1, max_size=120)


@given(
    prices=PRICES,
    long=st.integers(95, 112).map(float),
    below=st.integers(0, 15),
    average=st.integers(90, 110).map(float),
    rule=st.sampled_from(["trend", "contrarian", "none"]),
    direction=st.sampled_from(["both", "long", "short"]),
    cut=st.tuples(st.integers(0, 119), st.integers(0, 119)),
)
def test_list_and_array_segments_find_the_same_trades(
    prices: list[float], long: float, below: int, average: float, rule: str, direction: str, cut: tuple[int, int]
) -> None:
    times = list(range(0, 2 * len(prices), 2))
    start, stop = sorted(min(edge, len(prices)) for edge in cut)
    start = min(start, len(prices) - 1)
    stop = max(start, stop)
    by_list, by_array = ListSegment(times, prices), ArraySegment(np.array(times), np.array(prices))
    by_list.start = by_array.start = start
    targets = Targets(long, long - below, average)
    zones = entry_zones(targets, StrategySettings(filter=rule, direction=direction))
    assert by_list.first_entry(stop, zones) == by_array.first_entry(stop, zones)
    assert by_list.first_enclosed(stop, targets) == by_array.first_enclosed(stop, targets)
    for falling in (False, True):
        found = by_list.first_through(start, stop, average, falling=falling)
        assert found == by_array.first_through(start, stop, average, falling=falling)
    for time in (-1, 2 * start, 2 * stop - 1, 2 * stop, 10_000):
        assert by_list.index_before(time) == by_array.index_before(time)
