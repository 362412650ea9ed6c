"""A small exchange on the loopback: Bybit's public REST paths and public stream, with losses on demand."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from breakwater_core.events import Alert
from breakwater_core.market import BarState, Clock, ClockKind, DailyBar, TradeBatch
from breakwater_runtime import codec
from breakwater_runtime.bus import Bus, connect
from breakwater_runtime.health import bind_socket, serve_application
from breakwater_runtime.readers import Delivery, read_stream
from breakwater_runtime.settings import ServiceSettings
from market_data_service.main import run
from market_data_service.settings import MarketDataSettings, Mode

DAY_MS = 86_400_000
MINUTE_MS = 60_000


@dataclass
class LocalExchange:
    """Trades made by the test; candles follow from them, days before the first trade are flat at 100.

    Attributes:
        candle_lag_ms: How long after its begin a candle is listed.
        looks: How often recent trades were asked for.
    """

    offset_ms: int = 0
    candle_lag_ms: int = 0
    history: int = 1000
    port: int = 0
    trades: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    refused_requests: set[str] = field(default_factory=set)
    accepts_streams: bool = True
    sockets: list[WebSocket] = field(default_factory=list)
    connections: int = 0
    looks: int = 0

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def stream_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def now_ms(self) -> int:
        return round(time.time() * 1000) + self.offset_ms

    async def trade(self, symbol: str, price: float, size: float = 1.0) -> str:
        """Make a trade and push it to the stream unless the symbol's frames are being lost; return its id."""
        rows = self.trades.setdefault(symbol, [])
        ident = f"{symbol}-{len(rows)}"
        row = {"T": self.now_ms(), "s": symbol, "S": "Buy", "v": str(size), "p": str(price), "i": ident, "BT": False}
        rows.append(row)
        if symbol not in self.lost:
            frame = {"topic": f"publicTrade.{symbol}", "type": "snapshot", "ts": row["T"], "data": [row]}
            for socket in list(self.sockets):
                await socket.send_text(json.dumps(frame))
        return ident

    async def drop(self) -> None:
        """Close all streams."""
        sockets, self.sockets = self.sockets, []
        for socket in sockets:
            await socket.close()

    async def server_time(self, _: Request) -> Response:
        return self._answer(
            "time", {"timeSecond": str(self.now_ms() // 1000), "timeNano": str(self.now_ms() * 1_000_000)}
        )

    async def recent_trades(self, request: Request) -> Response:
        self.looks += 1
        limit = min(self.history, int(request.query_params.get("limit", "500")))
        rows = self.trades.get(request.query_params["symbol"], [])[-limit:]
        listed = [
            {
                "execId": row["i"],
                "symbol": row["s"],
                "price": row["p"],
                "size": row["v"],
                "side": row["S"],
                "time": str(row["T"]),
                "isBlockTrade": False,
            }
            for row in reversed(rows)
        ]
        return self._answer("trades", {"category": "linear", "list": listed})

    async def candles(self, request: Request) -> Response:
        query = request.query_params
        step_ms = DAY_MS if query["interval"] == "D" else int(query["interval"]) * MINUTE_MS
        start_ms = int(query["start"]) // step_ms * step_ms
        newest_ms = self.now_ms() - self.candle_lag_ms
        begins = range(start_ms, min(int(query.get("end", newest_ms)), newest_ms) + 1, step_ms)
        limit = int(query.get("limit", "200"))
        listed = begins[-limit:] if "end" in query else begins[:limit]
        rows = [self._candle(query["symbol"], begin, step_ms) for begin in listed]
        return self._answer("candles", {"category": "linear", "symbol": query["symbol"], "list": rows[::-1]})

    def _candle(self, symbol: str, begin_ms: int, step_ms: int) -> list[str]:
        rows = [row for row in self.trades.get(symbol, []) if begin_ms <= row["T"] < begin_ms + step_ms]
        prices = [100.0, *(float(row["p"]) for row in rows)]
        volume = sum(float(row["v"]) for row in rows)
        return [str(v) for v in (begin_ms, prices[0], max(prices), min(prices), prices[-1], volume, volume)]

    def _answer(self, kind: str, result: dict[str, Any]) -> Response:
        if kind in self.refused_requests:
            return Response(status_code=503)
        return JSONResponse({"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": self.now_ms()})

    async def stream(self, socket: WebSocket) -> None:
        if not self.accepts_streams:
            await socket.close()
            return
        await socket.accept()
        self.connections += 1
        try:
            while True:
                request = json.loads(await socket.receive_text())
                answer = {"success": True, "ret_msg": "", "conn_id": "1", "req_id": request.get("req_id", "")}
                if request["op"] == "ping":
                    await socket.send_text(json.dumps(answer | {"op": "ping", "ret_msg": "pong"}))
                    continue
                await socket.send_text(json.dumps(answer | {"op": request["op"]}))
                if socket not in self.sockets:
                    self.sockets.append(socket)
        except WebSocketDisconnect:
            if socket in self.sockets:
                self.sockets.remove(socket)

    def application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v5/market/time", self.server_time),
                Route("/v5/market/recent-trade", self.recent_trades),
                Route("/v5/market/kline", self.candles),
                WebSocketRoute("/v5/public/linear", self.stream),
            ]
        )


