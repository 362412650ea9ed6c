"""What an account is worth and what it may still open: cross margin over all symbols, in USDT."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from breakwater_core.venue_rules import closing_fee, position_initial_margin
from paper_exchange_service.engine.accounts import Account
from paper_exchange_service.engine.markets import Costs
from paper_exchange_service.engine.positions import Position

ZERO = Decimal(0)

Marks = Callable[[str], Decimal | None]
"""Gives the mark price of a symbol at the time of the valuation."""


@dataclass(frozen=True, slots=True)
class PositionMargin:
    """Value and margins of one position at a mark price."""

    mark: Decimal
    value: Decimal
    unrealised: Decimal
    initial: Decimal
    maintenance: Decimal


@dataclass(frozen=True, slots=True)
class Valuation:
    """An account at one moment; all in quote currency."""

    wallet: Decimal
    unrealised: Decimal
    position_initial: Decimal
    order_initial: Decimal
    maintenance: Decimal

    @property
    def equity(self) -> Decimal:
        """Wallet balance and open profit together."""
        return self.wallet + self.unrealised

    @property
    def available(self) -> Decimal:
        """What new orders may use, at least 0."""
        return max(ZERO, self.equity - self.position_initial - self.order_initial)


def position_margin(position: Position, mark: Decimal, leverage: Decimal, costs: Costs) -> PositionMargin:
    """Return the value and the margins of a position: initial = value / leverage and the fee of closing it."""
    value = abs(position.size) * mark
    return PositionMargin(
        mark=mark,
        value=value,
        unrealised=position.unrealised(mark),
        initial=position_initial_margin(value, leverage, costs.taker_fee),
        maintenance=value * costs.maintenance_ratio + closing_fee(value, costs.taker_fee),
    )


def valuation(account: Account, marks: Marks, costs: Costs) -> Valuation:
    """Return the account's worth; a position without a mark price counts at its entry."""
    unrealised = initial = maintenance = ZERO
    for position in account.held.values():
        mark = marks(position.symbol) or position.average
        margin = position_margin(position, mark, account.leverage_of(position.symbol), costs)
        unrealised += margin.unrealised
        initial += margin.initial
        maintenance += margin.maintenance
    return Valuation(account.wallet, unrealised, initial, account.order_margin, maintenance)


def liquidation_price(
    account: Account, position: Position, worth: Valuation, mark: Decimal, costs: Costs
) -> Decimal | None:
    """Return the mark at which the account meets its maintenance margin if only this symbol moves; None: never."""
    rate = costs.maintenance_ratio + max(ZERO, costs.taker_fee)
    buffer = worth.equity - worth.maintenance
    if not position.size:
        return None
    slope = position.size - abs(position.size) * rate
    price = mark - buffer / slope
    return price if price > 0 else None
