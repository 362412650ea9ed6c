"""From waiting notices to posted messages: one at a time, claimed before, acknowledged after, urgent ones first."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from breakwater_runtime import trace_steps
from breakwater_runtime.bus import BusError
from breakwater_runtime.health import Health
from breakwater_runtime.logs import get_logger
from breakwater_runtime.outages import OutageAlarm
from breakwater_runtime.pulling import HeldMessage
from notifier_service.claims import Claims
from notifier_service.composition import compose
from notifier_service.inbox import Arrival
from notifier_service.message import Message, MessageLinks
from notifier_service.metrics import GROUPED, POST_TIME, POSTED, POSTS
from notifier_service.notice import Lane, Notice, notice_of
from notifier_service.notice_queue import NoticeQueue
from notifier_service.sink import Lookup, NotPosted, Outcome, Posted, Refused, Sink, Unanswered
from notifier_service.timing import Timing

CONDITION = "posting"
"""Name of the readiness condition: the last attempt to post, or to check that one could, went well."""
FIRST_RETRY_S = 1.0
BUS_RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast messages may go out, in seconds.

    Attributes:
        interval_s: Least time between two messages.
        retry_max_s: Longest pause before a failed post is tried again, unless the other side asks for more.
        oldest_s: Events stored longer ago than this are passed over.
    """

    interval_s: float
    retry_max_s: float
    oldest_s: float


@dataclass(slots=True)
class _Post:
    """A message under way; `lost` is set while it is open whether it was posted."""

    message_id: str
    notices: tuple[Notice, ...]
    message: Message
    lost: Unanswered | None = None
    attempts: int = 0

    @property
    def critical(self) -> bool:
        return self.notices[0].lane is Lane.CRITICAL

    @property
    def may_repeat(self) -> bool:
        return all(notice.at_least_once for notice in self.notices)


