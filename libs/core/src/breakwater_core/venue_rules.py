"""How the modelled exchange fills, charges and secures: the formulas of the paper exchange and of the tick backtest.

Both import them from here, so that a backtest and a replay cannot disagree on a fill. Prices are quote currency per
1 base unit, quantities base units, money quote currency, times milliseconds UTC, ratios fractions of 1. The rules are
Bybit's as its v5 documentation states them: a market order is an IOC bounded by a price band, funding is settled at
00:00, 08:00 and 16:00 UTC, cross margin counts all positions together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import numpy as np
from numpy.typing import NDArray

from breakwater_core.decimals import floor_to_step, from_float
from breakwater_core.events import Side
from breakwater_core.price_history import PriceHistory

FUNDING_INTERVAL_MS = 8 * 3_600_000
"""Funding is settled at 00:00, 08:00 and 16:00 UTC."""
BAND_RATIO = Decimal("0.05")
"""Largest distance of a market order's fills from the last trade, as a share, unless set otherwise."""
MAINTENANCE_RATIO = Decimal("0.005")
"""Maintenance margin as a share of the position's value, unless set otherwise."""
RANGE_SPAN_MS = 60_000
"""Length of the stretch before a matching whose range `costs.slippage_range_share` is a share of."""

_ZERO = Decimal(0)


# -- prices --------------------------------------------------------------------------------------------------------


def floor_to_tick(price: Decimal, tick: Decimal) -> Decimal:
    """Return the multiple of the tick at or below the price."""
    return (price / tick).to_integral_value(rounding=ROUND_FLOOR) * tick


def ceil_to_tick(price: Decimal, tick: Decimal) -> Decimal:
    """Return the multiple of the tick at or above the price."""
    return (price / tick).to_integral_value(rounding=ROUND_CEILING) * tick


def taker_price(
    side: Side, last: Decimal, slippage_ratio: Decimal, tick: Decimal, slippage_distance: Decimal = _ZERO
) -> Decimal:
    """Return where a market order begins to fill: the last trade moved against the taker, rounded away from it.

    Args:
        side: Side of the order.
        last: Last trade at the time of the matching.
        slippage_ratio: Share of the last trade by which the price is moved.
        tick: The price is a multiple of it, at least one.
        slippage_distance: What it is moved by besides, quote currency.
    """
    if side is Side.BUY:
        return ceil_to_tick(last * (1 + slippage_ratio) + slippage_distance, tick)
    return max(tick, floor_to_tick(last * (1 - slippage_ratio) - slippage_distance, tick))


def range_slippage(history: PriceHistory, at_ms: int, share: Decimal) -> Decimal:
    """Return the share of the range of the last minute up to the matching: quote currency, never below 0.

    The range is the highest less the lowest price that was the last one at any time of the 60 seconds up to `at_ms`, so
    it looks neither ahead nor at the clock's minutes: a minute that has just begun would have no range.

    Args:
        history: Trades of the symbol, known up to `at_ms` at least and back to `RANGE_SPAN_MS` before it.
        at_ms: When the order matches.
        share: Part of the range that a taker gives up; 0 gives 0.
    """
    if not share:
        return _ZERO
    extremes = history.extremes(at_ms - RANGE_SPAN_MS, at_ms)
    return _ZERO if extremes is None else (from_float(extremes[1]) - from_float(extremes[0])) * share


def price_limits(last: Decimal, band_ratio: Decimal, tick: Decimal) -> tuple[Decimal, Decimal]:
    """Return the highest price of a purchase and the lowest of a sale, on the tick, inside the band."""
    highest = floor_to_tick(last * (1 + band_ratio), tick)
    lowest = ceil_to_tick(last * (1 - band_ratio), tick)
    return highest, max(lowest, tick)


