"""The volatility breakout on one symbol: what it knows of the day, and which trade makes it enter or stop.

The portfolio drives it: it says which day runs, how far trades may be looked at and when the exit window opens. What
is decided depends on the order of trades, bars and gaps alone, not on how trades were cut into batches or how often
it was asked. Prices are float64 quote currency per 1 base unit, times milliseconds UTC.
"""

from collections import deque
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any

from breakwater_core.config import BreakwaterConfig, Direction
from breakwater_core.day_plan import BarHistory, DayPlan, EntryZones, Targets, entry_zones
from breakwater_core.decimals import from_float
from breakwater_core.errors import InvariantError
from breakwater_core.events import Leg, Side
from breakwater_core.holding import Holding, Outcome, Phase
from breakwater_core.market import BarState, DailyBar, TradeBatch
from breakwater_core.session import Session
from breakwater_core.trade_queue import Segment, TradeQueue

MAXIMUM_HELD_TRADES = 500_000
"""Trades of one symbol kept at most while they wait for an OPEN bar or an outcome; the oldest go first."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the strategy wants done now with one symbol, for every account.

    Attributes:
        day: Session day that the position belongs to.
        side: Side of the order: an exit of a long position sells.
        target_price: Where a perfect fill would be: the breakout target, the stop level, or the last price at an exit.
        trigger_price: Price of the trade that triggered the decision; at an exit the last price before it.
        trigger_time_ms: Time of that trade; at an exit the opening of the exit window.
        attempt: Counts from 1; above 1 only where an earlier attempt is known to have left a position.
    """

    symbol: str
    day: date
    leg: Leg
    side: Side
    target_price: Decimal
    trigger_price: Decimal
    trigger_time_ms: int
    attempt: int


@dataclass(frozen=True, slots=True)
class SymbolStatus:
    """What a person or a metric may want to know of a symbol.

    Attributes:
        blocked_reason: Why it cannot be entered now: `waiting_for_open`, `warming_up`, `missing_day:<day>`,
            `incomplete_day:<day>`, `outside_targets`, `entered`, `position_open`, `not_in_portfolio`; None: it can.
        distance: Share of the price to the nearest target of an allowed side, 0 at or beyond it; None if not enterable.
        position: Phase of the position, None if there is none.
    """

    symbol: str
    day: date | None
    blocked_reason: str | None
    target_long: float | None
    target_short: float | None
    moving_average: float | None
    last_price: float | None
    distance: float | None
    position: Phase | None


class Sight(StrEnum):
    """What the prices seen so far today say about entering."""

    UNSEEN = "unseen"
    OUTSIDE = "outside"
    INSIDE = "inside"


class Watch(Enum):
    """What the next trades are searched for."""

    HOLD = "leave them: they cannot be judged yet"
    NOTHING = "pass over them"
    FIRST = "the first price, which may block"
    RETURN = "a price between the targets"
    ENTRY = "an entry"
    STOP = "the stop"


@dataclass(frozen=True, slots=True)
class Mark:
    """A change that counts for trades later than `after_ms`: another plan for a day, or (no day) missing data."""

    after_ms: int
    day: date | None = None
    plan: DayPlan | None = None

    def to_values(self) -> list[Any]:
        """Return the mark as plain values that JSON can hold."""
        return [
            self.after_ms,
            None if self.day is None else self.day.isoformat(),
            None if self.plan is None else self.plan.to_values(),
        ]

    @classmethod
    def from_values(cls, values: list[Any]) -> "Mark":
        """Return the mark that `to_values` wrote."""
        after_ms, day, plan = values
        return cls(
            after_ms,
            None if day is None else date.fromisoformat(day),
            None if plan is None else DayPlan.from_values(plan),
        )


@dataclass(frozen=True, slots=True)
class _Found:
    time_ms: int
    price: float
    index: int
    leg: Leg
    side: Side
    target: float


