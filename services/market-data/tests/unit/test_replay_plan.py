"""Days, windows and spans of a replay."""

from datetime import date, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.errors import InvalidInputError
from breakwater_core.session import Session
from market_data_service.replay_plan import ReplayPlan, choose_days, span_of_speed

DAY = date(2024, 3, 1)
SESSIONS = st.sampled_from([Session(), Session(time(9, 0), "Asia/Seoul"), Session(time(0, 0), "America/New_York")])
SPANS_MS = st.sampled_from([60_000, 900_000, 3_600_000, 7_200_000, 21_600_000])


@given(SESSIONS, SPANS_MS, st.integers(0, 20), st.data())
def test_every_window_belongs_to_the_day_whose_first_window_is_the_nearest_before_it(
    session: Session, span_ms: int, days: int, data: st.DataObject
) -> None:
    plan = ReplayPlan(session, DAY, DAY + timedelta(days=days), span_ms)
    total = sum(plan.windows_of(DAY + timedelta(days=number)) for number in range(days + 1))
    number = data.draw(st.integers(1, total))
    day = plan.day_of_window(number)
    first = plan.first_window_of(day)
    assert first <= number < first + plan.windows_of(day)


def test_a_day_of_23_hours_has_fewer_windows() -> None:
    plan = ReplayPlan(Session(time(0, 0), "America/New_York"), date(2024, 3, 9), date(2024, 3, 11), 7_200_000)
    assert [plan.windows_of(date(2024, 3, day)) for day in (9, 10, 11)] == [12, 12, 12]
    assert plan.end_ms - plan.start_ms == 71 * 3_600_000


def test_a_window_behind_the_end_is_refused() -> None:
    plan = ReplayPlan(Session(), DAY, DAY, 21_600_000)
    assert plan.day_of_window(4) == DAY
    with pytest.raises(InvalidInputError, match="behind the end"):
        plan.day_of_window(5)


def test_days_default_to_the_first_and_last_complete_one() -> None:
    recorded = [DAY + timedelta(days=number) for number in range(5)]
    assert choose_days(start=None, end=None, recorded=recorded, complete={recorded[1], recorded[3]}) == (
        recorded[1],
        recorded[3],
    )
    assert choose_days(start=recorded[0], end=None, recorded=recorded, complete={recorded[3]})[0] == recorded[0]


def test_a_recording_without_complete_days_asks_for_the_range() -> None:
    with pytest.raises(InvalidInputError, match="name the days with START and END"):
        choose_days(start=None, end=None, recorded=[DAY], complete=())
    assert choose_days(start=DAY, end=DAY, recorded=[DAY], complete=()) == (DAY, DAY)


def test_a_reversed_range_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="nothing to play"):
        choose_days(start=DAY, end=None, recorded=[DAY], complete=[DAY - timedelta(days=1)])


@given(st.floats(0.001, 1e6))
def test_the_span_of_a_speed_divides_the_day_and_takes_a_quarter_of_a_second_at_most(speed: float) -> None:
    span_ms = span_of_speed(speed)
    assert 86_400_000 % span_ms == 0
    assert 1000 <= span_ms <= 21_600_000
    assert span_ms == 1000 or span_ms / speed <= 250


def test_spans_of_common_speeds() -> None:
    assert [span_of_speed(speed) for speed in (1, 10, 60, 3600, 1e6)] == [1000, 2000, 15_000, 900_000, 21_600_000]
