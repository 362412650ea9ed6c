"""The notices that wait to be told: which are next, alone or together, and when. No I/O, no clock.

Times are seconds of a clock that only moves forward and are passed in.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from notifier_service.notice import Lane, Notice


@dataclass(frozen=True, slots=True)
class GroupingRule:
    """When notices are told together.

    Attributes:
        after: A lane is in a storm while more than this many of its notices wait, or arrived within the window.
        window_s: Seconds for which notices are collected in a storm; a notice waits no longer than this for others.
    """

    after: int
    window_s: float


@dataclass(frozen=True, slots=True)
class _Waiting:
    notice: Notice
    arrived_s: float


class _LaneQueue:
    def __init__(self, rule: GroupingRule | None, settle_s: float) -> None:
        self._rule = rule
        self._settle_s = settle_s
        self._waiting: deque[_Waiting] = deque()
        self._arrivals: deque[float] = deque(maxlen=rule.after + 1 if rule else 1)

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, notice: Notice, now_s: float) -> None:
        self._waiting.append(_Waiting(notice, now_s))
        self._arrivals.append(now_s)

    def put_back(self, notices: Sequence[Notice], now_s: float) -> None:
        self._waiting.extendleft(_Waiting(notice, now_s) for notice in reversed(notices))

    def due_s(self, now_s: float) -> float | None:
        if not self._waiting:
            return None
        first = self._waiting[0].arrived_s
        if self._rule and self._storms(self._rule, now_s):
            return first + max(self._rule.window_s, self._settle_s)
        return first + self._settle_s

    def take(self, now_s: float) -> tuple[Notice, ...]:
        count = len(self._waiting) if self._rule and self._storms(self._rule, now_s) else 1
        return tuple(self._waiting.popleft().notice for _ in range(count))

    def _storms(self, rule: GroupingRule, now_s: float) -> bool:
        if len(self._waiting) > rule.after:
            return True
        return len(self._arrivals) > rule.after and now_s - self._arrivals[0] <= rule.window_s


class NoticeQueue:
    """Notices in the order of their arrival, critical ones ahead of all others.

    While it is quiet each notice is due at once, alone. In a storm those of a lane are collected for the window and
    then taken together. Daily performance waits for the window in any case, so that the day's fills go first.
    """

    def __init__(self, rule: GroupingRule | None) -> None:
        """Group by the rule; None: every notice is told alone and at once."""
        settle_s = rule.window_s if rule else 0.0
        self._lanes = {
            lane: _LaneQueue(None if lane is Lane.CRITICAL else rule, settle_s if lane is Lane.PERFORMANCE else 0.0)
            for lane in Lane
        }

    def __len__(self) -> int:
        return sum(len(lane) for lane in self._lanes.values())

    def add(self, notice: Notice, now_s: float) -> None:
        """Let a notice wait that arrived now."""
        self._lanes[notice.lane].add(notice, now_s)

    def put_back(self, notices: Sequence[Notice], now_s: float) -> None:
        """Let notices of one lane, taken before, wait again ahead of the others of their lane."""
        if notices:
            self._lanes[notices[0].lane].put_back(notices, now_s)

    def has_critical(self) -> bool:
        """Whether a critical notice waits."""
        return len(self._lanes[Lane.CRITICAL]) > 0

    def due_s(self, now_s: float) -> float | None:
        """Return when the next notices are due, which may be in the past; None: nothing waits."""
        times = [due_s for lane in self._lanes.values() if (due_s := lane.due_s(now_s)) is not None]
        return min(times, default=None)

    def take(self, now_s: float) -> tuple[Notice, ...]:
        """Take the notices that are to be told next, in one message; empty: none is due yet."""
        if self.has_critical():
            return self._lanes[Lane.CRITICAL].take(now_s)
        due = [(due_s, lane) for lane in self._lanes.values() if (due_s := lane.due_s(now_s)) is not None]
        ready = [(due_s, position) for position, (due_s, _) in enumerate(due) if due_s <= now_s]
        return due[min(ready)[1]][1].take(now_s) if ready else ()
