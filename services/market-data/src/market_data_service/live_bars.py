"""The daily bars of the live feed: from the exchange's candles, checked against the trades that were seen."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from breakwater_bybit.errors import ExchangeError
from breakwater_bybit.fields import MalformedPayload
from breakwater_bybit.model import DAY_MS, Candle
from breakwater_core.market import DailyBar, TradeBatch
from breakwater_core.session import Session
from breakwater_runtime.logs import get_logger
from market_data_service.candle_bars import closed_bar, interval_for, open_bar
from market_data_service.gap_filling import TradeSource
from market_data_service.metrics import BAR_MISMATCHES

_POLL_S = 0.5
_LATE_POLL_S = 5.0
_TOLERANCE = 1e-9
_CANDLES_AT_ONCE = 10_000
"""A day that begins on an odd minute is made of minutes: 400 such days are not to be held at once."""


@dataclass(slots=True)
class _Extremes:
    """Highest and lowest price of the trades that were seen."""

    high: float
    low: float


class LiveBars:
    """Publishes CLOSED and OPEN bars; one object for all symbols."""

    def __init__(
        self,
        source: TradeSource,
        session: Session,
        *,
        publish: Callable[[DailyBar], None],
        has_gap: Callable[[str, date], bool],
        alert: Callable[[str, str, str], None],
        timeout_s: float,
    ) -> None:
        """Prepare.

        Args:
            source: The exchange.
            session: Defines the days.
            publish: Takes the bars.
            has_gap: Tells of symbol and day whether trades are known to be missing.
            alert: Takes name, symbol and summary of what a person should know.
            timeout_s: Seconds after a day's end at which a candle that is not closed is late.
        """
        self._source = source
        self._session = session
        self._publish = publish
        self._has_gap = has_gap
        self._alert = alert
        self._timeout_s = timeout_s
        self._seen: dict[tuple[str, date], _Extremes] = {}
        self._opened: dict[str, DailyBar] = {}
        self._closed: dict[str, deque[DailyBar]] = {}

    def note(self, batch: TradeBatch) -> None:
        """Take in published trades, to check the exchange's candles against."""
        day = self._session.day_of(int(batch.times_ms[0]))
        split = batch.times_ms < self._session.day_end_ms(day)
        for of_day, prices in ((day, batch.prices[split]), (day + timedelta(days=1), batch.prices[~split])):
            if not prices.size:
                continue
            high, low = float(prices.max()), float(prices.min())
            known = self._seen.get((batch.symbol, of_day))
            if known is None:
                self._seen[batch.symbol, of_day] = _Extremes(high, low)
            else:
                known.high, known.low = max(known.high, high), min(known.low, low)

    async def warm_up(self, symbol: str, today: date, days: int) -> bool:
        """Publish the CLOSED bars of the `days` days before today, and learn today's open for `publish_opened`.

        Returns False right after the day's turn, while the exchange still lacks what `turn` waits for.

        Raises:
            ExchangeError: If the exchange does not answer.
        """
        first, yesterday = today - timedelta(days=days), today - timedelta(days=1)
        interval = interval_for(self._session, first, today)
        days_at_once = max(2, _CANDLES_AT_ONCE * interval.milliseconds // DAY_MS)
        bars: list[DailyBar | None] = []
        candles: list[Candle] = []
        while first <= today:
            last = first + timedelta(days=days_at_once - 1)
            last = today if last >= yesterday else last
            end_ms = None if last == today else self._session.day_end_ms(last) - 1
            start_ms = self._session.day_start_ms(first)
            candles = await self._source.candles(symbol, interval, start_ms=start_ms, end_ms=end_ms)
            while first <= last:
                bars.append(closed_bar(candles, self._session, first) if first < today else None)
                first += timedelta(days=1)
        self._closed[symbol] = deque((bar for bar in bars if bar is not None), maxlen=days)
        self._publish_closed(symbol)
        self._learn_open(candles, today)
        closed = self._closed[symbol]
        is_closed = bool(closed) and closed[-1].day == yesterday
        begun_ms, ended_ms = self._session.day_start_ms(yesterday), self._session.day_end_ms(yesterday)
        was_listed = any(begun_ms <= candle.start_ms < ended_ms for candle in candles)
        return open_bar(candles, self._session, today) is not None and (is_closed or not was_listed)

    def publish_opened(self) -> None:
        """Publish the OPEN bars of the running day that are known."""
        for symbol in self._opened:
            self.publish_open(symbol)

    def forget(self, symbol: str) -> None:
        """Keep nothing of a symbol that is not followed any more."""
        self._opened.pop(symbol, None)
        self._closed.pop(symbol, None)
        for key in [key for key in self._seen if key[0] == symbol]:
            del self._seen[key]

    async def turn(self, symbol: str, ended: date, *, is_whole: bool) -> None:
        """Publish the CLOSED bar of the day that has ended and the OPEN bar of the next, as soon as they are known.

        The CLOSED bars of the days before come along again. Nothing comes of a symbol that is forgotten meanwhile.

        Args:
            symbol: Venue symbol.
            ended: The day that has ended.
            is_whole: Whether all of its trades were seen, so that the candle must agree with them.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        is_late = False
        while True:
            candles = await self._candles_or_none(symbol, ended)
            if symbol not in self._closed:
                return
            bar = closed_bar(candles, self._session, ended)
            if bar is not None and open_bar(candles, self._session, ended + timedelta(days=1)) is not None:
                break
            if not is_late and asyncio.get_running_loop().time() >= deadline:
                is_late = True
                self._alert(
                    "candle_late",
                    symbol,
                    f"the exchange has not closed the daily candle of {ended}; {symbol} is not entered until it has",
                )
            await asyncio.sleep(_LATE_POLL_S if is_late else _POLL_S)
        self._check(bar, is_whole=is_whole)
        closed = self._closed[symbol]
        bars = {known.day: known for known in (*closed, bar)}
        self._closed[symbol] = deque((bars[day] for day in sorted(bars)), maxlen=closed.maxlen)
        self._publish_closed(symbol)
        self._learn_open(candles, ended + timedelta(days=1))
        self.publish_open(symbol)

    def publish_open(self, symbol: str) -> None:
        """Publish the running day's OPEN bar as far as it is known; again when the day has got a gap."""
        bar = self._opened.get(symbol)
        if bar is not None:
            self._publish(self._marked(bar))

    def _publish_closed(self, symbol: str) -> None:
        """Publish all bars of the warm-up again: whoever reads the day from its start needs nothing older."""
        for bar in self._closed.get(symbol, ()):
            self._publish(self._marked(bar))

    def _learn_open(self, candles: Sequence[Candle], day: date) -> None:
        bar = open_bar(candles, self._session, day)
        known = None if bar is None else self._opened.get(bar.symbol)
        if bar is not None and (known is None or known.day <= bar.day):
            self._opened[bar.symbol] = bar

    def _marked(self, bar: DailyBar) -> DailyBar:
        return replace(bar, complete=bar.complete and not self._has_gap(bar.symbol, bar.day))

    def _check(self, bar: DailyBar, *, is_whole: bool) -> None:
        seen = self._seen.pop((bar.symbol, bar.day), None)
        for key in [key for key in self._seen if key[0] == bar.symbol and key[1] < bar.day]:
            del self._seen[key]
        if not is_whole or seen is None:
            return
        if _differ(seen.high, bar.high) or _differ(seen.low, bar.low):
            BAR_MISMATCHES.labels(bar.symbol).inc()
            self._alert(
                "bar_mismatch",
                bar.symbol,
                f"{bar.symbol} {bar.day}: trades seen reach from {seen.low} to {seen.high}, the exchange's candle "
                f"from {bar.low} to {bar.high}; the candle is used",
            )

    async def _candles_or_none(self, symbol: str, day: date) -> list[Candle]:
        try:
            return await self._candles(symbol, day, day + timedelta(days=1))
        except (ExchangeError, MalformedPayload) as error:
            get_logger().warning("candles_retried", symbol=symbol, reason=str(error))
            return []

    async def _candles(self, symbol: str, first: date, last: date) -> list[Candle]:
        interval = interval_for(self._session, first, last)
        return await self._source.candles(symbol, interval, start_ms=self._session.day_start_ms(first))


def _differ(price: float, other: float) -> bool:
    return abs(price - other) > _TOLERANCE * max(price, other)
