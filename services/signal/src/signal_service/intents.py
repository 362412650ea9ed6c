"""From the strategy's decisions to intents, and from order events back to what became of a decision."""

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from breakwater_core import decimals, identities
from breakwater_core.config import BreakwaterConfig
from breakwater_core.events import Intent, Leg, OrderEvent, Side
from breakwater_core.portfolio import Decision


@dataclass(frozen=True)
class IntentFactory:
    """Makes the intents of a decision: one per account, the same whoever makes them."""

    run_id: str
    config: BreakwaterConfig
    portfolio_size: int

    def intents(self, decision: Decision) -> tuple[Intent, ...]:
        """Return the decision's intents, in the order of the configured accounts."""
        return tuple(self._intent(decision, account) for account in self.config.portfolio.accounts)

    def _intent(self, decision: Decision, account: str) -> Intent:
        version = self.config.version
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
    """

    symbol: str
    day: date
    leg: Leg
    attempt: int
    position_side: Side | None
    average_price: Decimal | None
    at_ms: int


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


class OutcomeBook:
    """Collects order events until every intent of a decision is closed."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self._fills: dict[str, _IntentFills] = {}

    def add(self, event: OrderEvent) -> bool:
        """Take an event; True if its intent is closed now."""
        fills = self._fills.setdefault(event.intent_id, _IntentFills())
        fills.add(event)
        return fills.closed

    def is_closed(self, intent_id: str) -> bool:
        """Whether the intent has its final outcome."""
        fills = self._fills.get(intent_id)
        return fills is not None and fills.closed

    def outcome(self, intents: tuple[Intent, ...]) -> Outcome | None:
        """Return what the decision behind these intents left, or None while one of them is open."""
        fills = [self._fills.get(intent.intent_id) for intent in intents]
        if not all(known is not None and known.closed for known in fills):
            return None
        first = intents[0]
        averages = [average for known in fills if known is not None and (average := known.average()) is not None]
        entered = first.leg is Leg.ENTRY and bool(averages)
        times = [event.event_time_ms for known in fills if known is not None for event in known.children.values()]
        return Outcome(
            symbol=first.symbol,
            day=first.day,
            leg=first.leg,
            attempt=first.attempt,
            position_side=first.side if entered else None,
            average_price=averages[0] if averages else None,
            at_ms=max(times),
        )

    def forget_before(self, day: date) -> None:
        """Drop what belongs to days before `day`, so that memory stays bounded."""
        old = [key for key, fills in self._fills.items() if all(e.day < day for e in fills.children.values())]
        for key in old:
            del self._fills[key]
