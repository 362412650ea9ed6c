"""All bars of a recording in arrays, cut into session days, with each day's running highs and lows.

A table holds exactly the trades that the recording gives for its candles, four per bar, so whatever is computed from it
is what the tick engine would compute from the recording. It is made once, read-only, picklable and shared by any number
of parameter sets and threads. Prices are float64 quote currency per 1 base unit, times int64 milliseconds UTC.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from breakwater_core.errors import InvalidInputError
from breakwater_core.market import TradeBatch
from breakwater_core.session import Session
from breakwater_recordings.parts import RecordedPart
from breakwater_recordings.recording import Recording
from breakwater_research.backtest_engines import NoBarsError
from breakwater_research.bars.paths import TRADES_PER_BAR, TRADES_PER_BLOCK, Paths, first_from, scan_day


class Records(NamedTuple):
    """The running highs (or lows) of every day, as the trades that made a new one.

    Attributes:
        levels: Shape (n_records,), float64: their prices, rising (falling) within a day.
        trades: Shape (n_records,), int64: the trades.
        at: Shape (n_symbols, n_days + 1), int64: those of symbol s and day d are [at[s, d], at[s, d + 1]).
    """

    levels: NDArray[np.float64]
    trades: NDArray[np.int64]
    at: NDArray[np.int64]


class DailyPrices(NamedTuple):
    """Daily bars, each of shape (n_symbols, n_days), float64; NaN on a day without trades."""

    opens: NDArray[np.float64]
    highs: NDArray[np.float64]
    lows: NDArray[np.float64]
    closes: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class BarTable:
    """The bars of some symbols.

    Attributes:
        session: Defines the days; its exit window does not matter to the table.
        symbols: Sorted, as in the recording.
        fingerprint: That of the recording.
        first_day: First day with data of any symbol.
        day_starts_ms: Shape (n_days + 1,), int64: when each day begins, and when the last one ends.
        paths: The bars that traded.
        trade_at: Shape (n_symbols, n_days + 1), int64: the trades of symbol s and day d are
            [trade_at[s, d], trade_at[s, d + 1]), numbered through all bars, four a bar.
        daily: Daily bars.
        complete: Shape (n_symbols, n_days), bool: whether nothing of the day is known to be missing.
        running_highs: Each day's new highs.
        running_lows: Each day's new lows.
    """

    session: Session
    symbols: tuple[str, ...]
    fingerprint: str
    first_day: date
    day_starts_ms: NDArray[np.int64]
    paths: Paths
    trade_at: NDArray[np.int64]
    daily: DailyPrices
    complete: NDArray[np.bool_]
    running_highs: Records
    running_lows: Records

    def __len__(self) -> int:
        """Return the number of bars."""
        return int(self.paths.times.size)

    @property
    def days(self) -> list[date]:
        """Days of the table, without gaps."""
        return [self.first_day + timedelta(days=number) for number in range(self.day_starts_ms.size - 1)]

    @property
    def nbytes(self) -> int:
        """Memory of all arrays, bytes."""
        groups = (self.paths, self.daily, self.running_highs, self.running_lows)
        arrays = [array for group in groups for array in group]
        return sum(array.nbytes for array in (*arrays, self.day_starts_ms, self.trade_at, self.complete))

    def day_number(self, day: date) -> int:
        """Return the day's index, which may lie outside of the table."""
        return (day - self.first_day).days

    def index_of(self, symbol: str) -> int:
        """Return the symbol's index.

        Raises:
            InvalidInputError: If the table does not hold the symbol.
        """
        try:
            return self.symbols.index(symbol)
        except ValueError:
            raise InvalidInputError(
                f"the recording does not hold {symbol}; it holds {', '.join(self.symbols)}"
            ) from None

    def played_days(self, first_day: date | None, last_day: date | None) -> tuple[date, date]:
        """Return first and last day to play: those within the range that are complete for any symbol.

        Raises:
            InvalidInputError: If no day in the range is complete for any symbol.
        """
        known = [day for day, is_complete in zip(self.days, self.complete.any(axis=0), strict=True) if is_complete]
        chosen = [day for day in known if (first_day or day) <= day <= (last_day or day)]
        if not chosen:
            held = f"{known[0]} to {known[-1]}" if known else "none"
            raise InvalidInputError(
                f"no complete day between {first_day or 'the beginning'} and {last_day or 'the end'}; "
                f"complete days: {held}"
            )
        return chosen[0], chosen[-1]

    def first_prices(self) -> dict[str, float]:
        """Return each symbol's first price, by which symbols without known trading rules get theirs."""
        firsts = zip(self.symbols, self.trade_at[:, 0], self.trade_at[:, -1], strict=True)
        return {symbol: float(self.paths.prices[first]) for symbol, first, last in firsts if first < last}

    def times_of(self, number: int, trades: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the times of trades of the symbol `number`."""
        return np.asarray(self.paths.times[trades >> 2] + self.paths.offsets[number, trades & 3])

    def trades_between(self, start_ms: int, end_ms: int) -> int:
        """Return the number of trades of all symbols in [start_ms, end_ms)."""
        counts = [
            [first_from(self.paths, number, int(at[0]), int(at[-1]), time_ms) for time_ms in (start_ms, end_ms)]
            for number, at in enumerate(self.trade_at)
        ]
        return sum(stop - start for start, stop in counts)


def open_bar_table(recording: Recording, session: Session) -> BarTable:
    """Return the table of a recording of candles; reads each file once.

    Args:
        recording: Made of candles of one span per symbol.
        session: Defines the days.

    Raises:
        NoBarsError: If the recording holds trades, or bars of several spans for one symbol.
        InvalidInputError: If the recording is damaged.
    """
    paths, bar_at = _read(recording)
    days = _days(recording, session)
    starts_ms = np.array([session.day_start_ms(day) for day in [*days, days[-1] + timedelta(days=1)]], dtype=np.int64)
    trade_at = np.empty((len(recording.symbols), starts_ms.size), dtype=np.int64)
    for number in range(len(recording.symbols)):
        start, stop = (int(bar) * TRADES_PER_BAR for bar in bar_at[number : number + 2])
        for day, start_ms in enumerate(starts_ms):
            trade_at[number, day] = start = first_from(paths, number, start, stop, start_ms)
    complete = np.array(
        [
            [
                recording.coverage[symbol].holds(start_ms, end_ms)
                for start_ms, end_ms in zip(starts_ms[:-1].tolist(), starts_ms[1:].tolist(), strict=True)
            ]
            for symbol in recording.symbols
        ],
        dtype=np.bool_,
    )
    highs, lows = _running(paths, trade_at)
    return BarTable(
        session=session,
        symbols=recording.symbols,
        fingerprint=recording.fingerprint,
        first_day=days[0],
        day_starts_ms=starts_ms,
        paths=paths,
        trade_at=trade_at,
        daily=_daily(paths, trade_at, highs, lows),
        complete=complete,
        running_highs=highs,
        running_lows=lows,
    )


def rebuilt(
    table: BarTable, times: NDArray[np.int64], prices: NDArray[np.float64], trade_at: NDArray[np.int64]
) -> BarTable:
    """Return the table with other bars of the same symbols and days, and its running highs and lows made anew.

    Args:
        table: Gives everything that is not replaced.
        times: As `Paths.times`.
        prices: As `Paths.prices`.
        trade_at: As `BarTable.trade_at`, of the new bars.
    """
    paths = table.paths._replace(
        times=times,
        prices=prices,
        block_highs=_blocks(prices, np.maximum),
        block_lows=_blocks(prices, np.minimum),
    )
    running_highs, running_lows = _running(paths, trade_at)
    return replace(
        table,
        paths=paths,
        trade_at=trade_at,
        daily=_daily(paths, trade_at, running_highs, running_lows),
        running_highs=running_highs,
        running_lows=running_lows,
    )


def _days(recording: Recording, session: Session) -> list[date]:
    first, last = session.day_of(recording.first_ms), session.day_of(recording.last_ms)
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


# -- reading -------------------------------------------------------------------------------------------------------


def _read(recording: Recording) -> tuple[Paths, NDArray[np.int64]]:
    """Return the bars of all symbols, and where those of each begin and the last ones end."""
    parts = {symbol: recording.parts_of(symbol) for symbol in recording.symbols}
    counts = [sum(-(-part.trades // TRADES_PER_BAR) for part in of_symbol) for of_symbol in parts.values()]
    bar_at = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    size = int(bar_at[-1])
    times, prices = np.empty(size, dtype=np.int64), np.empty(size * TRADES_PER_BAR)
    offsets = np.zeros((len(parts), TRADES_PER_BAR), dtype=np.int64)
    for number, of_symbol in enumerate(parts.values()):
        row = int(bar_at[number])
        known: tuple[RecordedPart, NDArray[np.int64]] | None = None
        for part, batch in _chunks(of_symbol):
            bars = _bars_of(part, batch)
            if known is not None and (known[1] != bars.offsets).any():
                raise NoBarsError(
                    f"{known[0].path} and {part.path} hold bars of {part.symbol} of different spans; give bars of one "
                    "span per symbol, or use the tick engine"
                )
            known = (part, bars.offsets)
            stop = row + bars.times.size
            times[row:stop] = bars.times
            prices[row * TRADES_PER_BAR : stop * TRADES_PER_BAR] = batch.prices
            row = stop
        if row != bar_at[number + 1]:
            raise InvalidInputError(f"{of_symbol[0].path}: changed while it was read; read it again")
        if known is not None:
            offsets[number] = known[1]
    highs, lows = _blocks(prices, np.maximum), _blocks(prices, np.minimum)
    return Paths(times, prices, highs, lows, offsets), bar_at


def _chunks(parts: Iterable[RecordedPart]) -> Iterator[tuple[RecordedPart, TradeBatch]]:
    for part in parts:
        for batch in part.read(part.start_ms):
            yield part, batch


class _Bars(NamedTuple):
    times: NDArray[np.int64]
    offsets: NDArray[np.int64]


def _bars_of(part: RecordedPart, batch: TradeBatch) -> _Bars:
    """Return the bars whose four trades the batch is; nothing but such trades passes."""
    fault = NoBarsError(f"{part.path} ({part.symbol}) holds trades, no bars; use the tick engine")
    if len(batch) % TRADES_PER_BAR:
        raise fault
    times = batch.times_ms.reshape(-1, TRADES_PER_BAR)
    opens, second, third, closes = batch.prices.reshape(-1, TRADES_PER_BAR).T
    offsets = times[0] - times[0, 0]
    rises = closes >= opens
    lows, highs = np.where(rises, second, third), np.where(rises, third, second)
    are_bars = (
        (offsets[1] > 0)
        and bool((times - times[:, :1] == offsets).all())
        and bool((lows <= np.minimum(opens, closes)).all())
        and bool((highs >= np.maximum(opens, closes)).all())
    )
    if not are_bars:
        raise fault
    return _Bars(times[:, 0], offsets)


def _blocks(values: NDArray[np.float64], extreme: np.ufunc) -> NDArray[np.float64]:
    if not values.size:
        return np.empty(0)
    return np.asarray(extreme.reduceat(values, np.arange(0, values.size, TRADES_PER_BLOCK)))


# -- days ----------------------------------------------------------------------------------------------------------


def _running(paths: Paths, trade_at: NDArray[np.int64]) -> tuple[Records, Records]:
    """Return the running highs and lows of every day."""
    longest = int(np.diff(trade_at, axis=1).max(initial=1))
    high_levels, low_levels = np.empty(longest), np.empty(longest)
    high_trades, low_trades = np.empty(longest, dtype=np.int64), np.empty(longest, dtype=np.int64)
    highs, lows = _Found(trade_at.shape), _Found(trade_at.shape)
    for number, starts in enumerate(trade_at):
        for day, (start, stop) in enumerate(_pairs(starts)):
            high_count = low_count = 0
            if start < stop:
                high_count, low_count = scan_day(paths, start, stop, high_levels, high_trades, low_levels, low_trades)
            highs.add(number, day, high_levels[:high_count], high_trades[:high_count])
            lows.add(number, day, low_levels[:low_count], low_trades[:low_count])
    return highs.records(), lows.records()


class _Found:
    """Records as they are found, day by day and symbol by symbol."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._levels: list[NDArray[np.float64]] = [np.empty(0)]
        self._trades: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
        self._at = np.zeros(shape, dtype=np.int64)
        self._count = 0

    def add(self, number: int, day: int, levels: NDArray[np.float64], trades: NDArray[np.int64]) -> None:
        self._levels.append(levels.copy())
        self._trades.append(trades.copy())
        self._at[number, day] = self._count
        self._count += levels.size
        self._at[number, day + 1] = self._count

    def records(self) -> Records:
        return Records(np.concatenate(self._levels), np.concatenate(self._trades), self._at)


def _pairs(starts: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    values = starts.tolist()
    yield from pairwise(values)


def _daily(paths: Paths, trade_at: NDArray[np.int64], highs: Records, lows: Records) -> DailyPrices:
    shape = (trade_at.shape[0], trade_at.shape[1] - 1)
    prices = DailyPrices(*(np.full(shape, np.nan) for _ in range(4)))
    for number, starts in enumerate(trade_at):
        for day, (start, stop) in enumerate(_pairs(starts)):
            if start == stop:
                continue
            prices.opens[number, day] = paths.prices[start]
            prices.closes[number, day] = paths.prices[stop - 1]
            prices.highs[number, day] = highs.levels[highs.at[number, day + 1] - 1]
            prices.lows[number, day] = lows.levels[lows.at[number, day + 1] - 1]
    return prices
