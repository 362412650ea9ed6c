"""From decisions to intents, and from order events back to outcomes."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

from breakwater_core.config import BreakwaterConfig
from breakwater_core.events import Intent, Leg, OrderEvent, OrderStatus, Side
from breakwater_core.intents import IntentFactory, OutcomeBook, key_of_decision
from breakwater_core.portfolio import Decision

DAY = date(2024, 1, 6)
DAY_START_MS = 1_704_499_200_000
CONFIG = BreakwaterConfig.parse({"portfolio": {"symbols": ["BTCUSDT", "ETHUSDT"], "accounts": ["first", "second"]}})
ENTRY = Decision(
    symbol="BTCUSDT",
    day=DAY,
    leg=Leg.ENTRY,
    side=Side.BUY,
    target_price=Decimal(100),
    trigger_price=Decimal("100.5"),
    trigger_time_ms=DAY_START_MS + 1000,
    attempt=1,
)


def factory() -> IntentFactory:
    return IntentFactory("run-1", CONFIG, 2)


def closing_event(intent: Intent, **changes: object) -> OrderEvent:
    event = OrderEvent(
        event_id="e",
        run_id=intent.run_id,
        account=intent.account,
        symbol=intent.symbol,
        day=intent.day,
        strategy_version=intent.strategy_version,
        intent_id=intent.intent_id,
        order_link_id="bw-0",
        child=0,
        status=OrderStatus.FILLED,
        leg=intent.leg,
        side=intent.side,
        reduce_only=intent.leg.reduces,
        quantity=Decimal(2),
        filled_quantity=Decimal(2),
        average_price=Decimal(101),
        target_price=intent.target_price,
        trigger_price=intent.trigger_price,
        trigger_time_ms=intent.trigger_time_ms,
        intent_closed=True,
        event_time_ms=intent.trigger_time_ms + 50,
    )
    return replace(event, **changes)


def test_the_epoch_is_carried_and_is_no_part_of_the_id() -> None:
    earlier, later = factory().intents(ENTRY, 3)[0], factory().intents(ENTRY, 4)[0]
    assert (earlier.epoch, later.epoch) == (3, 4)
    assert earlier.intent_id == later.intent_id


def test_a_decision_becomes_one_intent_per_account_with_ids_that_anybody_would_compute() -> None:
    first, second = factory().intents(ENTRY)
    assert (first.account, second.account) == ("first", "second")
    assert first.intent_id == f"run-1/first/{CONFIG.version}/BTCUSDT/2024-01-06/entry/1"
    assert factory().intents(ENTRY) == (first, second)
    assert first.portfolio_size == 2


def test_an_entry_expires_after_its_validity_and_never_lives_into_the_exit_window() -> None:
    assert factory().intents(ENTRY)[0].valid_until_ms == ENTRY.trigger_time_ms + 10_000
    late = replace(ENTRY, trigger_time_ms=DAY_START_MS + 86_400_000 - 30_000 - 1)
    assert factory().intents(late)[0].valid_until_ms == DAY_START_MS + 86_400_000 - 30_000


def test_an_exit_never_expires() -> None:
    assert factory().intents(replace(ENTRY, leg=Leg.EXIT))[0].valid_until_ms is None


def test_an_outcome_waits_for_every_account() -> None:
    book, intents = OutcomeBook(["first", "second"]), factory().intents(ENTRY)
    assert book.add(closing_event(intents[0])) is None
    refused = {"status": OrderStatus.REFUSED, "filled_quantity": Decimal(0), "average_price": None}
    outcome = book.add(closing_event(intents[1], **refused))
    assert outcome is not None
    assert (outcome.position_side, outcome.average_price) == (Side.BUY, Decimal(101))
    assert outcome == book.outcome(key_of_decision(ENTRY))


def test_an_entry_without_a_fill_leaves_no_position() -> None:
    book, intents = OutcomeBook(["first"]), factory().intents(ENTRY)
    expired = {"status": OrderStatus.EXPIRED, "filled_quantity": Decimal(0), "average_price": None}
    outcome = book.add(closing_event(intents[0], **expired))
    assert outcome is not None
    assert (outcome.position_side, outcome.average_price) == (None, None)


def test_the_average_price_is_over_all_orders_of_the_intent() -> None:
    book, intents = OutcomeBook(["first"]), factory().intents(ENTRY)
    assert book.add(closing_event(intents[0], intent_closed=False, average_price=Decimal(100))) is None
    second = closing_event(
        intents[0], child=1, quantity=Decimal(6), filled_quantity=Decimal(6), average_price=Decimal(104)
    )
    outcome = book.add(second)
    assert outcome is not None
    assert outcome.average_price == Decimal(103)


def test_an_earlier_state_of_an_order_does_not_replace_a_later_one() -> None:
    book, intents = OutcomeBook(["first"]), factory().intents(ENTRY)
    book.add(closing_event(intents[0]))
    early = {"status": OrderStatus.SUBMITTED, "filled_quantity": Decimal(0), "average_price": None}
    outcome = book.add(closing_event(intents[0], intent_closed=False, **early))
    assert outcome is not None
    assert outcome.average_price == Decimal(101)


def test_an_entry_that_was_never_settled_is_not_taken_for_an_empty_one() -> None:
    book, intents = OutcomeBook(["first"]), factory().intents(ENTRY)
    unknown = {"status": OrderStatus.UNKNOWN, "filled_quantity": Decimal(0), "average_price": None}
    outcome = book.add(closing_event(intents[0], **unknown))
    assert outcome is not None
    assert not outcome.known


def test_a_closed_exit_leaves_no_position() -> None:
    book, intents = OutcomeBook(["first"]), factory().intents(replace(ENTRY, leg=Leg.EXIT, side=Side.SELL))
    outcome = book.add(closing_event(intents[0]))
    assert outcome is not None
    assert outcome.position_side is None


def test_old_days_are_forgotten() -> None:
    book, intents = OutcomeBook(["first"]), factory().intents(ENTRY)
    book.add(closing_event(intents[0]))
    book.forget_before(date(2024, 1, 7))
    assert book.outcome(key_of_decision(ENTRY)) is None
