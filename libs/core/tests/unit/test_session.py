from datetime import date, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.errors import InvalidInputError
from breakwater_core.session import Session

HOUR = 3_600_000
UTC_DAY = Session()
SEOUL = Session(start=time(9, 0), timezone="Asia/Seoul")
BERLIN = Session(start=time(0, 0), timezone="Europe/Berlin")
NEW_YORK_GAP = Session(start=time(2, 30), timezone="America/New_York")


def test_nine_in_seoul_is_midnight_utc() -> None:
    day = date(2024, 2, 29)
    assert SEOUL.day_start_ms(day) == UTC_DAY.day_start_ms(day) == 1_709_164_800_000
    assert SEOUL.day_of(1_709_164_800_000 - 1) == date(2024, 2, 28)


def test_exit_window_opens_the_lead_before_the_days_end() -> None:
    assert UTC_DAY.exit_opens_ms(date(2024, 2, 29)) == 1_709_164_800_000 + 24 * HOUR - 30_000


@pytest.mark.parametrize(
    ("day", "hours"),
    [(date(2024, 3, 30), 24), (date(2024, 3, 31), 23), (date(2024, 10, 27), 25), (date(2024, 10, 28), 24)],
)
def test_days_on_which_the_clock_changes_are_shorter_or_longer(day: date, hours: int) -> None:
    assert BERLIN.day_end_ms(day) - BERLIN.day_start_ms(day) == hours * HOUR
    assert BERLIN.exit_opens_ms(day) == BERLIN.day_end_ms(day) - 30_000


@pytest.mark.parametrize("session", [UTC_DAY, SEOUL, BERLIN, NEW_YORK_GAP], ids=["utc", "seoul", "berlin", "new-york"])
@given(time_ms=st.integers(0, 4_000_000_000_000))
def test_each_instant_lies_in_exactly_the_day_it_is_said_to(session: Session, time_ms: int) -> None:
    day = session.day_of(time_ms)
    assert session.day_start_ms(day) <= time_ms < session.day_end_ms(day)


@pytest.mark.parametrize("session", [UTC_DAY, SEOUL, BERLIN, NEW_YORK_GAP], ids=["utc", "seoul", "berlin", "new-york"])
@given(day=st.dates(date(1990, 1, 1), date(2060, 1, 1)))
def test_days_follow_one_another_without_gap(session: Session, day: date) -> None:
    start, end = session.day_start_ms(day), session.day_end_ms(day)
    assert 22 * HOUR < end - start < 26 * HOUR
    assert session.day_of(start) == session.day_of(end - 1) == day
    assert session.day_of(end) == day + timedelta(days=1)


def test_unknown_zones_and_absurd_leads_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="no such zone: 'Mars/Olympus'"):
        Session(timezone="Mars/Olympus")
    for lead_ms in (0, -1, 12 * HOUR):
        with pytest.raises(InvalidInputError, match="exit_lead"):
            Session(exit_lead_ms=lead_ms)
