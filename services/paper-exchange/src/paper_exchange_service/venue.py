"""The exchange in time: real time, where orders match a little later, and replay, where time comes with the feed."""

import asyncio
import time
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Protocol

from breakwater_core.market import TradeBatch
from paper_exchange_service.api.call import Endpoint, Settles, Waits
from paper_exchange_service.engine.accounts import Account
from paper_exchange_service.engine.engine import Engine
from paper_exchange_service.engine.orders import Order
from paper_exchange_service.engine.refusal import Refusal

FOREVER_MS = 2**53
_ACK_LEAD_S = 0.001
_WALL_CLOCK_REACH_MS = 3_600_000


def wall_clock_ms() -> int:
    """Return the wall clock, milliseconds since 1970-01-01T00:00Z."""
    return time.time_ns() // 1_000_000


def _no_skew(_now_ms: int) -> int:
    return 0


class Venue(Protocol):
    """How requests meet the engine."""

    engine: Engine
    checks_time: bool
    """Whether a request's stamp must lie near the venue's time."""
    ack_delay_s: float
    """Least time between a request and its answer."""

    def now_ms(self) -> int:
        """Return the venue's time."""

    def server_ms(self) -> int:
        """Return the time that the servers tell and judge stamps by; it may be off."""

    def time_of(self, stamp_ms: int | None) -> int:
        """Return when a request with the stamp happens, as far as that is known when it arrives."""

    async def arrive(self, endpoint: Endpoint, stamp_ms: int | None) -> int:
        """Wait until a request can be answered; return the time it happens at.

        Args:
            endpoint: What is asked.
            stamp_ms: The request's own stamp; None: it has none.
        """

    def settle(self, account: Account, endpoint: Endpoint, symbol: str, at_ms: int) -> None:
        """Carry the account forward as far as the answer needs."""

    def submit(self, order: Order, at_ms: int) -> None:
        """Have an accepted order matched after the latency."""


class RealTimeVenue:
    """Orders are acknowledged at once and matched `latency_ms` later; the feed follows the wall clock."""

    checks_time = True

    def __init__(self, engine: Engine, *, ack_delay_s: float, clock: Callable[[], int] = wall_clock_ms) -> None:
        """Open the venue; `catch_up` of the feed is set once the feed exists."""
        self.engine = engine
        self.ack_delay_s = ack_delay_s
        self.catch_up: Callable[[int], None] = lambda _now_ms: None
        self.skew: Callable[[int], int] = _no_skew
        self._clock = clock

    def now_ms(self) -> int:
        """Return the wall clock."""
        return self._clock()

    def server_ms(self) -> int:
        """Return the wall clock as the servers have it."""
        now_ms = self._clock()
        return now_ms + self.skew(now_ms)

    def time_of(self, stamp_ms: int | None) -> int:
        """Return the wall clock: a request happens when it arrives."""
        return self._clock()

    async def arrive(self, endpoint: Endpoint, stamp_ms: int | None) -> int:
        """Return the wall clock at once: a request happens when it arrives."""
        return self._clock()

    def settle(self, account: Account, endpoint: Endpoint, symbol: str, at_ms: int) -> None:
        """Do nothing: the feed carries all accounts forward as time passes."""

    def submit(self, order: Order, at_ms: int) -> None:
        """Match the order after the latency, and in any case after its acknowledgement went out."""
        latency_ms = self.engine.costs.latency_ms
        delay_s = max(latency_ms / 1000, self.ack_delay_s + _ACK_LEAD_S)
        asyncio.get_running_loop().call_later(delay_s, self._match, order, at_ms + latency_ms)

    def advance(self, now_ms: int) -> None:
        """Carry every account forward to the time."""
        for account in self.engine.accounts.values():
            self.engine.settlement.advance_account(account, now_ms)
        self.engine.forget_before(now_ms)

    def _match(self, order: Order, match_ms: int) -> None:
        self.catch_up(match_ms)
        self.engine.execute(order, match_ms)


