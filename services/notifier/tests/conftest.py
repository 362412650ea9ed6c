"""Events, a clock that tests move, and a stand-in of Slack, for all tests of the notifier."""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from breakwater_core.events import (
    Alert,
    DailyPerformance,
    DayDifference,
    DayParity,
    Fill,
    FillKind,
    Leg,
    OrderEvent,
    OrderStatus,
    Severity,
    Side,
)

RUN = "live"
TIME_MS = 1_704_067_200_000
CHANNEL = "C0123456789"


class Events:
    """Makes plausible events; every value can be replaced."""

    def fill(self, number: int = 1, **changes: Any) -> Fill:
        values: dict[str, Any] = {
            "exec_id": f"exec-{number}",
            "run_id": RUN,
            "account": "main",
            "symbol": "BTCUSDT",
            "order_id": "order",
            "order_link_id": "bw-1",
            "side": Side.BUY,
            "quantity": Decimal("0.5"),
            "price": Decimal(40000),
            "fee": Decimal(11),
            "fee_rate": Decimal("0.00055"),
            "is_maker": False,
            "kind": FillKind.TRADE,
            "exec_time_ms": TIME_MS,
        }
        return Fill(**(values | changes))

    def order(self, number: int = 1, **changes: Any) -> OrderEvent:
        values: dict[str, Any] = {
            "event_id": f"event-{number}",
            "run_id": RUN,
            "account": "main",
            "symbol": "BTCUSDT",
            "day": date(2024, 1, 1),
            "strategy_version": "v",
            "intent_id": f"live/main/v/BTCUSDT/2024-01-01/entry/{number}",
            "order_link_id": f"bw-{number}",
            "child": 0,
            "status": OrderStatus.FILLED,
            "leg": Leg.ENTRY,
            "side": Side.BUY,
            "reduce_only": False,
            "quantity": Decimal("0.5"),
            "filled_quantity": Decimal("0.5"),
            "average_price": Decimal(40000),
            "target_price": Decimal(39990),
            "trigger_price": Decimal(39995),
            "trigger_time_ms": TIME_MS,
            "intent_closed": True,
            "event_time_ms": TIME_MS,
        }
        return OrderEvent(**(values | changes))

    def performance(self, number: int = 0, **changes: Any) -> DailyPerformance:
        values: dict[str, Any] = {
            "run_id": RUN,
            "account": "main",
            "day": date(2024, 1, 1) + timedelta(days=number),
            "equity": Decimal("101230.5"),
            "net_deposits": Decimal(0),
            "ror": Decimal("1.0123"),
            "cumulative": Decimal("1.0456"),
            "drawdown": Decimal("0.005"),
            "mdd": Decimal("0.021"),
            "orders": 4,
            "fills": 6,
        }
        return DailyPerformance(**(values | changes))

    def parity(self, number: int = 0, **changes: Any) -> DayParity:
        differences = (
            DayDifference("BTCUSDT entry", "late_signal", "trigger_time_ms", "5", "6", Decimal("0.2")),
            DayDifference("BTCUSDT entry", "slippage", "avg_price", "100", "100.012", Decimal("1.2")),
            DayDifference("", "day", "equity", "100000", "99999", None),
        )
        values: dict[str, Any] = {
            "run_id": RUN,
            "account": "main",
            "day": date(2024, 3, 1) + timedelta(days=number),
            "comparable": True,
            "orders_equal": 8,
            "orders_different": 1,
            "total_bps": Decimal("0.4"),
            "differences": differences,
            "differences_total": len(differences),
        }
        return DayParity(**(values | changes))

    def alert(self, number: int = 1, **changes: Any) -> Alert:
        values: dict[str, Any] = {
            "alert_id": f"alert-{number}",
            "run_id": RUN,
            "severity": Severity.CRITICAL,
            "service": "executor",
            "name": "position_not_flat",
            "summary": "BTCUSDT is not flat after its exit",
            "event_time_ms": TIME_MS,
            "account": "main",
            "symbol": "BTCUSDT",
            "facts": {"size": "0.5"},
        }
        return Alert(**(values | changes))


@pytest.fixture
def events() -> Events:
    return Events()


@dataclass
class VirtualTiming:
    """A clock that a pause moves forward at once; waiting for something to happen really waits."""

    seconds: float = 1000.0
    pauses: list[float] = field(default_factory=list)

    def now_s(self) -> float:
        return self.seconds

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def pause(self, seconds: float | None, wake: asyncio.Event) -> None:
        if seconds is None:
            await wake.wait()
        elif not wake.is_set():
            self.pauses.append(seconds)
            self.seconds += seconds
            await asyncio.sleep(0)


@pytest.fixture
def timing() -> VirtualTiming:
    return VirtualTiming()


