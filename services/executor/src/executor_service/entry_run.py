"""An entry from its intent to its outcome: decided once, written down, sent, followed."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from breakwater_core.events import OrderStatus, Severity
from breakwater_runtime import trace_steps, tracing
from executor_service import metrics, order_life
from executor_service.alarm import intent_alert
from executor_service.drain import Drain
from executor_service.entry_check import EntryCheck
from executor_service.intent_record import Child, ChildState, IntentRecord, Outcome
from executor_service.intent_work import IntentWork
from executor_service.order_follower import Assignment, OrderFollower
from executor_service.order_life import Barred, End, Ended, Lost, NeverPlaced
from executor_service.outcomes import ENTRY_LOST, of_lost, of_order, of_refusal, without_order
from executor_service.slots import PrioritySlots
from executor_service.venue_clock import VenueClock

ALREADY_DECIDED = "already_decided"
"""Refusal of an entry whose symbol another decision has entered, or tried to, on the same day."""


class EntryRun:
    """Carries out entries."""

    def __init__(
        self, *, check: EntryCheck, follower: OrderFollower, slots: PrioritySlots, clock: VenueClock, drain: Drain
    ) -> None:
        """Decide with `check`, send with `follower`."""
        self._check = check
        self._follower = follower
        self._slots = slots
        self._clock = clock
        self._drain = drain
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def run(self, work: IntentWork) -> None:
        """Bring the entry to its outcome.

        Raises:
            Draining: If the process must stop before.
            TakenOver: If another process works on it.
        """
        async with AsyncExitStack() as turn:
            if await self._check.counts_positions(work.intent):
                await self._drain.wait(turn.enter_async_context(self._turns[work.intent.account]))
            await self._bring_to_outcome(work)
            await self._check.closed(work.intent)

    async def refuse(self, work: IntentWork) -> None:
        """Refuse an entry since another decision of the day has come first; a repeat is refused alike."""
        intent = work.intent
        metrics.REFUSED.labels(ALREADY_DECIDED).inc()
        await work.refuse(
            without_order(
                intent,
                OrderStatus.REFUSED,
                at_ms=self._clock.now_ms(intent),
                reason=ALREADY_DECIDED,
                detail=f"{work.record.intent_id} came first; an account enters a symbol once a day",
            )
        )

    async def repeat(self, work: IntentWork) -> None:
        """Tell the outcome of a closed entry again, and finish what a crash right after the first time has left."""
        await work.tell_again()
        await self._check.closed(work.intent)

    async def _bring_to_outcome(self, work: IntentWork) -> None:
        if work.is_new:
            with tracing.child(trace_steps.CHECK_ENTRY) as span:
                decision = await self._check.decide(work.intent, work.account)
                span.set(outcome=decision.status.value if isinstance(decision, Outcome) else "approved")
            if isinstance(decision, Outcome):
                await work.close(decision)
                return
            record = IntentRecord(work.intent.intent_id)
            for quantity in decision.quantities:
                state = ChildState.PLANNED if record.children else ChildState.SENT
                record = record.with_new_child(work.intent.side, quantity, state=state)
            waiting_since_ns = time.time_ns()
            async with self._place(work):
                tracing.record_child(trace_steps.WAIT_FOR_SLOT, start_ns=waiting_since_ns)
                await work.save(record)
                await self._send_all(work, order_life.fresh())
        else:
            async with self._place(work):
                await self._send_all(work, self._follower.resumed())

    @asynccontextmanager
    async def _place(self, work: IntentWork) -> AsyncIterator[None]:
        """Hold a place among the orders in hand while the context is open; a stop does not wait for one."""
        async with AsyncExitStack() as place:
            hold = self._slots.hold(urgent=False, account=work.intent.account)
            await self._drain.wait(place.enter_async_context(hold))
            self._drain.check()
            yield

    async def _send_all(self, work: IntentWork, life: order_life.OrderLife) -> None:
        while (child := work.record.child_in_state(ChildState.SENT)) is not None:
            end = await self._follower.follow(Assignment(work, child), life)
            outcome = self._outcome(work, child, end)
            following = work.record.child_in_state(ChildState.PLANNED)
            if following is None or outcome.status is not OrderStatus.FILLED:
                if isinstance(end, Lost):
                    await self._warn(work, outcome)
                await work.close(outcome)
                return
            await work.tell(outcome)
            at_ms = outcome.event_time_ms
            following = following.sent(side=following.side, quantity=following.quantity, after_ms=at_ms)
            ended = child.ended(filled_quantity=outcome.filled_quantity, at_ms=at_ms)
            await work.save(work.record.with_child(ended).with_child(following))
            life = order_life.fresh()

    def _outcome(self, work: IntentWork, child: Child, end: End) -> Outcome:
        at_ms = self._clock.now_ms(work.intent, child.after_ms)
        match end:
            case Ended(order):
                return of_order(child, order)
            case NeverPlaced(refusal):
                return of_refusal(child, refusal, at_ms=at_ms)
            case Lost(order):
                return of_lost(child, order, at_ms=at_ms, detail=ENTRY_LOST)
            case Barred(refused):
                metrics.REFUSED.labels(refused.rule).inc()
                return without_order(
                    work.intent,
                    OrderStatus.REFUSED,
                    child=child.number,
                    at_ms=at_ms,
                    reason=refused.rule,
                    detail=refused.detail,
                )
        return without_order(
            work.intent,
            OrderStatus.EXPIRED,
            child=child.number,
            at_ms=at_ms,
            reason="expired",
            detail="the entry's time ran out before the exchange took the order",
        )

    async def _warn(self, work: IntentWork, outcome: Outcome) -> None:
        intent = work.intent
        await work.publisher.alert(
            intent_alert(
                intent,
                name="entry_lost",
                severity=Severity.CRITICAL,
                summary=f"{intent.account} {intent.symbol}: {outcome.detail}; check the position at the exchange",
                at_ms=outcome.event_time_ms,
                order_link_id=outcome.order_link_id,
            )
        )
