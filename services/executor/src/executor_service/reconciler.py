"""Reconciles one account: the exchange's orders, positions and wallet against the books, and what follows from that.

A difference counts only if a second reading, after executions were read once more, shows it by the same amount: what
is on its way is no difference.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal

from breakwater_bybit.errors import ExchangeError
from breakwater_bybit.fields import MalformedPayload
from breakwater_bybit.model import OrderState
from breakwater_core.session import Session
from breakwater_runtime.bus import Bus
from breakwater_runtime.logs import get_logger
from executor_service import metrics
from executor_service.account_keeper import AccountKeeper
from executor_service.account_ledger import BookedFill, Owner
from executor_service.bus_patience import insist
from executor_service.findings import Findings
from executor_service.order_owners import OrderOwners
from executor_service.reconciliation import Comparison, Reading, compare
from executor_service.unordered import Unordered
from executor_service.unordered_closer import Surplus, UnorderedCloser
from executor_service.venue_clock import wall_clock_ms

_TRIES = 5
_TRY_PAUSE_S = 0.3
_FOREIGN = frozenset({Owner.NOBODY, Owner.UNCERTAIN})
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Terms:
    """How an account is reconciled.

    Attributes:
        unordered: What is done with what nobody ordered; in a replay it is only told of.
        confirm_pause_s: Wall clock: seconds between the two readings of a difference.
        wallet_tolerance: Wallets up to this far apart are equal, quote currency.
        overlap_ms: How far behind the last reading the wallet's entries are read again.
        session: When days begin and exits are due.
        is_event_time: Whether requests are stamped with the time of the run.
    """

    unordered: Unordered
    confirm_pause_s: float
    wallet_tolerance: Decimal
    overlap_ms: int
    session: Session
    is_event_time: bool


class Reconciler:
    """Compares, tells, and acts as the terms say."""

    def __init__(
        self, *, bus: Bus, keeper: AccountKeeper, owners: OrderOwners, closer: UnorderedCloser, terms: Terms
    ) -> None:
        """Reconcile the keeper's account."""
        self._keeper = keeper
        self._owners = owners
        self._closer = closer
        self._terms = terms
        self._findings = Findings(bus, keeper.name)

    @property
    def account(self) -> str:
        """Name of the account."""
        return self._keeper.name

    async def reconcile(
        self, now_ms: int | None = None, *, is_past: Callable[[], Awaitable[bool]] | None = None
    ) -> bool:
        """Reconcile once; return False if the exchange did not answer or did not stand still.

        Args:
            now_ms: In event mode the time as of which everything is read; None: now.
            is_past: Tells whether somebody has let the time go on, so that a difference means nothing; None: never.
        """
        try:
            outcome = await self._reconcile(now_ms, is_past)
        except (ExchangeError, MalformedPayload) as error:
            outcome = "failed"
            get_logger().warning("reconciliation_failed", account=self.account, reason=str(error))
        metrics.RECONCILIATIONS.labels(self.account, outcome).inc()
        return outcome in {"equal", "different"}

    def seconds_to_exit(self) -> float | None:
        """Return how soon what was adopted is to be closed, by the wall clock; None: nothing was."""
        due = [self._closes_at_ms(symbol) for symbol in self._keeper.ledger.symbols]
        times = [time_ms for time_ms in due if time_ms is not None]
        return max(0.0, (min(times) - wall_clock_ms()) / 1000) if times else None

    async def _reconcile(self, now_ms: int | None, is_past: Callable[[], Awaitable[bool]] | None) -> str:
        reading = await self._read(now_ms)
        if reading is None:
            return "unsettled"
        if not self._keeper.ledger.is_open:
            self._open_books(reading)
            await self._keeper.save()
        compared = self._compare(reading)
        await self._know_owners(reading)
        foreign_orders = self._foreign(reading)
        if not compared.is_equal or foreign_orders or self._has_to_act():
            if now_ms is None:
                await asyncio.sleep(self._terms.confirm_pause_s)
            second = await self._read(now_ms)
            if second is None:
                return "unsettled"
            compared = compared.confirmed_by(self._compare(second))
            still_open = {order.order_id for order in second.open_orders}
            foreign_orders = [order for order in foreign_orders if order.order_id in still_open]
            reading = second
            await self._know_owners(reading)
            if is_past is not None and await is_past():
                return "unsettled"
        await self._tell(compared, reading)
        await self._judge(reading.time_ms)
        await self._settle_orders(foreign_orders, reading.time_ms)
        await self._settle_positions(compared)
        self._show(compared)
        return "equal" if compared.is_equal else "different"

    # -- reading -----------------------------------------------------------------------------------------------------

    async def _read(self, now_ms: int | None) -> Reading | None:
        """Return what the exchange states while no execution comes in; None if they keep coming.

        The books are those of the reading when this returns, and stay so until the next `await`.
        """
        keeper, exchange = self._keeper, self._keeper.exchange
        at_ms = now_ms if self._terms.is_event_time else None
        for _ in range(_TRIES):
            await keeper.catch_up(until_ms=now_ms or wall_clock_ms(), at_ms=at_ms)
            fills = keeper.fills_total
            orders = await exchange.open_orders(at_ms=at_ms)
            positions = await exchange.open_positions(at_ms=at_ms)
            wallet = await exchange.wallet(at_ms=at_ms)
            time_ms = now_ms or wallet.time_ms
            await self._book_entries(time_ms, at_ms)
            await keeper.catch_up(until_ms=now_ms or wall_clock_ms(), at_ms=at_ms)
            if keeper.fills_total == fills:
                return Reading(fills, tuple(positions), wallet.wallet_balance, tuple(orders), time_ms)
            if now_ms is None:
                await asyncio.sleep(_TRY_PAUSE_S)
        get_logger().info("reconciliation_unsettled", account=self.account, fills=keeper.fills_total)
        return None

    async def _book_entries(self, through_ms: int, at_ms: int | None) -> None:
        """Book what moved the wallet besides executions, up to the wallet's statement and not beyond it."""
        ledger, overlap_ms = self._keeper.ledger, self._terms.overlap_ms
        if not ledger.is_open:
            return
        start_ms = min(ledger.entries_from_ms(overlap_ms), through_ms)
        entries = await self._keeper.exchange.wallet_entries(start_ms=start_ms, end_ms=through_ms, at_ms=at_ms)
        new = ledger.book_entries(entries, through_ms=through_ms, overlap_ms=overlap_ms)
        for entry in new:
            get_logger().info(
                "wallet_entry_booked", account=self.account, entry_type=entry.entry_type, change=entry.change
            )
        await self._keeper.save()
        for entry in new:
            if not entry.is_transfer:
                await self._findings.adjusted(entry)

    def _open_books(self, reading: Reading) -> None:
        ledger = self._keeper.ledger
        ledger.open(wallet_balance=reading.wallet_balance, positions=reading.positions, at_ms=reading.time_ms)
        get_logger().info("books_opened", account=self.account, wallet_balance=reading.wallet_balance)

    def _compare(self, reading: Reading) -> Comparison:
        return compare(self._keeper.ledger, reading, wallet_tolerance=self._terms.wallet_tolerance)

    async def _know_owners(self, reading: Reading) -> None:
        links = {*self._keeper.ledger.link_ids(), *(order.order_link_id for order in reading.open_orders)}
        await insist(lambda: self._owners.refresh(links))

    # -- telling -----------------------------------------------------------------------------------------------------

    async def _tell(self, compared: Comparison, reading: Reading) -> None:
        day = self._terms.session.day_of(reading.time_ms)
        for difference in compared.positions:
            await self._findings.position(difference, day, reading.time_ms)
        if compared.wallet is not None:
            await self._findings.wallet(compared.wallet, day, reading.time_ms)

    async def _judge(self, at_ms: int) -> None:
        """Tell of fills that no intent ordered."""
        ledger = self._keeper.ledger
        judged = ledger.unjudged
        await insist(lambda: self._owners.refresh({fill.link_id for fill in judged}))
        groups: dict[tuple[str, Owner], list[BookedFill]] = {}
        for fill in judged:
            owner = fill.owner(self._owners.owner_of)
            if owner in _FOREIGN:
                groups.setdefault((fill.symbol, owner), []).append(fill)
        for (symbol, owner), fills in groups.items():
            parts = ledger.parts(symbol, self._owners.owner_of)
            await self._findings.unordered(fills, owner, parts, self._outcome(owner), at_ms)
        if judged:
            ledger.judged(judged)
            await self._keeper.save()

    def _outcome(self, owner: Owner) -> str:
        if owner is not Owner.NOBODY or not self._may_act:
            return "left alone"
        return {Unordered.ADOPT: "adopted", Unordered.CLOSE: "being closed"}.get(self._terms.unordered, "left alone")

    def _show(self, compared: Comparison) -> None:
        ledger, account = self._keeper.ledger, self.account
        wallet = _ZERO if compared.wallet is None else compared.wallet.difference
        parts = [ledger.parts(symbol, self._owners.owner_of) for symbol in ledger.symbols]
        metrics.POSITION_DIFFERENCES.labels(account).set(len(compared.positions))
        metrics.WALLET_DIFFERENCE.labels(account).set(float(wallet))
        metrics.UNORDERED_POSITIONS.labels(account).set(
            sum(bool(held[Owner.NOBODY] or held[Owner.UNCERTAIN]) for held in parts)
        )

    # -- acting ------------------------------------------------------------------------------------------------------

    @property
    def _may_act(self) -> bool:
        return self._terms.unordered is not Unordered.REPORT and not self._terms.is_event_time

    def _foreign(self, reading: Reading) -> list[OrderState]:
        return [order for order in reading.open_orders if self._owners.owner_of(order.order_link_id) in _FOREIGN]

    def _has_to_act(self) -> bool:
        return self._may_act and any(self._surplus(symbol) or self._is_adoptable(symbol) for symbol in self._symbols)

    @property
    def _symbols(self) -> tuple[str, ...]:
        return self._keeper.ledger.symbols

    def _is_adoptable(self, symbol: str) -> bool:
        parts = self._keeper.ledger.parts(symbol, self._owners.owner_of)
        return self._terms.unordered is Unordered.ADOPT and bool(parts[Owner.NOBODY])

    async def _settle_orders(self, orders: list[OrderState], at_ms: int) -> None:
        for order in orders:
            is_certain = self._owners.owner_of(order.order_link_id) is Owner.NOBODY
            is_free = order.symbol not in self._owners.busy_symbols
            cancels = self._may_act and self._terms.unordered is Unordered.CLOSE and is_certain
            await self._findings.order(order, "being cancelled" if cancels else "left alone", at_ms)
            if cancels and is_free:
                await self._keeper.exchange.cancel_order(symbol=order.symbol, order_id=order.order_id)
                get_logger().info("unordered_order_cancelled", account=self.account, order_id=order.order_id)

    async def _settle_positions(self, compared: Comparison) -> None:
        if not self._may_act:
            return
        in_doubt = {difference.symbol for difference in compared.positions}
        for symbol in self._symbols:
            if symbol in in_doubt or symbol in self._owners.busy_symbols:
                continue
            if self._is_adoptable(symbol):
                self._keeper.ledger.adopt(symbol, self._owners.owner_of)
                await self._keeper.save()
                get_logger().info("position_adopted", account=self.account, symbol=symbol)
            if surplus := self._surplus(symbol):
                await self._closer.close(surplus, still_so=self._still_so)

    def _surplus(self, symbol: str) -> Surplus | None:
        """Return what of the symbol's position is to be closed now; nothing where a part's owner is uncertain."""
        ledger, owner_of = self._keeper.ledger, self._owners.owner_of
        parts = ledger.parts(symbol, owner_of)
        owner = Owner.NOBODY if self._terms.unordered is Unordered.CLOSE else Owner.ADOPTED
        newest = ledger.newest_of(symbol, owner, owner_of)
        if parts[Owner.UNCERTAIN] or not parts[owner] or newest is None:
            return None
        if owner is Owner.ADOPTED:
            due_ms = self._closes_at_ms(symbol)
            if due_ms is None or wall_clock_ms() < due_ms:
                return None
        return Surplus(symbol=symbol, quantity=parts[owner], cause=newest.exec_id)

    def _closes_at_ms(self, symbol: str) -> int | None:
        """Return when what was adopted is closed: as the exit window of its day opens."""
        newest = self._keeper.ledger.newest_of(symbol, Owner.ADOPTED, self._owners.owner_of)
        if newest is None:
            return None
        return self._terms.session.exit_opens_ms(self._terms.session.day_of(newest.time_ms))

    async def _still_so(self, surplus: Surplus) -> bool:
        """Return whether a fresh reading shows the same surplus, and no order of ours in its way."""
        reading = await self._read(None)
        if reading is None:
            return False
        compared = self._compare(reading)
        await self._know_owners(reading)
        is_ours_open = any(
            order.symbol == surplus.symbol and self._owners.owner_of(order.order_link_id) not in _FOREIGN
            for order in reading.open_orders
        )
        return (
            not is_ours_open
            and surplus.symbol not in self._owners.busy_symbols
            and all(difference.symbol != surplus.symbol for difference in compared.positions)
            and self._keeper.fills_total == reading.fills_total
            and self._surplus(surplus.symbol) == surplus
        )