class ReplayVenue:
    """A request happens at its own stamp: the answer waits until the feed has passed it, and depends on nothing else.

    A stamp of the wall clock (as a client sends that checks its key when it starts) stands for the replay's own clock.
    A question with one is answered as of the clock before, because orders up to the clock may still be on their way.
    """

    checks_time = False
    ack_delay_s = 0.0

    def __init__(self, engine: Engine, *, wall_clock: Callable[[], int] = wall_clock_ms) -> None:
        """Open the venue before the first trade."""
        self.engine = engine
        self.clock_ms = 0
        self._settled_ms = 0
        self.trades_through_ms = 0
        self.ended = False
        self.skew: Callable[[int], int] = _no_skew
        self._wall_clock = wall_clock
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._counter = 0

    def now_ms(self) -> int:
        """Return the clock of the replay."""
        return self.clock_ms

    def server_ms(self) -> int:
        """Return the clock of the replay as the servers have it; stamps are not judged by it."""
        return self.clock_ms + self.skew(self.clock_ms)

    def time_of(self, stamp_ms: int | None) -> int:
        """Return the stamp, or the clock where there is none or one of the wall clock."""
        return self.clock_ms if stamp_ms is None or self._is_wall_clock(stamp_ms) else stamp_ms

    def feed_trades(self, batch: TradeBatch) -> None:
        """Take in trades, which follow those fed before."""
        self.engine.feed(batch)

    def feed_clock(self, trades_through_ms: int, now_ms: int) -> None:
        """State that every trade before `trades_through_ms` was fed and that the run's clock stands at `now_ms`."""
        settled_ms, self.clock_ms = self.clock_ms, max(self.clock_ms, now_ms)
        self._settled_ms = settled_ms
        self.trades_through_ms = max(self.trades_through_ms, trades_through_ms)
        # All orders before the previous clock are closed by now, so time up to there can be settled.
        if settled_ms:
            for account in self.engine.accounts.values():
                self.engine.settlement.advance_account(account, settled_ms)
            self.engine.forget_before(settled_ms)
        self._release()

    def end(self) -> None:
        """State that no more trades come."""
        self.ended = True
        self.trades_through_ms = FOREVER_MS
        self._release()

    def close(self) -> None:
        """Refuse every request that still waits."""
        waiting, self._waiting = self._waiting, []
        for _, _, passed in waiting:
            if not passed.done():
                passed.set_exception(Refusal(10016, "Server error: the exchange is being shut down."))

    async def arrive(self, endpoint: Endpoint, stamp_ms: int | None) -> int:
        """Wait until the feed has passed the stamp, for an order also its latency; return the stamp."""
        if stamp_ms is None or self._is_wall_clock(stamp_ms):
            return self.clock_ms if endpoint.waits is Waits.MATCH or not self._settled_ms else self._settled_ms
        needed_ms = stamp_ms + (self.engine.costs.latency_ms if endpoint.waits is Waits.MATCH else 0)
        if endpoint.waits is not Waits.NOT and self.trades_through_ms <= needed_ms:
            passed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._counter += 1
            heappush(self._waiting, (needed_ms, self._counter, passed))
            await passed
        return stamp_ms

    def settle(self, account: Account, endpoint: Endpoint, symbol: str, at_ms: int) -> None:
        """Carry the account, or one symbol of it, forward to the time of the request."""
        known_ms = min(at_ms, self.trades_through_ms - 1)
        if endpoint.settles is Settles.ACCOUNT or (
            endpoint.settles is Settles.SYMBOL and symbol not in self.engine.markets
        ):
            self.engine.settlement.advance_account(account, known_ms)
        elif endpoint.settles is Settles.SYMBOL:
            self.engine.settlement.advance_symbol(account, symbol, known_ms)

    def submit(self, order: Order, at_ms: int) -> None:
        """Match the order as of its latency, before it is acknowledged."""
        self.engine.execute(order, at_ms + self.engine.costs.latency_ms)

    def _is_wall_clock(self, stamp_ms: int) -> bool:
        wall_ms = self._wall_clock()
        return abs(stamp_ms - wall_ms) < _WALL_CLOCK_REACH_MS and self.clock_ms < wall_ms - 24 * _WALL_CLOCK_REACH_MS

    def _release(self) -> None:
        while self._waiting and self._waiting[0][0] < self.trades_through_ms:
            _, _, passed = heappop(self._waiting)
            if not passed.done():
                passed.set_result(None)
