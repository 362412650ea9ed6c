"""One account to nothing: open orders cancelled, positions closed, until the exchange states that none is left.

Any number of executors do this at once. Their orders come from the same intents, so the records and the exchange's
check of order ids make one chain of them; what each reads and cancels besides does no harm twice.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol

from structlog.contextvars import bound_contextvars

from breakwater_bybit.errors import ExchangeError
from breakwater_bybit.fields import MalformedPayload
from breakwater_bybit.model import OrderState, PositionState
from breakwater_core.control import FlattenOrder
from breakwater_core.control_answers import FlatProof
from breakwater_core.errors import BreakwaterError
from breakwater_core.events import Alert, Intent, Severity
from breakwater_core.identities import order_link_id
from breakwater_core.session import Session
from breakwater_runtime import trace_steps
from breakwater_runtime.bus import BusError
from breakwater_runtime.consumers import InOtherHands
from breakwater_runtime.logs import get_logger
from executor_service import metrics
from executor_service.alarm import SERVICE, alarm_after
from executor_service.drain import Drain, Draining
from executor_service.flatten_orders import ROUNDS, FlattenLine, flatten_intent, line_of, to_cancel
from executor_service.ports import Publisher, Records, WholeAccount
from executor_service.venue_clock import wall_clock_ms

_ROUND_PAUSE_S = 0.4
_FIRST_REST_S, _LONGEST_REST_S = 1.0, 8.0
_ONE_WAY = 0


class Handler(Protocol):
    """Brings intents to their outcome."""

    async def handle(self, intent: Intent) -> None:
        """Bring an intent to its outcome; one that has it already is told again."""


class Book(Protocol):
    """What is durable of flattens besides their orders."""

    async def proof(self, account: str, epoch: int) -> FlatProof | None:
        """Return the proof of a flatten, or None."""

    async def prove(self, proof: FlatProof) -> bool:
        """Write a proof; False if there is one already."""

    async def lines(self, account: str, epoch: int, found: list[FlattenLine]) -> dict[str, FlattenLine]:
        """Write down what was found, and return all lines by symbol."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the exchange stated to be open, and its time before it was asked, milliseconds since 1970."""

    at_ms: int
    positions: list[PositionState]
    orders: list[OrderState]

    @property
    def is_flat(self) -> bool:
        """Whether nothing is open."""
        return not self.positions and not self.orders


@dataclass(frozen=True, slots=True)
class FlattenTools:
    """What flattening an account needs besides the account.

    Attributes:
        symbols: Configured symbols; the proof names them even if they never had a position.
        deadline_s: After so long an alert is raised; flattening goes on.
    """

    run_id: str
    instance: str
    handler: Handler
    records: Records
    book: Book
    publisher: Publisher
    drain: Drain
    session: Session
    symbols: Collection[str]
    deadline_s: float


@dataclass(slots=True)
class _Rest:
    """How long a symbol is left to the process that took its intent over.

    Each claim takes the intent from whoever has it, and an order in doubt takes seconds to look up: processes that
    claim in each round would keep each other from ever coming to the end. So the one that lost waits, each time longer.
    """

    until_s: float = 0.0
    length_s: float = _FIRST_REST_S

    def lost(self, now_s: float) -> None:
        """Wait, since another process has just claimed the intent."""
        self.until_s = now_s + self.length_s * random.uniform(0.75, 1.25)  # noqa: S311 - no secret, only out of step
        self.length_s = min(self.length_s * 2, _LONGEST_REST_S)


