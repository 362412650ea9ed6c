"""Replay: plays a recording over the bus, in lock-step with the other services, from wherever it was interrupted."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError, InvariantError
from breakwater_core.events import Alert, Severity
from breakwater_core.market import ClockKind
from breakwater_recordings.daily_bars import DailyBarBuilder, bars_before
from breakwater_recordings.recording import Recording, Window
from breakwater_recordings.selection import warm_up_days
from breakwater_recordings.sources import open_recording
from breakwater_runtime.bus import Bus, BusError
from breakwater_runtime.logs import get_logger
from breakwater_runtime.service import Service, until_stopped
from breakwater_runtime.subjects import CHECKPOINT_BUCKET, progress_key
from market_data_service.lockstep import Lockstep, follow_participants
from market_data_service.pacing import Pacer
from market_data_service.published import PARTICIPANT, Published, ReplayProgress, read_published
from market_data_service.recorded_windows import read_windows, windows_from
from market_data_service.recorder import TradeRecorder, record_to
from market_data_service.replay_plan import ReplayPlan, choose_days, span_of_speed
from market_data_service.replay_player import ReplayPlayer
from market_data_service.replay_script import ReplayScript
from market_data_service.settings import MarketDataSettings

_RETRY_S = 0.5


async def run_replay(service: Service, settings: MarketDataSettings, config: BreakwaterConfig) -> None:
    """Play the recording to its end, then stay up until stopped.

    Raises:
        InvalidInputError: If the recording is damaged, or the settings ask for what it does not hold.
        InvariantError: If the bus holds something of this run that does not fit the recording.
    """
    bus = service.bus
    async with _alert_of_bad_input(bus):
        recording = await asyncio.to_thread(
            open_recording,
            settings.recordings,
            session=config.session.session(),
            symbols=config.portfolio.symbols or None,
        )
    for note in recording.notes:
        get_logger().info("recording_noted", note=note)
    async with AsyncExitStack() as resources:
        lockstep = await resources.enter_async_context(follow_participants(bus, settings.lockstep))
        recorder = None
        if settings.record_directory is not None:
            recorder = await resources.enter_async_context(record_to(settings.record_directory))
        replay = Replay(bus, settings, config, recording=recording, lockstep=lockstep, recorder=recorder)
        service.health.hold("replay")
        async with _alert_of_bad_input(bus):
            await until_stopped(service.stop, replay.run())
    await service.stop.wait()


@asynccontextmanager
async def _alert_of_bad_input(bus: Bus) -> AsyncIterator[None]:
    """Publish an alert when a recording or the range of days turns out to be wrong, and let the error go on."""
    try:
        yield
    except InvalidInputError as error:
        await bus.alert(
            Alert(
                alert_id="recording_refused",
                run_id=bus.run_id,
                severity=Severity.CRITICAL,
                service="market-data",
                name="recording_refused",
                summary=f"the replay stopped: {error}",
                event_time_ms=0,
            )
        )
        raise


class Replay:
    """One replay of a recording."""

    def __init__(
        self,
        bus: Bus,
        settings: MarketDataSettings,
        config: BreakwaterConfig,
        *,
        recording: Recording,
        lockstep: Lockstep,
        recorder: TradeRecorder | None = None,
    ) -> None:
        """Prepare the replay of `recording`; `recorder` records it once more."""
        self._bus = bus
        self._settings = settings
        self._config = config
        self._recording = recording
        self._lockstep = lockstep
        self._recorder = recorder

    async def run(self) -> None:
        """Play to the end; go on from what the bus holds whenever the connection to it was interrupted.

        Raises:
            InvalidInputError: If the recording is damaged, or the settings ask for what it does not hold.
            InvariantError: If the bus holds something of this run that does not fit the recording.
        """
        while True:
            try:
                await self._play()
            except BusError as error:
                get_logger().warning("replay_interrupted", reason=str(error))
                await asyncio.sleep(_RETRY_S)
            else:
                return

    async def _play(self) -> None:
        progress = await self._begun_progress()
        plan = replace(self._chosen_plan(), span_ms=progress.span_ms)
        published = await read_published(self._bus, self._recording.symbols, progress)
        if progress.ended or await self._ends_at(published, plan):
            get_logger().info("replay_already_ended", window=progress.window)
            return
        number = 1 if published.clock is None else plan.first_window_of(plan.day_of_window(published.clock.window))
        get_logger().info(
            "replay_began",
            first_day=plan.first_day.isoformat(),
            last_day=plan.last_day.isoformat(),
            symbols=self._recording.symbols,
            span_s=plan.span_ms / 1000,
            after_window=None if published.clock is None else published.clock.window,
        )
        bars = DailyBarBuilder(plan.session, is_complete=self._recording.is_complete)
        script = ReplayScript(plan, bars, self._settings.lockstep)
        player = ReplayPlayer(
            self._bus,
            self._lockstep,
            script=script,
            plan=plan,
            published=published,
            pacer=Pacer(self._settings.speed, time.monotonic),
        )
        async with read_windows(lambda: windows_from(self._recording, plan, number)) as source:
            current = await source.next()
            if current is None:
                raise InvariantError("a replay without windows")
            warm_up = []
            if published.clock is None:
                warm_up = await asyncio.to_thread(
                    bars_before, self._recording, plan.first_day, days=warm_up_days(self._config.strategy)
                )
            await player.carry_out(script.begin(current, warm_up))
            while current is not None:
                ahead = await source.next()
                await self._record(current)
                await player.carry_out(script.play(current, ahead))
                current = ahead
        player.check_found()

    async def _begun_progress(self) -> ReplayProgress:
        """Return how far the run is as last written down; write down its beginning if nothing is.

        Raises:
            InvariantError: If the run was begun with other days.
        """
        key = progress_key(self._bus.run_id, PARTICIPANT)
        value = await self._bus.read(CHECKPOINT_BUCKET, key)
        plan = self._chosen_plan()
        if value is None:
            progress = ReplayProgress.beginning_of(replace(plan, span_ms=self._chosen_span_ms(plan)))
            await self._bus.write(CHECKPOINT_BUCKET, key, progress.to_json())
            return progress
        progress = ReplayProgress.from_json(value)
        if (progress.start_ms, progress.end_ms) != (plan.start_ms, plan.end_ms):
            raise InvariantError(
                f"run {self._bus.run_id} was begun with other days than {plan.first_day} to {plan.last_day}; "
                "use another RUN_ID"
            )
        return progress

    async def _ends_at(self, published: Published, plan: ReplayPlan) -> bool:
        """Return whether the bus holds the run's end; write that down, for a kill may have come in between."""
        clock = published.clock
        if clock is None or clock.kind is not ClockKind.ENDED:
            return False
        key = progress_key(self._bus.run_id, PARTICIPANT)
        await self._bus.write(CHECKPOINT_BUCKET, key, ReplayProgress.at(clock, plan).to_json())
        return True

    def _chosen_plan(self) -> ReplayPlan:
        recording, settings = self._recording, self._settings
        complete = {day for symbol in recording.symbols for day in recording.complete_days(symbol)}
        first, last = choose_days(start=settings.start, end=settings.end, recorded=recording.days, complete=complete)
        return ReplayPlan(recording.session, first, last, span_ms=0)

    def _chosen_span_ms(self, plan: ReplayPlan) -> int:
        """Return the span for a run that begins; it is kept, because its windows are numbered by it."""
        if self._settings.window_ms is not None:
            return self._settings.window_ms
        if self._settings.speed is not None:
            return span_of_speed(self._settings.speed)
        return self._recording.suggested_span_ms(plan.start_ms, plan.end_ms)

    async def _record(self, window: Window) -> None:
        if self._recorder is None:
            return
        for batch in window.batches:
            self._recorder.add(batch)
        for symbol in self._recording.symbols:
            for start_ms, end_ms in self._recording.coverage[symbol].intervals:
                if start_ms < window.end_ms and window.start_ms < end_ms:
                    self._recorder.cover(symbol, max(start_ms, window.start_ms), min(end_ms, window.end_ms))
        await self._recorder.save()