def text_faults(text: dict[str, Any] | None, limit: int, where: str) -> list[str]:
    content = (text or {}).get("text", "")
    faults = []
    if not 1 <= len(content) <= limit:
        faults.append(f"{where}: {len(content)} characters, allowed are 1 to {limit}")
    bare = re.sub(r"<https?://[^<>|\s]+\|[^<>|]+>", "", re.sub(r"&(amp|lt|gt);", "", content))
    if re.search(r"[&<>]", bare):
        faults.append(f"{where}: not escaped: {content!r}")
    return faults


def faults_of_block(block: dict[str, Any], where: str) -> list[str]:
    match block:
        case {"type": "header", "text": {"type": "plain_text"} as text}:
            return text_faults(text, 150, where)
        case {"type": "section", "text": text}:
            return text_faults(text, 3000, where)
        case {"type": "section", "fields": list() as parts} if 1 <= len(parts) <= 10:
            return [fault for part in parts for fault in text_faults(part, 2000, where)]
        case {"type": "context", "elements": list() as parts} if 1 <= len(parts) <= 10:
            return [fault for part in parts for fault in text_faults(part, 3000, where)]
        case _:
            return [f"{where}: not a block that Slack takes: {block}"]


def block_faults(message: dict[str, Any]) -> list[str]:
    """Return how a message breaks Slack's documented limits, as Slack would when it answers `invalid_blocks`."""
    blocks = message.get("blocks", [])
    faults = [fault for number, block in enumerate(blocks) for fault in faults_of_block(block, f"block {number}")]
    if len(blocks) > 50:
        faults.append(f"{len(blocks)} blocks")
    if not message.get("text"):
        faults.append("no fallback text")
    return faults


@pytest.fixture
def find_block_faults() -> Callable[[dict[str, Any]], list[str]]:
    return block_faults


Answer = tuple[int, dict[str, Any], dict[str, str]]
OK: Answer = (200, {"ok": True}, {})


@dataclass
class SlackStandIn:
    """Slack's Web API as far as the notifier uses it, over real HTTP, with faults on demand.

    Attributes:
        channel: Messages that people would see, oldest first.
        attempts: `now_s` of every request to post, as told by `now_s`.
        faults: What happens to the next posts, first to last: an answer, `lost_after` (taken, then hung up),
            `lost_before` (hung up) or `held` (taken, then no answer until `release` is set).
        token: The only one that is accepted.
        history: Whether the app may read the channel.
    """

    token: str = "xoxb-right"
    history: bool = True
    channel: list[dict[str, Any]] = field(default_factory=list)
    attempts: list[float] = field(default_factory=list)
    faults: list[Answer | str] = field(default_factory=list)
    now_s: Callable[[], float] = time.monotonic
    release: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/"

    @property
    def texts(self) -> list[str]:
        return [message["text"] for message in self.channel]

    async def start(self) -> None:
        application = web.Application()
        application.router.add_post("/api/chat.postMessage", self._post)
        application.router.add_post("/api/auth.test", self._test)
        application.router.add_route("*", "/api/conversations.history", self._history)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(90):
            while not happened():
                self.changed.clear()
                await self.changed.wait()

    def _refused(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") == f"Bearer {self.token}":
            return None
        return web.json_response({"ok": False, "error": "invalid_auth"})

    async def _test(self, request: web.Request) -> web.Response:
        return self._refused(request) or web.json_response({"ok": True})

    async def _history(self, request: web.Request) -> web.Response:
        if refused := self._refused(request):
            return refused
        if not self.history:
            return web.json_response({"ok": False, "error": "missing_scope"})
        return web.json_response({"ok": True, "messages": self.channel[::-1][:50]})

    async def _post(self, request: web.Request) -> web.StreamResponse:
        message = await request.json()
        self.attempts.append(self.now_s())
        self.changed.set()
        if refused := self._refused(request):
            return refused
        fault = self.faults.pop(0) if self.faults else OK
        if isinstance(fault, tuple) and fault is not OK:
            status, body, headers = fault
            return web.json_response(body, status=status, headers=headers)
        if message["channel"] not in {CHANNEL, "#trading"}:
            return web.json_response({"ok": False, "error": "channel_not_found"})
        if fault == "lost_before":
            self._hang_up(request)
        elif faults := block_faults(message):
            return web.json_response({"ok": False, "error": "invalid_blocks", "errors": faults})
        else:
            self.channel.append(message)
            self.changed.set()
        if fault == "lost_after":
            self._hang_up(request)
        if fault == "held":
            await self.release.wait()
        return web.json_response({"ok": True, "channel": CHANNEL, "ts": str(len(self.channel))})

    @staticmethod
    def _hang_up(request: web.Request) -> None:
        if request.transport is not None:
            request.transport.abort()


@pytest.fixture
async def slack(timing: VirtualTiming) -> AsyncIterator[SlackStandIn]:
    stand_in = SlackStandIn(now_s=timing.now_s)
    await stand_in.start()
    yield stand_in
    stand_in.release.set()
    await stand_in.stop()


@pytest.fixture(autouse=True)
def no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tuple(os.environ):
        if name.startswith("NOTIFIER_") or name.lower() in {"http_proxy", "https_proxy", "all_proxy"}:
            monkeypatch.delenv(name)
