"""One account: its executions become fills, each once and none missed, and its state becomes snapshots.

The private stream is fast and may lose messages; REST readings, which overlap, find what it lost. Both end in one
place, one after the other. Times are milliseconds of the exchange, or of the run in event mode.
"""

import asyncio
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Protocol

from breakwater_bybit.errors import ExchangeError
from breakwater_bybit.fields import MalformedPayload
from breakwater_bybit.model import Execution, OrderState, PositionState, TransactionEntry, Wallet
from breakwater_core.events import AccountSnapshot, Alert, Fill, FillKind, Severity, SnapshotKind
from breakwater_core.session import Session
from breakwater_runtime.bus import Bus
from breakwater_runtime.logs import get_logger
from breakwater_runtime.subjects import ACCOUNT_BUCKET, cursor_key
from executor_service import metrics
from executor_service.account_ledger import AccountLedger
from executor_service.alarm import SERVICE
from executor_service.bus_patience import insist
from executor_service.day_open import DayOpen, growth_since
from executor_service.day_open_store import DayOpenStore
from executor_service.fill_book import Cursor, FillBook
from executor_service.ledger_rebuild import rebuilt_ledger
from executor_service.venue_clock import wall_clock_ms

_RETRY_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0)
_FLAT_POLL_S = 0.5
_ZERO = Decimal(0)


class WatchedAccount(Protocol):
    """What the account role asks of an account; `at_ms` stamps a request with event time, None: the wall clock.

    Every method raises `ExchangeError` if the exchange did not answer.
    """

    async def executions(self, *, start_ms: int, end_ms: int, at_ms: int | None) -> list[Execution]:
        """Return the executions in [start_ms, end_ms], oldest first."""

    async def open_positions(self, *, at_ms: int | None) -> list[PositionState]:
        """Return the open positions."""

    async def wallet(self, *, at_ms: int | None) -> Wallet:
        """Return the wallet."""

    async def net_deposits(self, *, start_ms: int, end_ms: int, at_ms: int | None) -> Decimal:
        """Return deposits - withdrawals with `start_ms < time <= end_ms`."""

    async def wallet_entries(self, *, start_ms: int, end_ms: int, at_ms: int | None) -> list[TransactionEntry]:
        """Return what moved the wallet in [start_ms, end_ms], oldest first."""

    async def open_orders(self, *, at_ms: int | None) -> list[OrderState]:
        """Return the open orders of all symbols."""

    async def cancel_order(self, *, symbol: str, order_id: str) -> bool:
        """Cancel an order by the exchange's id; return False if it is not open (any more)."""


