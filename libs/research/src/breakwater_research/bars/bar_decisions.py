"""The strategy's decisions over a bar table, in the order and to the letter of `PortfolioStrategy`.

A backtest tells each outcome at once and leaves no position behind an exit, so every entry is known beforehand: it does
not depend on what became of the ones before. A stop does, and is searched for once its entry is known to have filled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import numpy as np

from breakwater_core.config import BreakwaterConfig
from breakwater_core.decimals import from_float
from breakwater_core.events import Leg, Side
from breakwater_core.portfolio import Decision
from breakwater_research.bars.bar_table import BarTable
from breakwater_research.bars.paths import first_at_or_above, first_at_or_below, first_from, time_of
from breakwater_research.bars.plans import PlanBook, find_entries


@dataclass(slots=True)
class _Position:
    """A position that the day's exit must close; `stop` is what hits its stop, if anything does."""

    side: Side
    entry: int
    stop: "_Stop | None" = None


@dataclass(frozen=True, slots=True)
class _Stop:
    time_ms: int
    trade: int
    level: float


@dataclass(frozen=True, slots=True)
class _Entry:
    time_ms: int
    number: int
    trade: int
    side: Side
    target: float


class BarDecisions:
    """Decisions of one configuration from one day of a table to another."""

    def __init__(
        self, table: BarTable, config: BreakwaterConfig, book: PlanBook, *, first_day: int, last_day: int
    ) -> None:
        """Find the entries.

        Args:
            table: The bars.
            config: Settings of the run, with its symbols.
            book: The table's plans.
            first_day: Index of the first day.
            last_day: Index of the last day.
        """
        self._table = table
        self._book = book
        self._stop_loss = config.strategy.stop_loss
        self._rules = book.rules(config)
        self._lead_ms = config.session.session().exit_lead_ms
        members = sorted(table.index_of(symbol) for symbol in config.portfolio.symbols)
        self._entries = self._find(members, first_day, last_day)
        self._last_day = last_day
        self._now_ms = 0
        self._positions: dict[int, _Position] = {}
        self._pending: list[_Entry] = []
        self._begin_day(first_day)

    def advance(self, now_ms: int) -> None:
        """Allow decisions of events before the time."""
        self._now_ms = max(self._now_ms, now_ms)

    def next_decisions(self) -> tuple[Decision, ...]:
        """Return the earliest decisions: one entry or stop, or all exits of a day by symbol; empty when done."""
        while self._day <= self._last_day:
            limit_ms = min(self._now_ms, self._exit_opens_ms)
            if (decision := self._next_entry_or_stop(limit_ms)) is not None:
                return (decision,)
            if self._now_ms <= self._exit_opens_ms:
                return ()
            exits = tuple(self._exit(number, side) for number, side in self._open_sides())
            self._begin_day(self._day + 1)
            if exits:
                return exits
        return ()

    def apply_outcome(
        self,
        symbol: str,
        day: date,
        leg: Leg,
        attempt: int,
        *,
        position_side: Side | None,
        average_price: Decimal | None,
        at_ms: int,
    ) -> bool:
        """Tell what a decision left behind; return whether that changed anything.

        Args:
            symbol: Venue symbol.
            day: Day of the decision.
            leg: Its leg.
            attempt: Its attempt; there is but one of each leg.
            position_side: Side of the position afterwards; None: flat.
            average_price: Average entry fill price.
            at_ms: When the outcome came about; stops count trades after it.
        """
        number = self._table.index_of(symbol)
        position = self._positions.get(number)
        if leg is not Leg.ENTRY or position is None:
            return False
        if position_side is None:
            del self._positions[number]
            return True
        position.side = position_side
        if self._stop_loss is not None and average_price is not None:
            position.stop = self._stop_of(number, position, float(average_price), at_ms)
        return True

    # -- days ------------------------------------------------------------------------------------------------------

    def _find(self, members: Sequence[int], first_day: int, last_day: int) -> dict[int, list[_Entry]]:
        """Return the entries per day, the last first."""
        rows = np.array(members, dtype=np.int64)
        table = self._table
        trades, sides, targets = find_entries(table.paths, self._book.days, self._rules, rows, first_day, last_day)
        found: dict[int, list[_Entry]] = {}
        for row, offset in zip(*np.nonzero(trades >= 0), strict=True):
            number, trade = members[row], int(trades[row, offset])
            side = Side.BUY if sides[row, offset] > 0 else Side.SELL
            entry = _Entry(time_of(table.paths, number, trade), number, trade, side, float(targets[row, offset]))
            found.setdefault(first_day + int(offset), []).append(entry)
        for of_day in found.values():
            of_day.sort(key=lambda entry: (entry.time_ms, entry.number), reverse=True)
        return found

    def _begin_day(self, day: int) -> None:
        self._day = day
        self._positions.clear()
        self._pending = self._entries.pop(day, [])
        if day <= self._last_day:
            self._date = self._table.days[day]
            self._exit_opens_ms = int(self._table.day_starts_ms[day + 1]) - self._lead_ms

    def _open_sides(self) -> list[tuple[int, Side]]:
        return [(number, position.side) for number, position in sorted(self._positions.items())]

    # -- decisions -------------------------------------------------------------------------------------------------

    def _next_entry_or_stop(self, limit_ms: int) -> Decision | None:
        entry = self._pending[-1] if self._pending else None
        first = (limit_ms, -1) if entry is None else (entry.time_ms, entry.number)
        stopped: _Position | None = None
        for number, position in self._positions.items():
            if position.stop is None:
                continue
            place = (position.stop.time_ms, number)
            if place < first:
                first, stopped = place, position
        if first[0] >= limit_ms:
            return None
        if stopped is not None and stopped.stop is not None:
            del self._positions[first[1]]
            stop = stopped.stop
            return self._decision(first[1], Leg.STOP, stopped.side.opposite, stop.trade, stop.level)
        if entry is None:
            return None
        self._pending.pop()
        self._positions[entry.number] = _Position(entry.side, entry.trade)
        return self._decision(entry.number, Leg.ENTRY, entry.side, entry.trade, entry.target)

    def _stop_of(self, number: int, position: _Position, price: float, at_ms: int) -> _Stop | None:
        """Return the first trade after the fill and before the exit window that is at or through the stop."""
        stop_loss = self._stop_loss or 0.0
        paths, end = self._table.paths, int(self._rules.exit_stops[number, self._day])
        start = min(end, first_from(paths, number, position.entry + 1, end, at_ms + 1))
        if position.side is Side.BUY:
            level = price * (1.0 - stop_loss)
            trade = first_at_or_below(paths, level, start, end)
        else:
            level = price * (1.0 + stop_loss)
            trade = first_at_or_above(paths, level, start, end)
        return _Stop(int(time_of(paths, number, trade)), trade, level) if trade < end else None

    def _exit(self, number: int, side: Side) -> Decision:
        trade = int(self._rules.exit_stops[number, self._day]) - 1
        price = from_float(self._table.paths.prices[trade])
        return Decision(
            symbol=self._table.symbols[number],
            day=self._date,
            leg=Leg.EXIT,
            side=side.opposite,
            target_price=price,
            trigger_price=price,
            trigger_time_ms=self._exit_opens_ms,
            attempt=1,
        )

    def _decision(self, number: int, leg: Leg, side: Side, trade: int, target: float) -> Decision:
        paths = self._table.paths
        return Decision(
            symbol=self._table.symbols[number],
            day=self._date,
            leg=leg,
            side=side,
            target_price=from_float(target),
            trigger_price=from_float(paths.prices[trade]),
            trigger_time_ms=int(time_of(paths, number, trade)),
            attempt=1,
        )
