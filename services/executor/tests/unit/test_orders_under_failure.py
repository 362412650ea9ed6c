"""A model of everything that can go wrong around an order, in virtual time; the real code must come through all of it.

The exchange of the model loses requests and answers, delivers late, shows accepted orders late, is away for a while,
has a clock of its own, and forgets order link ids after a short time (at once, for entries: their guards must not need
that memory, since nobody knows how long it is). Processes die or stand still at any step, and come back to life while
others have gone on. The bus delivers again what was not acknowledged.
"""

import asyncio
import selectors
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breakwater_bybit import errors
from breakwater_bybit.model import OrderState
from breakwater_core.config import RiskSettings
from breakwater_core.errors import TransientError
from breakwater_core.events import Alert, Intent, Leg, OrderEvent, OrderStatus, Side
from breakwater_core.market import Instrument
from breakwater_core.session import Session
from breakwater_runtime.control import ControlWatch
from executor_service.drain import Drain
from executor_service.entry_check import EntryCheck
from executor_service.entry_flights import EntryFlights
from executor_service.entry_gate import SEND_WITHIN_S, Permit
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
from executor_service.venue_clock import ClockMode, VenueClock

START_MS = 1_709_280_000_000
RECEIVE_WINDOW_S = 5.0
CLIENT_TIMEOUT_S = 5.0
ACK_WAIT_S = 2.0
PATIENCE = Patience(give_up_s=120.0)
EXIT_PATIENCE = replace(PATIENCE, settles_before_resend=False, give_up_s=PATIENCE.settle_s)


