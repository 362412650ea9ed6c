"""An exit, stop or flatten from its intent to a flat position: it never gives up."""

from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal

from breakwater_bybit.errors import ExchangeError, RejectReason
from breakwater_bybit.fields import MalformedPayload
from breakwater_bybit.model import OrderState
from breakwater_core.errors import InvalidInputError
from breakwater_core.events import Alert, Intent, OrderStatus, Severity
from breakwater_core.identities import order_link_id
from breakwater_core.market import Instrument
from breakwater_core.reduction import reducing_order, round_pause_s
from breakwater_runtime import trace_steps, tracing
from breakwater_runtime.logs import get_logger
from executor_service import metrics, order_life
from executor_service.alarm import alarm_after, intent_alert
from executor_service.drain import Drain
from executor_service.exit_schedule import ExitSchedule
from executor_service.intent_record import Child, ChildState, Outcome
from executor_service.intent_work import IntentWork
from executor_service.order_follower import Assignment, OrderFollower
from executor_service.order_life import Ended, Lost, NeverPlaced
from executor_service.outcomes import EXIT_LOST, of_lost, of_order, proven_flat, without_order
from executor_service.right_of_way import RightOfWay
from executor_service.slots import PrioritySlots
from executor_service.venue_clock import VenueClock

_CONFIRM_PAUSE_S = 0.2
"""A position that is flat at once is read a second time after this pause: the report of an entry may lag."""


@dataclass(slots=True)
class _Progress:
    """What is known of a reduction besides its record.

    Attributes:
        told: Outcome of the last order that ended, not yet published.
        refused: Order that the exchange refused; its id is free for the next try.
        refusals: Refusals in a row.
        is_other_form: The form of the refused order was at fault, so the other one is tried.
        after_ms: In event mode the next request is stamped no earlier.
    """

    told: Outcome | None = None
    refused: Child | None = None
    refusals: int = 0
    is_other_form: bool = False
    after_ms: int = 0


