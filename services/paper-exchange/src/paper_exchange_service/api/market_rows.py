"""Market data as rows: instruments, tickers, public trades. Prices keep the tick's decimals."""

import hashlib
import uuid
from decimal import Decimal

import numpy as np

from breakwater_core.decimals import from_float, to_text
from breakwater_core.market import TradeBatch
from breakwater_core.venue_rules import FUNDING_INTERVAL_MS
from paper_exchange_service.api.ladder import ladder
from paper_exchange_service.api.rows import Row
from paper_exchange_service.engine.candles import DAY_MS
from paper_exchange_service.engine.engine import Engine
from paper_exchange_service.engine.markets import Market

_HOUR_MS = 3_600_000
_RATIO = Decimal("1e-6")
_QUOTES = ("USDT", "USDC", "PERP")


def coins_of(symbol: str) -> tuple[str, str]:
    """Return base and quote coin of a symbol."""
    for quote in _QUOTES:
        if symbol.endswith(quote) and len(symbol) > len(quote):
            return symbol[: -len(quote)], "USDT" if quote == "PERP" else quote
    return symbol, "USDT"


def instrument_row(market: Market, *, status: str = "Trading") -> Row:
    """Return the row of `market/instruments-info`."""
    rules, instrument = market.rules, market.instrument
    base, quote = coins_of(market.symbol)
    tick, largest = f"{rules.tick:f}", to_text(instrument.max_quantity)
    return {
        "symbol": market.symbol,
        "contractType": "LinearPerpetual",
        "status": status,
        "baseCoin": base,
        "quoteCoin": quote,
        "launchTime": "1585526400000",
        "deliveryTime": "0",
        "deliveryFeeRate": "",
        "priceScale": str(rules.price_decimals),
        "leverageFilter": {
            "minLeverage": "1",
            "maxLeverage": f"{instrument.max_leverage:.2f}",
            "leverageStep": "0.01",
        },
        "priceFilter": {"minPrice": tick, "maxPrice": f"{rules.max_price:f}", "tickSize": tick},
        "lotSizeFilter": {
            "maxOrderQty": largest,
            "minOrderQty": to_text(instrument.min_quantity),
            "qtyStep": to_text(instrument.quantity_step),
            "postOnlyMaxOrderQty": largest,
            "maxMktOrderQty": to_text(instrument.max_market_quantity),
            "minNotionalValue": to_text(instrument.min_notional),
        },
        "unifiedMarginTrade": True,
        "fundingInterval": FUNDING_INTERVAL_MS // 60_000,
        "settleCoin": quote,
        "copyTrading": "none",
        "upperFundingRate": "0.05",
        "lowerFundingRate": "-0.05",
        "isPreListing": False,
        "preListingInfo": None,
        "riskParameters": {
            "priceLimitRatioX": to_text(rules.band_ratio),
            "priceLimitRatioY": to_text(rules.band_ratio),
        },
        "displayName": "",
        "symbolType": "",
        "forbidUplWithdrawal": False,
        "symbolId": _number_of(market.symbol) % 10_000,
    }


def ticker_row(engine: Engine, market: Market, at_ms: int) -> Row | None:
    """Return the row of `market/tickers` and of the stream's snapshot, or None before the first trade."""
    last = market.last_at(at_ms)
    day = market.candles.window(at_ms - DAY_MS)
    if last is None or day is None:
        return None
    hour = market.candles.window(at_ms - _HOUR_MS) or day
    book = ladder(market, last, 1, engine.costs.depth_notional)
    day_open = from_float(day.open)
    following, rate = next(engine.costs.funding_due(market.symbol, at_ms, at_ms + FUNDING_INTERVAL_MS))
    price = price_text(market, last)
    return {
        "symbol": market.symbol,
        "tickDirection": "ZeroPlusTick",
        "lastPrice": price,
        "indexPrice": price,
        "markPrice": price,
        "prevPrice24h": price_text(market, day_open),
        "price24hPcnt": to_text((last / day_open - 1).quantize(_RATIO)),
        "highPrice24h": price_text(market, from_float(day.high)),
        "lowPrice24h": price_text(market, from_float(day.low)),
        "prevPrice1h": price_text(market, from_float(hour.open)),
        "openInterest": "0",
        "openInterestValue": "0",
        "turnover24h": f"{day.turnover:.4f}",
        "volume24h": f"{day.volume:.4f}",
        "fundingRate": to_text(rate),
        "nextFundingTime": str(following),
        "fundingIntervalHour": str(FUNDING_INTERVAL_MS // _HOUR_MS),
        "fundingCap": "0.05",
        "predictedDeliveryPrice": "",
        "basisRate": "",
        "basis": "",
        "deliveryFeeRate": "",
        "deliveryTime": "0",
        "bid1Price": book.bids[0][0],
        "bid1Size": book.bids[0][1],
        "ask1Price": book.asks[0][0],
        "ask1Size": book.asks[0][1],
        "preOpenPrice": "",
        "preQty": "",
        "curPreListingPhase": "",
    }


def public_trade_rows(market: Market, batch: TradeBatch) -> list[Row]:
    """Return trades as the public stream shows them, oldest first.

    Fills of one taker (same time and side) share `seq`; ids depend on the symbol, the time and the place among the
    trades of that millisecond. An unknown taker side is shown as the direction in which the price moved.
    """
    if not len(batch):
        return []
    decimals = market.rules.price_decimals
    moves = np.diff(batch.prices, prepend=batch.prices[0])
    number = _number_of(market.symbol)
    rows: list[Row] = []
    previous_ms, place, sequence, previous_side = -1, 0, 0, ""
    rising = True
    for time_ms, price, size, taker, move in zip(
        batch.times_ms.tolist(),
        batch.prices.tolist(),
        batch.sizes.tolist(),
        batch.taker_sides.tolist(),
        moves.tolist(),
        strict=True,
    ):
        rising = move > 0 or (rising and move == 0)
        side = "Buy" if taker > 0 or (taker == 0 and rising) else "Sell"
        if time_ms != previous_ms:
            place, sequence = 0, time_ms * 1000
        elif side != previous_side:
            sequence += 1
        place += 1
        previous_ms, previous_side = time_ms, side
        rows.append(
            {
                "T": time_ms,
                "s": market.symbol,
                "S": side,
                "v": to_text(from_float(size)),
                "p": f"{price:.{decimals}f}",
                "L": ("PlusTick" if move > 0 else "MinusTick")
                if move
                else ("ZeroPlusTick" if rising else "ZeroMinusTick"),
                "i": str(uuid.UUID(int=(number << 64 | time_ms << 16 | place) % 2**128)),
                "BT": False,
                "RPI": False,
                "seq": sequence,
            }
        )
    return rows


def price_text(market: Market, price: Decimal) -> str:
    """Return a price with the tick's decimals: `65114.30`."""
    return f"{price:.{market.rules.price_decimals}f}"


def volume_text(volume: float) -> str:
    """Return a sum of sizes or values without the noise of adding floats."""
    return to_text(from_float(round(volume, 8)))


def _number_of(symbol: str) -> int:
    return int.from_bytes(hashlib.sha256(symbol.encode()).digest()[:8], "big")
