"""Trading rules of an instrument as Bybit enforces them: steps, bounds, the price band."""

from decimal import Decimal

from breakwater_core.events import Side
from breakwater_core.market import Instrument
from breakwater_core.venue_rules import BAND_RATIO, MAINTENANCE_RATIO, price_limits
from paper_exchange_service.engine.refusal import Refusal, bad_parameter

_PRICE_STEPS = 19_999_998
"""Bybit's largest price is this many ticks."""


class TradingRules:
    """Filters of one instrument; raises the exchange's refusals.

    Attributes:
        instrument: The rules as data.
        band_ratio: Largest distance of an order's price from the mark, as a share (0.05 is 5 %).
        maintenance_ratio: Maintenance margin, as a share of the position's value.
    """

    def __init__(
        self,
        instrument: Instrument,
        *,
        band_ratio: Decimal = BAND_RATIO,
        maintenance_ratio: Decimal = MAINTENANCE_RATIO,
    ) -> None:
        self.instrument = instrument
        self.band_ratio = band_ratio
        self.maintenance_ratio = maintenance_ratio
        self.symbol = instrument.symbol
        self.tick = instrument.tick_size
        self.step = instrument.quantity_step
        self.min_price = self.tick
        self.max_price = self.tick * _PRICE_STEPS
        self.price_decimals = max(0, -int(self.tick.as_tuple().exponent))
        self.quantity_decimals = max(0, -int(self.step.as_tuple().exponent))

    def check_quantity(self, quantity: Decimal, *, market: bool) -> None:
        """Refuse a quantity that is off the step or out of bounds."""
        rules = self.instrument
        if quantity <= 0 or quantity % self.step:
            raise bad_parameter("Qty invalid")
        if quantity < rules.min_quantity:
            raise bad_parameter("The number of contracts exceeds minimum limit allowed")
        if quantity > (rules.max_market_quantity if market else rules.max_quantity):
            raise bad_parameter("The number of contracts exceeds maximum limit allowed: too large")

    def check_price(self, price: Decimal) -> None:
        """Refuse a price that is off the tick or out of bounds."""
        if price <= 0 or price % self.tick:
            raise bad_parameter("Price invalid")
        if not self.min_price <= price <= self.max_price:
            raise Refusal(110003, "Order price exceeds the allowable range.")

    def check_value(self, quantity: Decimal, price: Decimal) -> None:
        """Refuse an order whose value is below the minimum."""
        least = self.instrument.min_notional
        if quantity * price < least:
            raise Refusal(110094, f"Order does not meet minimum order value {least:f}USDT")

    def limits(self, mark: Decimal) -> tuple[Decimal, Decimal]:
        """Return the highest price of a purchase and the lowest of a sale, on the tick, inside the band."""
        return price_limits(mark, self.band_ratio, self.tick)

    def bound(self, side: Side, mark: Decimal) -> Decimal:
        """Return the worst price that a market order of the side may fill at."""
        highest, lowest = self.limits(mark)
        return highest if side is Side.BUY else lowest
