"""What a flatten sends: for each open position an intent whose id follows from the order alone.

All executors make the same intents, so they share the durable records and the order ids; one chain of orders results.
"""

from dataclasses import dataclass
from decimal import Decimal

from breakwater_bybit.model import OrderState, PositionState
from breakwater_core.control import FlattenOrder
from breakwater_core.events import Intent, Leg, Side
from breakwater_core.identities import intent_id
from breakwater_core.session import Session

FLATTEN_VERSION = "control"
"""Stands in a flatten's ids for the strategy's version: no configuration decides it, and two must not tell it apart."""
ROUNDS = 1_000
"""A position that comes back is closed in a further round; so many have room in the attempt beside the epoch."""
_OUR_LINKS = "bw-"


@dataclass(frozen=True, slots=True)
class FlattenLine:
    """A position as a flatten has found it.

    Attributes:
        side: Side of the order that closes it.
        price: Mark price when it was found, quote currency: what a perfect fill would give.
    """

    symbol: str
    side: Side
    price: Decimal


def line_of(position: PositionState) -> FlattenLine:
    """Return the line of a position."""
    side = Side.SELL if position.size > 0 else Side.BUY
    return FlattenLine(position.symbol, side, position.mark_price or position.average_price or Decimal(1))


def flatten_intent(
    order: FlattenOrder,
    line: FlattenLine,
    *,
    run_id: str,
    account: str,
    session: Session,
    round_number: int,
) -> Intent:
    """Return the intent that closes a position.

    Args:
        order: The person's order; its epoch and the round make the attempt.
        line: What was found.
        run_id: Run of the executor.
        account: Account of the position.
        session: Names the day on which the order was given.
        round_number: From 1; the next one once the round before has ended and the symbol is open again.
    """
    day = session.day_of(order.at_ms)
    attempt = order.epoch * ROUNDS + min(round_number, ROUNDS - 1)
    identity = intent_id(
        run_id=run_id,
        account=account,
        strategy_version=FLATTEN_VERSION,
        symbol=line.symbol,
        day=day,
        leg=Leg.FLATTEN,
        attempt=attempt,
    )
    return Intent(
        intent_id=identity,
        run_id=run_id,
        account=account,
        strategy_version=FLATTEN_VERSION,
        symbol=line.symbol,
        day=day,
        leg=Leg.FLATTEN,
        attempt=attempt,
        side=line.side,
        target_price=line.price,
        trigger_price=line.price,
        trigger_time_ms=order.at_ms,
        valid_until_ms=None,
        gross_leverage=Decimal(1),
        portfolio_size=1,
        epoch=order.epoch,
    )


def to_cancel(orders: list[OrderState]) -> list[OrderState]:
    """Return the open orders that are in the way: all but our own that reduce, which are at work."""
    return [order for order in orders if not (order.reduce_only and order.order_link_id.startswith(_OUR_LINKS))]
