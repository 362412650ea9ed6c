"""Trading rules for data that comes without them: the ten symbols of the synthetic generator, and any other."""

import math
from decimal import Decimal

from breakwater_core.errors import InvalidInputError
from breakwater_core.market import Instrument

_MIN_NOTIONAL = Decimal(5)
_LIMIT_ORDER_VALUE = 20_000_000
_MARKET_ORDER_VALUE = 4_000_000

# symbol: tick size, quantity step, largest limit order, largest market order, largest leverage
_RULES = {
    "BTCUSDT": ("0.1", "0.001", "1500", "150", "100"),
    "ETHUSDT": ("0.01", "0.01", "8000", "1600", "100"),
    "SOLUSDT": ("0.01", "0.1", "80000", "16000", "100"),
    "XRPUSDT": ("0.0001", "0.1", "7500000", "1500000", "75"),
    "DOGEUSDT": ("0.00001", "1", "43000000", "6000000", "75"),
    "ADAUSDT": ("0.0001", "1", "1500000", "590000", "75"),
    "AVAXUSDT": ("0.001", "0.1", "110000", "22000", "50"),
    "LINKUSDT": ("0.001", "0.1", "41000", "15000", "50"),
    "DOTUSDT": ("0.0001", "0.1", "400000", "80000", "50"),
    "LTCUSDT": ("0.01", "0.1", "8800", "3000", "50"),
}

DEFAULT_SYMBOLS = tuple(_RULES)
"""The ten symbols that are generated and traded unless others are named."""


def instruments() -> dict[str, Instrument]:
    """Return plausible trading rules of `DEFAULT_SYMBOLS`, in that order, by symbol."""
    return {
        symbol: Instrument(
            symbol=symbol,
            tick_size=Decimal(tick),
            quantity_step=Decimal(step),
            min_quantity=Decimal(step),
            max_quantity=Decimal(limit),
            max_market_quantity=Decimal(market),
            min_notional=_MIN_NOTIONAL,
            max_leverage=Decimal(leverage),
        )
        for symbol, (tick, step, limit, market, leverage) in _RULES.items()
    }


def default_instrument(symbol: str, price: float) -> Instrument:
    """Return trading rules for any symbol, fitting its price.

    The tick is a power of ten between 0.001 % and 0.01 % of the price. The quantity step is a power of ten, at most 1,
    and worth no more than the smallest order value.

    Args:
        symbol: Venue symbol.
        price: A usual price, quote currency per 1 base unit, finite and above 0.

    Raises:
        InvalidInputError: If the price is out of range.
    """
    if not (math.isfinite(price) and price > 0):
        raise InvalidInputError(f"{symbol}: price must be finite and above 0, was {price}")
    exact = Decimal(repr(float(price)))
    tick = Decimal(1).scaleb(exact.adjusted() - 4)
    step = min(Decimal(1), Decimal(1).scaleb((_MIN_NOTIONAL / exact).adjusted()))
    return Instrument(
        symbol=symbol,
        tick_size=tick,
        quantity_step=step,
        min_quantity=step,
        max_quantity=_LIMIT_ORDER_VALUE / exact // step * step,
        max_market_quantity=_MARKET_ORDER_VALUE / exact // step * step,
        min_notional=_MIN_NOTIONAL,
    )


def instrument_for(symbol: str, price: float) -> Instrument:
    """Return the trading rules of a symbol of which only a price is known: its own, else those that fit the price.

    Raises:
        InvalidInputError: If the price is out of range.
    """
    return instruments().get(symbol) or default_instrument(symbol, price)
