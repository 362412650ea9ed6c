"""Which events people are told of, as what, and how urgently."""

from dataclasses import dataclass
from enum import StrEnum

from breakwater_core.decimals import to_text
from breakwater_core.events import Alert, DailyPerformance, DayParity, Fill, OrderEvent, OrderStatus, Severity

NoticeEvent = OrderEvent | Fill | DailyPerformance | DayParity | Alert

FINAL_STATUSES = frozenset(
    {
        OrderStatus.FILLED,
        OrderStatus.CANCELLED,
        OrderStatus.REJECTED,
        OrderStatus.REFUSED,
        OrderStatus.EXPIRED,
        OrderStatus.FLAT,
    }
)
"""Order states after which nothing more happens to the order."""


class NoticeKind(StrEnum):
    """What a notice is about; each kind can be switched off."""

    ORDER = "order"
    FILL = "fill"
    PERFORMANCE = "performance"
    ALERT = "alert"


class Lane(StrEnum):
    """A queue of its own, most urgent first. Notices are grouped with others of their lane, critical ones never."""

    CRITICAL = "critical"
    TRADING = "trading"
    ALERTS = "alerts"
    PERFORMANCE = "performance"


@dataclass(frozen=True, slots=True)
class Notice:
    """One event that people are told of.

    Attributes:
        identity: Derived from the event's cause: the same news has the same identity, however often it arrives.
        kind: What it is about.
        lane: Queue in which it waits.
        event: The event itself.
    """

    identity: str
    kind: NoticeKind
    lane: Lane
    event: NoticeEvent

    @property
    def at_least_once(self) -> bool:
        """Whether a crash at the wrong moment may double it rather than lose it: critical alerts only."""
        return self.lane is Lane.CRITICAL


def notice_of(event: object, run_id: str) -> Notice | None:
    """Return the notice that an event of the run deserves; None: nobody needs to be told.

    Of an order only final outcomes are told, and once, whether or not they also closed the intent. A later child that
    found the position flat tells nothing that the fills before it did not.
    """
    match event:
        case OrderEvent():
            if event.status not in FINAL_STATUSES or (event.status is OrderStatus.FLAT and event.child > 0):
                return None
            identity = f"{run_id}/order/{event.intent_id}#{event.child}/{event.status}/{to_text(event.filled_quantity)}"
            return Notice(identity, NoticeKind.ORDER, Lane.TRADING, event)
        case Fill():
            return Notice(f"{run_id}/fill/{event.exec_id}", NoticeKind.FILL, Lane.TRADING, event)
        case DailyPerformance():
            identity = f"{run_id}/performance/{event.account}/{event.day}"
            return Notice(identity, NoticeKind.PERFORMANCE, Lane.PERFORMANCE, event)
        case DayParity():
            identity = f"{run_id}/parity/{event.account}/{event.day}"
            return Notice(identity, NoticeKind.PERFORMANCE, Lane.PERFORMANCE, event)
        case Alert():
            lane = Lane.CRITICAL if event.severity is Severity.CRITICAL else Lane.ALERTS
            return Notice(f"{run_id}/alert/{event.alert_id}", NoticeKind.ALERT, lane, event)
        case _:
            return None