class SymbolStrategy:
    """State of one symbol. Give outcomes and bars as they come; ask for decisions through the portfolio.

    Args:
        symbol: Venue symbol.
        config: Settings of the run.
        session: Its trading day.
    """

    def __init__(self, symbol: str, config: BreakwaterConfig, session: Session) -> None:
        self.symbol = symbol
        self.retired = False
        """Whether the symbol is not in the portfolio any more, and is only watched until its position is gone."""
        self._settings = config.strategy
        self._session = session
        self._bars = BarHistory(config.strategy, config.session.incomplete_days)
        self._queue = TradeQueue()
        self._marks: deque[Mark] = deque()
        self._plans: dict[date, DayPlan] = {}
        self._outcomes: dict[tuple[date, Leg, int], Outcome] = {}
        self._holding: Holding | None = None
        self._day: date | None = None
        self._day_start_ms = -1
        self._plan: DayPlan | None = None
        self._zones: EntryZones | None = None
        self._sight = Sight.UNSEEN
        self._found: _Found | None = None

    @property
    def min_bars_needed(self) -> int:
        """Number of complete closed days that must be known right before a day for it to be entered."""
        return self._bars.min_bars_needed

    @property
    def position_possible(self) -> bool:
        """Whether a position is open, or could be as far as outcomes are known."""
        return self._holding is not None and self._holding.may_be_open

    def position_day(self, since: date) -> date | None:
        """Return the day of the position; None: there is none, or one from before `since` that is known to be gone.

        What is known of it can change for a while after its end: an entry that was given up may have been filled.
        """
        holding = self._holding
        return holding.day if holding is not None and (holding.may_be_open or holding.day >= since) else None

    @property
    def buffered_from_ms(self) -> int | None:
        """Time of the oldest trade not decided upon; a restart must feed trades from here on again."""
        return self._queue.oldest_ms()

    @property
    def retry_at_ms(self) -> int | None:
        """When an exit that left a position must be decided again."""
        return None if self._holding is None else self._holding.retry_at_ms

    def change_rules(self, config: BreakwaterConfig, session: Session) -> None:
        """Go on under another configuration, between two days: `begin_day` comes next.

        Bars and the position carry over; plans are made again of the bars that are known, so what later bars have said
        about a day that has not begun counts from its start.
        """
        bars = BarHistory(config.strategy, config.session.incomplete_days)
        bars.restore(self.symbol, self._bars.to_values())
        self._settings, self._session, self._bars = config.strategy, session, bars
        self._marks = deque(mark for mark in self._marks if mark.day is None)
        self._plans = {day: plan for day in bars.opened_days if (plan := bars.plan(day)) is not None}

    def feed_trades(self, batch: TradeBatch) -> None:
        """Buffer trades, oldest first; those older than the newest one known are repeats and dropped.

        Raises:
            InvalidInputError: If the batch's columns differ in length or its times fall.
        """
        self._queue.feed(batch)

    def feed_bar(self, bar: DailyBar) -> None:
        """Take in a daily bar.

        The first OPEN bar of a day counts for the whole day, whose trades wait for it. Whatever a later bar changes
        about that day counts for trades fed after it.

        Raises:
            InvalidInputError: If the bar's prices are impossible.
        """
        self._bars.add(bar)
        if bar.state is BarState.OPEN and self._day is not None and bar.day < self._day:
            self._bars.forget_openings_before(self._day)
        for day in self._bars.opened_days:
            plan = self._bars.plan(day)
            if plan is None or plan == self._latest_plan(day):
                continue
            if day in self._plans:
                self._marks.append(Mark(self._queue.fed_ms, day, plan))
                continue
            self._plans[day] = plan
            if day == self._day:
                self._adopt(plan)

    def mark_gap(self) -> None:
        """Say that trades are missing between those fed so far and those to come."""
        self._marks.append(Mark(self._queue.fed_ms))

    def begin_day(self, day: date) -> None:
        """Start the day, after the exit window of the day before has opened."""
        self._day = day
        self._day_start_ms = self._session.day_start_ms(day)
        self._found = None
        self._marks = deque(
            mark
            for mark in self._marks
            if (mark.after_ms >= self._day_start_ms if mark.day is None else mark.day >= day)
        )
        self._bars.forget_openings_before(day)
        for past in [known for known in self._plans if known < day]:
            del self._plans[past]
        kept = {day} if self._holding is None else {day, self._holding.day}
        self._outcomes = {key: value for key, value in self._outcomes.items() if key[0] >= min(kept)}
        self._sight = Sight.UNSEEN
        self._plan = self._zones = None
        if (plan := self._plans.get(day)) is not None:
            self._adopt(plan)

    def scan(self, limit_ms: int) -> int | None:
        """Look at trades before `limit_ms`; return the time of the first that asks for a decision, or None.

        Trades before that one are consumed, it and later ones are not, until `take`.
        """
        if self._found is not None:
            return self._found.time_ms if self._found.time_ms < limit_ms else None
        while (segment := self._queue.head()) is not None:
            first_ms = segment.time_at(segment.start)
            if first_ms >= limit_ms:
                return None
            bound_ms = limit_ms
            if self._marks:
                self._apply_marks_before(first_ms)
                if self._marks:
                    bound_ms = min(limit_ms, self._marks[0].after_ms + 1)
            watch = self._watch()
            if first_ms < self._day_start_ms:
                watch, bound_ms = Watch.NOTHING, min(bound_ms, self._day_start_ms)
            if watch is Watch.HOLD:
                self._queue.shrink(MAXIMUM_HELD_TRADES, limit_ms)
                return None
            found = self._search(segment, segment.index_before(bound_ms), watch)
            if found is not None:
                self._found = found
                return found.time_ms
        return None

    def take(self) -> Decision:
        """Return the decision that `scan` found and go on after its trade.

        Raises:
            InvariantError: If there is none.
        """
        found, day = self._found, self._day
        if found is None or day is None:
            raise InvariantError(f"{self.symbol}: there is no decision to take; call scan first")
        self._found = None
        self._queue.consume(found.index + 1)
        attempt = 1
        if found.leg is Leg.ENTRY:
            self._holding = Holding(day, found.side)
        elif self._holding is not None:
            self._holding.stop_attempts += 1
            self._holding.phase = Phase.STOPPING
            attempt = self._holding.stop_attempts
        self._apply_early_outcome(day, found.leg, attempt)
        return Decision(
            symbol=self.symbol,
            day=day,
            leg=found.leg,
            side=found.side,
            target_price=from_float(found.target),
            trigger_price=from_float(found.price),
            trigger_time_ms=found.time_ms,
            attempt=attempt,
        )

    def finish_day(self, exit_opens_ms: int) -> Decision | None:
        """Pass over what is left before the exit window; return the exit if a position of the day may be open.

        A position of an earlier day that is known to have been left, and not known to be gone, is exited again.
        """
        self._found = None
        self._queue.consume_before(exit_opens_ms)
        holding = self._holding
        if holding is None:
            return None
        is_due = holding.outlived_its_exit and holding.retry_at_ms is None
        if holding.day == self._day:
            holding.exit_passed = True
            is_due = holding.may_be_open
        return self._exit(holding, exit_opens_ms) if is_due else None

    def retry_exit(self, now_ms: int) -> Decision | None:
        """Return the next attempt of an exit that left a position, if it is due at `now_ms`."""
        holding = self._holding
        if holding is None or holding.retry_at_ms is None or holding.retry_at_ms > now_ms:
            return None
        holding.retry_at_ms = None
        return self._exit(holding, now_ms)

    def apply_outcome(self, outcome: Outcome) -> bool:
        """Take in what an intent left behind; return whether it changed anything.

        Repeats and outcomes of days gone by change nothing. One that comes before its decision (another replica was
        faster) is kept for it.
        """
        holding, day = self._holding, self._day
        if holding is not None and holding.day == outcome.day and outcome.attempt <= holding.decided(outcome.leg):
            had_outlived = holding.outlived_its_exit
            changed = holding.apply(outcome)
            if changed and had_outlived and not holding.may_be_open:
                self._sight = Sight.UNSEEN
            return changed
        if outcome.leg is Leg.FLATTEN or (day is not None and outcome.day < day):
            return False
        self._outcomes[outcome.day, outcome.leg, outcome.attempt] = outcome
        return True

    def status(self) -> SymbolStatus:
        """Return the state for a person or a metric."""
        plan = self._known_plan()
        targets = None if plan is None else plan.targets
        return SymbolStatus(
            symbol=self.symbol,
            day=self._day,
            blocked_reason=self.blocked_reason(),
            target_long=None if targets is None else targets.long,
            target_short=None if targets is None else targets.short,
            moving_average=None if targets is None else targets.moving_average,
            last_price=self._queue.last_price,
            distance=self.distance(),
            position=None if self._holding is None or not self._holding.may_be_open else self._holding.phase,
        )

    def blocked_reason(self) -> str | None:
        """Return why the symbol cannot be entered now (see `SymbolStatus`), or None if it can."""
        holding, plan = self._holding, self._known_plan()
        if holding is not None and holding.day == self._day:
            return "entered"
        if holding is not None and holding.outlived_its_exit:
            return "position_open"
        if self.retired:
            return "not_in_portfolio"
        if plan is None:
            return "waiting_for_open"
        is_outside = self._sight is Sight.OUTSIDE and not self._marks
        return plan.obstacle or ("outside_targets" if is_outside else None)

    def distance(self) -> float | None:
        """Return the share of the last price to the nearest target of an allowed side; None if not enterable today."""
        price, plan = self._queue.last_price, self._known_plan()
        targets = None if plan is None else plan.targets
        if price is None or targets is None or self.blocked_reason() not in {None, "outside_targets"}:
            return None
        ways = []
        if self._settings.direction is not Direction.SHORT:
            ways.append(targets.long - price)
        if self._settings.direction is not Direction.LONG:
            ways.append(price - targets.short)
        return max(0.0, min(ways)) / price

    def entry_distance(self) -> float | None:
        """Return the share of the last price to the nearest price that would be an entry now.

        Unlike `distance` it heeds the filter, and a symbol that is blocked has none. 0: at such a price; inf: the
        filter lets no price of the day through; None: not enterable now.
        """
        price, plan = self._queue.last_price, self._known_plan()
        targets = None if plan is None else plan.targets
        if price is None or targets is None or self.blocked_reason() is not None:
            return None
        return entry_zones(targets, self._settings).distance(price) / price

    def to_values(self) -> dict[str, Any]:
        """Return everything but the buffered trades as plain values that JSON can hold.

        Take it when no decision is waiting: after `next_decisions` of the portfolio returned nothing.
        """
        buffered_from_ms = self._queue.oldest_ms()
        return {
            "bars": self._bars.to_values(),
            "from_ms": self._queue.consumed_ms if buffered_from_ms is None else buffered_from_ms,
            "consumed_ms": self._queue.consumed_ms,
            "last_price": self._queue.last_price,
            "marks": [mark.to_values() for mark in self._marks],
            "plans": [[day.isoformat(), plan.to_values()] for day, plan in sorted(self._plans.items())],
            "outcomes": [outcome.to_values() for outcome in self._outcomes.values()],
            "holding": None if self._holding is None else self._holding.to_values(),
            "plan": None if self._plan is None else self._plan.to_values(),
            "sight": self._sight.value,
        }

    def restore(self, values: dict[str, Any], day: date | None, *, same_config: bool) -> None:
        """Take back what `to_values` wrote; trades are then fed again from `buffered_from_ms` of that time on.

        Args:
            values: As written.
            day: The day that was running.
            same_config: Whether plans were made under these settings; if not they are made again.
        """
        self._bars.restore(self.symbol, values["bars"])
        self._queue.resume(
            from_ms=values["from_ms"], consumed_ms=values["consumed_ms"], last_price=values["last_price"]
        )
        self._outcomes = {}
        for outcome in map(Outcome.from_values, values["outcomes"]):
            self._outcomes[outcome.day, outcome.leg, outcome.attempt] = outcome
        self._holding = None if values["holding"] is None else Holding.from_values(values["holding"])
        self._day = day
        self._day_start_ms = -1 if day is None else self._session.day_start_ms(day)
        self._found = self._plan = self._zones = None
        self._sight = Sight(values["sight"])
        if not same_config:
            self._marks.clear()
            self._plans = {known: plan for known in self._bars.opened_days if (plan := self._bars.plan(known))}
            plan = None if day is None else self._plans.get(day)
        else:
            self._marks = deque(map(Mark.from_values, values["marks"]))
            self._plans = {date.fromisoformat(known): DayPlan.from_values(plan) for known, plan in values["plans"]}
            plan = None if values["plan"] is None else DayPlan.from_values(values["plan"])
        if plan is not None:
            self._adopt(plan, keeps_sight=same_config)

    def _latest_plan(self, day: date) -> DayPlan | None:
        """Return the last plan made for the day, whether or not trades have come so far that it counts."""
        for mark in reversed(self._marks):
            if mark.day == day:
                return mark.plan
        return self._plan if day == self._day and self._plan is not None else self._plans.get(day)

    def _adopt(self, plan: DayPlan, *, keeps_sight: bool = False) -> None:
        self._plan = plan
        self._zones = None if plan.targets is None else entry_zones(plan.targets, self._settings)
        if not keeps_sight:
            self._sight = Sight.UNSEEN

    def _apply_marks_before(self, time_ms: int) -> None:
        while self._marks and self._marks[0].after_ms < time_ms:
            mark = self._marks.popleft()
            if mark.plan is None:
                self._sight = Sight.UNSEEN
            elif mark.day == self._day:
                self._adopt(mark.plan)

    def _known_plan(self) -> DayPlan | None:
        return None if self._day is None else self._latest_plan(self._day)

    def _watch(self) -> Watch:
        holding, plan = self._holding, self._plan
        if holding is not None and holding.day == self._day:
            if self._settings.stop_loss is None:
                return Watch.NOTHING
            if holding.phase is Phase.ENTERING:
                return Watch.HOLD
            return Watch.STOP if holding.phase is Phase.OPEN else Watch.NOTHING
        if self.retired:
            return Watch.NOTHING
        if plan is None:
            return Watch.HOLD
        if plan.obstacle is not None or (holding is not None and holding.outlived_its_exit):
            return Watch.NOTHING
        if self._sight is Sight.INSIDE:
            return Watch.ENTRY
        return Watch.FIRST if self._sight is Sight.UNSEEN else Watch.RETURN

    def _search(self, segment: Segment, stop: int, watch: Watch) -> _Found | None:
        """Consume the head's trades before `stop`, or up to the first that is what is watched for."""
        targets, zones = None if self._plan is None else self._plan.targets, self._zones
        index, found = stop, None
        if watch is Watch.STOP:
            index = self._first_stop(segment, stop)
            found = self._stop_at(segment, index) if index < stop else None
        elif targets is None or zones is None or watch is Watch.NOTHING:
            pass
        elif watch is Watch.FIRST:
            index = segment.start
            self._sight = Sight.INSIDE if targets.encloses(segment.price_at(index)) else Sight.OUTSIDE
        elif watch is Watch.RETURN:
            index = segment.first_enclosed(stop, targets)
            self._sight = Sight.INSIDE if index < stop else Sight.OUTSIDE
        else:
            index = segment.first_entry(stop, zones)
            found = self._entry_at(segment, index, targets, zones) if index < stop else None
        self._queue.consume(index)
        return found

    def _entry_at(self, segment: Segment, index: int, targets: Targets, zones: EntryZones) -> _Found:
        price = segment.price_at(index)
        is_long = zones.long_low <= price <= zones.long_high
        return _Found(
            time_ms=segment.time_at(index),
            price=price,
            index=index,
            leg=Leg.ENTRY,
            side=Side.BUY if is_long else Side.SELL,
            target=targets.long if is_long else targets.short,
        )

    def _stop_level(self) -> float | None:
        holding, stop_loss = self._holding, self._settings.stop_loss
        return None if holding is None or stop_loss is None else holding.stop_level(stop_loss)

    def _first_stop(self, segment: Segment, stop: int) -> int:
        holding, level = self._holding, self._stop_level()
        if holding is None or level is None:
            return stop
        start = min(stop, segment.index_before(holding.watched_after_ms + 1))
        return segment.first_through(start, stop, level, falling=holding.side is Side.BUY)

    def _stop_at(self, segment: Segment, index: int) -> _Found | None:
        holding, level = self._holding, self._stop_level()
        if holding is None or level is None:
            return None
        return _Found(
            time_ms=segment.time_at(index),
            price=segment.price_at(index),
            index=index,
            leg=Leg.STOP,
            side=holding.side.opposite,
            target=level,
        )

    def _exit(self, holding: Holding, time_ms: int) -> Decision:
        price = self._queue.last_price
        if price is None:
            raise InvariantError(f"{self.symbol}: a position of {holding.day} may be open, but no trade was ever seen")
        holding.exit_attempts += 1
        holding.phase = Phase.EXITING
        attempt, last = holding.exit_attempts, from_float(price)
        decision = Decision(
            symbol=self.symbol,
            day=holding.day,
            leg=Leg.EXIT,
            side=holding.side.opposite,
            target_price=last,
            trigger_price=last,
            trigger_time_ms=time_ms,
            attempt=attempt,
        )
        self._apply_early_outcome(holding.day, Leg.EXIT, attempt)
        return decision

    def _apply_early_outcome(self, day: date, leg: Leg, attempt: int) -> None:
        outcome = self._outcomes.pop((day, leg, attempt), None)
        if outcome is not None and self._holding is not None:
            self._holding.apply(outcome)
