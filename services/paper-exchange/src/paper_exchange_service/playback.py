"""Trades for real time: a recording or the synthetic market, restamped so that its days fall on the calendar's.

The recorded time of day stays. The last recorded day is today, those before it are the days before today; after today
follow the recording's second day, its third, and so on to the last, and then the second again. Where the last day is
followed by the second the price jumps from one day's close to another day's open. A recording of one day repeats it.
The synthetic market is generated for the calendar day itself and has no seam.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

import numpy as np

from breakwater_core.errors import InvalidInputError
from breakwater_core.market import TradeBatch
from breakwater_core.session import Session
from breakwater_recordings.recording import Recording, SymbolReader
from breakwater_recordings.synthetic import generate_day

UTC_DAYS = Session()


class DayReader(Protocol):
    """The trades of one symbol on one calendar day."""

    def take_until(self, end_ms: int) -> TradeBatch:
        """Return the trades not yet taken with a time before `end_ms`."""


OpenDay = Callable[[str, date], DayReader]


def utc_day(time_ms: int) -> date:
    """Return the calendar day of the time."""
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC).date()


class Playback:
    """A cursor over the calendar, for all symbols."""

    def __init__(self, symbols: Sequence[str], open_day: OpenDay, first_day: date) -> None:
        """Start before the first trade of the first day."""
        self.symbols = tuple(symbols)
        self.first_day = first_day
        self._open_day = open_day
        self._days = dict.fromkeys(symbols, first_day)
        self._readers = {symbol: open_day(symbol, first_day) for symbol in symbols}

    def take_until(self, end_ms: int) -> list[TradeBatch]:
        """Return the trades before the time that were not taken yet: one batch per day and symbol."""
        found: list[TradeBatch] = []
        for symbol in self.symbols:
            while True:
                day = self._days[symbol]
                day_end_ms = UTC_DAYS.day_end_ms(day)
                batch = self._readers[symbol].take_until(min(end_ms, day_end_ms))
                if len(batch):
                    found.append(batch)
                if end_ms <= day_end_ms:
                    break
                self._days[symbol] = day + timedelta(days=1)
                self._readers[symbol] = self._open_day(symbol, self._days[symbol])
        return found


class RecordedDay:
    """A day of a recording, moved to a calendar day."""

    def __init__(self, reader: SymbolReader, recorded: date, day: date) -> None:
        self._reader = reader
        self._shift_ms = UTC_DAYS.day_start_ms(day) - UTC_DAYS.day_start_ms(recorded)
        self._end_ms = UTC_DAYS.day_end_ms(recorded)
        reader.skip_to(UTC_DAYS.day_start_ms(recorded))

    def take_until(self, end_ms: int) -> TradeBatch:
        """Return the trades not yet taken with a time before `end_ms`."""
        batch = self._reader.take_until(min(end_ms - self._shift_ms, self._end_ms))
        return TradeBatch(
            symbol=batch.symbol,
            times_ms=batch.times_ms + np.int64(self._shift_ms),
            prices=batch.prices,
            sizes=batch.sizes,
            taker_sides=batch.taker_sides,
        )


class GeneratedDay:
    """A day of trades held in memory."""

    def __init__(self, batch: TradeBatch) -> None:
        self._batch = batch
        self._place = 0

    def take_until(self, end_ms: int) -> TradeBatch:
        """Return the trades not yet taken with a time before `end_ms`."""
        batch, start = self._batch, self._place
        self._place = stop = max(start, int(np.searchsorted(batch.times_ms, end_ms, side="left")))
        return TradeBatch(
            symbol=batch.symbol,
            times_ms=batch.times_ms[start:stop],
            prices=batch.prices[start:stop],
            sizes=batch.sizes[start:stop],
            taker_sides=batch.taker_sides[start:stop],
        )


def recorded_day(days: Sequence[date], today: date, day: date) -> date:
    """Return which recorded day is played on a calendar day, from `len(days) - 1` days before today on."""
    offset = (day - today).days
    last = len(days) - 1
    if offset <= 0:
        return days[last + offset]
    return days[1 + (offset - 1) % last] if last else days[0]


def play_recording(recording: Recording, now_ms: int) -> Playback:
    """Return the playback of a recording that reaches back as many days as it has.

    Raises:
        InvalidInputError: If the recording is not cut into UTC days, or holds none.
    """
    days = recording.days
    if not days or recording.session.timezone != "UTC":
        raise InvalidInputError("the recording must hold at least one UTC day; give a file with trades or candles")
    today = utc_day(now_ms)

    def open_day(symbol: str, day: date) -> DayReader:
        return RecordedDay(recording.reader(symbol), recorded_day(days, today, day), day)

    return Playback(recording.symbols, open_day, today - timedelta(days=len(days) - 1))


def play_synthetic(
    *, seed: int, symbols: Sequence[str], trades_per_day: int, history_days: int, now_ms: int
) -> Playback:
    """Return the playback of the synthetic market.

    Args:
        seed: Which market.
        symbols: Venue symbols.
        trades_per_day: Average number of trades of all symbols together.
        history_days: Days before today.
        now_ms: Wall clock.
    """

    def open_day(symbol: str, day: date) -> DayReader:
        return GeneratedDay(
            generate_day(seed=seed, symbol=symbol, day=day, trades_per_day_total=trades_per_day, session=UTC_DAYS)
        )

    return Playback(symbols, open_day, utc_day(now_ms) - timedelta(days=history_days))
