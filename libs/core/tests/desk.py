"""One strategy at a desk: days before it and a day opened at 100, to be fed by hand.

The days before have open 100, high 110, low 90 and close 104 unless said otherwise, so with k = 0.5 and an open of 100
the targets are 110 and 90, and the moving average of opens is 100.
"""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from scenarios import closed_bar, open_bar, trade_batch

from breakwater_core.config import BreakwaterConfig
from breakwater_core.events import Leg, Side
from breakwater_core.portfolio import Decision, PortfolioStrategy

DAY = date(2023, 7, 4)
START = 1_688_428_800_000
EXIT = START + 86_400_000 - 30_000
USUAL = (100.0, 110.0, 90.0, 104.0)


class Desk:
    """The strategy on one symbol or more, with the days before `DAY` fed and `DAY` opened at 100."""

    def __init__(
        self,
        strategy: dict[str, Any] | None = None,
        *,
        symbols: tuple[str, ...] = ("AAA",),
        session: dict[str, Any] | None = None,
        opens: bool = True,
    ) -> None:
        settings = {"ma_window": 1, "filter": "none"} | (strategy or {})
        self.config = BreakwaterConfig.parse({"strategy": settings, "session": session or {}})
        self.portfolio = PortfolioStrategy(self.config, symbols)
        for symbol in symbols:
            for back in range(5, 0, -1):
                self.portfolio.feed_bar(closed_bar(symbol, DAY - timedelta(days=back), USUAL))
            if opens:
                self.portfolio.feed_bar(open_bar(symbol, DAY, 100.0))
        self.portfolio.advance(START)

    def trade(self, *trades: tuple[int, float], symbol: str = "AAA") -> list[Decision]:
        """Feed trades at (seconds into the day, price), advance past them and return what was decided."""
        self.feed(*trades, symbol=symbol)
        return self.until(START + trades[-1][0] * 1000 + 1)

    def feed(self, *trades: tuple[int, float], symbol: str = "AAA") -> None:
        self.portfolio.feed_trades(trade_batch(symbol, [(START + second * 1000, price) for second, price in trades]))

    def until(self, now_ms: int) -> list[Decision]:
        self.portfolio.advance(now_ms)
        decided: list[Decision] = []
        while decisions := self.portfolio.next_decisions():
            decided.extend(decisions)
        return decided

    def tell(
        self,
        leg: Leg,
        side: Side | None,
        price: str | None = None,
        *,
        second: int = 0,
        attempt: int = 1,
        day: date = DAY,
        symbol: str = "AAA",
    ) -> bool:
        return self.portfolio.apply_outcome(
            symbol,
            day,
            leg,
            attempt,
            position_side=side,
            average_price=None if price is None else Decimal(price),
            at_ms=START + second * 1000,
        )

    def reason(self, symbol: str = "AAA") -> str | None:
        return self.portfolio.status()[symbol].blocked_reason