class AccountFlatten:
    """Carries out flatten orders of one account, one at a time."""

    def __init__(self, name: str, account: WholeAccount, tools: FlattenTools) -> None:
        """Flatten this account."""
        self._name = name
        self._account = account
        self._tools = tools
        self._closing: dict[str, asyncio.Task[None]] = {}
        self._next: dict[str, str] = {}
        self._rests: dict[str, _Rest] = {}
        self._tries: Counter[str] = Counter()

    async def run(
        self, order: FlattenOrder, *, is_wanted: Callable[[], bool], obstacle: Callable[[], str]
    ) -> FlatProof | None:
        """Flatten until it is proven, and return the proof; None if the order was withdrawn before.

        Args:
            order: The person's order.
            is_wanted: Whether the order still stands.
            obstacle: Why an entry may still open a position; empty: none can.

        Raises:
            Draining: If the process must stop before.
        """
        proof = await self._known_proof(order)
        if proof is not None:
            return proof
        get_logger().warning("flatten_begun", account=self._name, epoch=order.epoch)
        overdue_s = self._tools.deadline_s - max(0, wall_clock_ms() - order.at_ms) / 1000
        async with alarm_after(overdue_s, self._tools.publisher, self._overdue_alert(order), metrics.FLATTEN_OVERDUE):
            while is_wanted():
                try:
                    proof = await self._round(order, obstacle)
                except (ExchangeError, MalformedPayload, BusError) as error:
                    get_logger().warning("flatten_waiting", account=self._name, reason=str(error))
                if proof is not None:
                    return proof
                await self._tools.drain.rest(_ROUND_PAUSE_S)
        get_logger().warning("flatten_withdrawn", account=self._name, epoch=order.epoch)
        return None

    async def _round(self, order: FlattenOrder, obstacle: Callable[[], str]) -> FlatProof | None:
        known = await self._tools.book.proof(self._name, order.epoch)
        if known is not None:
            return known
        why_not = obstacle()  # before the reading: what is settled now shows in it
        reading = await self._read()
        if to_cancel(reading.orders):
            get_logger().warning("orders_cancelled", account=self._name, count=len(reading.orders))
            await self._account.cancel_all_orders(at_ms=None)
        found = [line_of(position) for position in self._closable(reading)]
        open_symbols = {line.symbol for line in found}
        lines = await self._tools.book.lines(self._name, order.epoch, found)
        for line in lines.values():
            await self._close(order, line, is_open=line.symbol in open_symbols)
        is_at_work = self._is_at_work()
        if not reading.is_flat:
            return None
        if why_not or is_at_work:
            get_logger().info("flatten_not_proven_yet", account=self._name, reason=why_not or "orders are followed")
            return None
        again = await self._read()  # an order accepted just before the first reading has had its time to match
        return await self._prove(order, again, lines) if again.is_flat else None

    async def _read(self) -> Reading:
        at_ms = await self._account.exchange_time_ms()
        orders = await self._account.open_orders(at_ms=None)
        return Reading(at_ms, await self._account.open_positions(at_ms=None, urgent=True), orders)

    def _closable(self, reading: Reading) -> list[PositionState]:
        """Return the positions that our orders can close; in hedge mode they need another kind, and a person."""
        hedged = [position.symbol for position in reading.positions if position.position_index != _ONE_WAY]
        if hedged:
            get_logger().error("positions_in_hedge_mode", account=self._name, symbols=hedged)
        return [position for position in reading.positions if position.position_index == _ONE_WAY]

    async def _close(self, order: FlattenOrder, line: FlattenLine, *, is_open: bool) -> None:
        """Bring the symbol's first intent that has not ended to its end; without a position only one that was begun."""
        running = self._closing.get(line.symbol)
        if running is not None and not running.done():
            return
        rest = self._rests.get(line.symbol)
        if rest is not None and asyncio.get_running_loop().time() < rest.until_s:
            return
        intent, is_begun = await self._next_intent(order, line)
        is_expected = self._next.get(line.symbol, "") == intent.intent_id
        self._next[line.symbol] = intent.intent_id
        if not is_begun and intent.attempt % ROUNDS > 1 and not is_expected:
            return  # the round before has just ended: whether the position is still open, the next reading tells
        if is_open or is_begun:
            task = asyncio.create_task(self._handle(intent), name=f"flatten-{intent.intent_id}")
            self._closing[line.symbol] = task

    async def _next_intent(self, order: FlattenOrder, line: FlattenLine) -> tuple[Intent, bool]:
        """Return the intent of the first round that has not ended, and whether anybody has begun with it."""
        number = 1
        while True:
            intent = flatten_intent(
                order,
                line,
                run_id=self._tools.run_id,
                account=self._name,
                session=self._tools.session,
                round_number=number,
            )
            known = await self._tools.records.read(order_link_id(intent.intent_id, 0))
            if known is None or not known[0].is_closed:
                return intent, known is not None
            number += 1

    def _is_at_work(self) -> bool:
        """Return whether orders of this process are followed; a failure of its own ends the service here."""
        for task in self._closing.values():
            if task.done():
                task.result()
        return any(not task.done() for task in self._closing.values())

    async def _handle(self, intent: Intent) -> None:
        self._tries[intent.intent_id] += 1
        place = f"{self._tools.instance}.{self._tries[intent.intent_id]}"
        try:
            with bound_contextvars(intent_id=intent.intent_id), trace_steps.flatten(intent, place=place):
                await self._tools.handler.handle(intent)
            self._rests.pop(intent.symbol, None)
        except Draining:
            return
        except InOtherHands as error:
            self._rests.setdefault(intent.symbol, _Rest()).lost(asyncio.get_running_loop().time())
            get_logger().info("flatten_left_to_another", intent_id=intent.intent_id, reason=str(error))
        except BreakwaterError as error:  # e.g. the bus is away: the next round looks again
            get_logger().info("flatten_left_to_next_round", intent_id=intent.intent_id, reason=str(error))

    async def settle(self) -> None:
        """Wait for the orders that are followed; they end by themselves when the process drains."""
        await asyncio.gather(*self._closing.values(), return_exceptions=True)

    async def _prove(self, order: FlattenOrder, reading: Reading, lines: Collection[str]) -> FlatProof:
        symbols = {*self._tools.symbols, *lines}
        proof = FlatProof(
            run_id=self._tools.run_id,
            account=self._name,
            epoch=order.epoch,
            sizes=dict.fromkeys(sorted(symbols), Decimal(0)),
            open_orders=len(reading.orders),
            read_at_ms=reading.at_ms,
            proved_by=self._tools.instance,
        )
        await self._tools.publisher.alert(_flattened_alert(proof))
        await self._tools.book.prove(proof)
        get_logger().info("flatten_proven", account=self._name, epoch=order.epoch, read_at_ms=reading.at_ms)
        return proof

    async def _known_proof(self, order: FlattenOrder) -> FlatProof | None:
        while True:
            try:
                return await self._tools.book.proof(self._name, order.epoch)
            except BusError as error:
                get_logger().warning("flatten_waiting", account=self._name, reason=str(error))
            await self._tools.drain.rest(_ROUND_PAUSE_S)

    def _overdue_alert(self, order: FlattenOrder) -> Alert:
        return Alert(
            alert_id=f"flatten_overdue/{self._tools.run_id}/{self._name}/{order.epoch}",
            run_id=self._tools.run_id,
            severity=Severity.CRITICAL,
            service=SERVICE,
            name="flatten_overdue",
            summary=f"{self._name}: not proven flat {self._tools.deadline_s:g} s after the flatten of epoch "
            f"{order.epoch} was ordered; the executors go on",
            event_time_ms=order.at_ms,
            account=self._name,
            facts={"epoch": str(order.epoch)},
        )


def _flattened_alert(proof: FlatProof) -> Alert:
    return Alert(
        alert_id=f"flattened/{proof.run_id}/{proof.account}/{proof.epoch}",
        run_id=proof.run_id,
        severity=Severity.INFO,
        service=SERVICE,
        name="flattened",
        summary=f"{proof.account} is flat: no position and no open order at the exchange",
        event_time_ms=proof.read_at_ms,
        account=proof.account,
        facts={
            "epoch": str(proof.epoch),
            "open_orders": str(proof.open_orders),
            "positions": ", ".join(f"{symbol} {size}" for symbol, size in proof.sizes.items()),
            "read_at": datetime.fromtimestamp(proof.read_at_ms / 1000, tz=UTC).isoformat(timespec="milliseconds"),
        },
    )