class ReductionRun:
    """Carries out whatever shrinks a position."""

    def __init__(
        self,
        *,
        follower: OrderFollower,
        slots: PrioritySlots,
        clock: VenueClock,
        drain: Drain,
        schedule: ExitSchedule,
        right_of_way: RightOfWay,
    ) -> None:
        """Begin and alert by the schedule."""
        self._follower = follower
        self._slots = slots
        self._clock = clock
        self._drain = drain
        self._schedule = schedule
        self._right_of_way = right_of_way

    async def run(self, work: IntentWork) -> None:
        """Reduce until the exchange reports the position flat, then close the intent.

        Raises:
            Draining: If the process must stop before.
            TakenOver: If another process works on it.
        """
        alert = self._not_flat_alert(work.intent)
        is_event_time = self._clock.is_event_time
        seconds_left = (
            self._schedule.flat_deadline_s if is_event_time else self._seconds_to(self._schedule.alarm_ms(work.intent))
        )
        async with alarm_after(seconds_left, work.publisher, alert, metrics.NOT_FLAT):
            if not is_event_time:
                with tracing.child(trace_steps.WAIT_FOR_TURN):
                    await self._drain.rest(self._seconds_to(self._schedule.begins_ms(work.intent)))
            with ExitStack() as passage:
                passage.enter_context(self._right_of_way.taken())
                await self._reduce(work, passage)
        metrics.TIME_TO_FLAT.observe(self._follower.monotonic() - work.taken_s)

    async def _reduce(self, work: IntentWork, passage: ExitStack) -> None:
        """Reduce until flat; entries of the process have the way again once the first order has ended."""
        progress = _Progress(after_ms=max((child.after_ms for child in work.record.children), default=0))
        child, life = work.record.child_in_state(ChildState.SENT), self._follower.resumed()
        while True:
            if child is not None:
                await self._follow(work, child, life, progress)
                passage.close()
            size = await self._position_size(work, progress)
            order = reducing_order(size, await self._instrument(work, progress), is_other_form=progress.is_other_form)
            if order is None and (child := await self._unrecorded(work, progress)) is not None:
                life = self._follower.resumed()
                continue
            if order is None:
                await self._close(work, progress)
                return
            await self._pause(work, progress)
            record, after_ms = work.record, progress.after_ms
            if progress.refused is not None:
                again = progress.refused.sent(
                    side=order.side, quantity=order.quantity, after_ms=after_ms, closes_all=order.closes_all
                )
                record = record.with_child(again)
            else:
                if progress.told is not None:
                    await work.tell_or_go_on(progress.told)
                record = record.with_new_child(
                    order.side, order.quantity, after_ms=after_ms, closes_all=order.closes_all
                )
            await work.save_or_go_on(record)
            progress.told = progress.refused = None
            child, life = record.child_in_state(ChildState.SENT), order_life.fresh()

    async def _follow(self, work: IntentWork, child: Child, life: order_life.OrderLife, progress: _Progress) -> None:
        async with self._slots.hold(urgent=True):
            end = await self._follower.follow(Assignment(work, child), life)
        match end:
            case Ended(order):
                progress.told = of_order(child, order)
                progress.after_ms = max(progress.after_ms, order.updated_ms)
            case Lost(last_known):
                at_ms = self._clock.now_ms(work.intent, progress.after_ms)
                progress.told = of_lost(child, last_known, at_ms=at_ms, detail=EXIT_LOST)
            case _:
                progress.refused = child
                progress.refusals += 1
                if isinstance(end, NeverPlaced) and end.refusal.reason == RejectReason.BAD_PARAMETER:
                    progress.is_other_form = not progress.is_other_form
                return
        progress.refusals, progress.is_other_form = 0, False
        ended = child.ended(filled_quantity=progress.told.filled_quantity, at_ms=progress.told.event_time_ms)
        work.record = work.record.with_child(ended)

    async def _close(self, work: IntentWork, progress: _Progress) -> None:
        """Close the intent with the evidence that the position is flat.

        An order that was never found out cannot close it: what is known is only that the position is gone.
        """
        at_ms = self._clock.now_ms(work.intent, progress.after_ms)
        told = progress.told
        if told is not None and told.status is OrderStatus.UNKNOWN:
            await work.tell_or_go_on(told)
            told = None
        await work.close_when_possible(proven_flat(told or self._flat(work, progress), at_ms=at_ms))

    async def _unrecorded(self, work: IntentWork, progress: _Progress) -> Child | None:
        """Return an order that made the position flat without a record: another process sent it while the bus was away.

        Its id is the one that this process would have used next.
        """
        if progress.told is not None or progress.refused is not None:
            return None
        link_id = order_link_id(work.intent.intent_id, work.record.next_number)
        found = await self._find(work, progress, link_id)
        if found is None:
            return None
        work.record = work.record.with_new_child(found.side, found.quantity, after_ms=progress.after_ms)
        return work.record.child_in_state(ChildState.SENT)

    async def _find(self, work: IntentWork, progress: _Progress, link_id: str) -> OrderState | None:
        failures = 0
        while True:
            at_ms = self._clock.stamp_ms(work.intent, progress.after_ms)
            try:
                return await work.account.find_order(
                    symbol=work.intent.symbol, order_link_id=link_id, at_ms=at_ms, urgent=True
                )
            except (ExchangeError, MalformedPayload) as error:
                failures += 1
                metrics.QUERY_FAILURES.labels("order").inc()
                get_logger().warning("look_up_failed", reason=str(error))
            await self._drain.rest(round_pause_s(failures))

    async def _pause(self, work: IntentWork, progress: _Progress) -> None:
        """Let the market move before the next try; between two orders of a replay that is time of the run."""
        if progress.refused is not None:
            await self._drain.rest(round_pause_s(progress.refusals))
            return
        pause_s = round_pause_s(work.record.fruitless_rounds)
        if self._clock.is_event_time:
            progress.after_ms += round(pause_s * 1000) if progress.told else 0
            self._drain.check()
        else:
            await self._drain.rest(pause_s)

    async def _position_size(self, work: IntentWork, progress: _Progress) -> Decimal:
        size = await self._ask_position(work, progress)
        has_traded = work.record.filled_quantity > 0
        if size == 0 and not has_traded and not self._clock.is_event_time:
            await self._drain.rest(_CONFIRM_PAUSE_S)
            size = await self._ask_position(work, progress)
        return size

    async def _ask_position(self, work: IntentWork, progress: _Progress) -> Decimal:
        failures = 0
        while True:
            try:
                return await work.account.position_size(
                    symbol=work.intent.symbol, at_ms=self._clock.stamp_ms(work.intent, progress.after_ms)
                )
            except (ExchangeError, MalformedPayload) as error:
                failures += 1
                metrics.QUERY_FAILURES.labels("position").inc()
                get_logger().warning("position_not_read", reason=str(error))
            await self._drain.rest(round_pause_s(failures))

    @staticmethod
    async def _instrument(work: IntentWork, progress: _Progress) -> Instrument | None:
        """Return the instrument, read anew after a refusal; an exit goes without one rather than wait for it."""
        try:
            return await work.account.instrument(work.intent.symbol, is_fresh=progress.refusals > 0)
        except (ExchangeError, MalformedPayload, InvalidInputError) as error:
            get_logger().warning("instrument_not_read", reason=str(error))
            return None

    def _flat(self, work: IntentWork, progress: _Progress) -> Outcome:
        number = work.record.next_number - 1 if progress.refused else work.record.next_number
        return without_order(
            work.intent,
            OrderStatus.FLAT,
            child=number,
            at_ms=self._clock.now_ms(work.intent, progress.after_ms),
            reason="position_is_flat",
        )

    def _seconds_to(self, time_ms: int) -> float:
        """Return how long it is to a time by the wall clock; below 0 if that has passed."""
        return (time_ms - self._clock.wall_ms()) / 1000

    def _not_flat_alert(self, intent: Intent) -> Alert:
        return intent_alert(
            intent,
            name="position_not_flat",
            severity=Severity.CRITICAL,
            summary=f"{intent.account} {intent.symbol}: the {intent.leg.value} is due and the position still open; "
            "orders go on being sent",
            at_ms=self._clock.now_ms(intent),
        )
