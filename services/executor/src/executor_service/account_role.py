"""Wiring of the account role: private streams, REST readings and the clock, into fills and snapshots."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from datetime import date
from typing import Any

from breakwater_core.market import Clock, ClockKind
from breakwater_runtime import codec, subjects
from breakwater_runtime.readers import LAST_PER_SUBJECT, Delivery, read_stream
from breakwater_runtime.service import Service, until_stopped
from executor_service import metrics
from executor_service.account_feed import AccountFeed
from executor_service.account_keeper import AccountKeeper
from executor_service.account_keys import AccountKey
from executor_service.bus_patience import insist
from executor_service.bybit_account import BybitAccount
from executor_service.day_open_store import DayOpenStore
from executor_service.drain import Drain
from executor_service.egress_guard import guard_of
from executor_service.exchange_clients import ExchangeClients
from executor_service.fitness import fitness_of
from executor_service.intent_orders import learned_orders
from executor_service.key_rotation import keys_followed
from executor_service.order_owners import OrderOwners
from executor_service.reconciler import Reconciler, Terms
from executor_service.settings import ExecutorSettings
from executor_service.unordered_closer import UnorderedCloser
from executor_service.venue_clock import wall_clock_ms

PARTICIPANT = "account"
_DAY_CHECK_S = 1.0
_DAY_GRACE_MS = 10_000
"""A day that nobody has announced so long after its begin is opened by the wall clock."""
_SNAPSHOT_DELAY_S = 0.5
"""Fills that come close together share one snapshot."""


class AccountRole:
    """The accounts of one process, kept together."""

    def __init__(
        self,
        settings: ExecutorSettings,
        service: Service,
        keepers: list[AccountKeeper],
        feeds: list[AccountFeed],
        reconcilers: list[Reconciler],
    ) -> None:
        """Keep these accounts; the three lists run in parallel."""
        self._settings = settings
        self._service = service
        self._session = settings.configuration().session.session()
        self._keepers = keepers
        self._feeds = feeds
        self._reconcilers = reconcilers
        self._clocks: asyncio.Queue[tuple[Clock, int]] = asyncio.Queue()
        self._opened: dict[str, date] = {}
        self._openings: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Keep the accounts until the service stops.

        Raises:
            CredentialError: If the exchange refuses a key that cannot change.
            BusError: If the bus does not answer.
        """
        for keeper in self._keepers:
            await keeper.resume()
        async with (
            learned_orders(self._service.bus),
            asyncio.TaskGroup() as tasks,
            read_stream(
                self._service.bus,
                name="executor-clock",
                stream=subjects.MARKET_STREAM.name,
                filters=[subjects.clock()],
                start=self._clock_start(),
                handle=self._clock,
            ),
        ):
            working = [tasks.create_task(work, name=name) for name, work in self._work(tasks)]
            self._service.health.hold("exchange")
            await self._service.stop.wait()
            for task in (*working, *self._openings.values()):
                task.cancel()

    def _work(self, tasks: asyncio.TaskGroup) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        work: list[tuple[str, Coroutine[Any, Any, None]]] = []
        for keeper, feed, reconciler in zip(self._keepers, self._feeds, self._reconcilers, strict=True):
            work += [(f"stream-{keeper.name}", feed.run()), (f"fills-{keeper.name}", feed.work())]
            if not self._settings.is_event_time:
                work += [
                    (f"catch-up-{keeper.name}", self._catch_up(keeper, feed)),
                    (f"snapshots-{keeper.name}", self._snapshots(keeper)),
                    (f"reconcile-{keeper.name}", self._reconcile(reconciler, feed)),
                ]
        work.append(("clock", self._work_clocks(tasks)))
        if not self._settings.is_event_time:
            work.append(("days", self._watch_days(tasks)))
        return work

    # -- the clock -------------------------------------------------------------------------------------------------

    def _clock_start(self) -> int:
        """Return where to read the clock from: in a replay no day may be missed, live only the present one counts."""
        if not self._settings.is_event_time:
            return LAST_PER_SUBJECT
        return min(keeper.clock_sequence for keeper in self._keepers) + 1

    def _clock(self, delivery: Delivery) -> None:
        decoded = codec.decode(delivery.subject, delivery.payload)
        clock = decoded.value
        if decoded.run_id == self._service.bus.run_id and clock.kind is ClockKind.DAY_OPENED:
            self._clocks.put_nowait((clock, delivery.sequence))

    async def _work_clocks(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            clock, sequence = await self._clocks.get()
            if self._settings.is_event_time:
                await self._open_in_replay(clock, sequence)
            elif clock.day == self._session.day_of(wall_clock_ms()):
                self._open_live(clock.day, tasks)

    async def _open_in_replay(self, clock: Clock, sequence: int) -> None:
        """Open the day on every account, compare it with its books, then report the window: the replay waits for it.

        A window that was reported is past: the exchange may be further on, so nothing is compared.
        """
        bus, key = self._service.bus, subjects.progress_key(self._service.bus.run_id, PARTICIPANT)
        async with asyncio.TaskGroup() as tasks:
            for keeper in self._keepers:
                tasks.create_task(keeper.open_day(clock.day, clock.now_ms))

        async def is_past() -> bool:
            reported = await insist(lambda: bus.read(subjects.CHECKPOINT_BUCKET, key))
            return reported is not None and int(reported) >= clock.window

        if not await is_past():
            async with asyncio.TaskGroup() as tasks:
                for reconciler in self._reconcilers:
                    tasks.create_task(reconciler.reconcile(clock.now_ms, is_past=is_past))
            window = str(clock.window).encode()
            await insist(lambda: bus.write(subjects.CHECKPOINT_BUCKET, key, window))
        for keeper in self._keepers:
            await keeper.clock_done(sequence)

    def _open_live(self, day: date, tasks: asyncio.TaskGroup) -> None:
        """Open the day once on every account, as soon as its positions are flat, or after a while anyway.

        Each by itself: one that the exchange does not answer, e.g. as its key has expired, keeps no other one waiting.
        """
        for keeper in self._keepers:
            if self._opened.get(keeper.name) == day:
                continue
            if (before := self._openings.get(keeper.name)) is not None:
                before.cancel()  # a day that was never opened is over
            self._opened[keeper.name] = day
            self._openings[keeper.name] = tasks.create_task(self._open_flat(keeper, day), name=f"day-{keeper.name}")

    async def _open_flat(self, keeper: AccountKeeper, day: date) -> None:
        now_ms = wall_clock_ms()
        begins_late = now_ms - self._session.day_start_ms(day) > self._settings.day_open_wait_s * 1000
        if not begins_late and not await keeper.wait_until_flat(self._settings.day_open_wait_s):
            await keeper.warn_not_flat(day, now_ms)
        await keeper.open_day(day, wall_clock_ms())

    async def _watch_days(self, tasks: asyncio.TaskGroup) -> None:
        """Open the running day at the start, and each further one even if no clock announces it."""
        while True:
            now_ms = wall_clock_ms()
            day = self._session.day_of(now_ms)
            if not self._opened or now_ms - self._session.day_start_ms(day) > _DAY_GRACE_MS:
                self._open_live(day, tasks)
            await asyncio.sleep(_DAY_CHECK_S)

    # -- by the wall clock -----------------------------------------------------------------------------------------

    async def _catch_up(self, keeper: AccountKeeper, feed: AccountFeed) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(feed.gap.wait(), self._settings.catch_up_interval_s)
            feed.gap.clear()
            await keeper.catch_up_now()

    async def _reconcile(self, reconciler: Reconciler, feed: AccountFeed) -> None:
        """Reconcile at the start, after each reconnection, so often, and when what was adopted is to be closed."""
        while True:
            feed.connected.clear()
            await reconciler.reconcile()
            waits_s = [self._settings.reconcile_interval_s, reconciler.seconds_to_exit()]
            with suppress(TimeoutError):
                await asyncio.wait_for(
                    feed.connected.wait(), max(0.1, min(wait for wait in waits_s if wait is not None))
                )

    async def _snapshots(self, keeper: AccountKeeper) -> None:
        while True:
            await keeper.publish_snapshot()
            with suppress(TimeoutError):
                await asyncio.wait_for(keeper.changed.wait(), self._settings.snapshot_interval_s)
                await asyncio.sleep(_SNAPSHOT_DELAY_S)
            keeper.changed.clear()


async def run_account_role(
    settings: ExecutorSettings,
    service: Service,
    keys: tuple[AccountKey, ...],
    clients: ExchangeClients,
    drain: Drain,
) -> None:
    """Turn what happens on the accounts into fills and snapshots until the service stops.

    Raises:
        PreflightError: If the exchange refuses a key; in a replay, if an account must not be traded as it is.
        DependencyError: If the exchange is not reachable.
    """
    config = settings.configuration()
    symbols = config.portfolio.symbols
    fitness = fitness_of(settings, service, clients, symbols=symbols, leverage=None)
    guard = guard_of(settings, service, clients)

    async def examine() -> bool:
        await guard.look()
        await fitness.begin()
        await guard.check()
        return True

    if not await until_stopped(service.stop, examine()):
        return
    keepers, feeds, reconcilers = [], [], []
    for key in keys:
        metrics.begin_account(key.name)
        account = BybitAccount(clients[key.name])
        keeper = AccountKeeper(
            bus=service.bus,
            name=key.name,
            exchange=account,
            day_opens=DayOpenStore(service.bus, drain),
            session=config.session.session(),
            is_event_time=settings.is_event_time,
            overlap_ms=round(settings.catch_up_overlap_s * 1000),
        )
        keepers.append(keeper)
        reconcilers.append(_reconciler(settings, service, keeper, account))
        feeds.append(
            AccountFeed(
                keeper,
                key,
                settings.private_stream_url,
                service.health,
                ends_if_refused=settings.is_event_time,
                rotating=None if settings.is_event_time else settings.rotating_secret("accounts"),
                raise_alert=service.bus.alert,
            )
        )
    by_name = {keeper.name: feed for keeper, feed in zip(keepers, feeds, strict=True)}
    async with (
        fitness.watched(),
        keys_followed(settings, clients, fitness, replaced=lambda key: by_name[key.name].use_key(key)),
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(guard.run(service.stop), name="egress")
        await AccountRole(settings, service, keepers, feeds, reconcilers).run()


def _reconciler(
    settings: ExecutorSettings, service: Service, keeper: AccountKeeper, account: BybitAccount
) -> Reconciler:
    terms = Terms(
        unordered=settings.unordered,
        confirm_pause_s=settings.reconcile_confirm_s,
        wallet_tolerance=settings.wallet_tolerance,
        overlap_ms=round(settings.catch_up_overlap_s * 1000),
        session=settings.configuration().session.session(),
        is_event_time=settings.is_event_time,
    )
    return Reconciler(
        bus=service.bus,
        keeper=keeper,
        owners=OrderOwners(service.bus, keeper.name),
        closer=UnorderedCloser(bus=service.bus, account=keeper.name, exchange=account, settle_s=settings.settle_s),
        terms=terms,
    )
