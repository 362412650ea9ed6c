"""Carries out what `order_life` says for one order: sends it, looks it up, tells the bus, until it is settled."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from breakwater_bybit.errors import ExchangeError
from breakwater_bybit.fields import MalformedPayload
from breakwater_core.events import Intent, OrderStatus, Severity
from breakwater_core.verdicts import Refused
from breakwater_runtime.bus import BusError
from breakwater_runtime.logs import get_logger
from executor_service import metrics, order_life
from executor_service.alarm import alarm_after, intent_alert
from executor_service.answers import answer_of
from executor_service.drain import Drain
from executor_service.entry_flights import EntryFlights
from executor_service.entry_gate import EntryGate
from executor_service.intent_record import Child
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
from executor_service.outcomes import in_progress, order_event
from executor_service.ports import Publisher, TradingAccount
from executor_service.venue_clock import VenueClock

_GATE_RETRY_S = 0.25


@dataclass(frozen=True, slots=True)
class Assignment:
    """One order of an intent, to be brought to its end.

    Attributes:
        taken_s: When the intent was taken from the bus, monotonic seconds.
    """

    intent: Intent
    account: TradingAccount
    child: Child
    taken_s: float


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
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask `gate` before each entry; alert when an order's fate is not known for `unknown_alert_s` seconds."""
        self._publisher = publisher
        self._clock = clock
        self._drain = drain
        self._gate = gate
        self._flights = flights
        self._entry_patience = entry_patience
        self._exit_patience = exit_patience
        self._unknown_alert_s = unknown_alert_s
        self.monotonic = monotonic

    def resumed(self) -> OrderLife:
        """Return the life of an order that another process may have sent just now."""
        return order_life.resumed(self.monotonic())

    async def follow(self, assignment: Assignment, life: OrderLife) -> End:
        """Send the order unless it exists, and return how it ended.

        Raises:
            Draining: If the process must stop before the end is known.
        """
        if assignment.intent.leg.reduces:
            return await self._follow(assignment, life)
        with self._flights.unsettled(assignment.intent.account):
            return await self._follow(assignment, life)

    async def _follow(self, assignment: Assignment, life: OrderLife) -> End:
        patience = self._exit_patience if assignment.intent.leg.reduces else self._entry_patience
        is_told = False
        async with AsyncExitStack() as doubt:
            is_doubtful = False
            while True:
                if life.is_doubtful is not is_doubtful:
                    is_doubtful = life.is_doubtful
                    await (doubt.enter_async_context(self._doubt(assignment)) if is_doubtful else doubt.aclose())
                step = order_life.next_step(
                    life, now_s=self.monotonic(), may_send=self._clock.may_enter(assignment.intent), patience=patience
                )
                if life.exists and not is_told and isinstance(step, LookUp):
                    is_told = True
                    await self._tell(assignment, OrderStatus.SUBMITTED)
                match step:
                    case Send() if assignment.intent.leg.reduces:
                        at_ms = self._clock.stamp_ms(assignment.intent, assignment.child.after_ms)
                        life = await self._send(assignment, life, at_ms=at_ms, send_by_s=None)
                    case Send():
                        life = await self._send_entry(assignment, life)
                    case Wait(pause_s):
                        await self._drain.rest(pause_s)
                    case LookUp(pause_s):
                        await self._drain.pause(pause_s)
                        life = await self._look_up(assignment, life)
                    case _:
                        return step

    @asynccontextmanager
    async def _doubt(self, assignment: Assignment) -> AsyncIterator[None]:
        """Count the order as unknown while the context is open; an alert follows if that lasts."""
        intent = assignment.intent
        alert = intent_alert(
            intent,
            name="order_unknown",
            severity=Severity.CRITICAL,
            summary=f"{intent.account} {intent.symbol}: nobody knows whether the {intent.leg.value} order exists; "
            "it is looked up until the exchange tells",
            at_ms=self._clock.now_ms(intent, assignment.child.after_ms),
            order_link_id=assignment.child.order_link_id,
        )
        with metrics.UNKNOWN.track_inprogress():
            async with alarm_after(self._unknown_alert_s, self._publisher, alert, metrics.UNKNOWN_OVERDUE):
                yield

    async def _send_entry(self, assignment: Assignment, life: OrderLife) -> OrderLife:
        """Send an entry if the control document lets it through; without the document nothing is sent."""
        with self._flights.sending():
            asked_s = self.monotonic()
            try:
                permit = await self._gate.ask(assignment.intent, after_ms=assignment.child.after_ms)
            except BusError as error:
                answer = NotPlaced(_GATE_RETRY_S, str(error))
                await self._note(assignment, life, answer)
                return order_life.answered(life, answer, sent_s=asked_s)
            if isinstance(permit, Refused):
                get_logger().info("entry_barred", rule=permit.rule, detail=permit.detail)
                return order_life.forbidden(life, permit)
            return await self._send(assignment, life, at_ms=permit.stamp_ms, send_by_s=permit.send_by_s)

    async def _send(
        self, assignment: Assignment, life: OrderLife, *, at_ms: int | None, send_by_s: float | None
    ) -> OrderLife:
        intent, child = assignment.intent, assignment.child
        sent_s = self.monotonic()
        if life.may_exist:
            metrics.RESENT.inc()
        else:
            metrics.INTENT_TO_REQUEST.labels(intent.leg.value).observe(sent_s - assignment.taken_s)
        answer: Answer = Acknowledged()
        try:
            await assignment.account.place_market_order(
                symbol=intent.symbol,
                side=child.side,
                quantity=child.quantity,
                order_link_id=child.order_link_id,
                reduce_only=intent.leg.reduces,
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
                log.info("order_acknowledged", side=assignment.child.side, quantity=assignment.child.quantity)
            case Rejected(refusal):
                metrics.REJECTED.labels(str(refusal.code)).inc()
                log.warning("order_rejected", code=refusal.code, reason=refusal.detail)
            case NotPlaced(retry_after_s, reason):
                log.warning("order_postponed", retry_after_s=retry_after_s, reason=reason)
            case Unclear(reason):
                log.warning("order_unknown", reason=reason)
                if not life.may_exist:
                    await self._tell(assignment, OrderStatus.UNKNOWN, reason)

    async def _look_up(self, assignment: Assignment, life: OrderLife) -> OrderLife:
        intent = assignment.intent
        try:
            order = await assignment.account.find_order(
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
