"""Live mode: the exchange's public stream in; trades, daily bars and the clock out, at once and without holes."""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from datetime import date, timedelta
from typing import TYPE_CHECKING

from breakwater_budget.shared import shared_budget
from breakwater_bybit.client import BybitClient
from breakwater_bybit.decoding import decode_trade_frame
from breakwater_bybit.errors import ExchangeError
from breakwater_bybit.fields import MalformedPayload
from breakwater_bybit.stream_socket import StreamFrame
from breakwater_bybit.streams import (
    Connected,
    Disconnected,
    FrameFailed,
    PublicStream,
    StreamState,
    SubscriptionRefused,
)
from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError
from breakwater_core.events import Alert, Severity
from breakwater_core.market import Clock, ClockKind, DailyBar, TradeBatch
from breakwater_runtime import subjects
from breakwater_runtime.bus import BusError
from breakwater_runtime.config_versions import ConfigWatch, follow_config, read_config_state
from breakwater_runtime.errors import DependencyError
from breakwater_runtime.logs import get_logger
from breakwater_runtime.service import Service, until_stopped
from market_data_service.followed import Followed, follow_changes
from market_data_service.gap_filling import Filled, GapFilling
from market_data_service.incomplete_days import IncompleteDays
from market_data_service.live_bars import LiveBars
from market_data_service.live_publisher import LivePublisher
from market_data_service.metrics import CLOCK_OFFSET, DROPPED, RECONNECTS, STALENESS, TICK_LAG, TRADES
from market_data_service.published import last_event
from market_data_service.settings import BudgetMode, MarketDataSettings
from market_data_service.symbol_feed import Gap, SymbolFeed
from market_data_service.venue_clock import VenueClock

if TYPE_CHECKING:
    from market_data_service.live_recording import LiveRecording

_CHANNEL = "publicTrade"
_FIRST_MEASUREMENTS = 3
_DOUBT_INTERVAL_S = 1.0
_DELIVERY_S = 1.0
"""By then a trade that the exchange states over REST has come over a stream that delivers."""


async def run_live(service: Service, settings: MarketDataSettings, config: BreakwaterConfig) -> None:
    """Publish live data until stopped.

    Raises:
        InvalidInputError: If the configuration names no symbols, or another process records to the same folder.
        DependencyError: If the exchange is not reachable.
    """
    if not config.portfolio.symbols:
        raise InvalidInputError("portfolio.symbols is empty; a live feed must be told which symbols to follow")
    if config.session.start.second or config.session.start.microsecond:
        raise InvalidInputError(
            f"session.start is {config.session.start}; live, a day begins on a full minute, as candles do"
        )
    async with AsyncExitStack() as resources:
        budget = None
        if settings.budget is BudgetMode.SHARED:
            budget = await resources.enter_async_context(
                shared_budget(
                    service.bus,
                    service=service.name,
                    instance=f"{service.name}-{settings.instance}",
                    exchange_url=settings.exchange_url,
                    address_limit=settings.address_limit,
                )
            )
        versions = await read_config_state(service.bus, config)
        followed = Followed.of(await versions.configs_in_force())
        await resources.enter_async_context(follow_config(service.bus, versions, name=service.name))
        client = await resources.enter_async_context(BybitClient(settings.exchange_url, budget=budget))
        recording = None
        if settings.record_directory is not None:
            from market_data_service.live_recording import record_live  # loads pyarrow

            recording = await resources.enter_async_context(record_live(settings.record_directory))
        feed = LiveFeed(service, settings, config, followed, client=client, recording=recording)
        await feed.run(versions)


