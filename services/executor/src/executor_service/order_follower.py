"""Carries out what `order_life` says for one order: sends it, looks it up, tells the bus, until it is settled."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from breakwater_bybit.errors import ExchangeError
from breakwater_bybit.fields import MalformedPayload
from breakwater_core.events import Intent, OrderStatus, Severity
from breakwater_core.verdicts import Refused
from breakwater_runtime import trace_steps, tracing
from breakwater_runtime.bus import BusError
from breakwater_runtime.logs import get_logger
from executor_service import metrics, order_life
from executor_service.alarm import alarm_after, intent_alert
from executor_service.answers import answer_of
from executor_service.drain import Drain
from executor_service.entry_flights import EntryFlights
from executor_service.entry_gate import EntryGate
from executor_service.exit_schedule import ExitSchedule
from executor_service.intent_record import Child
from executor_service.intent_work import IntentWork
from executor_service.order_life import (
    Acknowledged,
    Answer,
    End,
    LookUp,
    NotPlaced,
    OrderLife,
    Patience,
    Rejected,
    Send,
    Unclear,
    Wait,
)
from executor_service.order_trace import note_end
from executor_service.outcomes import in_progress, order_event
from executor_service.ports import Publisher
from executor_service.right_of_way import RightOfWay
from executor_service.venue_clock import VenueClock

_GATE_RETRY_S = 0.25


@dataclass(frozen=True, slots=True)
class Assignment:
    """One order of an intent, to be brought to its end."""

    work: IntentWork
    child: Child

    @property
    def intent(self) -> Intent:
        """The intent that the order belongs to."""
        return self.work.intent


class OrderFollower:
    """Brings orders to their end, one at a time per call; any number of calls at once."""

    def __init__(
        self,
        *,
        publisher: Publisher,
        clock: VenueClock,
        drain: Drain,
        gate: EntryGate,
        flights: EntryFlights,
        entry_patience: Patience,
        exit_patience: Patience,
        unknown_alert_s: float,
        right_of_way: RightOfWay,
        schedule: ExitSchedule | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask `gate` before each entry; alert when an order's fate is not known for `unknown_alert_s` seconds.

        Once the exits of the day have fallen due by `schedule`, an entry of which nothing can be learned is given up as
        soon as it has settled, since the exit of its symbol waits behind it.
        """
        self._publisher = publisher
        self._clock = clock
        self._drain = drain
        self._gate = gate
        self._flights = flights
        self._entry_patience = entry_patience
        self._exit_patience = exit_patience
        self._unknown_alert_s = unknown_alert_s
        self._right_of_way = right_of_way
        self._schedule = schedule
        self.monotonic = monotonic

    def resumed(self) -> OrderLife:
        """Return the life of an order that another process may have sent just now."""
        return order_life.resumed(self.monotonic())

    async def follow(self, assignment: Assignment, life: OrderLife) -> End:
        """Send the order unless it exists, and return how it ended.

        Args:
            assignment: The order; its record was written just before, by this process.
            life: `fresh` if nobody can have sent it before that write, else `resumed`.

        Raises:
            Draining: If the process must stop before the end is known.
            TakenOver: If another process works on the intent.
        """
        child = assignment.child
        with trace_steps.order(assignment.intent, order_link_id=child.order_link_id, child=child.number) as span:
            if assignment.intent.leg.reduces:
                end = await self._follow(assignment, life)
            else:
                with self._flights.unsettled(assignment.intent.account):
                    end = await self._follow(assignment, life)
            note_end(span, end)
        return end

    async def _follow(self, assignment: Assignment, life: OrderLife) -> End:
        is_told = False
        async with AsyncExitStack() as doubt:
            is_doubtful = False
            while True:
                if life.is_doubtful is not is_doubtful:
                    is_doubtful = life.is_doubtful
                    await (doubt.enter_async_context(self._doubt(assignment)) if is_doubtful else doubt.aclose())
                step = order_life.next_step(
                    life,
                    now_s=self.monotonic(),
                    may_send=self._clock.may_enter(assignment.intent),
                    patience=self._patience(assignment),
                )
                if life.exists and not is_told and isinstance(step, LookUp):
                    is_told = True
                    await self._tell(assignment, OrderStatus.SUBMITTED)
                match step:
                    case Send() if assignment.intent.leg.reduces:
                        life = await self._send_reduction(assignment, life)
                    case Send():
                        life = await self._send_entry(assignment, life)
                    case Wait(pause_s) if assignment.intent.leg.reduces:
                        await self._drain.rest(pause_s)
                    case Wait(pause_s):  # another process would doubt whether it was sent, longer than it is valid
                        await self._drain.pause(pause_s)
                    case LookUp(pause_s):
                        await self._drain.pause(pause_s)
                        life = await self._look_up(assignment, life)
                    case _:
                        return step

    def _patience(self, assignment: Assignment) -> Patience:
        intent = assignment.intent
        if intent.leg.reduces:
            return self._exit_patience
        patience = self._entry_patience
        if patience.give_up_s is None or self._schedule is None or self._clock.is_event_time:
            return patience
        if self._schedule.is_due(intent, self._clock.wall_ms()):
            return replace(patience, give_up_s=min(patience.give_up_s, patience.settle_s))
        return patience

    @asynccontextmanager
    async def _doubt(self, assignment: Assignment) -> AsyncIterator[None]:
        """Count the order as unknown while the context is open; an alert follows if that lasts."""
        intent = assignment.intent
        alert = intent_alert(
            intent,
            name="order_unknown",
            severity=Severity.CRITICAL,
            summary=f"{intent.account} {intent.symbol}: nobody knows what became of the {intent.leg.value} order; "
            "it is looked up until the exchange tells",
            child=assignment.child.number,
            at_ms=self._clock.now_ms(intent, assignment.child.after_ms),
            order_link_id=assignment.child.order_link_id,
        )
        with metrics.UNKNOWN.track_inprogress():
            async with alarm_after(self._unknown_alert_s, self._publisher, alert, metrics.UNKNOWN_OVERDUE):
                yield

    async def _send_entry(self, assignment: Assignment, life: OrderLife) -> OrderLife:
        """Send an entry if the control document lets it through; without the document nothing is sent.

        The stamp is the earlier one of the permit and of the last proof that the intent is ours.
        """
        work = assignment.work
        await self._right_of_way.give()
        with self._flights.sending():
            if life.requests:
                await work.claim()
            asked_s = self.monotonic()
            try:
                permit = await self._gate.ask(assignment.intent, after_ms=assignment.child.after_ms)
            except BusError as error:
                answer = NotPlaced(_GATE_RETRY_S, str(error))
                await self._note(assignment, life, answer)
                return order_life.postponed(life, answer, asked_s=asked_s)
            if isinstance(permit, Refused):
                get_logger().info("entry_barred", rule=permit.rule, detail=permit.detail)
                return order_life.forbidden(life, permit)
            at_ms = permit.stamp_ms if self._clock.is_event_time else min(permit.stamp_ms, work.owned_ms)
            return await self._send(assignment, life, at_ms=at_ms, send_by_s=permit.send_by_s)

    async def _send_reduction(self, assignment: Assignment, life: OrderLife) -> OrderLife:
        """Send an order that shrinks a position: stamped with the last proof that the intent is ours."""
        work = assignment.work
        if life.requests:
            await work.save_or_go_on(work.record)
        at_ms = self._clock.stamp_ms(assignment.intent, assignment.child.after_ms)
        return await self._send(assignment, life, at_ms=work.owned_ms if at_ms is None else at_ms, send_by_s=None)

    async def _send(self, assignment: Assignment, life: OrderLife, *, at_ms: int, send_by_s: float | None) -> OrderLife:
        intent, child, work = assignment.intent, assignment.child, assignment.work
        if life.requests:
            metrics.RESENT.inc()
        sent_s = self.monotonic()
        if not life.requests:
            metrics.INTENT_TO_REQUEST.labels(intent.leg.value).observe(sent_s - work.taken_s)
        answer: Answer = Acknowledged()
        try:
            await work.account.place_market_order(
                symbol=intent.symbol,
                side=child.side,
                quantity=child.quantity,
                order_link_id=child.order_link_id,
                reduce_only=intent.leg.reduces,
                closes_all=child.closes_all,
                at_ms=at_ms,
                send_by_s=send_by_s,
            )
        except ExchangeError as error:
            answer = answer_of(error)
        metrics.REQUEST_TO_ACK.labels(_ANSWERS[type(answer)]).observe(self.monotonic() - sent_s)
        await self._note(assignment, life, answer)
        return order_life.answered(life, answer, sent_s=sent_s)

    async def _note(self, assignment: Assignment, life: OrderLife, answer: Answer) -> None:
        log = get_logger().bind(order_link_id=assignment.child.order_link_id, child=assignment.child.number)
        match answer:
            case Acknowledged():
                tracing.current().mark()
                log.info("order_acknowledged", side=assignment.child.side, quantity=assignment.child.quantity)
            case Rejected(refusal):
                metrics.REJECTED.labels(str(refusal.code)).inc()
                log.warning("order_rejected", code=refusal.code, reason=refusal.detail)
            case NotPlaced(retry_after_s, reason, _):
                log.warning("order_postponed", retry_after_s=retry_after_s, reason=reason)
            case Unclear(reason):
                log.warning("order_unknown", reason=reason)
                if not life.may_exist:
                    await self._tell(assignment, OrderStatus.UNKNOWN, reason)

    async def _look_up(self, assignment: Assignment, life: OrderLife) -> OrderLife:
        intent = assignment.intent
        try:
            order = await assignment.work.account.find_order(
                symbol=intent.symbol,
                order_link_id=assignment.child.order_link_id,
                at_ms=self._clock.stamp_ms(intent, assignment.child.after_ms),
                urgent=intent.leg.reduces,
            )
        except (ExchangeError, MalformedPayload) as error:
            metrics.QUERY_FAILURES.labels("order").inc()
            get_logger().warning("look_up_failed", reason=str(error))
            return order_life.not_found_out(life)
        return order_life.found(life, order, quantity=assignment.child.quantity, now_s=self.monotonic())

    async def _tell(self, assignment: Assignment, status: OrderStatus, reason: str = "") -> None:
        at_ms = self._clock.now_ms(assignment.intent, assignment.child.after_ms)
        outcome = in_progress(assignment.child, status, at_ms=at_ms, reason=reason)
        event = order_event(assignment.intent, outcome, is_last=False)
        if not assignment.intent.leg.reduces:
            await self._publisher.publish(event)
        elif not await self._publisher.try_to_publish(event):  # its end will be told; that it is under way need not
            get_logger().warning("order_state_not_told", status=status.value)


_ANSWERS: dict[type[Answer], str] = {
    Acknowledged: "acknowledged",
    Rejected: "rejected",
    NotPlaced: "not_placed",
    Unclear: "unclear",
}
