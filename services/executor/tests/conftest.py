"""A small exchange, records and a bus in memory, each of which can be killed at any step."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from breakwater_bybit import errors
from breakwater_bybit.model import OrderState, PositionState
from breakwater_core.config import RiskSettings
from breakwater_core.errors import InvalidInputError
from breakwater_core.events import Alert, Intent, Leg, OrderEvent, OrderStatus, Side
from breakwater_core.identities import intent_id
from breakwater_core.market import Instrument
from breakwater_core.session import Session
from breakwater_core.verdicts import Refused
from breakwater_runtime.control import ControlWatch
from executor_service.day_open import DayOpen
from executor_service.drain import Drain
from executor_service.entry_check import EntryCheck
from executor_service.entry_flights import EntryFlights
from executor_service.entry_gate import Permit
from executor_service.entry_run import EntryRun
from executor_service.exit_schedule import ExitSchedule
from executor_service.intent_handler import IntentHandler
from executor_service.intent_record import IntentRecord
from executor_service.order_follower import OrderFollower
from executor_service.order_life import Patience
from executor_service.record_store import TakenOver
from executor_service.reduction_run import ReductionRun
from executor_service.right_of_way import RightOfWay
from executor_service.slots import PrioritySlots
from executor_service.venue_clock import ClockMode, VenueClock, wall_clock_ms

DAY = date(2024, 3, 1)
TRIGGER_MS = 1_709_280_000_000
LATENCY_MS = 50
IMPATIENT = Patience(polls_s=(0.0,), look_ups_s=(0.0,), settle_s=0.0)


def make_instrument(**changes: Any) -> Instrument:
    values: dict[str, Any] = {
        "symbol": "BTCUSDT",
        "tick_size": Decimal("0.1"),
        "quantity_step": Decimal("0.001"),
        "min_quantity": Decimal("0.001"),
        "max_quantity": Decimal(1500),
        "max_market_quantity": Decimal(150),
        "min_notional": Decimal(5),
    }
    return Instrument(**values | changes)


def make_intent(leg: Leg = Leg.ENTRY, **changes: Any) -> Intent:
    values: dict[str, Any] = {
        "run_id": "test-run",
        "account": "main",
        "strategy_version": "version",
        "symbol": "BTCUSDT",
        "day": DAY,
        "leg": leg,
        "attempt": 1,
        "side": Side.SELL if leg.reduces else Side.BUY,
        "target_price": Decimal(50_000),
        "trigger_price": Decimal(50_000),
        "trigger_time_ms": TRIGGER_MS + (60_000 if leg.reduces else 0),
        "valid_until_ms": None if leg.reduces else TRIGGER_MS + 10_000,
        "gross_leverage": Decimal(2),
        "portfolio_size": 2,
        "epoch": 0,
    } | changes
    identity = intent_id(
        **{name: values[name] for name in ("run_id", "account", "strategy_version", "symbol", "day", "leg", "attempt")}
    )
    return Intent(intent_id=identity, **values)


class Killed(BaseException):
    """The process died; nothing in it may catch this."""


@dataclass
class Steps:
    """Counts what a process does to the world, and kills it before or after a chosen step."""

    kills: list[tuple[int, bool]] = field(default_factory=list)
    count: int = 0
    names: list[str] = field(default_factory=list)

    def begin(self, name: str) -> None:
        self.count += 1
        self.names.append(name)
        self._die(after=False)

    def end(self) -> None:
        self._die(after=True)

    def _die(self, *, after: bool) -> None:
        if (self.count, after) in self.kills:
            self.kills.remove((self.count, after))
            raise Killed


@dataclass
class MemoryRecords:
    steps: Steps
    entries: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    revisions: int = 0

    async def read(self, key: str) -> tuple[IntentRecord, int] | None:
        self.steps.begin("read record")
        await asyncio.sleep(0)
        found = self.entries.get(key)
        self.steps.end()
        return None if found is None else (IntentRecord.decode(found[0]), found[1])

    async def write(self, key: str, record: IntentRecord, revision: int) -> int:
        self.steps.begin("write record")
        await asyncio.sleep(0)
        if self.entries.get(key, (b"", 0))[1] != revision:
            raise TakenOver("written by another process")
        self.revisions += 1
        self.entries[key] = (record.encode(), self.revisions)
        self.steps.end()
        return self.revisions


@dataclass
class MemoryPublisher:
    steps: Steps
    events: list[OrderEvent] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)

    async def publish(self, event: OrderEvent) -> None:
        self.steps.begin("publish")
        await asyncio.sleep(0)
        self.events.append(event)
        self.steps.end()

    async def try_to_publish(self, event: OrderEvent) -> bool:
        await self.publish(event)
        return True

    async def alert(self, alert: Alert) -> None:
        self.alerts.append(alert)

    @property
    def closing(self) -> list[OrderEvent]:
        return [event for event in self.events if event.intent_closed]

    @property
    def statuses(self) -> list[OrderStatus]:
        return [event.status for event in self.events]


def lost_answer() -> errors.ExchangeError:
    return errors.UnknownOutcome("the answer was lost")


@dataclass
class Placement:
    """What becomes of one order request.

    Attributes:
        error: Raised instead of an acknowledgement.
        arrives: Whether the exchange gets the request at all.
        fills: Share of the quantity that fills; the rest is cancelled.
    """

    error: errors.ExchangeError | None = None
    arrives: bool = True
    fills: Decimal = Decimal(1)


class MemoryExchange:
    """Keeps orders by link id, each accepted once, and a net position per symbol; everything fills at the price."""

    def __init__(self, steps: Steps | None = None, *, price: Decimal = Decimal(50_000)) -> None:
        self.steps = steps or Steps()
        self.price = price
        self.orders: dict[str, OrderState] = {}
        self.accepted: Counter[str] = Counter()
        self.positions: dict[str, Decimal] = {}
        self.script: list[Placement] = []
        self.hidden_look_ups = 0
        self.failing_queries = 0
        self.instruments = {"BTCUSDT": make_instrument()}
        self.stated_equity = Decimal(100_000)
        self.deposits = Decimal(0)
        self.fresh_lag = 0
        self.requests: list[tuple[str, int | None]] = []

    async def place_market_order(
        self,
        *,
        symbol: str,
        side: Side,
        quantity: Decimal,
        order_link_id: str,
        reduce_only: bool,
        at_ms: int | None,
        closes_all: bool = False,
        send_by_s: float | None = None,
    ) -> None:
        self.steps.begin("send")
        self.requests.append((order_link_id, at_ms))
        await asyncio.sleep(0)
        placement = self.script.pop(0) if self.script else Placement()
        if placement.arrives:
            if order_link_id in self.orders:
                self.steps.end()
                raise errors.DuplicateOrderLinkId("used before", ret_code=110072)
            if placement.error is None or isinstance(placement.error, errors.UnknownOutcome):
                self._accept(symbol, side, quantity, order_link_id, reduce_only, at_ms, placement.fills, closes_all)
        self.steps.end()
        if placement.error is not None:
            raise placement.error

    def _accept(
        self,
        symbol: str,
        side: Side,
        quantity: Decimal,
        order_link_id: str,
        reduce_only: bool,
        at_ms: int | None,
        share: Decimal,
        closes_all: bool,
    ) -> None:
        held = self.positions.get(symbol, Decimal(0))
        if reduce_only:
            if held * side.sign >= 0:
                raise errors.Rejected(
                    "current position is zero", reason=errors.RejectReason.REDUCE_ONLY, ret_code=110017
                )
            quantity = abs(held) if closes_all else min(quantity, abs(held))
        filled = quantity if closes_all else (quantity * share).quantize(Decimal("0.001"))
        self.positions[symbol] = held + side.sign * filled
        self.accepted[order_link_id] += 1
        time_ms = (at_ms or TRIGGER_MS) + LATENCY_MS
        self.orders[order_link_id] = OrderState(
            symbol=symbol,
            order_id=f"id-{order_link_id}",
            order_link_id=order_link_id,
            side=side,
            order_type="Market",
            status=OrderStatus.FILLED if filled == quantity else OrderStatus.CANCELLED,
            exchange_status="",
            quantity=quantity,
            filled_quantity=filled,
            average_price=self.price if filled else None,
            fee=Decimal(0),
            reduce_only=reduce_only,
            reject_reason="" if filled == quantity else "EC_NoImmediateQtyToFill",
            cancel_type="",
            created_ms=time_ms,
            updated_ms=time_ms,
        )

    async def _query(self, name: str) -> None:
        self.steps.begin(name)
        await asyncio.sleep(0)
        if self.failing_queries:
            self.failing_queries -= 1
            raise errors.Unavailable("try again")
        self.steps.end()

    async def find_order(
        self, *, symbol: str, order_link_id: str, at_ms: int | None, urgent: bool
    ) -> OrderState | None:
        await self._query("look up")
        order = self.orders.get(order_link_id)
        if order is not None and order.symbol == symbol and self.hidden_look_ups:
            self.hidden_look_ups -= 1
            return None
        return order

    async def position_size(self, *, symbol: str, at_ms: int | None) -> Decimal:
        await self._query("read position")
        if self.fresh_lag:
            self.fresh_lag -= 1
            return Decimal(0)
        return self.positions.get(symbol, Decimal(0))

    async def open_positions(self, *, at_ms: int | None) -> list[PositionState]:
        await self._query("read positions")
        return [
            PositionState(
                symbol=symbol,
                size=size,
                average_price=self.price,
                mark_price=self.price,
                leverage=Decimal(10),
                unrealised_pnl=Decimal(0),
                current_realised_pnl=None,
                liquidation_price=None,
                position_index=0,
                sequence=1,
                updated_ms=TRIGGER_MS,
            )
            for symbol, size in sorted(self.positions.items())
            if size
        ]

    async def equity(self, *, at_ms: int | None) -> Decimal:
        await self._query("read equity")
        return self.stated_equity

    async def net_deposits(self, *, start_ms: int, end_ms: int, at_ms: int | None) -> Decimal:
        await self._query("read deposits")
        return self.deposits

    async def instrument(self, symbol: str, *, is_fresh: bool = False) -> Instrument:
        if symbol not in self.instruments:
            raise InvalidInputError(f"{symbol}: no such linear perpetual at the exchange")
        return self.instruments[symbol]


@dataclass
class MemoryGate:
    """Asks a control document in memory; `before` runs first, as what happens between the check and the question."""

    control: ControlWatch
    clock: VenueClock
    before: Callable[[Intent], None] = lambda _intent: None

    async def ask(self, intent: Intent, *, after_ms: int) -> Permit | Refused:
        stamp_ms = self.clock.stamp_ms(intent, after_ms)
        self.before(intent)
        refusal = self.control.state.refusal(intent.account, intent.epoch)
        return refusal or Permit(wall_clock_ms() if stamp_ms is None else stamp_ms, float("inf"))


@dataclass
class MemoryPlaces:
    taken: dict[str, str] = field(default_factory=dict)

    async def take(self, intent: Intent, *, most: int, held: Any) -> int | None:
        others = {*self.taken, *await held()} - {intent.symbol}
        if len(others) < most:
            self.taken[intent.symbol] = intent.intent_id
        return None if len(others) < most else len(others)

    async def give_back(self, intent: Intent) -> None:
        self.taken.pop(intent.symbol, None)


@dataclass
class MemoryDayOpens:
    entries: dict[tuple[str, date], DayOpen] = field(default_factory=dict)

    async def wait_for(self, account: str, day: date, timeout_s: float | None) -> DayOpen | None:
        return self.entries.get((account, day))


def make_day_open(**changes: Any) -> DayOpen:
    values: dict[str, Any] = {
        "day": DAY,
        "taken_at_ms": TRIGGER_MS - 1000,
        "equity": Decimal(100_000),
        "wallet_balance": Decimal(100_000),
        "net_deposits": Decimal(0),
    }
    return DayOpen(**values | changes)


@dataclass
class World:
    """What outlives a process: the exchange, the records, the bus; and how to start a process in it."""

    mode: ClockMode = ClockMode.EVENT
    risk: RiskSettings = field(default_factory=RiskSettings)
    patience: Patience = IMPATIENT
    unknown_alert_s: float = 60.0
    flat_deadline_s: float = 60.0
    exit_give_up_s: float | None = None
    exit_symbols: tuple[str, ...] = ()
    exit_spread_s: float = 0.0
    steps: Steps = field(default_factory=Steps)
    monotonic: Callable[[], float] | None = None

    def __post_init__(self) -> None:
        self.exchange = MemoryExchange(self.steps)
        self.records = MemoryRecords(self.steps)
        self.publisher = MemoryPublisher(self.steps)
        self.day_opens = MemoryDayOpens({("main", DAY): make_day_open()})
        self.control = ControlWatch()
        self.gate = MemoryGate(self.control, VenueClock(self.mode))
        self.flights = EntryFlights()
        self.places = MemoryPlaces()
        self.drain = Drain()

    def process(self) -> IntentHandler:
        clock = VenueClock(self.mode)
        slots = PrioritySlots(2)
        schedule = ExitSchedule(Session(), self.exit_symbols, self.exit_spread_s, self.flat_deadline_s)
        clocks: dict[str, Any] = {} if self.monotonic is None else {"monotonic": self.monotonic}
        right_of_way = RightOfWay()
        follower = OrderFollower(
            right_of_way=right_of_way,
            publisher=self.publisher,
            clock=clock,
            drain=self.drain,
            gate=self.gate,
            flights=self.flights,
            entry_patience=self.patience,
            exit_patience=replace(self.patience, give_up_s=self.exit_give_up_s),
            unknown_alert_s=self.unknown_alert_s,
            schedule=schedule,
            **clocks,
        )
        check = EntryCheck(
            risk=self.risk,
            control=self.control,
            day_opens=self.day_opens,
            clock=clock,
            drain=self.drain,
            publisher=self.publisher,
            places=self.places,
        )
        return IntentHandler(
            accounts={"main": self.exchange},
            records=self.records,
            publisher=self.publisher,
            entries=EntryRun(check=check, follower=follower, slots=slots, clock=clock, drain=self.drain),
            reductions=ReductionRun(
                follower=follower,
                slots=slots,
                clock=clock,
                drain=self.drain,
                schedule=schedule,
                right_of_way=right_of_way,
            ),
            drain=self.drain,
        )

    async def deliver(self, intent: Intent) -> int:
        """Deliver the intent to one process after the other until one has done with it; return how many died.

        A process that another one has overtaken leaves it to that one.
        """
        deaths = 0
        while True:
            try:
                await self.process().handle(intent)
            except Killed:
                deaths += 1
                assert deaths < 50
            except TakenOver:
                return deaths
            else:
                return deaths


@pytest.fixture
def kit() -> SimpleNamespace:
    """Makers and classes of the world in memory."""
    return SimpleNamespace(
        DAY=DAY,
        TRIGGER_MS=TRIGGER_MS,
        LATENCY_MS=LATENCY_MS,
        World=World,
        Steps=Steps,
        Killed=Killed,
        Placement=Placement,
        MemoryExchange=MemoryExchange,
        intent=make_intent,
        instrument=make_instrument,
        day_open=make_day_open,
        lost_answer=lost_answer,
    )
