"""What is told next, alone or together, and when."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.events import Alert, Severity
from notifier_service.notice import Lane, Notice, NoticeKind, notice_of
from notifier_service.notice_queue import GroupingRule, NoticeQueue

RULE = GroupingRule(after=5, window_s=3.0)


def notice(number: int, lane: Lane = Lane.TRADING) -> Notice:
    event = Alert(str(number), "live", Severity.INFO, "test", "name", "summary", 0)
    return Notice(f"{lane}-{number}", NoticeKind.ALERT, lane, event)


def test_while_it_is_quiet_a_notice_is_due_at_once_and_alone() -> None:
    queue = NoticeQueue(RULE)
    queue.add(notice(1), 10.0)
    assert queue.due_s(10.0) == 10.0
    assert queue.take(10.0) == (notice(1),)
    assert queue.due_s(10.0) is None


def test_as_many_as_the_threshold_are_told_one_by_one() -> None:
    queue = NoticeQueue(RULE)
    for number in range(RULE.after):
        queue.add(notice(number), 10.0)
    assert [len(queue.take(10.0)) for _ in range(RULE.after)] == [1] * RULE.after


def test_in_a_storm_notices_are_collected_for_the_window_and_taken_together() -> None:
    queue = NoticeQueue(RULE)
    for number in range(8):
        queue.add(notice(number), 10.0 + number / 10)
    assert queue.take(10.7) == ()
    assert queue.due_s(10.7) == pytest.approx(13.0)
    assert queue.take(13.0) == tuple(notice(number) for number in range(8))


def test_what_arrives_in_a_storm_waits_for_others_even_if_it_is_the_only_one_waiting() -> None:
    queue = NoticeQueue(RULE)
    for number in range(6):
        queue.add(notice(number), 10.0)
    queue.take(13.0)
    queue.add(notice(6), 13.0)
    assert queue.due_s(13.0) == pytest.approx(16.0)
    assert queue.take(16.1) == (notice(6),)


def test_a_critical_notice_goes_first_and_is_never_grouped() -> None:
    queue = NoticeQueue(RULE)
    for number in range(20):
        queue.add(notice(number), 10.0)
        queue.add(notice(number, Lane.CRITICAL), 10.0)
    assert [queue.take(10.0) for _ in range(20)] == [(notice(number, Lane.CRITICAL),) for number in range(20)]
    assert len(queue.take(13.0)) == 20


def test_a_critical_notice_overtakes_one_that_waits_longer() -> None:
    queue = NoticeQueue(RULE)
    queue.add(notice(1), 10.0)
    queue.add(notice(2, Lane.ALERTS), 10.0)
    queue.add(notice(3, Lane.CRITICAL), 11.0)
    assert queue.take(11.0) == (notice(3, Lane.CRITICAL),)


def test_performance_lets_the_fills_of_its_day_go_first() -> None:
    queue = NoticeQueue(RULE)
    queue.add(notice(1, Lane.PERFORMANCE), 10.0)
    queue.add(notice(2), 10.1)
    assert queue.take(10.2) == (notice(2),)
    assert queue.take(10.2) == ()
    assert queue.take(13.0) == (notice(1, Lane.PERFORMANCE),)


def test_performance_is_not_starved_by_an_endless_storm() -> None:
    queue = NoticeQueue(RULE)
    queue.add(notice(1, Lane.PERFORMANCE), 10.0)
    taken: list[Notice] = []
    for number in range(100):
        queue.add(notice(number), 10.0 + number / 10)
        taken += queue.take(10.0 + number / 10)
    assert notice(1, Lane.PERFORMANCE) in taken


def test_without_a_rule_everything_is_told_alone_and_at_once() -> None:
    queue = NoticeQueue(None)
    for number in range(50):
        queue.add(notice(number), 10.0)
    assert [queue.take(10.0) for _ in range(50)] == [(notice(number),) for number in range(50)]


def test_notices_put_back_keep_their_place_ahead_of_later_ones() -> None:
    queue = NoticeQueue(RULE)
    for number in range(8):
        queue.add(notice(number), 10.0)
    queue.put_back(queue.take(13.0), 13.0)
    queue.add(notice(8), 13.0)
    assert queue.take(16.0) == tuple(notice(number) for number in range(9))


STEPS = st.lists(
    st.tuples(st.floats(min_value=0, max_value=5), st.sampled_from(list(Lane)), st.booleans()), max_size=60
)


@given(steps=STEPS, after=st.integers(1, 6), window_s=st.floats(min_value=0, max_value=5))
def test_every_notice_is_taken_once_in_order_of_its_lane_and_never_with_others(
    steps: list[tuple[float, Lane, bool]], after: int, window_s: float
) -> None:
    queue = NoticeQueue(GroupingRule(after=after, window_s=window_s))
    now_s, added, taken = 0.0, list[Notice](), list[tuple[Notice, ...]]()
    for number, (passed_s, lane, takes) in enumerate(steps):
        now_s += passed_s
        added.append(notice(number, lane))
        queue.add(added[-1], now_s)
        if takes:
            taken.append(queue.take(now_s))
    while (due_s := queue.due_s(now_s)) is not None:
        now_s = max(now_s, due_s)
        taken.append(queue.take(now_s))
        assert taken[-1], "what is due can be taken"
    for lane in Lane:
        assert [one for group in taken for one in group if one.lane is lane] == [
            one for one in added if one.lane is lane
        ]
    assert all(len({one.lane for one in group}) <= 1 for group in taken)
    assert all(len(group) == 1 for group in taken if group and group[0].lane is Lane.CRITICAL)


def test_events_reach_their_lane(events: Any) -> None:
    made = [events.fill(), events.order(), events.performance(), events.alert(severity=Severity.WARNING)]
    lanes = [one.lane for event in made if (one := notice_of(event, "live"))]
    assert lanes == [Lane.TRADING, Lane.TRADING, Lane.PERFORMANCE, Lane.ALERTS]
