"""Equal-weight sizing: each symbol gets its share of equity times leverage, rounded down to the instrument's step.

Prices are quote currency per 1 base unit, quantities base units, equity and notional quote currency.
"""

from dataclasses import dataclass
from decimal import Decimal

from breakwater_core.decimals import MONEY, to_text
from breakwater_core.errors import InvalidInputError
from breakwater_core.market import Instrument
from breakwater_core.verdicts import Refused

__all__ = ["Refused", "Sized", "entry_quantity", "split_quantity"]


@dataclass(frozen=True, slots=True)
class Sized:
    """An entry's size.

    Attributes:
        quantity: Base units, a multiple of the instrument's step; may exceed one order's maximum, see `split_quantity`.
        notional: Quantity times price, quote currency.
    """

    quantity: Decimal
    notional: Decimal


def entry_quantity(
    *,
    equity: Decimal,
    gross_leverage: Decimal,
    portfolio_size: int,
    price: Decimal,
    instrument: Instrument,
) -> Sized | Refused:
    """Return the largest quantity worth at most `equity * gross_leverage / portfolio_size`, never rounded up.

    Args:
        equity: Equity at the day's open, quote currency; at or below zero is refused as `no_equity`.
        gross_leverage: Notional of the whole portfolio / equity, above 0.
        portfolio_size: Number of symbols that share the equity.
        price: Price at which the notional is counted, above 0.
        instrument: Its step and minima; a size below them is refused as `below_min_quantity` or `below_min_notional`.

    Raises:
        InvalidInputError: If leverage, portfolio size, price or the instrument's step is out of range.
    """
    for name, value in (
        ("gross_leverage", gross_leverage),
        ("price", price),
        ("quantity_step", instrument.quantity_step),
    ):
        if not value > 0:
            raise InvalidInputError(f"{instrument.symbol}: {name} must be above 0, was {value}")
    if portfolio_size < 1:
        raise InvalidInputError(f"portfolio_size must be 1 or more, was {portfolio_size}")
    if equity <= 0:
        return Refused("no_equity", f"equity is {to_text(equity)}: there is nothing to trade with")
    value_of_step = MONEY.multiply(MONEY.multiply(price, instrument.quantity_step), Decimal(portfolio_size))
    steps = MONEY.divide_int(MONEY.multiply(equity, gross_leverage), value_of_step)  # exact: only the whole part
    quantity = MONEY.multiply(steps, instrument.quantity_step)
    notional = MONEY.multiply(quantity, price)
    if quantity <= 0 or quantity < instrument.min_quantity:
        return Refused(
            "below_min_quantity",
            f"{to_text(quantity)} is below the smallest {instrument.symbol} order, {to_text(instrument.min_quantity)}",
        )
    if notional < instrument.min_notional:
        return Refused(
            "below_min_notional",
            f"{to_text(notional)} is below the smallest order value of {to_text(instrument.min_notional)}",
        )
    return Sized(quantity, notional)


def split_quantity(quantity: Decimal, instrument: Instrument) -> tuple[Decimal, ...]:
    """Return the quantity in as few market orders as possible, largest first; they sum up to it exactly.

    Each part is a multiple of the step and at most the largest market order. None is below the smallest order if that
    can be had at all.

    Args:
        quantity: Base units, above 0 and a multiple of the step.
        instrument: Its step, smallest order and largest market order.

    Raises:
        InvalidInputError: If the quantity is not above 0 or no multiple of the step, or no step fits an order.
    """
    step = instrument.quantity_step
    steps = _whole_steps(quantity, step)
    if steps < 1 or MONEY.multiply(Decimal(steps), step) != quantity:
        raise InvalidInputError(
            f"{instrument.symbol}: quantity must be above 0 and a multiple of {to_text(step)}, was {quantity}"
        )
    largest = _whole_steps(instrument.max_market_quantity, step)
    if largest < 1:
        raise InvalidInputError(
            f"{instrument.symbol}: the largest market order {instrument.max_market_quantity} is below the step {step}; "
            "check the instrument's rules"
        )
    smallest = max(1, _whole_steps(instrument.min_quantity, step))
    if MONEY.multiply(Decimal(smallest), step) < instrument.min_quantity:
        smallest += 1
    count = -(-steps // largest)
    reserved = smallest if count * smallest <= steps and smallest <= largest else 0
    parts = []
    left = steps
    for others in range(count - 1, -1, -1):
        part = min(largest, left - others * reserved)
        parts.append(MONEY.multiply(Decimal(part), step))
        left -= part
    return tuple(parts)


def _whole_steps(quantity: Decimal, step: Decimal) -> int:
    return int(MONEY.divide_int(quantity, step))
