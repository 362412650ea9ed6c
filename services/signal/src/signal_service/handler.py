"""One message in, intents out. Decisions come from `breakwater_core`; this class only moves messages.

Live, a decision is published as soon as the trade that caused it has arrived. In replay the clock's windows rule: all
decisions of a window are made in event time, each after the outcome of the one before is known.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta

from breakwater_core.config import BreakwaterConfig
from breakwater_core.config_schedule import ConfigVersion
from breakwater_core.errors import PermanentError
from breakwater_core.events import Intent, Leg, OrderEvent
from breakwater_core.intents import IntentFactory, Outcome, OutcomeBook, key_of_decision
from breakwater_core.market import LIVE_RUN_ID, Clock, ClockKind, DailyBar, TradeBatch
from breakwater_core.portfolio import Decision, PortfolioStrategy
from breakwater_runtime import subjects
from breakwater_runtime.bus import Bus, BusError
from breakwater_runtime.control import ControlWatch
from breakwater_runtime.logs import get_logger
from breakwater_runtime.readers import After, Delivery
from signal_service.checkpoint import Checkpoint
from signal_service.day_versions import DayVersions
from signal_service.metrics import (
    DECISION_TIME,
    DISTANCE,
    INTENTS,
    LATEST_MARKET_TIME,
    TICK_TO_INTENT,
    TRADABLE,
    TRADES,
    WINDOWS,
)
from signal_service.progress import Progress
from signal_service.tick_trace import Cause, traced_tick

_STATUS_INTERVAL_S = 1.0
_RETRY_S = 0.25


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that could not be decoded, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class MarketMessage:
    """A message of the market data as it was delivered, what it says, and when it was taken from the bus."""

    value: TradeBatch | DailyBar | Clock | Unreadable
    delivery: Delivery
    received_at: float

    @property
    def place(self) -> After:
        """Its place in the stream."""
        return After(self.delivery.sequence, self.delivery.stored_ns)

    def cause(self, begun_s: float) -> Cause:
        """Return it as the cause of what is decided just now; `begun_s`: signal set out to decide."""
        return Cause(self.received_at, self.delivery.stored_ns, begun_s, time.monotonic())


PutAside = Callable[[Delivery, str], Awaitable[None]]
"""Keeps a message that cannot be used, with the reason, however long that takes."""


class SignalHandler:
    """Feeds the strategy and publishes what it decides, each decision under the configuration of its day."""

    def __init__(
        self,
        bus: Bus,
        config: BreakwaterConfig,
        *,
        instance: str,
        tasks: asyncio.TaskGroup,
        put_aside: PutAside,
        control: ControlWatch | None = None,
    ) -> None:
        """Decide under the configuration of each day; live publishes run as tasks of the group.

        Args:
            bus: Where intents go.
            config: The configuration file's; it holds for days that nothing is scheduled for.
            instance: Name of this process.
            tasks: Owns the publishes.
            put_aside: Keeps what cannot be used.
            control: Intents carry the epoch that it has seen when they are decided; None: the initial one.
        """
        self._bus = bus
        self._file = config
        self._instance = instance
        self._tasks = tasks
        self._control = control or ControlWatch()
        self._put_aside = put_aside
        self._publishing: set[asyncio.Task[None]] = set()
        self._progress = Progress(bus)
        self._live = bus.run_id == LIVE_RUN_ID
        self._versions = DayVersions(bus, config, instance=instance)
        self._strategy = PortfolioStrategy(config, config.portfolio.symbols, day_by_day=True)
        self._factories: dict[date, IntentFactory] = {}
        self._book = OutcomeBook(config.portfolio.accounts)
        self._early: list[MarketMessage] = []  # bars from before the first day: which of them count, it will say
        self._closed = asyncio.Event()
        self._window_starts: dict[int, int] = {}
        self._done_window = -1
        self._safe: After | None = None  # everything up to here is decided upon and need not be read again
        self._status_at = 0.0

    @property
    def strategy(self) -> PortfolioStrategy:
        """The strategy, to be looked at."""
        return self._strategy

    def accounts_of(self, day: date | None) -> tuple[str, ...]:
        """Return the accounts that a day is traded in; of a day that is not known, those of the configuration file."""
        factory = None if day is None else self._factories.get(day)
        return (self._file if factory is None else factory.config).portfolio.accounts

    async def resume(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint under the configuration of its day.

        A day that was begun before versions were kept goes on under what it would begin with now: bars and positions
        carry over.

        Raises:
            BusError: If the bus does not answer.
            InvalidInputError: If the checkpoint has another format.
        """
        day = checkpoint.day
        if day is not None:
            version = await self._versions.of(day)
            config = version.config
            if version.version != checkpoint.strategy_version:
                get_logger().info(
                    "configuration_changed",
                    before=checkpoint.strategy_version,
                    now=version.version,
                    day=day.isoformat(),
                )
            self._strategy = PortfolioStrategy(config, config.portfolio.symbols, day_by_day=True)
            self._use(day, version)
            await self._versions.resumed(day, version)
        self._strategy.restore(checkpoint.strategy)
        for past in self._strategy.position_days:
            self._use(past, await self._versions.of(past))
        self._done_window = checkpoint.window
        if self._live:
            self._safe = After(checkpoint.market_sequence, checkpoint.stored_ns)

    # -- order events ----------------------------------------------------------------------------------------------

    def order_event(self, event: OrderEvent) -> None:
        """Take an order event; live, an outcome reaches the strategy at once, also one from before a restart.

        A person's flatten is not the strategy's: what it holds is exited as decided, and the exit finds it flat.
        """
        if event.leg is Leg.FLATTEN:
            return
        outcome = self._book.add(event)
        if outcome is None:
            return
        self._closed.set()
        if self._live:
            self._apply(outcome)

    def _apply(self, outcome: Outcome) -> None:
        if not outcome.known or outcome.symbol not in self._strategy.symbols:  # left the portfolio a day ago or more
            return
        self._strategy.apply_outcome(
            outcome.symbol,
            outcome.day,
            outcome.leg,
            outcome.attempt,
            position_side=outcome.position_side,
            average_price=outcome.average_price,
            at_ms=outcome.at_ms,
        )

    # -- market data -----------------------------------------------------------------------------------------------

    async def market_message(self, message: MarketMessage) -> None:
        """Take one message of the market data and publish what follows from it.

        One that cannot be read, or makes no sense, is put aside; what it should have told counts as missing data.
        """
        value = message.value
        if isinstance(value, Clock):
            await self._clock(value, message)
        elif isinstance(value, Unreadable):
            await self._lost(message, value.reason)
        elif isinstance(value, TradeBatch):
            await self._trades(value, message)
        elif self._strategy.day is None:
            self._early.append(message)
        else:
            await self._bar(value, message)
        if self._live and self._strategy.buffered_from_ms is None:
            self._safe = message.place

    async def _start(self, at_ms: int) -> None:
        """Begin the first day before anything of it is looked at: which symbols are traded depends on it."""
        if self._strategy.day is not None:
            return
        self._strategy.advance(at_ms)
        await self._next_decisions()
        early, self._early = self._early, []
        for message in early:
            if isinstance(message.value, DailyBar):
                await self._bar(message.value, message)

    def mark_gap(self, symbol: str | None = None) -> None:
        """Take note that market data is missing before what comes next: of one symbol, or of all."""
        for name in self._strategy.symbols:
            if symbol in {None, name}:
                self._strategy.mark_gap(name)

    async def _lost(self, message: MarketMessage, reason: str) -> None:
        subject = message.delivery.subject
        symbol = subject.rpartition(".")[2]
        is_of_one = subject in {subjects.trades(symbol), subjects.daily_bars(symbol)}
        self.mark_gap(symbol if is_of_one else None)
        await self._put_aside(message.delivery, reason)

    async def _bar(self, bar: DailyBar, message: MarketMessage) -> None:
        if bar.symbol not in self._strategy.symbols:
            return
        try:
            self._strategy.feed_bar(bar)
        except PermanentError as error:
            await self._lost(message, str(error))

    async def _trades(self, batch: TradeBatch, message: MarketMessage) -> None:
        if not len(batch):
            return
        await self._start(int(batch.times_ms[0]))
        if batch.symbol not in self._strategy.symbols:
            return
        if not self._live:
            if batch.window <= self._done_window:
                return
            self._window_starts.setdefault(batch.window, message.place.sequence)
        TRADES.inc(len(batch))
        try:
            self._strategy.feed_trades(batch)
        except PermanentError as error:
            await self._lost(message, str(error))
            return
        if self._live:
            self._strategy.advance(int(batch.times_ms[-1]) + 1)
            await self._decide_live(message)

    async def _clock(self, clock: Clock, message: MarketMessage) -> None:
        LATEST_MARKET_TIME.set(clock.now_ms / 1000)
        if clock.kind is ClockKind.DAY_OPENED:
            self._book.forget_before(clock.day)
        elif self._live:
            await self._start(clock.now_ms)
            self._strategy.advance(clock.now_ms)
            await self._decide_live(message)
        elif clock.kind is ClockKind.ADVANCED and clock.window > self._done_window:
            await self._start(clock.now_ms)
            self._strategy.advance(clock.now_ms)
            begun_s = message.received_at
            while decisions := await self._next_decisions():
                await self._decide_in_step(decisions, message.cause(begun_s))
                begun_s = time.monotonic()
            await self._window_done(clock, message)
        self._show_status()

    async def _decide_live(self, message: MarketMessage) -> None:
        while decisions := await self._next_decisions():
            cause = message.cause(message.received_at)
            for intent in self._intents_of(decisions):
                task = self._tasks.create_task(self._publish(intent, cause), name=f"publish-{intent.intent_id}")
                self._publishing.add(task)
                task.add_done_callback(self._publishing.discard)

    async def _next_decisions(self) -> tuple[Decision, ...]:
        """Return the next decisions; a day that they need is begun under its configuration, which is waited for."""
        while not (decisions := self._strategy.next_decisions()):
            day = self._strategy.awaited_day
            if day is None:
                return ()
            await self._begin(day)
        return decisions

    async def _begin(self, day: date) -> None:
        version = await _persistently(lambda: self._versions.begin(day))
        before = set(self._strategy.symbols)
        self._strategy.begin_day(day, version.config)
        for symbol in before.difference(self._strategy.symbols):
            _forget(symbol)
        self._use(day, version)
        oldest = min(self._strategy.position_days, default=day)
        for past in [known for known in self._factories if known < min(oldest, day - timedelta(days=1))]:
            del self._factories[past]

    def _use(self, day: date, version: ConfigVersion) -> None:
        portfolio = version.config.portfolio
        self._factories[day] = IntentFactory(
            self._bus.run_id, version.config, len(portfolio.symbols), name=version.version
        )
        self._book.expect(day, portfolio.accounts)

    async def schedule_changed(self) -> None:
        """Acknowledge a change of the schedule: state when what it names begins."""
        await _persistently(self._versions.state_seen)

    async def drain(self, timeout_s: float) -> None:
        """Wait until what was decided is published; what is not by then is decided again from the checkpoint."""
        if self._publishing:
            _, left = await asyncio.wait(self._publishing, timeout=timeout_s)
            for task in left:
                get_logger().warning("intent_left", task=task.get_name())
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _decide_in_step(self, decisions: tuple[Decision, ...], cause: Cause) -> None:
        await asyncio.gather(*(self._publish(intent, cause) for intent in self._intents_of(decisions)))
        for decision in decisions:
            self._apply(await self._outcome_of(decision))

    def _intents_of(self, decisions: tuple[Decision, ...]) -> list[Intent]:
        epoch = self._control.state.epoch
        return [intent for decision in decisions for intent in self._factories[decision.day].intents(decision, epoch)]

    async def _outcome_of(self, decision: Decision) -> Outcome:
        while (outcome := self._book.outcome(key_of_decision(decision))) is None:
            self._closed.clear()
            await self._closed.wait()
        return outcome

    async def _publish(self, intent: Intent, cause: Cause) -> None:
        with traced_tick(intent, cause, is_live=self._live):
            await self._bus.publish_persistently(intent)
        INTENTS.labels(intent.leg.value).inc()
        DECISION_TIME.observe(time.monotonic() - cause.received_s)
        if self._live:
            TICK_TO_INTENT.observe(max(0.0, time.time() - intent.trigger_time_ms / 1000))
        get_logger().info(
            "intent_published",
            intent_id=intent.intent_id,
            side=intent.side.value,
            trigger_price=intent.trigger_price,
            target_price=intent.target_price,
            trigger_time_ms=intent.trigger_time_ms,
        )

    async def _window_done(self, clock: Clock, message: MarketMessage) -> None:
        resume_at = self._window_starts.get(clock.window + 1, message.place.sequence)
        self._done_window = clock.window
        for window in [number for number in self._window_starts if number <= clock.window]:
            del self._window_starts[window]
        WINDOWS.inc()
        await _persistently(lambda: self._write_checkpoint(resume_at, 0))
        await self.announce_progress(clock.window)

    async def announce_progress(self, window: int) -> None:
        """Tell the lock-step that everything up to a window is decided."""
        await _persistently(lambda: self._progress.raise_to(window))

    # -- checkpoints and status ------------------------------------------------------------------------------------

    async def checkpoint_live(self) -> None:
        """Write down the state after the last message; live only.

        Not while a decision is not on the bus yet: a restart behind it would never make it again. Nor before the first
        day or between two.
        """
        is_between = self._strategy.day is None or self._strategy.awaited_day is not None
        if self._safe is not None and not self._publishing and not is_between:
            await self._write_checkpoint(self._safe.sequence, self._safe.stored_ns)

    async def _write_checkpoint(self, market_sequence: int, stored_ns: int) -> None:
        day = self._strategy.day
        factory = None if day is None else self._factories.get(day)
        checkpoint = Checkpoint(
            strategy_version="" if factory is None else factory.version,
            market_sequence=market_sequence,
            window=max(0, self._done_window),
            strategy=self._strategy.snapshot(),
            stored_ns=stored_ns,
        )
        key = subjects.signal_state_key(self._bus.run_id, self._instance)
        await self._bus.write(subjects.CHECKPOINT_BUCKET, key, checkpoint.encode())

    def _show_status(self) -> None:
        now = time.monotonic()
        if now - self._status_at < _STATUS_INTERVAL_S:
            return
        self._status_at = now
        for symbol, distance in self._strategy.distances().items():
            DISTANCE.labels(symbol).set(distance)
        for symbol, status in self._strategy.status().items():
            TRADABLE.labels(symbol).set(0 if status.blocked_reason else 1)


def _forget(symbol: str) -> None:
    for gauge in (DISTANCE, TRADABLE):
        with suppress(KeyError):
            gauge.remove(symbol)


async def _persistently[T](write: Callable[[], Awaitable[T]]) -> T:
    """Do a write that is safe to repeat again and again until the bus acknowledges it."""
    while True:
        try:
            return await write()
        except BusError as error:
            get_logger().warning("write_retried", reason=str(error))
            await asyncio.sleep(_RETRY_S)
