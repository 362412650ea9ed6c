"""The public streams of linear contracts: trades, tickers, candles, order books."""

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from breakwater_core.decimals import from_float, to_text
from breakwater_core.market import TradeBatch
from paper_exchange_service.api.ladder import Ladder, difference, ladder
from paper_exchange_service.api.market_rows import public_trade_rows, ticker_row, volume_text
from paper_exchange_service.api.rows import Row
from paper_exchange_service.connection import Connection
from paper_exchange_service.engine.candles import INTERVALS, Candle
from paper_exchange_service.engine.engine import Engine
from paper_exchange_service.engine.markets import Market
from paper_exchange_service.fault_layer import FaultLayer

_ROWS_PER_FRAME = 1024
_DEPTHS = frozenset({"1", "50", "200", "1000"})
_QUIET_MS = 3000
"""A book of one level is repeated after so long without a change."""


class PublicFeed:
    """Sends what subscribers asked for; nothing is computed for topics without one."""

    def __init__(self, engine: Engine, clock: Callable[[], int], faults: FaultLayer | None = None) -> None:
        self._faults = faults or FaultLayer()
        self._engine = engine
        self._clock = clock
        self._readers: dict[str, set[Connection]] = {}
        self._tickers: dict[str, Row] = {}
        self._candles: dict[str, Candle] = {}
        self._books: dict[str, tuple[Ladder, int, int]] = {}

    def accepts(self, topic: str) -> bool:
        """Whether the topic exists."""
        kind, _, rest = topic.partition(".")
        if kind in {"publicTrade", "tickers", "allLiquidation", "liquidation", "priceLimit"}:
            return rest in self._engine.markets
        detail, _, symbol = rest.partition(".")
        if kind == "kline":
            return detail in INTERVALS and symbol in self._engine.markets
        return kind == "orderbook" and detail in _DEPTHS and symbol in self._engine.markets

    def join(self, topic: str, connection: Connection) -> None:
        """Subscribe a connection; tickers and books begin with a snapshot."""
        self._readers.setdefault(topic, set()).add(connection)
        connection.topics.add(topic)
        now_ms = self._clock()
        kind, _, rest = topic.partition(".")
        if kind == "tickers":
            row = self._tickers.get(rest) or ticker_row(self._engine, self._engine.markets[rest], now_ms)
            if row is not None:
                self._tickers[rest] = row
                connection.send(self._ticker_frame(rest, "snapshot", row, now_ms))
        elif kind == "orderbook" and (state := self._book_state(topic, now_ms)) is not None:
            connection.send(self._book_frame(topic, "snapshot", state[0], state[1], now_ms))

    def leave(self, topic: str, connection: Connection) -> None:
        """Unsubscribe a connection."""
        self._readers.get(topic, set()).discard(connection)
        connection.topics.discard(topic)

    def leave_all(self, connection: Connection) -> None:
        """Unsubscribe a connection from everything."""
        for topic in list(connection.topics):
            self.leave(topic, connection)

    def traded(self, batch: TradeBatch, now_ms: int) -> None:
        """Send trades that were just fed."""
        topic = f"publicTrade.{batch.symbol}"
        if not self._readers.get(topic) or not len(batch):
            return
        rows = public_trade_rows(self._engine.markets[batch.symbol], batch)
        for start in range(0, len(rows), _ROWS_PER_FRAME):
            part = rows[start : start + _ROWS_PER_FRAME]
            self._send(topic, {"topic": topic, "type": "snapshot", "ts": now_ms, "data": part})

    def tick(self, now_ms: int) -> None:
        """Send what changed in tickers, candles and books."""
        for topic in self._wanted():
            kind, _, rest = topic.partition(".")
            if kind == "tickers":
                self._send_ticker(topic, rest, now_ms)
            elif kind == "kline":
                interval, _, symbol = rest.partition(".")
                self._send_candles(topic, interval, self._engine.markets[symbol], now_ms)
            elif kind == "orderbook":
                self._send_book(topic, now_ms)

    def _wanted(self) -> Iterable[str]:
        return [topic for topic, readers in self._readers.items() if readers]

    def _send(self, topic: str, frame: dict[str, Any]) -> None:
        if self._faults.drops_public(topic, int(frame["ts"])):
            for connection in list(self._readers.get(topic, ())):
                connection.drop()
            return
        text = orjson.dumps(frame).decode()
        for connection in list(self._readers.get(topic, ())):
            connection.send_text(text)

    def _send_ticker(self, topic: str, symbol: str, now_ms: int) -> None:
        row = ticker_row(self._engine, self._engine.markets[symbol], now_ms)
        if row is None:
            return
        known = self._tickers.get(symbol)
        self._tickers[symbol] = row
        if known is None:
            self._send(topic, self._ticker_frame(symbol, "snapshot", row, now_ms))
            return
        changed = {name: value for name, value in row.items() if known.get(name) != value}
        if changed:
            self._send(topic, self._ticker_frame(symbol, "delta", {"symbol": symbol} | changed, now_ms))

    def _ticker_frame(self, symbol: str, kind: str, row: Row, now_ms: int) -> dict[str, Any]:
        sequence = self._engine.markets[symbol].prices.last_ms * 1000
        return {"topic": f"tickers.{symbol}", "type": kind, "data": row, "cs": sequence, "ts": now_ms}

    def _send_candles(self, topic: str, interval: str, market: Market, now_ms: int) -> None:
        market.candles.carry_to(now_ms)
        bars = market.candles.query(interval, 0, now_ms, 2)
        if not bars:
            return
        known = self._candles.get(topic)
        self._candles[topic] = bars[0]
        if known == bars[0]:
            return
        rows = [_candle_row(bars[0], interval, now_ms, confirmed=False)]
        if known is not None and known.start_ms != bars[0].start_ms and len(bars) > 1:
            rows.insert(0, _candle_row(bars[1], interval, now_ms, confirmed=True))
        self._send(topic, {"topic": topic, "data": rows, "ts": now_ms, "type": "snapshot"})

    def _book_state(self, topic: str, now_ms: int) -> tuple[Ladder, int, int] | None:
        state = self._books.get(topic)
        if state is None and (book := self._ladder(topic, now_ms)) is not None:
            state = self._books[topic] = (book, 1, now_ms)
        return state

    def _ladder(self, topic: str, now_ms: int) -> Ladder | None:
        _, depth, symbol = topic.split(".", 2)
        market = self._engine.markets[symbol]
        last = market.last_at(now_ms)
        return None if last is None else ladder(market, last, int(depth), self._engine.costs.depth_notional)

    def _send_book(self, topic: str, now_ms: int) -> None:
        book = self._ladder(topic, now_ms)
        if book is None:
            return
        known = self._books.get(topic)
        if known is None:
            self._books[topic] = (book, 1, now_ms)
            self._send(topic, self._book_frame(topic, "snapshot", book, 1, now_ms))
            return
        before, update, sent_ms = known
        top_only = topic.startswith("orderbook.1.")
        if before == book:
            if top_only and now_ms - sent_ms >= _QUIET_MS:
                self._books[topic] = (book, update, now_ms)
                self._send(topic, self._book_frame(topic, "snapshot", book, update, now_ms))
            return
        self._books[topic] = (book, update + 1, now_ms)
        if top_only:
            self._send(topic, self._book_frame(topic, "snapshot", book, update + 1, now_ms))
            return
        changes = Ladder(difference(before.bids, book.bids), difference(before.asks, book.asks))
        self._send(topic, self._book_frame(topic, "delta", changes, update + 1, now_ms))

    def _book_frame(self, topic: str, kind: str, book: Ladder, update: int, now_ms: int) -> dict[str, Any]:
        symbol = topic.split(".", 2)[2]
        last_ms = self._engine.markets[symbol].prices.last_ms
        return {
            "topic": topic,
            "type": kind,
            "ts": now_ms,
            "data": {"s": symbol, "b": book.bids, "a": book.asks, "u": update, "seq": last_ms * 1000},
            "cts": last_ms,
        }


def _candle_row(bar: Candle, interval: str, now_ms: int, *, confirmed: bool) -> Row:
    return {
        "start": bar.start_ms,
        "end": bar.end_ms - 1,
        "interval": interval,
        "open": to_text(from_float(bar.open)),
        "close": to_text(from_float(bar.close)),
        "high": to_text(from_float(bar.high)),
        "low": to_text(from_float(bar.low)),
        "volume": volume_text(bar.volume),
        "turnover": volume_text(bar.turnover),
        "confirm": confirmed,
        "timestamp": now_ms,
    }
