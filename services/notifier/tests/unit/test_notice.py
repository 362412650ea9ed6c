"""Which events people are told of."""

from typing import Any

import pytest

from breakwater_core.events import OrderStatus, Severity
from notifier_service.notice import FINAL_STATUSES, Lane, NoticeKind, notice_of


@pytest.mark.parametrize("status", list(OrderStatus))
def test_of_an_order_exactly_the_final_outcomes_are_told(events: Any, status: OrderStatus) -> None:
    assert (notice_of(events.order(status=status), "live") is not None) == (status in FINAL_STATUSES)


def test_an_exit_that_found_nothing_is_told_unless_it_follows_a_child_of_its_own(events: Any) -> None:
    assert notice_of(events.order(status=OrderStatus.FLAT), "live") is not None
    assert notice_of(events.order(status=OrderStatus.FLAT, child=1), "live") is None


def test_the_same_outcome_is_one_notice_whether_or_not_it_closed_the_intent(events: Any) -> None:
    opened = notice_of(events.order(event_id="a/open", intent_closed=False), "live")
    closed = notice_of(events.order(event_id="a/closed", intent_closed=True), "live")
    assert opened is not None
    assert closed is not None
    assert opened.identity == closed.identity


def test_different_events_have_different_identities(events: Any) -> None:
    made = [
        events.fill(1),
        events.fill(2),
        events.order(1),
        events.order(1, child=1),
        events.order(1, status=OrderStatus.CANCELLED),
        events.performance(0),
        events.performance(1),
        events.performance(0, account="other"),
        events.parity(0),
        events.parity(1),
        events.parity(0, account="other"),
        events.alert(1),
        events.alert(2),
    ]
    live, replay = ([notice_of(event, run_id) for event in made] for run_id in ("live", "replay-1"))
    identities = {notice.identity for notice in live + replay if notice is not None}
    assert len(identities) == 2 * len(made)


@pytest.mark.parametrize("severity", list(Severity))
def test_only_critical_alerts_go_ahead_and_may_be_doubled_by_a_crash(events: Any, severity: Severity) -> None:
    notice = notice_of(events.alert(severity=severity), "live")
    assert notice is not None
    assert notice.kind is NoticeKind.ALERT
    assert (notice.lane is Lane.CRITICAL) == notice.at_least_once == (severity is Severity.CRITICAL)


def test_what_is_not_for_people_is_no_notice() -> None:
    assert notice_of(object(), "live") is None