@pytest.fixture
async def exchange() -> AsyncIterator[LocalExchange]:
    local = LocalExchange()
    bound = bind_socket("127.0.0.1", 0)
    async with serve_application(local.application(), bound) as port:
        local.port = port
        yield local
        await local.drop()


@dataclass
class Listener:
    """Everything that live market data has published."""

    seen: list[codec.Event] = field(default_factory=list)

    def received(self, delivery: Delivery) -> None:
        self.seen.append(codec.decode(delivery.subject, delivery.payload).value)

    def prices(self, symbol: str) -> list[float]:
        batches = [event for event in self.seen if isinstance(event, TradeBatch) and event.symbol == symbol]
        return [price for batch in batches for price in batch.prices.tolist()]

    def bars(self, symbol: str, state: BarState) -> list[DailyBar]:
        return [e for e in self.seen if isinstance(e, DailyBar) and (e.symbol, e.state) == (symbol, state)]

    def clocks(self, kind: ClockKind) -> list[Clock]:
        return [event for event in self.seen if isinstance(event, Clock) and event.kind is kind]

    def alerts(self, name: str) -> list[Alert]:
        return [event for event in self.seen if isinstance(event, Alert) and event.name == name]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(90):
            while not condition():
                await asyncio.sleep(0.005)


@pytest.fixture
async def live_bus(nats_server: Any) -> AsyncIterator[Bus]:
    settings = ServiceSettings(nats_url=nats_server.url, run_id="live")
    async with connect(settings, name="test") as connected:
        yield connected


@pytest.fixture
async def listener(live_bus: Bus) -> AsyncIterator[Listener]:
    heard = Listener()
    async with (
        read_stream(live_bus, name="md", stream="MD", filters=["md.>"], start=1, handle=heard.received),
        read_stream(live_bus, name="alert", stream="ALERT", filters=["alert.>"], start=1, handle=heard.received),
    ):
        yield heard


@pytest.fixture
def live_settings(nats_server: Any, exchange: LocalExchange, tmp_path: Path) -> Callable[..., MarketDataSettings]:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"portfolio": {"symbols": ["BTCUSDT", "ETHUSDT"]}, "strategy": {"ma_window": 3}}))

    def settings_of(**changes: Any) -> MarketDataSettings:
        values: dict[str, Any] = {
            "nats_url": nats_server.url,
            "mode": Mode.LIVE,
            "config_file": config,
            "exchange_url": exchange.rest_url,
            "public_stream_url": exchange.stream_url,
            "clock_interval_s": 0.02,
            "backfill_timeout_s": 2.0,
        }
        return MarketDataSettings(**(values | changes))

    return settings_of


@pytest.fixture
def live_service(live_settings: Callable[..., MarketDataSettings]) -> Callable[..., Any]:
    @asynccontextmanager
    async def start(**changes: Any) -> AsyncIterator[None]:
        stop = asyncio.Event()
        task = asyncio.create_task(run(live_settings(**changes), stop))
        try:
            yield
        finally:
            stop.set()
            await task

    return start
