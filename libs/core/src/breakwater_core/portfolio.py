"""The strategy on all symbols, merged in event time: feed data and the clock, take decisions one event at a time.

The order of decisions is that of their event times, ties by symbol. An exit window takes the trades before it first
and then decides all exits at once; trades at and after its opening are no entries. Nothing depends on how trades were
cut into batches or how often the clock was advanced. Times are milliseconds UTC.

    strategy.feed_bar(bar)
    strategy.feed_trades(batch)
    strategy.advance(now_ms)
    while decisions := strategy.next_decisions():
        ...  # act; in lock-step also apply_outcome before asking again

A strategy that runs day by day decides nothing of a day before it was told the day's configuration. Once there is
nothing to decide, `awaited_day` names the day that it waits for, and `begin_day` tells.
"""

from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError, InvariantError
from breakwater_core.events import Leg, Side
from breakwater_core.holding import Outcome
from breakwater_core.market import DailyBar, TradeBatch
from breakwater_core.strategy import Decision, SymbolStatus, SymbolStrategy

__all__ = ["Decision", "PortfolioStrategy", "SymbolStatus"]

SNAPSHOT_FORMAT = 1


class PortfolioStrategy:
    """The strategy on a set of symbols; it knows no accounts.

    Args:
        config: Settings of the run; day by day, those of the first day as far as they are known.
        symbols: Venue symbols; their number is the portfolio's size.
        day_by_day: Whether the configuration of each day is told by `begin_day`; else it never changes.

    Raises:
        InvalidInputError: If no symbol is given, or one twice.
    """

    def __init__(self, config: BreakwaterConfig, symbols: Iterable[str], *, day_by_day: bool = False) -> None:
        names = tuple(symbols)
        if not names or len(set(names)) != len(names):
            raise InvalidInputError(f"the portfolio needs one symbol or more, each named once; was given {names}")
        self._config = config
        self._day_by_day = day_by_day
        self._awaited_day: date | None = None
        self._session = config.session.session()
        self._symbols = {name: SymbolStrategy(name, config, self._session) for name in sorted(names)}
        self._ordered = tuple(self._symbols.values())
        self._undecided: dict[str, SymbolStrategy] = {}  # symbols that hold trades; only they can have a decision
        self._timer_ms: int | None = None  # the next timer, as long as nothing has changed it
        self._now_ms: int | None = None
        self._day: date | None = None
        self._exit_opens_ms = 0

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols of the portfolio, sorted, and those taken out of it whose position may be open, or was a day ago."""
        return tuple(self._symbols)

    @property
    def awaited_day(self) -> date | None:
        """Day whose configuration must be told before anything more is decided; None: none."""
        return self._awaited_day

    @property
    def position_days(self) -> tuple[date, ...]:
        """Days whose positions may have to be closed, oldest first: that is decided under those days' rules."""
        if self._day is None:
            return ()
        since = _day_before(self._day)
        return tuple(sorted({day for symbol in self._ordered if (day := symbol.position_day(since)) is not None}))

    @property
    def day(self) -> date | None:
        """Day whose exit window has not opened yet; None before the first `advance`."""
        return self._day

    @property
    def now_ms(self) -> int | None:
        """Time up to which decisions are allowed; None before the first `advance`."""
        return self._now_ms

    @property
    def min_bars_needed(self) -> int:
        """Number of complete closed days that must be known right before a day for it to be entered."""
        return next(symbol for symbol in self._ordered if not symbol.retired).min_bars_needed

    @property
    def buffered_from_ms(self) -> int | None:
        """Time of the oldest trade not decided upon, over all symbols; a restart must feed again from here on."""
        return min((time for symbol in self._ordered if (time := symbol.buffered_from_ms) is not None), default=None)

    def feed_trades(self, batch: TradeBatch) -> None:
        """Buffer trades of one symbol, oldest first; those older than the newest one known are dropped as repeats.

        Raises:
            InvalidInputError: If the symbol is not in the portfolio, the columns differ in length or times fall.
        """
        symbol = self._symbol(batch.symbol)
        symbol.feed_trades(batch)
        self._undecided[batch.symbol] = symbol

    def feed_bar(self, bar: DailyBar) -> None:
        """Take in a daily bar; the OPEN bar of a day comes after the CLOSED bars of the days before.

        Trades of a day wait for its OPEN bar. A bar may come again.

        Raises:
            InvalidInputError: If the symbol is not in the portfolio, or the bar's prices are impossible.
        """
        self._symbol(bar.symbol).feed_bar(bar)

    def mark_gap(self, symbol: str) -> None:
        """Say that trades of the symbol are missing between those fed so far and those to come.

        Raises:
            InvalidInputError: If the symbol is not in the portfolio.
        """
        self._symbol(symbol).mark_gap()

    def advance(self, now_ms: int) -> None:
        """Allow decisions of events before `now_ms`; an earlier time than before changes nothing."""
        if self._now_ms is not None and now_ms <= self._now_ms:
            return
        self._now_ms = now_ms
        if self._day is None and self._awaited_day is None:
            oldest_ms = self.buffered_from_ms
            first_ms = now_ms if oldest_ms is None else min(now_ms, oldest_ms)
            self._turn_to(self._session.day_of(first_ms))

    def begin_day(self, day: date, config: BreakwaterConfig) -> None:
        """Tell the configuration of the awaited day; the day begins.

        Bars and positions carry over. A symbol that is not in the portfolio any more stays, without being entered,
        until its position is known to be gone, and for the day after that it had one.

        Raises:
            InvariantError: If this day is not awaited.
            InvalidInputError: If the configuration names no symbol.
        """
        if self._awaited_day is None or day != self._awaited_day:
            raise InvariantError(f"{day} was begun while {self._awaited_day} is awaited")
        if not config.portfolio.symbols:
            raise InvalidInputError(f"the configuration of {day} names no symbol; set portfolio.symbols")
        self._awaited_day = None
        self._change_rules(config, _day_before(day))
        self._begin_day(day)

    def _change_rules(self, config: BreakwaterConfig, since: date) -> None:
        is_other = config.version != self._config.version
        self._config = config
        self._session = config.session.session()
        symbols = {}
        for name in sorted({*config.portfolio.symbols, *self._symbols}):
            symbol = self._symbols.get(name)
            if symbol is None:
                symbol = SymbolStrategy(name, config, self._session)
            elif is_other:
                symbol.change_rules(config, self._session)
            symbol.retired = name not in config.portfolio.symbols
            if symbol.position_day(since) is not None or not symbol.retired:
                symbols[name] = symbol
        self._keep(symbols)

    def _keep(self, symbols: dict[str, SymbolStrategy]) -> None:
        self._symbols = symbols
        self._ordered = tuple(symbols.values())
        self._undecided = {name: symbol for name, symbol in self._undecided.items() if name in symbols}
        self._timer_ms = None

    def next_decisions(self) -> tuple[Decision, ...]:
        """Return the earliest decisions: one entry or stop, or all exits of one time by symbol; empty when done."""
        if self._now_ms is None:
            return ()
        while self._awaited_day is None:
            timer_ms = self._next_timer_ms()
            earliest = self._earliest(min(self._now_ms, timer_ms))
            if earliest is not None:
                self._timer_ms = None
                return (earliest.take(),)
            if self._now_ms <= timer_ms:
                return ()
            if decisions := self._decide_exits(timer_ms):
                return decisions
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
        """Tell what an intent left behind, over all accounts; return whether that changed anything.

        May be told late, twice or before the decision was made. An entry that is told to have left nothing ends the
        symbol's day; one never told of is exited all the same.

        Args:
            symbol: Venue symbol.
            day: Day of the intent.
            leg: Leg of the intent.
            attempt: Attempt of the intent.
            position_side: Side of the position afterwards, BUY is long; None: flat.
            average_price: Average entry fill price, quote currency; None if not known. Reducing legs ignore it.
            at_ms: Venue time of the outcome: of the last fill, if there was one. Stops count trades after it.

        Raises:
            InvalidInputError: If the symbol is not in the portfolio.
        """
        outcome = Outcome(day, leg, attempt, position_side, average_price, at_ms)
        self._timer_ms = None
        return self._symbol(symbol).apply_outcome(outcome)

    def positions_possible(self) -> tuple[str, ...]:
        """Return the symbols whose position is open, or could be as far as outcomes are known."""
        return tuple(symbol.symbol for symbol in self._ordered if symbol.position_possible)

    def distances(self) -> dict[str, float]:
        """Return, per symbol that may still be entered today, the share of price to its nearest target."""
        return {symbol.symbol: away for symbol in self._ordered if (away := symbol.distance()) is not None}

    def near_entry(self, ratio: float) -> tuple[str, ...]:
        """Return the symbols that may be entered now and whose last price is within a share of itself of an entry."""
        return tuple(
            symbol.symbol for symbol in self._ordered if (away := symbol.entry_distance()) is not None and away <= ratio
        )

    def exits_due(self, within_ms: int) -> tuple[tuple[str, date], ...]:
        """Return symbol and day of the positions that may be open and whose exit is due, or will be within the time."""
        now_ms = self._now_ms
        if now_ms is None:
            return ()
        positions = ((symbol.symbol, symbol.position_day(date.max)) for symbol in self._ordered)
        return tuple(
            (name, day)
            for name, day in positions
            if day is not None and self._session.exit_opens_ms(day) - within_ms <= now_ms
        )

    def status(self) -> dict[str, SymbolStatus]:
        """Return the state of each symbol for a person or a metric."""
        return {symbol.symbol: symbol.status() for symbol in self._ordered}

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state but the buffered trades as plain values that JSON can hold.

        Take it when `next_decisions` has returned nothing. After `restore`, trades from `buffered_from_ms` on, and
        whatever else came after the snapshot, must be fed again.

        Raises:
            InvariantError: If a day is awaited: there is no saying yet under which configuration it goes on.
        """
        if self._awaited_day is not None:
            raise InvariantError(f"no snapshot can be taken while {self._awaited_day} is awaited")
        return {
            "format": SNAPSHOT_FORMAT,
            "version": self._config.version,
            "now_ms": self._now_ms,
            "day": None if self._day is None else self._day.isoformat(),
            "symbols": {symbol.symbol: symbol.to_values() for symbol in self._ordered},
        }

    def restore(self, values: dict[str, Any]) -> None:
        """Take back a snapshot. Under another configuration bars and positions carry over and plans are made again.

        Day by day, a symbol that is not in the portfolio stays if its position may be open; else that is an error.

        Raises:
            InvalidInputError: If the snapshot has another format, or may hold a position in a symbol that is not in the
                portfolio.
        """
        if values.get("format") != SNAPSHOT_FORMAT:
            raise InvalidInputError(
                f"the strategy's snapshot has format {values.get('format')!r}, this program reads {SNAPSHOT_FORMAT}; "
                "remove the checkpoint and start from the recorded stream, or use the program that wrote it"
            )
        self._restore_retired(values["symbols"], values["day"])
        self._undecided.clear()
        self._awaited_day = None
        self._timer_ms = None
        self._now_ms = values["now_ms"]
        day = None if values["day"] is None else date.fromisoformat(values["day"])
        self._day = day
        if day is not None:
            self._exit_opens_ms = self._session.exit_opens_ms(day)
        same_config = values["version"] == self._config.version
        for symbol in self._ordered:
            if symbol.symbol in values["symbols"]:
                symbol.restore(values["symbols"][symbol.symbol], day, same_config=same_config)
            elif day is not None:
                symbol.begin_day(day)

    def _restore_retired(self, states: dict[str, Any], day: str | None) -> None:
        """Make room for symbols outside the portfolio whose position may have to be closed."""
        symbols = {symbol.symbol: symbol for symbol in self._ordered if not symbol.retired}
        since = "" if day is None else _day_before(date.fromisoformat(day)).isoformat()
        for name, state in states.items():
            holding = state["holding"]
            if name in symbols or holding is None:
                continue
            is_gone = holding["phase"] == "ended"
            if is_gone and not (self._day_by_day and holding["day"] >= since):
                continue
            if not self._day_by_day:
                raise InvalidInputError(
                    f"the snapshot may hold a position in {name}, which is not in the portfolio; put it back into "
                    "portfolio.symbols, or flatten it and remove the checkpoint"
                )
            symbols[name] = SymbolStrategy(name, self._config, self._session)
            symbols[name].retired = True
        self._keep(dict(sorted(symbols.items())))

    def _symbol(self, name: str) -> SymbolStrategy:
        try:
            return self._symbols[name]
        except KeyError:
            raise InvalidInputError(
                f"{name} is not in the portfolio ({', '.join(self._symbols)}); add it to portfolio.symbols or do not "
                "feed it"
            ) from None

    def _begin_day(self, day: date) -> None:
        self._day = day
        self._exit_opens_ms = self._session.exit_opens_ms(day)
        self._timer_ms = None
        for symbol in self._ordered:
            symbol.begin_day(day)

    def _next_timer_ms(self) -> int:
        if self._timer_ms is None:
            self._timer_ms = self._earliest_timer_ms()
        return self._timer_ms

    def _earliest_timer_ms(self) -> int:
        timer_ms = self._exit_opens_ms
        for symbol in self._ordered:
            retry_ms = symbol.retry_at_ms
            if retry_ms is not None and retry_ms < timer_ms:
                timer_ms = retry_ms
        return timer_ms

    def _earliest(self, limit_ms: int) -> SymbolStrategy | None:
        """Return the symbol with the first decision before the limit; of equal times the first name."""
        earliest = None
        for name in sorted(self._undecided):
            symbol = self._undecided[name]
            found_ms = symbol.scan(limit_ms)
            if found_ms is not None:
                earliest, limit_ms = symbol, found_ms
            elif symbol.buffered_from_ms is None:
                del self._undecided[name]
        return earliest

    def _decide_exits(self, timer_ms: int) -> tuple[Decision, ...]:
        ends_day = timer_ms == self._exit_opens_ms
        self._timer_ms = None
        decisions: list[Decision] = []
        for symbol in self._ordered:
            retried = symbol.retry_exit(timer_ms)
            finished = symbol.finish_day(timer_ms) if ends_day else None
            decisions.extend(decision for decision in (retried, finished) if decision is not None)
        if ends_day and self._day is not None:
            self._turn_to(self._day + timedelta(days=1))
        return tuple(decisions)

    def _turn_to(self, day: date) -> None:
        """Begin the day, or wait until its configuration is told."""
        if self._day_by_day:
            self._awaited_day = day
        else:
            self._begin_day(day)


def _day_before(day: date) -> date:
    return day - timedelta(days=1)