class Dispatcher:
    """Takes events in, and posts the messages that tell of them.

    A message whose post failed is tried again as it is, with everything that arrived since waiting behind it; only
    critical alerts go ahead.
    """

    def __init__(
        self,
        *,
        run_id: str,
        queue: NoticeQueue,
        claims: Claims,
        sink: Sink,
        links: MessageLinks,
        pace: Pace,
        timing: Timing,
        health: Health,
        alarm: OutageAlarm,
    ) -> None:
        """Post to `sink` what `queue` says is next; `health` and `alarm` learn whether that works."""
        self._run_id = run_id
        self._queue = queue
        self._claims = claims
        self._sink = sink
        self._links = links
        self._pace = pace
        self._timing = timing
        self._health = health
        self._alarm = alarm
        self._held: dict[str, list[HeldMessage]] = {}
        self._parked: list[_Post] = []
        self._wake = asyncio.Event()
        self._not_before_s = float("-inf")
        self._failures = 0
        self._checked = False

    async def receive(self, arrival: Arrival) -> None:
        """Let people be told of an event, if it deserves that."""
        trace_steps.learn(arrival.event)
        notice = notice_of(arrival.event, self._run_id)
        if notice is None:
            await arrival.held.acknowledge("not_told")
        elif self._timing.wall_ms() - arrival.held.stored_ms > self._pace.oldest_s * 1000:
            POSTED.labels(notice.kind, "too_old").inc()
            get_logger().info("notice_too_old", identity=notice.identity, stored_ms=arrival.held.stored_ms)
            await arrival.held.acknowledge("too_old")
        elif notice.identity in self._held:  # the same news once more: done with when the first one is
            self._held[notice.identity].append(arrival.held)
        else:
            self._held[notice.identity] = [arrival.held]
            self._queue.add(notice, self._timing.now_s())
            self._wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Post until `stop` is set, and finish the message in hand."""
        waker = asyncio.create_task(self._wake_on(stop))
        try:
            while not stop.is_set():
                self._wake.clear()
                wait_s = self._wait_s()
                if wait_s is None or wait_s > 0:
                    await self._timing.pause(wait_s, self._wake)
                else:
                    await self._turn(stop)
        finally:
            waker.cancel()

    async def _wake_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    def _wait_s(self) -> float | None:
        """Seconds until something can be done; None: nothing is to be done."""
        now_s = self._timing.now_s()
        due_s = now_s if self._parked else self._queue.due_s(now_s)
        if due_s is None and not self._checked:
            due_s = now_s
        return None if due_s is None else max(due_s, self._not_before_s) - now_s

    async def _turn(self, stop: asyncio.Event) -> None:
        try:
            post = await self._next()
            if post is not None:
                await self._deliver(post, stop)
            elif not self._checked:
                await self._check()
        except BusError as error:
            get_logger().warning("claim_retried", reason=str(error))
            self._not_before_s = max(self._not_before_s, self._timing.now_s() + BUS_RETRY_S)

    async def _next(self) -> _Post | None:
        """Return the most urgent message: critical before others, one that failed before new ones."""
        if self._parked and (self._parked[0].critical or not self._queue.has_critical()):
            return self._parked.pop(0)
        notices = self._queue.take(self._timing.now_s())
        return await self._prepare(notices) if notices else None

    async def _prepare(self, notices: Sequence[Notice]) -> _Post | None:
        message_id = self._claims.new_message_id()
        try:
            claimed = await self._claims.claim(notices, message_id)
        except BusError:
            self._queue.put_back(notices, self._timing.now_s())
            raise
        await self._settle(claimed.told, "told_before")
        if claimed.unknown:
            first = claimed.unknown[0].identity
            get_logger().error("notices_outcome_unknown", count=len(claimed.unknown), first=first)
        await self._settle(claimed.unknown, "outcome_unknown")
        if not claimed.ours:
            return None
        return _Post(message_id, claimed.ours, compose(claimed.ours, self._run_id, self._links))

    async def _deliver(self, post: _Post, stop: asyncio.Event) -> None:
        if post.lost is not None:
            if not await self._look_up(post, post.lost, stop):
                return
        elif not await self._begin(post):
            return
        started_s = self._timing.now_s()
        self._not_before_s = started_s + self._pace.interval_s
        start_ns = trace_steps.now_ns()
        outcome = await self._sink.post(post.message, post.message_id)
        POST_TIME.observe(self._timing.now_s() - started_s)
        self._trace(post, outcome, start_ns)
        await self._conclude(post, outcome, stop)

    @staticmethod
    def _trace(post: _Post, outcome: Outcome, start_ns: int) -> None:
        """Tell in the trace of each event of an attempt to post."""
        post.attempts += 1
        for notice in post.notices:
            trace_steps.posted(
                notice.event,
                identity=notice.identity,
                attempt=post.attempts,
                start_ns=start_ns,
                grouped=len(post.notices),
                outcome=_POST_OUTCOMES[type(outcome)],
            )

    async def _begin(self, post: _Post) -> bool:
        """State that the message is about to be posted; False: others took events over, so claim anew."""
        begun = False
        try:
            begun = await self._claims.begin(post.message_id)
        finally:
            if not begun:
                self._queue.put_back(post.notices, self._timing.now_s())
        return begun

    async def _look_up(self, post: _Post, lost: Unanswered, stop: asyncio.Event) -> bool:
        """Find out what became of a message whose answer was lost; True: it is to be posted again."""
        found = await self._sink.find(post.message_id)
        if found is Lookup.FOUND:
            await self._conclude(post, Posted(), stop)
            return False
        if found is Lookup.AWAY:
            await self._park(post, NotPosted(lost.reason))
            return False
        if found is Lookup.IMPOSSIBLE and not lost.server_failed and not post.may_repeat:
            get_logger().error(
                "post_outcome_unknown",
                reason=f"{lost.reason}; grant the Slack app the scope channels:history, so that it can be looked up",
                text=post.message.text,
            )
            await self._settle(post.notices, "outcome_unknown")
            return False
        return True

    async def _conclude(self, post: _Post, outcome: Outcome, stop: asyncio.Event) -> None:
        match outcome:
            case Posted():
                POSTS.labels("posted").inc()
                await self._finish(post, stop)
                self._succeeded()
                if len(post.notices) > 1:
                    for notice in post.notices:
                        GROUPED.labels(notice.kind).inc()
                await self._settle(post.notices, "posted")
            case NotPosted():
                POSTS.labels("not_posted").inc()
                post.lost = None
                await self._park(post, outcome)
                await self._claims.fail(post.message_id)
            case Unanswered():
                POSTS.labels("unanswered").inc()
                post.lost = outcome
                await self._park(post, NotPosted(outcome.reason))
            case Refused():
                POSTS.labels("refused").inc()
                get_logger().error("post_refused", reason=outcome.reason, text=post.message.text)
                await self._settle(post.notices, "refused")

    async def _finish(self, post: _Post, stop: asyncio.Event) -> None:
        while True:
            try:
                await self._claims.finish(post.message_id)
            except BusError as error:
                get_logger().warning("claim_retried", reason=str(error))
                if stop.is_set():
                    return
                self._wake.clear()
                await self._timing.pause(BUS_RETRY_S, self._wake)
            else:
                return

    async def _check(self) -> None:
        outcome = await self._sink.check()
        if isinstance(outcome, NotPosted):
            await self._failed(outcome)
        else:
            self._succeeded()

    async def _park(self, post: _Post, cause: NotPosted) -> None:
        self._parked.insert(0 if post.critical else len(self._parked), post)
        await self._failed(cause)

    async def _failed(self, cause: NotPosted) -> None:
        delay_s = min(FIRST_RETRY_S * 2 ** min(self._failures, 16), self._pace.retry_max_s)
        if cause.retry_after_s is not None:
            delay_s = max(delay_s, cause.retry_after_s)
        self._failures += 1
        self._checked = False
        self._not_before_s = max(self._not_before_s, self._timing.now_s() + delay_s)
        if not cause.only_a_pause:
            self._health.fail(CONDITION, cause.reason)
            await self._alarm.failed(f"no message can be posted: {cause.reason}")
        get_logger().warning("post_retried", reason=cause.reason, delay_s=delay_s, waiting=len(self._held))

    def _succeeded(self) -> None:
        if self._failures:
            get_logger().info("posting_resumed", failures=self._failures, waiting=len(self._held))
        self._failures = 0
        self._checked = True
        self._health.hold(CONDITION)
        self._alarm.recovered()

    async def _settle(self, notices: Sequence[Notice], outcome: str) -> None:
        """Be done with notices: their messages need not come again."""
        for notice in notices:
            POSTED.labels(notice.kind, outcome).inc()
            holding = self._held.pop(notice.identity, ())
            if holding and outcome != "told_before":  # then another process, or this one before, has told of it
                stored_ns = holding[0].stored_ns
                trace_steps.told(notice.event, identity=notice.identity, stored_ns=stored_ns, outcome=outcome)
            for held in holding:
                await held.acknowledge(outcome)


_POST_OUTCOMES: dict[type[Outcome], str] = {
    Posted: "posted",
    NotPosted: "not_posted",
    Unanswered: "unanswered",
    Refused: "refused",
}
