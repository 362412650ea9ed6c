"""From notices to the message that tells of them: one alone, or a summary of one lane's."""

from collections.abc import Sequence

from breakwater_core.events import Alert, DailyPerformance, DayParity, Fill, OrderEvent
from notifier_service.message import Message, MessageLinks
from notifier_service.notice import Lane, Notice
from notifier_service.single_messages import single_message
from notifier_service.summary_messages import alert_summary, performance_summary, trading_summary


def compose(notices: Sequence[Notice], run_id: str, links: MessageLinks) -> Message:
    """Return the message that tells of notices of one lane, at least one."""
    events = [notice.event for notice in notices]
    if len(events) == 1:
        return single_message(events[0], run_id, links)
    match notices[0].lane:
        case Lane.TRADING:
            return trading_summary([event for event in events if isinstance(event, OrderEvent | Fill)], run_id)
        case Lane.PERFORMANCE:
            days = [event for event in events if isinstance(event, DailyPerformance)]
            parities = [event for event in events if isinstance(event, DayParity)]
            return performance_summary(days, parities, run_id)
        case Lane.ALERTS | Lane.CRITICAL:
            return alert_summary([event for event in events if isinstance(event, Alert)], run_id)
