"""One message in, rows written, messages out: daily performance and alerts."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from sqlalchemy.orm import Session

from breakwater_core.decimals import to_text
from breakwater_core.errors import TransientError
from breakwater_core.events import AccountSnapshot, Alert, DailyPerformance, Fill, OrderEvent, Severity, SnapshotKind
from breakwater_core.market import Clock, ClockKind
from breakwater_core.report import order_slippage_bps
from breakwater_runtime import trace_steps
from breakwater_runtime.consumers import Received
from breakwater_runtime.logs import get_logger
from reporter_service import metrics
from reporter_service.account_books import AccountBooks, WalletComparison
from reporter_service.daily_rows import DailyRows, DayClosing
from reporter_service.group_writer import GroupWriter
from reporter_service.recording import record_alert, record_clock, record_fill, record_order, record_snapshot

SERVICE = "reporter"
FILLS_CONDITION = "fills"
NEWS_TIMEOUT_S = 0.25


class Publisher(Protocol):
    """What the handler publishes with; the bus offers it."""

    async def publish_persistently(self, event: DailyPerformance | Alert) -> int:
        """Publish until the bus acknowledges."""
        ...


class Conditions(Protocol):
    """What the handler reports its condition to; `Health` offers it."""

    def hold(self, condition: str) -> None:
        """State that the condition holds."""
        ...

    def fail(self, condition: str, reason: str) -> None:
        """State that the condition does not hold, and why."""
        ...


class FillsMissingError(TransientError):
    """A day cannot be closed yet: the account has counted fills that have not arrived."""


@dataclass(frozen=True, slots=True)
class _Opening:
    """What became of a snapshot of a day's opening in its transaction."""

    missing_fills: int
    closing: DayClosing = field(default_factory=DayClosing)
    wallet: WalletComparison | None = None