class AccountKeeper:
    """Publishes the fills and snapshots of one account."""

    def __init__(
        self,
        *,
        bus: Bus,
        name: str,
        exchange: WatchedAccount,
        day_opens: DayOpenStore,
        session: Session,
        is_event_time: bool,
        overlap_ms: int,
    ) -> None:
        """Keep the account of this name; REST readings overlap by `overlap_ms`."""
        self._bus = bus
        self.name = name
        self.exchange = exchange
        self._day_opens = day_opens
        self._session = session
        self._is_event_time = is_event_time
        self._overlap_ms = overlap_ms
        self._book = FillBook(Cursor(begins_ms=0, through_ms=0), overlap_ms=overlap_ms)
        self._turn = asyncio.Lock()
        self.ledger = AccountLedger()
        """The books of exactly the executions that were published."""
        self.changed = asyncio.Event()
        """Set after fills were published."""

    # -- begin -----------------------------------------------------------------------------------------------------

    async def resume(self) -> None:
        """Continue where the last process was; on a wall clock a new run begins now.

        Raises:
            BusError: If the bus does not answer.
        """
        value = await self._bus.read(ACCOUNT_BUCKET, self._cursor_key)
        if value is not None:
            cursor = Cursor.decode(value)
            self._book = FillBook(cursor, overlap_ms=self._overlap_ms)
            if cursor.ledger is not None:
                self.ledger = AccountLedger.of_values(cursor.ledger)
            else:
                self.ledger = await rebuilt_ledger(
                    self._bus, self.name, self._day_opens, cursor, from_ms=self._book.read_from_ms
                )
        elif not self._is_event_time:
            self._book.begin(wall_clock_ms())
            await self._save()

    @property
    def run_id(self) -> str:
        """The run that the account is kept for."""
        return self._bus.run_id

    @property
    def clock_sequence(self) -> int:
        """Stream sequence of the last clock message that was worked off; 0: none."""
        return self._book.clock_sequence

    @property
    def fills_total(self) -> int:
        """Executions published in this run."""
        return self._book.fills_total

    # -- executions ------------------------------------------------------------------------------------------------

    async def take(self, executions: Iterable[Execution], source: str) -> int:
        """Publish those executions that were not published yet; return how many they were."""
        async with self._turn:
            count = await self._publish(executions, source)
            if count:
                await self._save()
            return count

    async def catch_up(self, *, until_ms: int, at_ms: int | None) -> int:
        """Read the executions since the last reading and publish what is missing; return how many that were.

        Raises:
            ExchangeError: If the exchange did not answer.
        """
        async with self._turn:
            if self._book.is_new:
                self._book.begin(until_ms)
            executions = await self.exchange.executions(
                start_ms=self._book.read_from_ms, end_ms=max(until_ms, self._book.read_from_ms), at_ms=at_ms
            )
            count = await self._publish(executions, "rest")
            self._book.read_through(until_ms)
            await self._save()
        metrics.CATCH_UPS.labels(self.name, "found" if count else "nothing_new").inc()
        return count

    async def catch_up_now(self) -> None:
        """Catch up by the wall clock; a failure is logged, and the next reading covers it."""
        try:
            count = await self.catch_up(until_ms=wall_clock_ms(), at_ms=None)
        except (ExchangeError, MalformedPayload) as error:
            metrics.CATCH_UPS.labels(self.name, "failed").inc()
            get_logger().warning("catch_up_failed", account=self.name, reason=str(error))
        else:
            if count:
                get_logger().info("fills_caught_up", account=self.name, count=count)

    async def _publish(self, executions: Iterable[Execution], source: str) -> int:
        new = self._book.new(executions)
        for execution in new:
            fill = execution.to_fill(run_id=self._bus.run_id, account=self.name)
            await self._bus.publish_persistently(fill)
            self._book.published(execution)
            self.ledger.apply(fill, execution.sequence)
            metrics.FILLS.labels(self.name, source).inc()
            get_logger().info(
                "fill_published",
                account=self.name,
                exec_id=fill.exec_id,
                order_link_id=fill.order_link_id,
                symbol=fill.symbol,
                side=fill.side.value,
                quantity=fill.quantity,
                price=fill.price,
                kind=fill.kind.value,
                source=source,
            )
            if fill.kind is FillKind.LIQUIDATION:
                await self._bus.alert(self._liquidation_alert(fill))
        if new:
            self.changed.set()
        return len(new)

    async def save(self) -> None:
        """Write down how far the account is, its books included."""
        async with self._turn:
            await self._save()

    async def _save(self) -> None:
        payload = self._book.cursor(self.ledger.as_values()).encode()
        await insist(lambda: self._bus.write(ACCOUNT_BUCKET, self._cursor_key, payload))

    @property
    def _cursor_key(self) -> str:
        return cursor_key(self._bus.run_id, self.name)

    # -- snapshots -------------------------------------------------------------------------------------------------

    async def open_day(self, day: date, now_ms: int) -> None:
        """Take the account at a day's open, once all executions before it are published.

        What was taken first counts, and is published again by whoever comes later.

        Args:
            day: The day that opens.
            now_ms: Venue time; in event mode everything is read as of it.
        """
        day_open = await insist(lambda: self._day_opens.read(self.name, day))
        if day_open is None:
            taken = await self._insist(day, now_ms)
            day_open = await insist(lambda: self._day_opens.create(self.name, taken))
        await self._bus.publish_persistently(day_open.snapshot(run_id=self._bus.run_id, account=self.name))
        metrics.DAY_OPENS.labels(self.name).inc()
        get_logger().info(
            "day_opened", account=self.name, day=day.isoformat(), equity=day_open.equity, fills=day_open.fills_total
        )

    async def clock_done(self, sequence: int) -> None:
        """Take note that the clock message of this stream sequence is worked off: a restart reads on behind it."""
        async with self._turn:
            self._book.clock_sequence = max(self._book.clock_sequence, sequence)
            await self._save()

    async def _insist(self, day: date, now_ms: int) -> DayOpen:
        failures = 0
        while True:
            try:
                return await self._read_day_open(day, now_ms)
            except (ExchangeError, MalformedPayload) as error:
                get_logger().warning("day_open_waiting", account=self.name, reason=str(error))
            await asyncio.sleep(_RETRY_PAUSES_S[min(failures, len(_RETRY_PAUSES_S) - 1)])
            failures += 1

    async def _read_day_open(self, day: date, now_ms: int) -> DayOpen:
        at_ms = now_ms if self._is_event_time else None
        await self.catch_up(until_ms=now_ms if self._is_event_time else wall_clock_ms(), at_ms=at_ms)
        wallet = await self.exchange.wallet(at_ms=at_ms)
        positions = await self.exchange.open_positions(at_ms=at_ms)
        taken_at_ms = now_ms if self._is_event_time else wallet.time_ms
        before = await insist(lambda: self._day_opens.latest_before(self.name, day))
        deposits = await self._deposits_since(before, taken_at_ms, at_ms)
        cumulative, peak = growth_since(before, equity=wallet.equity, net_deposits=deposits)
        metrics.EQUITY.labels(self.name).set(float(wallet.equity))
        return DayOpen(
            day=day,
            taken_at_ms=taken_at_ms,
            equity=wallet.equity,
            wallet_balance=wallet.wallet_balance,
            net_deposits=deposits,
            cumulative=cumulative,
            peak=peak,
            positions=tuple(position.to_position() for position in positions),
            fills_total=self.fills_total,
        )

    async def _deposits_since(self, before: DayOpen | None, until_ms: int, at_ms: int | None) -> Decimal:
        if before is None:
            return _ZERO
        return await self.exchange.net_deposits(start_ms=before.taken_at_ms, end_ms=until_ms, at_ms=at_ms)

    async def publish_snapshot(self) -> None:
        """Publish the account as it is now, by the wall clock; a failure is logged, and the next one follows."""
        try:
            wallet = await self.exchange.wallet(at_ms=None)
            positions = await self.exchange.open_positions(at_ms=None)
            day = self._session.day_of(wallet.time_ms)
            opened = await insist(lambda: self._day_opens.read(self.name, day))
            deposits = await self._deposits_since(opened, wallet.time_ms, None)
        except (ExchangeError, MalformedPayload) as error:
            get_logger().warning("snapshot_failed", account=self.name, reason=str(error))
            return
        metrics.EQUITY.labels(self.name).set(float(wallet.equity))
        await self._bus.publish_persistently(
            AccountSnapshot(
                run_id=self._bus.run_id,
                account=self.name,
                kind=SnapshotKind.PERIODIC,
                day=day,
                equity=wallet.equity,
                wallet_balance=wallet.wallet_balance,
                net_deposits=deposits,
                positions=tuple(position.to_position() for position in positions),
                fills_total=self.fills_total,
                event_time_ms=wallet.time_ms,
            )
        )

    async def wait_until_flat(self, timeout_s: float) -> bool:
        """Return True once no position is open, False if that takes longer than the timeout."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + timeout_s
        while True:
            try:
                if not await self.exchange.open_positions(at_ms=None):
                    return True
            except (ExchangeError, MalformedPayload) as error:
                get_logger().warning("positions_not_read", account=self.name, reason=str(error))
            if loop.time() >= end_s:
                return False
            await asyncio.sleep(min(_FLAT_POLL_S, max(0.0, end_s - loop.time())))

    # -- alerts ----------------------------------------------------------------------------------------------------

    async def warn_not_flat(self, day: date, now_ms: int) -> None:
        """Raise the alert that a day opens with positions still open."""
        await self._bus.alert(
            Alert(
                alert_id=f"day_open_not_flat/{self.name}/{day.isoformat()}",
                run_id=self._bus.run_id,
                severity=Severity.CRITICAL,
                service=SERVICE,
                name="day_open_not_flat",
                summary=f"{self.name}: {day} opens with positions still open; its equity counts them at mark price",
                event_time_ms=now_ms,
                account=self.name,
            )
        )

    def _liquidation_alert(self, fill: Fill) -> Alert:
        return Alert(
            alert_id=f"liquidation/{fill.exec_id}",
            run_id=self._bus.run_id,
            severity=Severity.CRITICAL,
            service=SERVICE,
            name="liquidation",
            summary=f"{self.name} {fill.symbol}: the exchange has closed {fill.quantity} at {fill.price} by force",
            event_time_ms=fill.exec_time_ms,
            account=self.name,
            symbol=fill.symbol,
        )
