"""Merged intervals and what they cover."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.errors import InvalidInputError
from breakwater_recordings.coverage import Coverage, merge_intervals

INTERVALS = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 10)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=8
)


@given(INTERVALS)
def test_merged_intervals_hold_the_same_instants_sorted_and_apart(intervals: list[tuple[int, int]]) -> None:
    merged = merge_intervals(intervals)

    instants = {instant for start, end in intervals for instant in range(start, end)}
    assert {instant for start, end in merged for instant in range(start, end)} == instants
    assert all(start < end for start, end in merged)
    assert all(earlier[1] < later[0] for earlier, later in pairwise(merged))


@given(INTERVALS, st.integers(0, 60), st.integers(1, 20))
def test_coverage_holds_a_span_exactly_if_it_holds_each_of_its_instants(
    intervals: list[tuple[int, int]], start: int, length: int
) -> None:
    coverage = Coverage.of(intervals)
    instants = {instant for first, end in intervals for instant in range(first, end)}

    assert coverage.holds(start, start + length) == instants.issuperset(range(start, start + length))


def test_an_interval_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="ends before it starts"):
        merge_intervals([(5, 4)])