class ReporterHandler:
    """Applies messages to the database and announces what follows from them."""

    def __init__(
        self,
        *,
        run_id: str,
        writer: GroupWriter,
        publisher: Publisher,
        conditions: Conditions,
        fills_wait_s: float,
        ledger_tolerance: Decimal,
        gauges: metrics.AccountGauges | None = None,
        retry_after_s: float = 1.0,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Work for one run.

        Args:
            run_id: The run whose messages are handed over.
            writer: Commits the effects of messages.
            publisher: Takes daily performance and alerts.
            conditions: Learns when fills are missing.
            fills_wait_s: How long a day's closing waits for missing fills, seconds, before it goes on with an alert.
            ledger_tolerance: Difference of wallet and ledger that is no mismatch, quote currency.
            gauges: Show what accounts hold; None: new ones.
            retry_after_s: How long one attempt to close a day waits for missing fills, seconds.
            wall_ms: The wall clock, milliseconds UTC; only the run's own duration is taken from it.
        """
        self._run_id = run_id
        self._writer = writer
        self._publisher = publisher
        self._conditions = conditions
        self._fills_wait_s = fills_wait_s
        self._tolerance = ledger_tolerance
        self._gauges = gauges or metrics.AccountGauges((), ())
        self._retry_after_s = retry_after_s
        self._wall_ms = wall_ms
        self._books = AccountBooks(run_id)
        self._days = DailyRows(run_id)
        self._news = asyncio.Event()
        self._waiting_since: dict[str, float] = {}

    async def on_order(self, received: Received) -> None:
        """Apply an order event."""
        event: OrderEvent = received.event
        with trace_steps.commit(event, delivery=received.deliveries):
            change = await self._writer.apply(lambda session: record_order(session, event))
        if change.status is not None:
            metrics.ORDER_STATES.labels(event.account, change.status.value).inc()
        order = change.ended_with_fills
        if order is not None and (slippage := order_slippage_bps(order)) is not None:
            metrics.observe_slippage(order.account, order.leg, slippage)

    async def on_fill(self, received: Received) -> None:
        """Apply an execution.

        Raises:
            PermanentError: If it makes no sense, or contradicts what is known of it.
        """
        fill: Fill = received.event
        with trace_steps.commit(fill, delivery=received.deliveries):
            is_new = await self._writer.apply(lambda session: record_fill(session, fill))
        if is_new:
            metrics.FILLS.labels(fill.account, fill.kind.value).inc()
        self._news.set()

    async def on_alert(self, received: Received) -> None:
        """Keep an alert."""
        alert: Alert = received.event
        if await self._writer.apply(lambda session: record_alert(session, alert)):
            metrics.count_alert(alert)

    async def on_clock(self, received: Received) -> None:
        """Note a day's opening and the end of the recording."""
        clock: Clock = received.event
        if clock.kind is ClockKind.ADVANCED:
            return
        wall_ms = self._wall_ms()
        ended = await self._writer.apply(lambda session: record_clock(session, self._run_id, clock, wall_ms=wall_ms))
        if ended:
            get_logger().info("run_ended", trades_total=clock.trades_total)

    async def on_account(self, received: Received) -> None:
        """Keep an account snapshot; one of a day's opening closes the day before.

        Raises:
            FillsMissingError: If the day has to wait for fills that the snapshot counts.
        """
        snapshot: AccountSnapshot = received.event
        self._gauges.show(snapshot)
        if snapshot.kind is SnapshotKind.PERIODIC:
            await self._writer.apply(lambda session: record_snapshot(session, snapshot))
            return
        late = self._has_waited_long(snapshot)
        opening = await self._opened(snapshot, despite_missing=late)
        if opening.missing_fills and not late:
            self._waiting_since.setdefault(_wait_key(snapshot), time.monotonic())
            text = (
                f"{opening.missing_fills} fills that account {snapshot.account} counted by {snapshot.day} are missing"
            )
            self._conditions.fail(FILLS_CONDITION, text)
            raise FillsMissingError(text)
        self._waiting_since.pop(_wait_key(snapshot), None)
        self._conditions.hold(FILLS_CONDITION)
        metrics.DAY_OPEN_EQUITY.labels(snapshot.account).set(float(snapshot.equity))
        await self._announce(snapshot, opening)

    async def _opened(self, snapshot: AccountSnapshot, *, despite_missing: bool) -> _Opening:
        """Open the day as soon as no fill is missing; one that still is after a while is left for another attempt."""
        deadline = time.monotonic() + self._retry_after_s
        while True:
            self._news.clear()
            opening = await self._writer.apply(
                lambda session: self._open_day(session, snapshot, despite_missing=despite_missing)
            )
            metrics.LEDGER_LAG.labels(snapshot.account).set(opening.missing_fills)
            left_s = deadline - time.monotonic()
            if not opening.missing_fills or despite_missing or left_s <= 0:
                return opening
            with suppress(TimeoutError):  # without news here, another process may have applied some
                async with asyncio.timeout(min(left_s, NEWS_TIMEOUT_S)):
                    await self._news.wait()

    def _open_day(self, session: Session, snapshot: AccountSnapshot, *, despite_missing: bool) -> _Opening:
        missing = self._books.missing_fills(session, snapshot)
        if missing and not despite_missing:
            return _Opening(missing)
        if not record_snapshot(session, snapshot):
            return _Opening(missing)
        closing = self._days.close(session, snapshot)
        return _Opening(missing, closing, self._books.compare(session, snapshot))

    def _has_waited_long(self, snapshot: AccountSnapshot) -> bool:
        since = self._waiting_since.get(_wait_key(snapshot))
        return since is not None and time.monotonic() - since > self._fills_wait_s

    async def _announce(self, snapshot: AccountSnapshot, opening: _Opening) -> None:
        for day in opening.closing.rows:
            await self._publisher.publish_persistently(day)
            metrics.DAYS_CLOSED.labels(day.account).inc()
            get_logger().info("day_closed", day=day.day.isoformat(), ror=to_text(day.ror), mdd=to_text(day.mdd))
        metrics.show_days(opening.closing.rows)
        if opening.closing.fault:
            await self._alert(snapshot, "day_without_return", opening.closing.fault, severity=Severity.WARNING)
        if opening.missing_fills:
            text = f"{opening.missing_fills} fills are missing; the day was closed without them"
            await self._alert(snapshot, "fills_missing", text, facts={"missing": str(opening.missing_fills)})
        await self._judge_wallet(snapshot, opening.wallet)

    async def _judge_wallet(self, snapshot: AccountSnapshot, wallet: WalletComparison | None) -> None:
        if wallet is None:
            return
        metrics.LEDGER_DIFFERENCE.labels(snapshot.account).set(float(wallet.difference))
        if abs(wallet.difference) <= self._tolerance:
            return
        exchange, ledger = to_text(wallet.exchange), to_text(wallet.ledger)
        await self._alert(
            snapshot,
            "ledger_mismatch",
            f"at the opening of {snapshot.day} the exchange states a wallet of {exchange}, our fills give {ledger}",
            facts={"exchange": exchange, "ledger": ledger, "difference": to_text(wallet.difference)},
        )

    async def _alert(
        self,
        snapshot: AccountSnapshot,
        name: str,
        summary: str,
        *,
        severity: Severity = Severity.CRITICAL,
        facts: dict[str, str] | None = None,
    ) -> None:
        get_logger().warning("alert_raised", name=name, summary=summary, severity=severity.value)
        alert = Alert(
            alert_id=f"{name}/{snapshot.account}/{snapshot.day}",
            run_id=self._run_id,
            severity=severity,
            service=SERVICE,
            name=name,
            summary=summary,
            event_time_ms=snapshot.event_time_ms,
            account=snapshot.account,
            facts=facts or {},
        )
        await self._publisher.publish_persistently(alert)


def _wait_key(snapshot: AccountSnapshot) -> str:
    return f"{snapshot.account}/{snapshot.day}"