class _JumpingSelector(selectors.SelectSelector):
    """Never waits; tells the loop how long it would have."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now_s += max(0.0, timeout or 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer at once; for code that waits on timers and tasks only."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


def run[T](main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def now_s() -> float:
    return asyncio.get_running_loop().time()


def wall_ms() -> int:
    return START_MS + round(now_s() * 1000)


class Killed(BaseException):
    """The process died."""


@dataclass(frozen=True)
class Mishap:
    """What happens to a process at one of its steps; `stall_s` None: it dies."""

    delivery: int
    step: int
    stall_s: float | None = None


@dataclass(frozen=True)
class Fate:
    """What becomes of one order request.

    Attributes:
        travel_s: Until it reaches the exchange; None: never.
        refusal: The exchange's (or something's in between) answer in place of handling it.
        returns: Whether the answer comes back.
        share: Share of the quantity that fills.
        shows_after_s: How long the accepted order stays hidden from look-ups.
    """

    travel_s: float | None = 0.05
    refusal: errors.ExchangeError | None = None
    returns: bool = True
    share: Decimal = Decimal(1)
    shows_after_s: float = 0.0


@dataclass(frozen=True)
class Plan:
    """One history of the world."""

    fates: tuple[Fate, ...] = ()
    mishaps: tuple[Mishap, ...] = ()
    outages: tuple[tuple[float, float], ...] = ()
    skew_s: float = 0.0
    remembers_s: float = 0.0


@dataclass
class Body:
    """The process that handles one delivery, as far as the world can see it."""

    mishaps: dict[int, Mishap]
    steps: int = 0
    stalled_since_s: float | None = None

    async def step(self) -> None:
        self.steps += 1
        await asyncio.sleep(0.001)
        mishap = self.mishaps.get(self.steps)
        if mishap is None:
            return
        if mishap.stall_s is None:
            raise Killed
        self.stalled_since_s = now_s()
        await asyncio.sleep(mishap.stall_s)
        self.stalled_since_s = None


@dataclass
class Accepted:
    order: OrderState
    at_s: float
    shows_at_s: float


@dataclass
class Venue:
    """The exchange and the bus: what outlives every process."""

    plan: Plan
    instrument: Instrument
    position: Decimal = Decimal(0)
    lowest: Decimal = Decimal(0)
    orders: dict[str, list[Accepted]] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    records: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    events: list[OrderEvent] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    revisions: int = 0

    def is_away(self) -> bool:
        return any(begin <= now_s() < end for begin, end in self.plan.outages)

    def fate(self) -> Fate:
        number = self.requests.total() - 1
        return self.plan.fates[number] if number < len(self.plan.fates) else Fate()

    def arrive(self, request: dict[str, Any], fate: Fate) -> errors.ExchangeError | None:
        if fate.refusal is not None:
            return fate.refusal
        exchange_ms = wall_ms() + round(self.plan.skew_s * 1000)
        if not exchange_ms - RECEIVE_WINDOW_S * 1000 <= request["at_ms"] < exchange_ms + 1000:
            return errors.ClockSkew("outside the window", ret_code=10002)
        link = request["order_link_id"]
        known = self.orders.setdefault(link, [])
        if any(now_s() - accepted.at_s <= self.plan.remembers_s for accepted in known):
            return errors.DuplicateOrderLinkId("used before", ret_code=110072)
        side, quantity = request["side"], request["quantity"]
        if request["reduce_only"]:
            if self.position * side.sign >= 0:
                return errors.Rejected("no position", reason=errors.RejectReason.REDUCE_ONLY, ret_code=110017)
            quantity = min(quantity, abs(self.position))
        filled = (quantity * fate.share).quantize(Decimal("0.001"))
        self.position += side.sign * filled
        self.lowest = min(self.lowest, self.position)
        order = OrderState(
            symbol=request["symbol"],
            order_id=f"id-{link}",
            order_link_id=link,
            side=side,
            order_type="Market",
            status=OrderStatus.FILLED if filled == quantity else OrderStatus.CANCELLED,
            exchange_status="",
            quantity=quantity,
            filled_quantity=filled,
            average_price=Decimal(50_000) if filled else None,
            fee=Decimal(0),
            reduce_only=request["reduce_only"],
            reject_reason="",
            cancel_type="",
            created_ms=exchange_ms,
            updated_ms=exchange_ms,
        )
        known.append(Accepted(order, now_s(), now_s() + fate.shows_after_s))
        return None

    @property
    def filled(self) -> Decimal:
        return sum((a.order.filled_quantity for known in self.orders.values() for a in known), Decimal(0))

    @property
    def closing(self) -> list[OrderEvent]:
        return [event for event in self.events if event.intent_closed]


class Account:
    """The exchange as one process reaches it."""

    def __init__(self, venue: Venue, body: Body) -> None:
        self._venue, self._body = venue, body

    async def place_market_order(self, **request: Any) -> None:
        await self._body.step()  # decided, not sent
        if request["send_by_s"] is not None and now_s() > request["send_by_s"]:
            raise errors.NotSent("too late")
        venue = self._venue
        venue.requests[request["order_link_id"]] += 1
        fate = venue.fate()
        answer: asyncio.Future[errors.ExchangeError | None] = asyncio.get_running_loop().create_future()

        def arrive() -> None:
            result = None if venue.is_away() else (venue.arrive(request, fate),)
            if result is not None and fate.returns and not answer.done():
                answer.set_result(result[0])

        if fate.travel_s is not None:
            asyncio.get_running_loop().call_later(fate.travel_s, arrive)
        await self._body.step()  # sent, not answered
        try:
            error = await asyncio.wait_for(answer, CLIENT_TIMEOUT_S)
        except TimeoutError:
            error = errors.UnknownOutcome("no answer")
        await self._body.step()
        if error is not None:
            raise error

    async def find_order(self, *, order_link_id: str, **_query: Any) -> OrderState | None:
        await self._ask()
        shown = [a.order for a in self._venue.orders.get(order_link_id, []) if a.shows_at_s <= now_s()]
        return shown[-1] if shown else None

    async def position_size(self, **_query: Any) -> Decimal:
        await self._ask()
        return self._venue.position

    async def _ask(self) -> None:
        await self._body.step()
        if self._venue.is_away():
            await asyncio.sleep(CLIENT_TIMEOUT_S)
            raise errors.Unavailable("no answer")
        await asyncio.sleep(0.02)

    async def instrument(self, symbol: str, *, is_fresh: bool = False) -> Instrument:
        return self._venue.instrument


class Bus:
    """Records and events as one process reaches them."""

    def __init__(self, venue: Venue, body: Body) -> None:
        self._venue, self._body = venue, body

    async def read(self, key: str) -> tuple[IntentRecord, int] | None:
        await self._body.step()
        found = self._venue.records.get(key)
        return None if found is None else (IntentRecord.decode(found[0]), found[1])

    async def write(self, key: str, record: IntentRecord, revision: int) -> int:
        await self._body.step()
        if self._venue.records.get(key, (b"", 0))[1] != revision:
            raise TakenOver("written by another process")
        self._venue.revisions += 1
        written = self._venue.revisions
        self._venue.records[key] = (record.encode(), written)
        await self._body.step()
        return written

    async def publish(self, event: OrderEvent) -> None:
        await self._body.step()
        self._venue.events.append(event)
        await self._body.step()

    async def try_to_publish(self, event: OrderEvent) -> bool:
        await self.publish(event)
        return True

    async def alert(self, alert: Alert) -> None:
        self._venue.alerts.append(alert)

    async def ask(self, _intent: Intent, *, after_ms: int) -> Permit:
        """Answer as the control document of a run that nobody halts."""
        permit = Permit(max(wall_ms(), after_ms), now_s() + SEND_WITHIN_S)
        await self._body.step()
        return permit


def process(venue: Venue, body: Body, kit: SimpleNamespace) -> IntentHandler:
    clock, drain = VenueClock(ClockMode.WALL, wall_ms), Drain()
    account, bus, slots = Account(venue, body), Bus(venue, body), PrioritySlots(2)
    schedule = ExitSchedule(Session())
    right_of_way = RightOfWay()
    follower = OrderFollower(
        right_of_way=right_of_way,
        publisher=bus,
        clock=clock,
        drain=drain,
        gate=bus,
        flights=EntryFlights(),
        entry_patience=PATIENCE,
        exit_patience=EXIT_PATIENCE,
        unknown_alert_s=10.0,
        schedule=schedule,
        monotonic=now_s,
    )
    check = EntryCheck(
        risk=RiskSettings(),
        control=ControlWatch(),
        day_opens=DayOpens(kit),
        clock=clock,
        drain=drain,
        publisher=bus,
        places=NoPlaces(),
    )
    return IntentHandler(
        accounts={"main": account},
        records=bus,
        publisher=bus,
        entries=EntryRun(check=check, follower=follower, slots=slots, clock=clock, drain=drain),
        reductions=ReductionRun(
            follower=follower, slots=slots, clock=clock, drain=drain, schedule=schedule, right_of_way=right_of_way
        ),
        drain=drain,
        wall_ms=wall_ms,
    )


class NoPlaces:
    """Positions are not limited, so nobody takes a place."""

    async def take(self, _intent: Intent, *, most: int, held: Any) -> int | None:
        raise AssertionError("nothing limits positions")

    async def give_back(self, _intent: Intent) -> None:
        raise AssertionError("nothing limits positions")


@dataclass
class DayOpens:
    kit: SimpleNamespace

    async def wait_for(self, *_day: Any) -> Any:
        return self.kit.day_open()


async def live_through(venue: Venue, intent: Intent, kit: SimpleNamespace) -> int:
    """Deliver the intent until it is acknowledged, and let every process that still moves come to rest."""
    tasks: list[asyncio.Task[None]] = []
    for delivery in range(1, 40):
        mishaps = {mishap.step: mishap for mishap in venue.plan.mishaps if mishap.delivery == delivery}
        body = Body(mishaps)
        handler = process(venue, body, kit)
        task = asyncio.create_task(handler.handle(intent, is_first=delivery == 1))
        tasks.append(task)
        while not task.done() and (body.stalled_since_s is None or now_s() - body.stalled_since_s < ACK_WAIT_S):
            await asyncio.wait({task}, timeout=0.25)
        if not task.done():
            continue  # stands still, and its message is delivered to another one
        error = task.exception()
        if error is None:
            break
        assert isinstance(error, Killed | TransientError), error
        await asyncio.sleep(ACK_WAIT_S)
    await asyncio.wait(tasks, timeout=3600)
    for task in tasks:
        assert task.done()
        assert task.exception() is None or isinstance(task.exception(), Killed | TransientError), task.exception()
    await asyncio.sleep(60)  # whatever is still under way arrives
    return len(tasks)


def entry(plan: Plan, kit: SimpleNamespace) -> Venue:
    venue = Venue(plan, kit.instrument())
    intent = kit.intent(trigger_time_ms=START_MS, valid_until_ms=START_MS + 20_000)
    run(live_through(venue, intent, kit))
    assert all(len(accepted) <= 1 for accepted in venue.orders.values()), "an order was doubled"
    assert len({event.event_id for event in venue.closing}) == 1, "no single outcome"
    outcome = venue.closing[0]
    if outcome.status is OrderStatus.UNKNOWN:
        assert plan.outages
        assert "entry_lost" in {alert.name for alert in venue.alerts}
        assert venue.filled <= 2
    else:
        assert outcome.filled_quantity == venue.filled, (
            f"told {outcome.status}, while the exchange filled another amount"
        )
    return venue


def exit_(plan: Plan, kit: SimpleNamespace, *, maximum: Decimal = Decimal(150)) -> Venue:
    venue = Venue(plan, kit.instrument(max_market_quantity=maximum), position=Decimal(2))
    run(live_through(venue, kit.intent(Leg.EXIT, trigger_time_ms=START_MS), kit))
    assert venue.position == 0
    assert venue.lowest == 0, "the position was turned round"
    assert all(len(accepted) <= 1 for accepted in venue.orders.values()), "an order was doubled"
    assert len({event.event_id for event in venue.closing}) == 1, "no single outcome"
    assert venue.closing[0].status in {OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.FLAT}
    return venue


REFUSALS = (
    None,
    None,
    errors.RateLimited("too many", reset_at_ms=None, ret_code=10006),
    errors.IpBanned("forbidden", http_status=403),
    errors.NotSent("no connection"),
    errors.Rejected("not now", reason=errors.RejectReason.NOT_TRADABLE, ret_code=110066),
)
FATES = st.builds(
    Fate,
    travel_s=st.none() | st.sampled_from([0.01, 0.3, 1.5, 4.0, 4.9, 5.8]),
    refusal=st.sampled_from(REFUSALS),
    returns=st.booleans(),
    share=st.sampled_from([Decimal(1), Decimal("0.4"), Decimal(0)]),
    shows_after_s=st.sampled_from([0.0, 0.2, 0.9]),
)
MISHAPS = st.builds(
    Mishap,
    delivery=st.integers(1, 4),
    step=st.integers(1, 30),
    stall_s=st.none() | st.sampled_from([1.0, 3.0, 6.0, 15.0, 300.0]),
)
OUTAGES = st.tuples(st.sampled_from([0.0, 0.1, 2.0, 8.0]), st.sampled_from([1.0, 10.0, 200.0])).map(
    lambda pair: (pair[0], pair[0] + pair[1])
)


def plans(remembers_s: float) -> st.SearchStrategy[Plan]:
    return st.builds(
        Plan,
        fates=st.lists(FATES, max_size=6).map(tuple),
        mishaps=st.lists(MISHAPS, max_size=4).map(tuple),
        outages=st.lists(OUTAGES, max_size=1).map(tuple),
        skew_s=st.sampled_from([0.0, 0.8, -0.8]),
        remembers_s=st.just(remembers_s),
    )


def test_no_history_doubles_loses_or_invents_an_entry_even_if_the_exchange_never_refuses_a_repeat(
    kit: SimpleNamespace,
) -> None:
    @settings(max_examples=120, deadline=None)
    @given(plan=plans(remembers_s=-1.0))
    def check(plan: Plan) -> None:
        entry(plan, kit)

    check()


def test_every_history_of_an_exit_ends_flat_with_each_order_made_once(kit: SimpleNamespace) -> None:
    @settings(max_examples=120, deadline=None)
    @given(plan=plans(remembers_s=20.0), maximum=st.sampled_from([Decimal(150), Decimal("0.9")]))
    def check(plan: Plan, maximum: Decimal) -> None:
        exit_(plan, kit, maximum=maximum)

    check()


FIRST_FATES = {
    "all_well": Fate(),
    "answer_lost": Fate(returns=False),
    "request_lost": Fate(travel_s=None),
    "late_and_lost": Fate(travel_s=4.9, returns=False, shows_after_s=0.9),
    "refused": Fate(refusal=REFUSALS[-1]),
    "rate_limited": Fate(refusal=REFUSALS[2]),
    "partly_filled": Fate(share=Decimal("0.4")),
}


@pytest.mark.parametrize("fate", FIRST_FATES)
@pytest.mark.parametrize("stall_s", [None, 4.0, 40.0], ids=["dies", "stalls_briefly", "stalls_long"])
@pytest.mark.parametrize("leg", [Leg.ENTRY, Leg.EXIT])
def test_a_death_or_a_standstill_at_every_step_does_no_harm(
    kit: SimpleNamespace, fate: str, stall_s: float | None, leg: Leg
) -> None:
    step = 0
    while True:
        step += 1
        plan = Plan(
            fates=(FIRST_FATES[fate],),
            mishaps=(Mishap(1, step, stall_s),),
            remembers_s=-1.0 if leg is Leg.ENTRY else 20.0,
        )
        venue = entry(plan, kit) if leg is Leg.ENTRY else exit_(plan, kit)
        if step > 8 and venue.requests.total() and step > _steps_of(plan, leg, kit):
            return


def _steps_of(plan: Plan, leg: Leg, kit: SimpleNamespace) -> int:
    """Return how many steps a single process takes when nothing happens to it."""
    key = (plan.fates, leg)
    if key not in _COUNTED:
        venue = Venue(replace(plan, mishaps=()), kit.instrument(), position=Decimal(2 if leg.reduces else 0))
        body = Body({})
        intent = kit.intent(leg, trigger_time_ms=START_MS, valid_until_ms=None if leg.reduces else START_MS + 20_000)
        run(process(venue, body, kit).handle(intent, is_first=True))
        _COUNTED[key] = body.steps
    return _COUNTED[key]


_COUNTED: dict[tuple[tuple[Fate, ...], Leg], int] = {}


@pytest.mark.parametrize("step", [3, 4], ids=["before_it_asked", "before_it_sent"])
def test_a_process_that_stood_still_after_its_record_cannot_order_for_an_entry_that_was_closed_meanwhile(
    kit: SimpleNamespace, step: int
) -> None:
    frozen_before_sending = Mishap(delivery=1, step=step, stall_s=300.0)
    venue = entry(Plan(mishaps=(frozen_before_sending,), outages=((0.5, 60.0),), remembers_s=-1.0), kit)
    assert venue.closing[0].status is OrderStatus.EXPIRED
    assert venue.requests.total() == 0  # when it wakes up its permit has run out
    assert not venue.filled


def test_an_entry_lost_on_the_way_is_sent_again_within_its_time(kit: SimpleNamespace) -> None:
    venue = entry(Plan(fates=(Fate(travel_s=None),), remembers_s=-1.0), kit)
    assert venue.closing[0].status is OrderStatus.FILLED
    assert venue.requests.total() == 2


def test_a_side_is_never_guessed(kit: SimpleNamespace) -> None:
    venue = Venue(Plan(), kit.instrument(), position=Decimal(-3))
    run(live_through(venue, kit.intent(Leg.EXIT, side=Side.SELL, trigger_time_ms=START_MS), kit))
    assert venue.position == 0
