"""What an autoscaler asks of signal: work that waits, and work that is to be expected, as `/scaling` and as gauges.

Executors take a moment to start, and a breakout of many symbols comes all at once. So besides the intents that wait it
tells how many symbols are near an entry, and how many exits fall due soon. Which of them will happen nobody knows; how
many executors that makes is for the autoscaler to divide.

Nothing is made up: as long as the bus cannot tell, `/scaling` answers 503 with the reason, and the gauge of waiting
intents keeps its last value beside the time at which it was counted.
"""

import asyncio
import time
from http import HTTPStatus
from typing import Any

from breakwater_runtime.bus import PUBLISH_TIMEOUT_S, Bus, BusError
from breakwater_runtime.logs import get_logger
from signal_service.backlog import intents_waiting
from signal_service.handler import SignalHandler
from signal_service.metrics import EXITS_DUE, INTENTS_POLLED, INTENTS_WAITING, NEAR_TARGET
from signal_service.settings import SignalSettings

_POLLS_UNTIL_STALE = 3


class Scaling:
    """Counts what waits at intervals, and looks at the strategy whenever it is asked."""

    def __init__(self, settings: SignalSettings) -> None:
        """Know nothing yet."""
        self._ratio = settings.near_target_ratio
        self._within_s = settings.exits_due_within_s
        self._poll_s = settings.scaling_poll_s
        self._stale_s = _POLLS_UNTIL_STALE * settings.scaling_poll_s + PUBLISH_TIMEOUT_S
        self._handler: SignalHandler | None = None
        self._waiting = 0
        self._counted_s: float | None = None
        self._fault = "starting"

    async def run(self, bus: Bus, handler: SignalHandler) -> None:
        """Count until cancelled."""
        self._handler = handler
        while True:
            await self._count(bus, handler)
            self._show(handler)
            await asyncio.sleep(self._poll_s)

    def answer(self) -> tuple[int, dict[str, Any]]:
        """Return the HTTP status and the figures; 503 and the reason while one of them is not known."""
        handler = self._handler
        now_ms = None if handler is None else handler.strategy.now_ms
        fault = self._fault or self._staleness() or ("no market data yet" if now_ms is None else "")
        if handler is None or fault:
            return HTTPStatus.SERVICE_UNAVAILABLE, {"error": fault}
        return HTTPStatus.OK, {
            "intents_waiting": self._waiting,
            "symbols_near_target": self._near_target(handler),
            "exits_due": self._exits_due(handler),
            "near_target_ratio": self._ratio,
            "exits_due_within_s": self._within_s,
            "market_time_ms": now_ms,
        }

    async def _count(self, bus: Bus, handler: SignalHandler) -> None:
        strategy = handler.strategy
        days = {strategy.day, *strategy.position_days}
        accounts = {account for day in days for account in handler.accounts_of(day)}
        try:
            waiting = await intents_waiting(bus, {(a, symbol) for a in accounts for symbol in strategy.symbols})
        except BusError as error:
            if not self._fault:
                get_logger().warning("intents_not_counted", reason=str(error))
            self._fault = str(error)
            return
        self._waiting, self._counted_s, self._fault = waiting, time.monotonic(), ""
        INTENTS_WAITING.set(waiting)
        INTENTS_POLLED.set_to_current_time()

    def _staleness(self) -> str:
        age_s = float("inf") if self._counted_s is None else time.monotonic() - self._counted_s
        return f"the waiting intents were last counted {age_s:.0f} s ago" if age_s > self._stale_s else ""

    def _show(self, handler: SignalHandler) -> None:
        NEAR_TARGET.set(self._near_target(handler))
        EXITS_DUE.set(self._exits_due(handler))

    def _near_target(self, handler: SignalHandler) -> int:
        return len(handler.strategy.near_entry(self._ratio))

    def _exits_due(self, handler: SignalHandler) -> int:
        due = handler.strategy.exits_due(round(self._within_s * 1000))
        return sum(len(handler.accounts_of(day)) for _, day in due)
