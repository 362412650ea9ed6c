"""Filling gaps of the live feed over REST: frames wait, the exchange's recent trades go first, then the frames."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from breakwater_bybit.errors import ExchangeError
from breakwater_bybit.fields import MalformedPayload
from breakwater_bybit.model import Candle, Interval, PublicTrades
from breakwater_core.market import TradeBatch
from breakwater_runtime.logs import get_logger
from market_data_service.metrics import GAPS
from market_data_service.symbol_feed import MINUTE_MS, Gap, SymbolFeed

_RETRY_S = 0.25
_LONGEST_PROOF_MS = 24 * 3_600_000


class TradeSource(Protocol):
    """What is asked of the exchange; `BybitClient` offers it."""

    async def recent_trades(self, symbol: str, *, limit: int = 1000) -> PublicTrades:
        """Return the latest trades, oldest first."""
        ...

    async def candles(
        self,
        symbol: str,
        interval: Interval,
        *,
        limit: int | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
    ) -> list[Candle]:
        """Return candles, oldest first."""
        ...


@dataclass(frozen=True, slots=True)
class Filled:
    """How the filling of a gap ended.

    Attributes:
        symbol: Venue symbol.
        recovered: Trades that had not come over the stream.
        oldest_recovered_ms: Time of the oldest of them; None without any.
        unfilled: What may still be missing; None if nothing is.
    """

    symbol: str
    recovered: int
    oldest_recovered_ms: int | None
    unfilled: Gap | None


class GapFilling:
    """Fills gaps, one task per symbol at a time."""

    def __init__(
        self,
        source: TradeSource,
        *,
        publish: Callable[[TradeBatch], None],
        done: Callable[[Filled], None],
        now_ms: Callable[[], int],
        limit: int,
        timeout_s: float,
    ) -> None:
        """Prepare.

        Args:
            source: The exchange.
            publish: Takes the batches of a released feed, in order.
            done: Told how each filling ended, after its trades were published.
            now_ms: The exchange's time, milliseconds since 1970-01-01T00:00Z.
            limit: Trades asked for.
            timeout_s: Seconds that frames are held back at most.
        """
        self._source = source
        self._publish = publish
        self._done = done
        self._now_ms = now_ms
        self._limit = limit
        self._timeout_s = timeout_s
        self._requests: dict[str, int] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def tasks(self) -> tuple[asyncio.Task[None], ...]:
        """Fillings that are under way."""
        return tuple(self._tasks.values())

    def request(self, feed: SymbolFeed, tasks: asyncio.TaskGroup) -> None:
        """Fill what is missing of a symbol up to now; a filling that is under way begins again."""
        feed.hold()
        self._requests[feed.symbol] = self._requests.get(feed.symbol, 0) + 1
        if feed.symbol not in self._tasks:
            task = tasks.create_task(self._fill(feed), name=f"fill-{feed.symbol}")
            self._tasks[feed.symbol] = task

    async def _fill(self, feed: SymbolFeed) -> None:
        try:
            recent, gap = await self._ask(feed)
            released = feed.release(recent, gap=gap)
        finally:
            del self._tasks[feed.symbol]
        for batch in released.batches:
            self._publish(batch)
        recovered = released.recovered
        outcome = "unfilled" if gap is not None else ("filled" if recovered is not None else "nothing_missing")
        GAPS.labels(outcome).inc()
        trades = 0 if recovered is None else len(recovered)
        get_logger().info("gap_examined", symbol=feed.symbol, outcome=outcome, recovered=trades)
        oldest_ms = None if recovered is None else int(recovered.times_ms[0])
        self._done(Filled(feed.symbol, trades, oldest_ms, gap))

    async def _ask(self, feed: SymbolFeed) -> tuple[PublicTrades | None, Gap | None]:
        """Return the exchange's recent trades and what they leave open."""
        recent: PublicTrades | None = None
        volumes: Mapping[int, float] = {}
        try:
            async with asyncio.timeout(self._timeout_s):
                answered = -1
                while answered != self._requests[feed.symbol]:  # asked anew if another gap came up meanwhile
                    answered, recent = self._requests[feed.symbol], None
                    answer = await self._recent_trades(feed.symbol)
                    if (gap := feed.gap_before(answer)) is not None:
                        volumes = await self._minute_volumes(feed.symbol, gap)
                    recent = answer
        except TimeoutError:
            get_logger().warning("gap_filling_timed_out", symbol=feed.symbol, timeout_s=self._timeout_s)
        if recent is not None:
            gap = feed.gap_before(recent)
            is_whole = gap is None or feed.is_proved_whole(gap, recent, volumes)
            return recent, None if is_whole else gap
        if feed.last_ms is None:
            return None, None
        before_ms = feed.first_held_ms() or self._now_ms()
        return None, Gap(feed.last_ms, max(before_ms, feed.last_ms + 1))

    async def _recent_trades(self, symbol: str) -> PublicTrades:
        while True:
            try:
                return await self._source.recent_trades(symbol, limit=self._limit)
            except (ExchangeError, MalformedPayload) as error:
                get_logger().warning("gap_filling_retried", symbol=symbol, reason=str(error))
                await asyncio.sleep(_RETRY_S)

    async def _minute_volumes(self, symbol: str, gap: Gap) -> Mapping[int, float]:
        if gap.before_ms - gap.after_ms > _LONGEST_PROOF_MS:
            return {}
        try:
            candles = await self._source.candles(
                symbol,
                Interval.MINUTE,
                start_ms=gap.after_ms // MINUTE_MS * MINUTE_MS,
                end_ms=gap.before_ms // MINUTE_MS * MINUTE_MS,
            )
        except (ExchangeError, MalformedPayload) as error:
            get_logger().warning("gap_not_proved", symbol=symbol, reason=str(error))
            return {}
        return {candle.start_ms: candle.volume for candle in candles}
