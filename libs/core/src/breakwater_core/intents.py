"""From the strategy's decisions to intents, and from order events back to what became of a decision."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import cached_property

from breakwater_core import decimals, identities
from breakwater_core.config import BreakwaterConfig
from breakwater_core.events import Intent, Leg, OrderEvent, OrderStatus, Side
from breakwater_core.portfolio import Decision


@dataclass(frozen=True)
class IntentFactory:
    """Makes the intents of a decision: one per account, the same whoever makes them.

    Attributes:
        run_id: Id of the run.
        config: The configuration that the decision was made under.
        portfolio_size: Number of symbols that share the equity.
        name: Version under which the configuration is kept; none: its hash. They differ if the configuration was kept
            by a program that knew fewer keys.
    """

    run_id: str
    config: BreakwaterConfig
    portfolio_size: int
    name: str | None = None

    @cached_property
    def version(self) -> str:
        """The configuration's version, worked out once: it is a hash over all of it."""
        return self.config.version if self.name is None else self.name

    def intents(self, decision: Decision, epoch: int = 0) -> tuple[Intent, ...]:
        """Return the decision's intents, in the order of the configured accounts.

        Args:
            decision: What the strategy has decided.
            epoch: The newest epoch of the control document that is known; it is no part of the ids.
        """
        return tuple(self._intent(decision, account, epoch) for account in self.config.portfolio.accounts)

    def _intent(self, decision: Decision, account: str, epoch: int) -> Intent:
        version = self.version
        return Intent(
            intent_id=identities.intent_id(
                run_id=self.run_id,
                account=account,
                strategy_version=version,
                symbol=decision.symbol,
                day=decision.day,
                leg=decision.leg,
                attempt=decision.attempt,
            ),
            run_id=self.run_id,
            account=account,
            strategy_version=version,
            symbol=decision.symbol,
            day=decision.day,
            leg=decision.leg,
            attempt=decision.attempt,
            side=decision.side,
            target_price=decision.target_price,
            trigger_price=decision.trigger_price,
            trigger_time_ms=decision.trigger_time_ms,
            valid_until_ms=self._valid_until(decision),
            gross_leverage=self.config.portfolio.gross_leverage,
            portfolio_size=self.portfolio_size,
            epoch=epoch,
        )

    def _valid_until(self, decision: Decision) -> int | None:
        if decision.leg.reduces:
            return None
        exit_opens = self.config.session.session().exit_opens_ms(decision.day)
        return min(decision.trigger_time_ms + round(self.config.risk.entry_valid_for * 1000), exit_opens)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a decision left behind, over all accounts.

    Attributes:
        position_side: Side of the entry that is open now; None if the decision left no position.
        average_price: Average entry price of the first account that was filled; None without a fill.
        at_ms: Venue time of the last event.
        known: False if an entry was given up without ever being settled: a position may be open, so the strategy is
            not told and will exit.
    """

    symbol: str
    day: date
    leg: Leg
    attempt: int
    position_side: Side | None
    average_price: Decimal | None
    at_ms: int
    known: bool = True


@dataclass
class _IntentFills:
    children: dict[int, OrderEvent] = field(default_factory=dict)
    closed: bool = False

    def add(self, event: OrderEvent) -> None:
        known = self.children.get(event.child)
        if known is None or event.filled_quantity >= known.filled_quantity:
            self.children[event.child] = event
        self.closed = self.closed or event.intent_closed

    def average(self) -> Decimal | None:
        filled = [event for event in self.children.values() if event.filled_quantity > 0 and event.average_price]
        quantity = sum((event.filled_quantity for event in filled), Decimal(0))
        if not quantity:
            return None
        value = sum(((event.average_price or Decimal(0)) * event.filled_quantity for event in filled), Decimal(0))
        return decimals.MONEY.divide(value, quantity)


DAYS_EXPECTED = 32
"""Days of which it is kept whose outcomes they need; a position that outlives its exit is closed long before."""

DecisionKey = tuple[str, date, Leg, int]
"""Symbol, day, leg and attempt: what a decision is known by, whichever account or process acts on it."""


def key_of_decision(decision: Decision) -> DecisionKey:
    """Return the key of a decision."""
    return (decision.symbol, decision.day, decision.leg, decision.attempt)


def key_of_event(event: OrderEvent) -> DecisionKey:
    """Return the key of the decision that an order event belongs to."""
    return (event.symbol, event.day, event.leg, int(event.intent_id.rpartition("/")[2]))


class OutcomeBook:
    """Collects order events until a decision is closed in every account."""

    def __init__(self, accounts: Sequence[str]) -> None:
        """Expect an outcome of each of these accounts; the first one's fill price counts for the stop."""
        self._accounts = tuple(accounts)
        self._accounts_of: dict[date, tuple[str, ...]] = {}
        self._fills: dict[DecisionKey, dict[str, _IntentFills]] = {}

    def expect(self, day: date, accounts: Sequence[str]) -> None:
        """Expect an outcome of other accounts for the decisions of one day; the newest days told are kept."""
        self._accounts_of[day] = tuple(accounts)
        for past in sorted(self._accounts_of)[:-DAYS_EXPECTED]:
            del self._accounts_of[past]

    def add(self, event: OrderEvent) -> Outcome | None:
        """Take an event; return the decision's outcome if it is closed in every account now."""
        key = key_of_event(event)
        self._fills.setdefault(key, {}).setdefault(event.account, _IntentFills()).add(event)
        return self.outcome(key)

    def outcome(self, key: DecisionKey) -> Outcome | None:
        """Return what the decision left behind, or None while an account's intent is open."""
        by_account = self._fills.get(key, {})
        fills = [by_account.get(account) for account in self._accounts_of.get(key[1], self._accounts)]
        closed = [known for known in fills if known is not None and known.closed]
        if len(closed) < len(fills):
            return None
        symbol, day, leg, attempt = key
        events = [event for known in closed for event in known.children.values()]
        averages = [average for known in closed if (average := known.average()) is not None]
        return Outcome(
            symbol=symbol,
            day=day,
            leg=leg,
            attempt=attempt,
            position_side=events[0].side if leg is Leg.ENTRY and averages else None,
            average_price=averages[0] if averages else None,
            at_ms=max(event.event_time_ms for event in events),
            known=leg is not Leg.ENTRY or all(event.status is not OrderStatus.UNKNOWN for event in events),
        )

    def forget_before(self, day: date) -> None:
        """Drop what belongs to days before `day`, so that memory stays bounded."""
        for key in [key for key in self._fills if key[1] < day]:
            del self._fills[key]
