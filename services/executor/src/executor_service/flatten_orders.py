"""What a flatten sends: for each open position an intent whose id follows from the order alone.

All executors make the same intents, so they share the durable records and the order ids; one chain of orders results.
"""

from decimal import Decimal

from breakwater_bybit.model import OrderState, PositionState
from breakwater_core.control import FlattenOrder
from breakwater_core.events import Intent, Leg, Side
from breakwater_core.identities import intent_id
from breakwater_core.session import Session

FLATTEN_VERSION = "control"
"""Stands in a flatten's ids for the strategy's version: no configuration decides it, and two must not tell it apart."""
_ROUNDS = 1_000
"""A position that comes back is closed in a further round; so many have room in the attempt beside the epoch."""
_OUR_LINKS = "bw-"


def flatten_intent(
    order: FlattenOrder,
    position: PositionState,
    *,
    run_id: str,
    account: str,
    session: Session,
    round_number: int,
) -> Intent:
    """Return the intent that closes a position.

    Args:
        order: The person's order; its epoch and the round make the attempt.
        position: What is open; its mark price is what a perfect fill would give.
        run_id: Run of the executor.
        account: Account of the position.
        session: Names the day on which the order was given.
        round_number: From 1; the next one once the round before has ended and the symbol is open again.
    """
    day = session.day_of(order.at_ms)
    attempt = order.epoch * _ROUNDS + min(round_number, _ROUNDS - 1)
    price = position.mark_price or position.average_price or Decimal(1)
    identity = intent_id(
        run_id=run_id,
        account=account,
        strategy_version=FLATTEN_VERSION,
        symbol=position.symbol,
        day=day,
        leg=Leg.FLATTEN,
        attempt=attempt,
    )
    return Intent(
        intent_id=identity,
        run_id=run_id,
        account=account,
        strategy_version=FLATTEN_VERSION,
        symbol=position.symbol,
        day=day,
        leg=Leg.FLATTEN,
        attempt=attempt,
        side=Side.SELL if position.size > 0 else Side.BUY,
        target_price=price,
        trigger_price=price,
        trigger_time_ms=order.at_ms,
        valid_until_ms=None,
        gross_leverage=Decimal(1),
        portfolio_size=1,
        epoch=order.epoch,
    )


def to_cancel(orders: list[OrderState]) -> list[OrderState]:
    """Return the open orders that are in the way: all but our own that reduce, which are at work."""
    return [order for order in orders if not (order.reduce_only and order.order_link_id.startswith(_OUR_LINKS))]
