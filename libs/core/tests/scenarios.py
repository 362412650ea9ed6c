"""Random days of trades and bars, and the ways of feeding them to the strategy."""

import json
import zlib
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise

import numpy as np
from naive_strategy import Left, Row, SymbolDays

from breakwater_core.config import BreakwaterConfig
from breakwater_core.events import Leg
from breakwater_core.market import BarState, DailyBar, TradeBatch
from breakwater_core.portfolio import Decision, PortfolioStrategy

FIRST_DAY = date(2024, 3, 29)


def trade_batch(symbol: str, trades: list[tuple[int, float]]) -> TradeBatch:
    """Return the trades as a batch; sizes and sides do not matter to the strategy."""
    return TradeBatch(
        symbol=symbol,
        times_ms=np.array([time for time, _ in trades], dtype=np.int64),
        prices=np.array([price for _, price in trades], dtype=np.float64),
        sizes=np.ones(len(trades)),
        taker_sides=np.zeros(len(trades), dtype=np.int8),
    )


def open_bar(symbol: str, day: date, price: float, *, complete: bool = True) -> DailyBar:
    """Return an OPEN bar; what it must not be relied on for is absurd."""
    return DailyBar(symbol, day, BarState.OPEN, price, -1.0, -2.0, -3.0, 0.0, complete)


def closed_bar(symbol: str, day: date, prices: tuple[float, float, float, float], *, complete: bool = True) -> DailyBar:
    """Return a CLOSED bar of (open, high, low, close)."""
    return DailyBar(symbol, day, BarState.CLOSED, *prices, 1.0, complete)


@dataclass
class Scenario:
    """Days of some symbols under one configuration."""

    config: BreakwaterConfig
    symbols: list[SymbolDays]
    days: list[date]
    salt: int
    loses_outcomes: bool

    def answer(self, row: Row) -> Left | None:
        """Return what the decision led to: always the same for the same decision."""
        symbol, day, leg, side, _, trigger, time, attempt = row
        draw = np.random.default_rng(zlib.crc32(f"{self.salt}/{symbol}/{day}/{leg}/{attempt}".encode()))
        at_ms = time + int(draw.integers(0, 4_000))
        if self.loses_outcomes and draw.random() < 0.25:
            return None
        if leg is Leg.ENTRY:
            if draw.random() < 0.2:
                return Left(None, None, at_ms)
            return Left(side, trigger * (1 + Decimal(int(draw.integers(-2, 3))) / 400), at_ms)
        if draw.random() < 0.15:
            return Left(side.opposite, None, at_ms)
        return Left(None, trigger, at_ms)


def random_scenario(config: BreakwaterConfig, seed: int, *, loses_outcomes: bool = False) -> Scenario:
    """Return days whose prices lie on a coarse grid, so that targets are often hit exactly."""
    draw = np.random.default_rng(seed)
    days = [FIRST_DAY + timedelta(days=offset) for offset in range(int(draw.integers(2, 5)))]
    symbols = [_random_symbol(config, name, days, draw) for name in ("AAA", "BBB", "CCC")[: int(draw.integers(1, 4))]]
    return Scenario(config, symbols, days, seed, loses_outcomes)


