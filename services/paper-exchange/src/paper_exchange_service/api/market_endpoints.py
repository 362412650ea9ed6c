"""Market data over REST: what needs no signature."""

from collections.abc import Callable, Iterable
from typing import Any

from breakwater_core.decimals import from_float, to_text
from paper_exchange_service.api.call import OTHER_CATEGORIES, Answer, Call, Endpoint, listing
from paper_exchange_service.api.forms import require_linear, text, whole
from paper_exchange_service.api.ladder import ladder
from paper_exchange_service.api.market_rows import (
    instrument_row,
    public_trade_rows,
    ticker_row,
    volume_text,
)
from paper_exchange_service.api.rows import RISK_LIMIT_VALUE, Row
from paper_exchange_service.engine.candles import INTERVALS, Candle, interval_start
from paper_exchange_service.engine.markets import Market
from paper_exchange_service.engine.refusal import Refusal, bad_parameter


def server_time(call: Call) -> Answer:
    """GET market/time."""
    now_ms = call.desk.server_ms()
    return Answer({"timeSecond": str(now_ms // 1000), "timeNano": f"{now_ms}000000"})


def instruments_info(call: Call) -> Answer:
    """GET market/instruments-info; other categories than linear have no instruments."""
    category = text(call.params, "category")
    rows: list[Row] = []
    if category == "linear":
        symbol, base = text(call.params, "symbol"), text(call.params, "baseCoin")
        status = text(call.params, "status")
        if symbol:
            call.engine.market(symbol)
        for market in _markets(call):
            suspended = call.engine.order_faults.is_suspended(market.symbol, call.at_ms)
            row = instrument_row(market, status="Closed" if suspended else "Trading")
            if symbol in {"", market.symbol} and base in {"", row["baseCoin"]} and status in {"", row["status"]}:
                rows.append(row)
    elif category not in OTHER_CATEGORIES:
        raise bad_parameter("params error: Category is invalid")
    return _paged(call, category, rows, default=500, most=1000)


def tickers(call: Call) -> Answer:
    """GET market/tickers."""
    require_linear(call.params)
    symbol = text(call.params, "symbol")
    markets = [call.engine.market(symbol)] if symbol else _markets(call)
    rows = [row for market in markets if (row := ticker_row(call.engine, market, call.at_ms))]
    return Answer({"category": "linear", "list": rows})


def kline(call: Call) -> Answer:
    """GET market/kline, newest first."""
    return _candles(call, lambda bar: [*_prices(bar), volume_text(bar.volume), volume_text(bar.turnover)])


def price_kline(call: Call) -> Answer:
    """GET market/mark-price-kline and index-price-kline: both prices are the last trade."""
    return _candles(call, _prices)


def premium_kline(call: Call) -> Answer:
    """GET market/premium-index-price-kline: the premium is always 0."""
    return _candles(call, lambda bar: [str(bar.start_ms), "0", "0", "0", "0"])


def orderbook(call: Call) -> Answer:
    """GET market/orderbook: a ladder around the last price."""
    require_linear(call.params)
    market = call.engine.market(text(call.params, "symbol"))
    depth = whole(call.params, "limit", 25, least=1, most=1000)
    last = market.last_at(call.at_ms)
    sides = ladder(market, last, depth, call.engine.costs.depth_notional) if last else None
    return Answer(
        {
            "s": market.symbol,
            "b": sides.bids if sides else [],
            "a": sides.asks if sides else [],
            "ts": call.at_ms,
            "u": market.prices.total,
            "seq": market.prices.last_ms * 1000,
            "cts": max(0, market.prices.last_ms),
        }
    )


def recent_trades(call: Call) -> Answer:
    """GET market/recent-trade, newest first."""
    require_linear(call.params)
    market = call.engine.market(text(call.params, "symbol"))
    limit = whole(call.params, "limit", 500, least=1, most=1000)
    rows: list[Row] = []
    for batch in market.prices.last_trades(limit, call.at_ms):
        rows.extend(public_trade_rows(market, batch))
    return Answer(
        {
            "category": "linear",
            "list": [
                {
                    "execId": row["i"],
                    "symbol": row["s"],
                    "price": row["p"],
                    "size": row["v"],
                    "side": row["S"],
                    "time": str(row["T"]),
                    "isBlockTrade": False,
                    "isRPITrade": False,
                    "seq": str(row["seq"]),
                }
                for row in reversed(rows)
            ],
        }
    )


def funding_history(call: Call) -> Answer:
    """GET market/funding/history, newest first."""
    require_linear(call.params)
    market = call.engine.market(text(call.params, "symbol"))
    if text(call.params, "startTime") and not text(call.params, "endTime"):
        raise bad_parameter("params error: endTime is required with startTime")
    end_ms = min(whole(call.params, "endTime", call.at_ms), call.at_ms)
    first_ms = market.candles.first_ms if len(market.candles) else end_ms
    start_ms = max(whole(call.params, "startTime", 0), first_ms)
    limit = whole(call.params, "limit", 200, least=1, most=200)
    settled = list(call.engine.costs.funding_due(market.symbol, start_ms - 1, end_ms))[-limit:]
    rows = [
        {
            "symbol": market.symbol,
            "fundingRate": to_text(rate),
            "fundingRateTimestamp": str(stamp),
        }
        for stamp, rate in reversed(settled)
    ]
    return Answer({"category": "linear", "list": rows})


def price_limit(call: Call) -> Answer:
    """GET market/price-limit."""
    market = call.engine.market(text(call.params, "symbol"))
    last = market.last_at(call.at_ms)
    if last is None:
        raise Refusal(110074, "This contract is not live")
    highest, lowest = market.rules.limits(last)
    return Answer(
        {"symbol": market.symbol, "buyLmt": to_text(highest), "sellLmt": to_text(lowest), "ts": str(call.at_ms)}
    )


def risk_limit(call: Call) -> Answer:
    """GET market/risk-limit: one tier per symbol."""
    require_linear(call.params)
    symbol = text(call.params, "symbol")
    markets = [call.engine.market(symbol)] if symbol else _markets(call)
    rows = [
        {
            "id": 1,
            "symbol": market.symbol,
            "riskLimitValue": RISK_LIMIT_VALUE,
            "maintenanceMargin": to_text(market.rules.maintenance_ratio),
            "initialMargin": to_text(1 / market.instrument.max_leverage),
            "isLowestRisk": 1,
            "maxLeverage": f"{market.instrument.max_leverage:.2f}",
            "mmDeduction": "",
        }
        for market in markets
    ]
    return _paged(call, "linear", rows, default=1000, most=1000)


def open_interest(call: Call) -> Answer:
    """GET market/open-interest: nobody else holds positions here, so the history is empty."""
    require_linear(call.params)
    market = call.engine.market(text(call.params, "symbol"))
    return Answer({"symbol": market.symbol, "category": "linear", "list": [], "nextPageCursor": ""})


def empty_list(call: Call) -> Answer:
    """Answer a query that never finds anything here."""
    return Answer({"category": text(call.params, "category"), "list": [], "nextPageCursor": ""})


def system_status(_call: Call) -> Answer:
    """GET system/status: no maintenance is planned."""
    return Answer({"list": []})


def _markets(call: Call) -> Iterable[Market]:
    return [call.engine.markets[symbol] for symbol in sorted(call.engine.markets)]


def _paged(call: Call, category: str, rows: list[Row], *, default: int, most: int) -> Answer:
    limit = whole(call.params, "limit", default, least=1, most=most)
    start = whole(call.params, "cursor", 0)
    following = str(start + limit) if start + limit < len(rows) else ""
    return Answer({"category": category, "list": rows[start : start + limit], "nextPageCursor": following})


def _candles(call: Call, columns: Callable[[Candle], list[str]]) -> Answer:
    require_linear(call.params)
    market = call.engine.market(text(call.params, "symbol"))
    interval = text(call.params, "interval")
    if interval not in INTERVALS:
        raise bad_parameter("params error: Interval is invalid")
    limit = whole(call.params, "limit", 200, least=1, most=1000)
    end_ms = whole(call.params, "end", 2**53)
    start_ms = whole(call.params, "start", 0)
    market.candles.carry_to(call.at_ms)
    if start_ms and not text(call.params, "end"):
        # Bybit counts from the start when only that is given.
        bars = market.candles.query(interval, start_ms, end_ms, 2**31)[-limit:]
    else:
        bars = market.candles.query(interval, start_ms, end_ms, limit)
    rows: list[Any] = [columns(bar) for bar in bars if bar.start_ms <= interval_start(interval, call.at_ms)]
    return Answer({"category": "linear", "symbol": market.symbol, "list": rows})


def _prices(bar: Candle) -> list[str]:
    return [str(bar.start_ms), *(to_text(from_float(price)) for price in (bar.open, bar.high, bar.low, bar.close))]


MARKET_ENDPOINTS = {
    ("GET", "/v5/market/time"): Endpoint(server_time),
    ("GET", "/v5/market/instruments-info"): Endpoint(instruments_info),
    ("GET", "/v5/market/tickers"): Endpoint(listing(tickers)),
    ("GET", "/v5/market/kline"): Endpoint(kline),
    ("GET", "/v5/market/mark-price-kline"): Endpoint(price_kline),
    ("GET", "/v5/market/index-price-kline"): Endpoint(price_kline),
    ("GET", "/v5/market/premium-index-price-kline"): Endpoint(premium_kline),
    ("GET", "/v5/market/orderbook"): Endpoint(orderbook),
    ("GET", "/v5/market/recent-trade"): Endpoint(recent_trades),
    ("GET", "/v5/market/funding/history"): Endpoint(funding_history),
    ("GET", "/v5/market/price-limit"): Endpoint(price_limit),
    ("GET", "/v5/market/risk-limit"): Endpoint(risk_limit),
    ("GET", "/v5/market/open-interest"): Endpoint(open_interest),
    ("GET", "/v5/market/account-ratio"): Endpoint(empty_list),
    ("GET", "/v5/market/delivery-price"): Endpoint(empty_list),
    ("GET", "/v5/system/status"): Endpoint(system_status),
}
