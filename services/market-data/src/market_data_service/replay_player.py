"""Plays a script on the bus: publishes, waits, keeps the time, and writes down how far the replay is."""

import asyncio
import time
from collections.abc import Iterable, Sequence

from breakwater_core.errors import InvariantError
from breakwater_core.market import Clock, ClockKind, DailyBar, TradeBatch
from breakwater_runtime.bus import Bus
from breakwater_runtime.logs import get_logger
from breakwater_runtime.subjects import CHECKPOINT_BUCKET, progress_key
from market_data_service.lockstep import Lockstep, check_connection, connections_of
from market_data_service.metrics import REPLAY_WAIT, REPLAY_WINDOW, TRADES
from market_data_service.pacing import Pacer
from market_data_service.published import PARTICIPANT, Published, ReplayProgress
from market_data_service.replay_plan import ReplayPlan
from market_data_service.replay_script import Announce, Await, Pace, Publish, ReplayScript, Step

PROGRESS_INTERVAL_S = 0.1
_LOOK_AFTER_S = 1.0


class ReplayPlayer:
    """Carries out the steps of a script that come after the last clock on the bus; those before it are passed over."""

    def __init__(
        self,
        bus: Bus,
        lockstep: Lockstep,
        *,
        script: ReplayScript,
        plan: ReplayPlan,
        published: Published,
        pacer: Pacer,
    ) -> None:
        """Prepare to play.

        Args:
            bus: Where the messages go.
            lockstep: Knows how far the other parties are.
            script: Whose steps are carried out.
            plan: The plan of the script.
            published: What the bus holds; it is not published again.
            pacer: Tells when an instant is due.
        """
        self._bus = bus
        self._lockstep = lockstep
        self._script = script
        self._plan = plan
        self._published = published
        self._pacer = pacer
        self._sought = published.clock
        self._connections = connections_of(bus)
        self._written_s = float("-inf")

    async def carry_out(self, steps: Iterable[Step]) -> None:
        """Carry out steps in order.

        Raises:
            BusError: If the bus does not acknowledge, or the connection to it was interrupted: what was acknowledged
                before may be lost, so the player must be set up anew from what the bus holds then.
            InvariantError: If a participant reports nonsense.
        """
        for step in steps:
            if self._sought is None:
                await self._carry_out_one(step)
                check_connection(self._bus, self._connections)
            elif isinstance(step, Announce) and _is_same(step.clock, self._sought):
                self._script.trades_total = self._sought.trades_total
                self._pacer.begin(step.clock.now_ms)
                self._sought = None

    def check_found(self) -> None:
        """Check that the last clock on the bus was met.

        Raises:
            InvariantError: If the whole script passed without it.
        """
        if self._sought is not None:
            raise InvariantError(
                f"the bus holds window {self._sought.window} of run {self._bus.run_id}, which this recording does not "
                "have; use another RUN_ID"
            )

    async def _carry_out_one(self, step: Step) -> None:
        match step:
            case Pace(event_ms):
                if delay_s := self._pacer.delay_s(event_ms):
                    await asyncio.sleep(delay_s)
            case Publish(events):
                new = [event for event in events if not self._published.holds(event)]
                await self._publish(new)
                for event in new:
                    if isinstance(event, TradeBatch):
                        TRADES.labels(event.symbol).inc(len(event))
            case Announce(clock):
                await self._bus.publish(clock)
                self._pacer.begin(clock.now_ms)
                REPLAY_WINDOW.set(clock.window)
                await self._write_progress(clock)
            case Await(participant, window):
                started = time.perf_counter()
                await self._lockstep.wait(participant, window)
                REPLAY_WAIT.labels(participant).observe(time.perf_counter() - started)

    async def _publish(self, events: Sequence[TradeBatch | DailyBar]) -> None:
        """Publish events; an acknowledgement that was lost with the connection is not waited for."""
        publishing = asyncio.ensure_future(self._bus.publish_all(events))
        try:
            while not publishing.done():
                await asyncio.wait({publishing}, timeout=_LOOK_AFTER_S)
                check_connection(self._bus, self._connections)
            publishing.result()
        finally:
            if not publishing.done():
                publishing.cancel()
                await asyncio.gather(publishing, return_exceptions=True)

    async def _write_progress(self, clock: Clock) -> None:
        """State how far the replay is: at day boundaries and the end at once, otherwise ten times a second."""
        now_s = time.monotonic()
        if clock.kind is ClockKind.ADVANCED and now_s - self._written_s < PROGRESS_INTERVAL_S:
            return
        self._written_s = now_s
        progress = ReplayProgress.at(clock, self._plan)
        key = progress_key(self._bus.run_id, PARTICIPANT)
        await self._bus.write(CHECKPOINT_BUCKET, key, progress.to_json())
        if clock.kind is not ClockKind.ADVANCED:
            get_logger().info(
                "replay_ended" if progress.ended else "day_opened",
                day=clock.day.isoformat(),
                window=clock.window,
                trades_total=clock.trades_total,
            )


def _is_same(clock: Clock, other: Clock) -> bool:
    return (clock.kind, clock.window) == (other.kind, other.window)
