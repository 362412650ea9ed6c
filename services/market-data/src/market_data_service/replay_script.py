"""The script of a replay: which messages go out in which order, and where the other parties are waited for.

A pure state machine: it is given one window after the other and returns steps; `replay` carries them out. The order of
messages is that of "Replay in lock-step" in docs/architecture.md. A wait for signal on an ordinary window stands behind
the publishing of later trades, so that signal decides while trades are on their way; the order on the bus is the same.
Times are milliseconds since 1970-01-01T00:00Z.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from breakwater_core.errors import InvariantError
from breakwater_core.market import Clock, ClockKind, DailyBar, TradeBatch
from breakwater_recordings.daily_bars import DailyBarBuilder
from breakwater_recordings.recording import Window
from market_data_service.replay_plan import ReplayPlan
from market_data_service.settings import ACCOUNT

MAX_TRADES_PER_MESSAGE = 16_384

_AFTER_THE_END_MS = 86_400_000
"""Behind the recording there are no more trades: an order or query of its last instant need not wait for any."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Go on when the instant is due by the wall clock."""

    event_ms: int


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish events of different subjects, in any order among themselves, and have all of them acknowledged."""

    events: tuple[TradeBatch | DailyBar, ...]


@dataclass(frozen=True, slots=True)
class Announce:
    """Publish the time of the run and have it acknowledged."""

    clock: Clock


@dataclass(frozen=True, slots=True)
class Await:
    """Go on when the participant has finished the window."""

    participant: str
    window: int


Step = Pace | Publish | Announce | Await


class ReplayScript:
    """Turns windows into steps.

    `begin` is given the first window, then `play` each window with the one after it, and None behind the last.
    """

    def __init__(self, plan: ReplayPlan, bars: DailyBarBuilder, participants: Sequence[str]) -> None:
        """Start before the first window.

        Args:
            plan: What is played.
            bars: Builds the daily bars; knows which days are complete.
            participants: Who is waited for: `account` at day boundaries, all others after each window.
        """
        self._plan = plan
        self._bars = bars
        self._account = ACCOUNT in participants
        self._deciders = tuple(name for name in participants if name != ACCOUNT)
        self.trades_total = 0
        """Trades of the run so far; a restarted replay learns from the bus how many came before it."""
        self._unanswered: int | None = None

    def begin(self, first: Window, warm_up: Iterable[DailyBar]) -> Iterator[Step]:
        """Yield the steps before the first window is played.

        A window other than 1 is where a restarted replay begins to read again, always the first of a day: what lies
        before it has been played, so there are no steps.

        Args:
            first: The first window.
            warm_up: CLOSED bars of the days before the first.
        """
        opened = self._take_in(first)
        if first.number != 1:
            return
        yield from _one_symbol_at_a_time(replace(bar, window=1) for bar in warm_up)
        yield from self._trades(first)
        yield Announce(self._clock(ClockKind.DAY_OPENED, 0, first.start_ms, first.end_ms))
        if self._account:
            yield Await(ACCOUNT, 0)
        yield from _one_symbol_at_a_time(opened)

    def play(self, current: Window, ahead: Window | None) -> Iterator[Step]:
        """Yield the steps that make the time advance to the end of `current`.

        Raises:
            InvariantError: If the window after the current one is another than the one that follows.
        """
        if ahead is not None and (ahead.number, ahead.start_ms) != (current.number + 1, current.end_ms):
            raise InvariantError(f"window {ahead.number} does not follow window {current.number}")
        through_ms = current.end_ms + _AFTER_THE_END_MS if ahead is None else ahead.end_ms
        opened = [] if ahead is None else self._take_in(ahead)
        day_ends = self._ends_a_day(current)
        yield Pace(current.end_ms)
        if ahead is not None:
            yield from self._trades(ahead)
            if not day_ends:
                yield from _one_symbol_at_a_time(opened)
        yield from self._answers()
        yield Announce(self._clock(ClockKind.ADVANCED, current.number, current.end_ms, through_ms))
        self._unanswered = current.number
        if day_ends:
            yield from self._answers()
            yield from _one_symbol_at_a_time(self._bars.close_until(current.end_ms, window=current.number))
            yield Announce(self._clock(ClockKind.DAY_OPENED, current.number, current.end_ms, through_ms))
            if self._account:
                yield Await(ACCOUNT, current.number)
            yield from _one_symbol_at_a_time(opened)
        if ahead is None:
            yield Announce(self._clock(ClockKind.ENDED, current.number, current.end_ms, current.end_ms))

    def _take_in(self, window: Window) -> list[DailyBar]:
        """Add the window's trades to the daily bars; return the OPEN bars of the days that they begin."""
        return [bar for batch in window.batches for bar in self._bars.feed(batch)]

    def _trades(self, window: Window) -> Iterator[Step]:
        self.trades_total += len(window)
        yield from _one_symbol_at_a_time(
            part for batch in window.batches for part in parts_of(batch, MAX_TRADES_PER_MESSAGE)
        )

    def _answers(self) -> Iterator[Step]:
        number, self._unanswered = self._unanswered, None
        if number is not None:
            for name in self._deciders:
                yield Await(name, number)

    def _clock(self, kind: ClockKind, window: int, now_ms: int, through_ms: int) -> Clock:
        return Clock(
            kind=kind,
            now_ms=now_ms,
            trades_through_ms=through_ms,
            day=self._plan.session.day_of(now_ms),
            window=window,
            trades_total=self.trades_total,
        )

    def _ends_a_day(self, window: Window) -> bool:
        session = self._plan.session
        return window.end_ms == session.day_end_ms(session.day_of(window.start_ms))


def parts_of(batch: TradeBatch, limit: int) -> Iterator[TradeBatch]:
    """Yield the batch in parts of about `limit` trades at most.

    A part ends where it must, or a little later: no two parts begin at the same millisecond, which tells them apart.
    """
    start = 0
    while start < len(batch):
        stop = min(start + limit, len(batch))
        if stop < len(batch) and batch.times_ms[stop] == batch.times_ms[start]:
            stop = int(np.searchsorted(batch.times_ms, batch.times_ms[start], side="right"))
        yield batch if stop - start == len(batch) else _part(batch, start, stop)
        start = stop


def _part(batch: TradeBatch, start: int, stop: int) -> TradeBatch:
    return replace(
        batch,
        times_ms=batch.times_ms[start:stop],
        prices=batch.prices[start:stop],
        sizes=batch.sizes[start:stop],
        taker_sides=batch.taker_sides[start:stop],
    )


def _one_symbol_at_a_time(events: Iterable[TradeBatch | DailyBar]) -> Iterator[Publish]:
    """Yield the events in groups that hold each symbol once.

    A group is acknowledged before the next one is sent, so events of a symbol keep their order whatever happens to
    the bus in between.
    """
    queues: dict[str, list[TradeBatch | DailyBar]] = {}
    for event in events:
        queues.setdefault(event.symbol, []).append(event)
    for position in range(max((len(queue) for queue in queues.values()), default=0)):
        yield Publish(tuple(queue[position] for queue in queues.values() if position < len(queue)))