def _random_symbol(config: BreakwaterConfig, name: str, days: list[date], draw: np.random.Generator) -> SymbolDays:
    session = config.session.session()
    data = SymbolDays(name, [], {}, {})
    known = int(draw.integers(1, 9))
    for day in [days[0] - timedelta(days=back) for back in range(known, 0, -1)] + days:
        low, extent = 96 + draw.integers(0, 5), draw.integers(0, 9)
        bar_open, bar_close = low + draw.integers(0, extent + 1), low + draw.integers(0, extent + 1)
        prices = (float(bar_open), float(low + extent), float(low), float(bar_close))
        if draw.random() > 0.04:
            data.closed[day] = closed_bar(name, day, prices, complete=draw.random() > 0.04)
    for day in days:
        if draw.random() > 0.05:
            data.opened[day] = (float(98 + draw.integers(0, 5)), bool(draw.random() > 0.06))
        count = int(draw.choice([0, 3, 15, 60, 200]))
        start, closing, end = session.day_start_ms(day), session.exit_opens_ms(day), session.day_end_ms(day)
        times = draw.integers(start, end, size=count)
        near = draw.random(count)
        times[near < 0.08] = closing - draw.integers(0, 2)
        times[near > 0.95] = start
        times[(near > 0.4) & (near < 0.5)] = start + 3_600_000  # shared with the other symbols
        times.sort()
        steps = draw.integers(-2, 3, size=count) * float(draw.choice([0.25, 0.5, 1.0]))
        prices_seen = np.maximum(100.0 + np.cumsum(steps), 50.0)
        data.trades += [(int(time), float(price)) for time, price in zip(times, prices_seen, strict=True)]
        if day in data.opened:
            if draw.random() < 0.25:
                data.gaps.append(int(draw.integers(start, closing)))
            if draw.random() < 0.25:
                data.notes.append((int(draw.integers(start, closing)), bool(draw.random() < 0.3)))
    return data


@dataclass
class Feeding:
    """One way of feeding a scenario: how windows and batches are cut, and whether the strategy is restarted.

    With `days_are_told` the strategy learns each day's configuration as the day begins; from `switch_day` on it is
    `switches_to`.
    """

    seed: int
    windows: int
    longest_batch: int
    runs_ahead: bool
    restarts: bool
    days_are_told: bool = False
    switches_to: BreakwaterConfig | None = None
    switch_day: date = date.max

    def run(self, scenario: Scenario) -> list[Row]:
        """Return the decisions that the strategy makes."""
        return _Feeder(self, scenario).run()