def taker_fills(
    side: Side,
    quantity: Decimal,
    *,
    last: Decimal,
    bound: Decimal,
    slippage_ratio: Decimal,
    tick: Decimal,
    step: Decimal,
    slippage_distance: Decimal = _ZERO,
    depth_notional: Decimal | None = None,
) -> Iterator[tuple[Decimal, Decimal]]:
    """Yield price and quantity of what a taker's order gets, best price first; what they lack stays unfilled.

    Args:
        side: Side of the order.
        quantity: What is still to be filled.
        last: Last trade at the time of the matching.
        bound: Worst price that it may fill at.
        slippage_ratio: Distance of the first fill from the last trade.
        tick: Prices are multiples of it; the price levels lie one tick apart.
        step: Quantities are multiples of it.
        slippage_distance: Distance of the first fill from the last trade besides, quote currency.
        depth_notional: Value of a price level; None: the first one holds everything.
    """
    price = taker_price(side, last, slippage_ratio, tick, slippage_distance)
    left = quantity
    while left > 0 and (bound - price) * side.sign >= 0:
        if depth_notional is None:
            yield price, left
            return
        filled = min(left, max(step, floor_to_step(depth_notional / price, step)))
        yield price, filled
        left -= filled
        price += side.sign * tick


# -- costs ---------------------------------------------------------------------------------------------------------


def trading_fee(quantity: Decimal, price: Decimal, rate: Decimal) -> Decimal:
    """Return the fee of a fill, not rounded; a negative rate is a rebate."""
    return quantity * price * rate


def funding_payment(size: Decimal, mark: Decimal, rate: Decimal) -> Decimal:
    """Return what a position pays at a funding stamp: longs pay when the rate is positive, shorts receive."""
    return size * mark * rate


def funding_stamps(after_ms: int, through_ms: int) -> Iterator[int]:
    """Yield the funding stamps with `after_ms < stamp <= through_ms`, oldest first."""
    stamp = (after_ms // FUNDING_INTERVAL_MS + 1) * FUNDING_INTERVAL_MS
    while stamp <= through_ms:
        yield stamp
        stamp += FUNDING_INTERVAL_MS


# -- margin --------------------------------------------------------------------------------------------------------


def closing_fee(value: Decimal, taker_fee: Decimal) -> Decimal:
    """Return what is set aside for closing a position of the value; a rebate is not counted on."""
    return value * max(_ZERO, taker_fee)


def position_initial_margin(value: Decimal, leverage: Decimal, taker_fee: Decimal) -> Decimal:
    """Return what a position of the value ties up: value / leverage and the fee of closing it."""
    return value / leverage + closing_fee(value, taker_fee)


def order_margin(quantity: Decimal, price: Decimal, leverage: Decimal, taker_fee: Decimal) -> Decimal:
    """Return what an opening order needs: value / leverage and the fees of both ways."""
    value = quantity * price
    return value / leverage + 2 * value * max(_ZERO, taker_fee)


@dataclass(frozen=True, slots=True)
class Exposure:
    """A position and its prices over a stretch of time.

    Attributes:
        size: Base units, negative when short.
        cost: Signed sum of quantity * price that the position carries.
        first: Price before the stretch.
        times: Times of the trades of the stretch, rising, shape (n,).
        prices: Their prices, shape (n,).
    """

    size: float
    cost: float
    first: float
    times: NDArray[np.int64]
    prices: NDArray[np.float64]


def first_breach(wallet: Decimal, exposures: Sequence[Exposure], *, rate: Decimal, through_ms: int) -> int | None:
    """Return when equity first is at or below the maintenance margin; None: not in the stretch.

    In float64: a threshold, not money.

    Args:
        wallet: Wallet balance, constant over the stretch.
        exposures: Every open position, in a fixed order.
        rate: Maintenance margin and the fee of closing, as a share of a position's value.
        through_ms: End of the stretch; the answer if no trade is in it and the margin is short at its beginning.
    """
    share = float(rate)
    worst = float(wallet)
    for each in exposures:
        bound = each.prices.min(initial=each.first) if each.size > 0 else each.prices.max(initial=each.first)
        extreme = float(bound)
        worst += each.size * extreme - each.cost - abs(each.size) * extreme * share
    if worst > 0:
        return None
    moments = np.unique(np.concatenate([each.times for each in exposures]))
    if not moments.size:
        return through_ms
    surplus = np.full(moments.size, float(wallet))
    for each in exposures:
        places = np.searchsorted(each.times, moments, side="right")
        marks = np.concatenate(([each.first], each.prices))[places]
        surplus += each.size * marks - each.cost - abs(each.size) * marks * share
    hits = np.flatnonzero(surplus <= 0)
    return int(moments[hits[0]]) if hits.size else None