class LiveFeed:
    """The live feed of all symbols."""

    def __init__(
        self,
        service: Service,
        settings: MarketDataSettings,
        config: BreakwaterConfig,
        followed: Followed,
        *,
        client: BybitClient,
        recording: "LiveRecording | None",
    ) -> None:
        self._service = service
        self._settings = settings
        self._followed = followed
        self._session = config.session.session()
        self._client = client
        self._recording = recording
        self._clock = VenueClock(time.monotonic)
        self._publisher = LivePublisher(service.bus)
        self._feeds = {symbol: SymbolFeed(symbol) for symbol in followed.symbols}
        self._heard_s = dict.fromkeys(self._feeds, time.monotonic())
        self._traded_s = dict(self._heard_s)
        self._probed_s = time.monotonic()
        self._quiet: set[str] = set()
        self._trades_total = 0
        self._dropped_total: dict[str, int] = {}
        self._incomplete = IncompleteDays(service.bus, self._session)
        self._filling = GapFilling(
            client,
            publish=self._publish_trades,
            done=self._gap_examined,
            now_ms=self._clock.now_ms,
            limit=settings.backfill_limit,
            timeout_s=settings.backfill_timeout_s,
        )
        self._bars = LiveBars(
            client,
            self._session,
            publish=self._publish_bar,
            has_gap=self._incomplete.holds,
            alert=self._alert,
            timeout_s=settings.candle_timeout_s,
        )
        self._tasks = asyncio.TaskGroup()
        self._passing: set[asyncio.Task[None]] = set()
        self._stream: PublicStream | None = None
        self._connected_to: set[str] = set()
        self._not_followed = ""
        self._connections = 0
        self._suspected: set[str] = set()
        self._day = date.min

    async def run(self, versions: ConfigWatch) -> None:
        """Work until the service is stopped; symbols are those of the versions that run or are to begin.

        Raises:
            DependencyError: If the exchange is not reachable at the start.
            BusError: If the bus stays away for too long.
        """
        await self._incomplete.read()
        async with self._tasks as tasks:
            lasting = [tasks.create_task(self._publisher.run(), name="publisher")]
            try:
                await until_stopped(self._service.stop, self._start())
                lasting.append(tasks.create_task(self._keep_stream(), name="stream"))
                lasting.append(tasks.create_task(self._keep_time(), name="clock"))
                lasting.append(tasks.create_task(self._measure_repeatedly(), name="clock-measurement"))
                lasting.append(tasks.create_task(follow_changes(versions, self.follow), name="configurations"))
                if self._recording is not None:
                    recorder = self._recording.run(self._feeds.values(), self._settings.record_flush_s)
                    lasting.append(tasks.create_task(recorder, name="recorder"))
                await self._service.stop.wait()
                await self._drain()
            finally:
                for task in [*lasting, *self._passing, *self._filling.tasks]:
                    task.cancel()

    async def _drain(self) -> None:
        self._service.health.fail("live", "stopping")
        if self._stream is not None:
            await self._stream.close()
        if self._recording is not None:
            self._recording.cover(self._feeds.values())
        try:
            async with asyncio.timeout(self._settings.drain_timeout_s / 2):
                await self._publisher.flushed()
        except TimeoutError:
            get_logger().warning("drained_without_acknowledgements")

    # Start

    async def _start(self) -> None:
        """Learn the time, what the bus holds of today, and the bars of the days before; publish the bars."""
        try:
            for _ in range(_FIRST_MEASUREMENTS):
                await self._measure()
            now_ms = self._clock.now_ms()
            self._day = self._session.day_of(now_ms)
            await self._restore(self._session.day_start_ms(self._day))
            days = self._followed.warm_up_days
            known = await asyncio.gather(*(self._bars.warm_up(symbol, self._day, days) for symbol in self._feeds))
        except (ExchangeError, MalformedPayload) as error:
            raise DependencyError(
                f"the exchange did not answer at {self._settings.exchange_url} ({error}); check EXCHANGE_URL and the "
                "network"
            ) from error
        last_clock = await last_event(self._service.bus, subjects.clock())
        if not isinstance(last_clock, Clock) or last_clock.day != self._day:
            self._publish_clock(ClockKind.DAY_OPENED, now_ms)
        self._bars.publish_opened()
        for feed, is_known in zip(self._feeds.values(), known, strict=True):
            if not is_known:
                self._pass(self._turn_bars(feed, self._day - timedelta(days=1), self._day))

    async def _restore(self, day_start_ms: int) -> None:
        """Take over from the bus where an earlier process of today ended: what came since is a gap to fill."""
        for symbol, feed in self._feeds.items():
            last = await last_event(self._service.bus, subjects.trades(symbol))
            if isinstance(last, TradeBatch) and len(last) and last.times_ms[-1] >= day_start_ms:
                feed.restore(last)
            feed.hold()

    # Symbols that come and go with configurations

    async def follow(self, followed: Followed) -> str | None:
        """Follow the symbols of other configurations from now on; return what could not be done yet, None: nothing.

        The bars of a new symbol are on the bus before the day on which it is traded first; trades missed while the
        stream is connected anew are fetched as after any other interruption.
        """
        is_longer = followed.warm_up_days > self._followed.warm_up_days
        days = max(followed.warm_up_days, self._followed.warm_up_days)
        failed = ""
        for symbol in followed.symbols:
            if symbol not in self._feeds or is_longer:
                try:
                    await self._add(symbol, days)
                except (ExchangeError, MalformedPayload) as error:
                    get_logger().warning("symbol_not_followed", symbol=symbol, reason=str(error))
                    failed = f"{symbol} could not be followed"
        gone = [symbol for symbol in self._feeds if symbol not in followed.symbols]
        for symbol in gone:
            self._remove(symbol)
        if self._connected_to != set(self._feeds):
            await self._connect_anew()
        if not failed:
            self._followed = followed
        elif failed != self._not_followed:
            self._alert("symbol_not_followed", "", f"{failed}; a configuration names it, so it is tried again")
        self._not_followed = failed
        return failed or None

    async def _add(self, symbol: str, days: int) -> None:
        day, is_known = date.min, False
        while day != self._day:  # the day may turn meanwhile
            day = self._day
            is_known = await self._bars.warm_up(symbol, day, days)
        self._bars.publish_open(symbol)
        if symbol not in self._feeds:
            feed = SymbolFeed(symbol)
            feed.hold()
            self._heard_s[symbol] = self._traded_s[symbol] = time.monotonic()
            self._feeds[symbol] = feed
        if not is_known:
            self._pass(self._turn_bars(self._feeds[symbol], day - timedelta(days=1), day))

    def _remove(self, symbol: str) -> None:
        del self._feeds[symbol], self._heard_s[symbol], self._traded_s[symbol]
        self._quiet.discard(symbol)
        self._bars.forget(symbol)
        with suppress(KeyError):
            STALENESS.remove(symbol)

    # The stream

    async def _keep_stream(self) -> None:
        while not self._service.stop.is_set():
            self._connected_to = set(self._feeds)
            self._stream = PublicStream(
                self._settings.public_stream_url,
                list(self._feeds),
                self._on_frame,
                self._on_state,
                channels=(_CHANNEL,),
            )
            await self._stream.run()

    def _on_frame(self, frame: StreamFrame) -> None:
        if not frame.topic.startswith(_CHANNEL):
            return
        trades = decode_trade_frame(frame.payload)
        feed = self._feeds.get(trades.batch.symbol)
        if feed is None:
            return  # the symbol is not followed any more
        self._heard_s[feed.symbol] = self._traded_s[feed.symbol] = time.monotonic()
        self._quiet.discard(feed.symbol)
        if len(trades):
            TICK_LAG.observe(max(0.0, (self._clock.now_ms() - int(trades.batch.times_ms[0])) / 1000))
        batch = feed.received(trades)
        if batch is not None:
            self._publish_trades(batch, received_s=frame.received_ns / 1e9)

    def _on_state(self, state: StreamState) -> None:
        match state:
            case Connected():
                self._connections += 1
                if self._connections > 1:
                    RECONNECTS.inc()
                for feed in self._feeds.values():
                    feed.connected(self._clock.now_ms())
                    self._filling.request(feed, self._tasks)
                self._service.health.hold("live")
            case Disconnected(reason=reason):
                for feed in self._feeds.values():
                    feed.hold()
                self._service.health.fail("live", f"no stream: {reason}")
            case FrameFailed(topic=topic, reason=reason):
                get_logger().error("frame_lost", topic=topic, reason=reason)
                lost = self._feeds.get(topic.partition(".")[2])
                for feed in self._feeds.values() if lost is None else (lost,):
                    self._filling.request(feed, self._tasks)
            case SubscriptionRefused(topics=topics, reason=reason):
                self._alert(
                    "subscription_refused",
                    "",
                    f"the exchange refuses {', '.join(topics)} ({reason}); check portfolio.symbols",
                    severity=Severity.CRITICAL,
                )

    def _publish_trades(self, batch: TradeBatch, received_s: float | None = None) -> None:
        self._publisher.put(batch, received_s=received_s)
        self._trades_total += len(batch)
        TRADES.labels(batch.symbol).inc(len(batch))
        self._bars.note(batch)
        if self._recording is not None:
            self._recording.add(batch)

    def _publish_bar(self, bar: DailyBar) -> None:
        self._publisher.put(bar)
        if self._recording is not None:
            self._recording.add_bar(bar)

    # Gaps

    def _gap_examined(self, filled: Filled) -> None:
        suspected = filled.symbol in self._suspected
        self._suspected.discard(filled.symbol)
        if filled.unfilled is not None:
            self._pass(self._note_gap(filled.symbol, filled.unfilled))
        if suspected and not filled.recovered and filled.unfilled is None:
            self._note_quiet(filled.symbol)
        stale_ms = round(self._settings.stale_after_s * 1000 / 2)
        oldest_ms = filled.oldest_recovered_ms
        if suspected and oldest_ms is not None and self._clock.now_ms() - oldest_ms > stale_ms:
            self._alert(
                "stream_silent",
                filled.symbol,
                f"the stream had stopped delivering {filled.symbol}: {filled.recovered} trades were fetched, the "
                "stream is connected anew",
            )
            self._pass(self._connect_anew())

    def _note_quiet(self, symbol: str) -> None:
        """Tell a person of a symbol that has not been traded for long, at the exchange either; once until it is."""
        silent_s = time.monotonic() - self._traded_s[symbol]
        if symbol in self._quiet or silent_s < self._settings.quiet_after_s:
            return
        self._quiet.add(symbol)
        self._alert(
            "symbol_not_trading",
            symbol,
            f"{symbol} has not been traded for {silent_s:.0f} s while others have, and the exchange has no newer "
            "trades; is it suspended or delisted?",
        )

    async def _connect_anew(self) -> None:
        for feed in self._feeds.values():
            feed.hold()
        if self._stream is not None:
            await self._stream.close()

    async def _note_gap(self, symbol: str, gap: Gap) -> None:
        try:
            await self._incomplete.add(symbol, gap)
        except BusError as error:
            get_logger().error("gap_not_stored", symbol=symbol, reason=str(error))
        self._bars.publish_open(symbol)
        self._alert(
            "data_gap",
            symbol,
            f"trades of {symbol} may be missing for {(gap.before_ms - gap.after_ms) / 1000:.1f} s and could not be "
            "fetched; the day counts as incomplete",
        )

    def _watch_staleness(self) -> None:
        """Ask for the trades of symbols that have been silent for long while others were not, or of all."""
        now_s = time.monotonic()
        limit_s = self._settings.stale_after_s
        for symbol, traded_s in self._traded_s.items():
            STALENESS.labels(symbol).set(now_s - traded_s)
        if now_s - max(self._traded_s.values()) > limit_s:
            if now_s - self._probed_s > limit_s and not any(feed.is_held for feed in self._feeds.values()):
                self._probed_s = now_s
                self._pass(self._probe_stream())
            return
        for symbol, heard_s in self._heard_s.items():
            feed = self._feeds[symbol]
            if now_s - heard_s > limit_s and not feed.is_held:
                self._heard_s[symbol] = now_s
                self._suspected.add(symbol)
                self._filling.request(feed, self._tasks)

    async def _probe_stream(self) -> None:
        """Connect anew if the exchange has trades that a stream which stands has not delivered; quiet is no fault."""
        for feed in tuple(self._feeds.values()):
            known_ms = feed.covered_from_ms if feed.last_ms is None else feed.last_ms
            try:
                recent = await self._client.recent_trades(feed.symbol, limit=1)
            except (ExchangeError, MalformedPayload) as error:
                get_logger().warning("stream_not_probed", symbol=feed.symbol, reason=str(error))
                return
            if not len(recent) or known_ms is None or recent.batch.times_ms[-1] <= known_ms:
                continue
            await asyncio.sleep(_DELIVERY_S)  # it may be on its way
            if not feed.is_held and (feed.last_ms is None or feed.last_ms <= known_ms):
                self._alert("stream_silent", "", "the stream had stopped delivering anything; it is connected anew")
                await self._connect_anew()
            return

    # The clock

    async def _measure(self) -> bool:
        """Ask for the exchange's time; False if the answer is doubted."""
        sent_ms = self._clock.local_ms()
        server_ms = await self._client.server_time_ms()
        received_ms = self._clock.local_ms()
        believed = self._clock.measured(sent_ms=sent_ms, received_ms=received_ms, server_ms=server_ms)
        CLOCK_OFFSET.set(self._clock.now_ms() / 1000 - time.time())
        return believed

    async def _measure_repeatedly(self) -> None:
        believed = True
        while True:
            interval_s = self._settings.clock_sync_interval_s
            await asyncio.sleep(interval_s if believed else min(_DOUBT_INTERVAL_S, interval_s))
            try:
                was_believed, believed = believed, await self._measure()
                if was_believed and not believed:
                    self._alert(
                        "clock_stepped",
                        "",
                        "the exchange's time does not agree with the time that has passed here; it is asked again, and "
                        "believed once it has said the same several times",
                    )
            except (ExchangeError, MalformedPayload) as error:
                get_logger().warning("clock_not_measured", reason=str(error))

    async def _keep_time(self) -> None:
        while True:
            now_ms = self._clock.now_ms()
            day = self._session.day_of(now_ms)
            if day > self._day:
                self._turn_day(day, now_ms)
            self._publish_clock(ClockKind.ADVANCED, now_ms)
            self._watch_staleness()
            self._count_dropped()
            await asyncio.sleep(self._settings.clock_interval_s)

    def _turn_day(self, day: date, now_ms: int) -> None:
        first, self._day = self._day, day
        self._publish_clock(ClockKind.DAY_OPENED, now_ms)
        for feed in self._feeds.values():
            self._pass(self._turn_bars(feed, first, day))

    async def _turn_bars(self, feed: SymbolFeed, first: date, day: date) -> None:
        ended = first
        while ended < day:
            start_ms = self._session.day_start_ms(ended)
            is_whole = feed.covered_from_ms is not None and feed.covered_from_ms <= start_ms
            has_gap = self._incomplete.holds(feed.symbol, ended)
            await self._bars.turn(feed.symbol, ended, is_whole=is_whole and not has_gap)
            ended += timedelta(days=1)

    def _publish_clock(self, kind: ClockKind, now_ms: int) -> None:
        known = [feed for feed in self._feeds.values() if feed.last_ms is not None]
        newest_ms = max((feed.last_ms or 0 for feed in known), default=now_ms - 1)
        waiting_ms = min((feed.last_ms or 0 for feed in known if feed.is_held), default=newest_ms)
        self._publisher.put(
            Clock(
                kind=kind,
                now_ms=now_ms,
                trades_through_ms=min(newest_ms, waiting_ms) + 1,
                day=self._day,
                trades_total=self._trades_total,
            )
        )

    def _count_dropped(self) -> None:
        for reason in ("duplicate", "late", "block"):
            total = sum(getattr(feed.dropped, reason) for feed in self._feeds.values())
            DROPPED.labels(reason).inc(total - self._dropped_total.get(reason, 0))
            self._dropped_total[reason] = total

    # Alerts and passing tasks

    def _alert(self, name: str, symbol: str, summary: str, *, severity: Severity = Severity.WARNING) -> None:
        get_logger().warning("alert_raised", name=name, symbol=symbol, summary=summary, severity=severity.value)
        now_ms = self._clock.now_ms()
        self._publisher.put(
            Alert(
                alert_id=f"{name}/{symbol}/{now_ms}",
                run_id=self._service.bus.run_id,
                severity=severity,
                service=self._service.name,
                name=name,
                summary=summary,
                event_time_ms=now_ms,
                symbol=symbol,
            )
        )

    def _pass(self, work: Coroutine[None, None, None]) -> None:
        """Let work that ends by itself run, and cancel it when the service stops."""
        task = self._tasks.create_task(work)
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)