class _Feeder:
    def __init__(self, feeding: Feeding, scenario: Scenario) -> None:
        self.feeding = feeding
        self.scenario = scenario
        self.draw = np.random.default_rng(feeding.seed)
        self.session = scenario.config.session.session()
        self.names = [data.symbol for data in scenario.symbols]
        self.strategy = self.new_strategy(self.config_of(None))
        self.rows: list[Row] = []
        self.unread: list[tuple[str, int, object]] = []  # (symbol, time, what was fed) since the last restart point

    def new_strategy(self, config: BreakwaterConfig) -> PortfolioStrategy:
        return PortfolioStrategy(config, self.names, day_by_day=self.feeding.days_are_told)

    def config_of(self, day: date | None) -> BreakwaterConfig:
        config = self.scenario.config
        if self.feeding.switches_to is not None and day is not None and day >= self.feeding.switch_day:
            config = self.feeding.switches_to
        portfolio = config.portfolio.model_copy(update={"symbols": tuple(self.names)})
        return config.model_copy(update={"portfolio": portfolio})

    def run(self) -> list[Row]:
        start = self.session.day_start_ms(self.scenario.days[0])
        end = self.session.day_end_ms(self.scenario.days[-1]) + 600_000
        self.warm_up()
        self.strategy.advance(start)
        assert self.next_decisions() == ()
        last = start
        edges = self.edges(start, end)
        for begin, stop in pairwise(edges):
            self.feed_window(begin, stop)
            self.step(last if self.feeding.runs_ahead else stop)
            last = stop
        self.step(end + 1)
        return self.rows

    def edges(self, start: int, end: int) -> list[int]:
        """Return window ends; notes, gaps and day boundaries always are some, so that what they follow is fixed."""
        fixed = {self.session.day_start_ms(day) for day in self.scenario.days}
        for data in self.scenario.symbols:
            fixed |= {after + 1 for after, _ in data.notes} | {after + 1 for after in data.gaps}
        free = self.draw.integers(start, end, size=self.feeding.windows).tolist()
        return sorted({start, end, *fixed, *free})

    def warm_up(self) -> None:
        for data in self.scenario.symbols:
            for day, bar in sorted(data.closed.items()):
                if day < self.scenario.days[0]:
                    self.strategy.feed_bar(bar)

    def feed_window(self, begin: int, stop: int) -> None:
        bars_first = self.draw.random() < 0.5
        opening = next((day for day in self.scenario.days if self.session.day_start_ms(day) == begin), None)
        for data in self.scenario.symbols:
            if opening is not None and bars_first:
                self.feed_bars(data, opening)
            self.feed_trades(data.symbol, [trade for trade in data.trades if begin <= trade[0] < stop])
            if opening is not None and not bars_first:
                self.feed_bars(data, opening)
            for after, complete in data.notes:
                if after + 1 == stop:
                    day = self.session.day_of(after)
                    self.feed(data.symbol, open_bar(data.symbol, day, 77.0, complete=complete))
            if stop - 1 in data.gaps:
                self.feed(data.symbol, None)

    def feed_bars(self, data: SymbolDays, day: date) -> None:
        yesterday = day - timedelta(days=1)
        for _ in range(int(self.draw.integers(1, 3))):  # bars may come again
            if yesterday in data.closed:
                self.feed(data.symbol, data.closed[yesterday])
            if day in data.opened:
                self.feed(data.symbol, open_bar(data.symbol, day, data.opened[day][0], complete=data.opened[day][1]))

    def feed_trades(self, symbol: str, trades: list[tuple[int, float]]) -> None:
        while trades:
            count = int(self.draw.integers(1, self.feeding.longest_batch + 1))
            self.feed(symbol, trades[:count])
            trades = trades[count:]

    def feed(self, symbol: str, item: list[tuple[int, float]] | DailyBar | None) -> None:
        if item is None:
            self.strategy.mark_gap(symbol)
        elif isinstance(item, DailyBar):
            self.strategy.feed_bar(item)
        else:
            self.strategy.feed_trades(trade_batch(symbol, item))
            self.unread.append((symbol, item[-1][0], item))

    def step(self, now_ms: int) -> None:
        self.strategy.advance(now_ms)
        while decisions := self.next_decisions():
            assert len(decisions) == 1 or all(decision.leg is Leg.EXIT for decision in decisions)
            for one in decisions:
                row: Row = (
                    one.symbol, one.day, one.leg, one.side, one.target_price, one.trigger_price, one.trigger_time_ms,
                    one.attempt,
                )  # fmt: skip
                self.rows.append(row)
                self.tell(row)
        if self.feeding.restarts:
            self.restart(now_ms)

    def next_decisions(self) -> tuple[Decision, ...]:
        while not (decisions := self.strategy.next_decisions()):
            day = self.strategy.awaited_day
            if day is None:
                return ()
            self.strategy.begin_day(day, self.config_of(day))
        return decisions

    def tell(self, row: Row) -> None:
        left = self.scenario.answer(row)
        if left is None:
            return
        symbol, day, leg, *_, attempt = row
        for _ in range(int(self.draw.integers(1, 3))):  # outcomes may come again
            self.strategy.apply_outcome(
                symbol,
                day,
                leg,
                attempt,
                position_side=left.position_side,
                average_price=left.average_price,
                at_ms=left.at_ms,
            )

    def restart(self, now_ms: int) -> None:
        """Go on with a new object, from the snapshot and the trades that were not decided upon."""
        values = json.loads(json.dumps(self.strategy.snapshot()))
        from_ms = self.strategy.buffered_from_ms
        self.strategy = self.new_strategy(self.config_of(self.strategy.day))
        self.strategy.restore(values)
        self.unread = [entry for entry in self.unread if from_ms is not None and entry[1] >= from_ms]
        for symbol, _, trades in self.unread:
            self.strategy.feed_trades(trade_batch(symbol, trades))  # type: ignore[arg-type]  # only trades are kept
