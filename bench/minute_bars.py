"""Minute bars of ten symbols in whole days, for the research benchmarks: seeded synthetic ones, or recorded ones.

The same arrays go to every engine, through the same files. Prices are float64 quote currency per 1 base unit and whole
multiples of the symbol's tick, times int64 milliseconds UTC.
"""

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchmarkError
from breakwater_core.market import TradeBatch
from breakwater_core.session import Session
from breakwater_recordings.instruments import DEFAULT_SYMBOLS, instrument_for, instruments
from breakwater_recordings.klines import Bars, trades_of_bars
from breakwater_recordings.parts import RecordedPart
from breakwater_recordings.recording import Recording

MINUTE_MS = 60_000
BARS_PER_DAY = 1440
_DAY_MS = MINUTE_MS * BARS_PER_DAY
_COLUMNS = ("opens", "highs", "lows", "closes", "volumes")
_LABEL = "bars.json"
_BARS_PER_CHUNK = 32_768
QUIET_VOLUME = 1e-9
"""Volume of a recorded minute in which nobody traded, base units: above zero, as bars without volume are left out, and
below what can be traded."""
_FIRST_DAY = date(2023, 1, 1)
_DAILY_VOLATILITY = 0.03
_FIRST_PRICES = (60_000.0, 3_000.0, 150.0, 0.6, 0.15, 0.5, 30.0, 15.0, 7.0, 80.0)


@dataclass(frozen=True, slots=True)
class MinuteBars:
    """Bars without a gap: every symbol has all minutes of all days.

    Attributes:
        symbols: Venue symbols, sorted.
        first_day: Day of the first bar, UTC.
        opens: Shape (n_symbols, n_days, 1440); `highs`, `lows` and `closes` alike.
        volumes: The same shape, base units.
    """

    symbols: tuple[str, ...]
    first_day: date
    opens: NDArray[np.float64]
    highs: NDArray[np.float64]
    lows: NDArray[np.float64]
    closes: NDArray[np.float64]
    volumes: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of bars of all symbols."""
        return int(self.opens.size)

    @property
    def days(self) -> int:
        """Number of days."""
        return int(self.opens.shape[1])

    @property
    def times_ms(self) -> NDArray[np.int64]:
        """Opening times of one symbol's bars, shape (n_days * 1440,)."""
        start = datetime.combine(self.first_day, datetime.min.time(), tzinfo=UTC)
        first_ms = round(start.timestamp() * 1000)
        return first_ms + MINUTE_MS * np.arange(self.days * BARS_PER_DAY, dtype=np.int64)

    def first_days(self, days: int) -> "MinuteBars":
        """Return the first days only."""
        return MinuteBars(self.symbols, self.first_day, *(getattr(self, name)[:, :days] for name in _COLUMNS))

    def save(self, folder: Path) -> None:
        """Write a file for each symbol, and what they are."""
        folder.mkdir(parents=True, exist_ok=True)
        for number, symbol in enumerate(self.symbols):
            np.save(_file(folder, symbol), np.stack([getattr(self, name)[number] for name in _COLUMNS]))
        label = {"symbols": self.symbols, "first_day": self.first_day.isoformat()}
        (folder / _LABEL).write_text(json.dumps(label), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, days: int | None = None) -> "MinuteBars":
        """Return what `save` wrote, or its first days only."""
        label = json.loads((folder / _LABEL).read_text(encoding="utf-8"))
        held = [np.load(_file(folder, symbol), mmap_mode="r")[:, :days] for symbol in label["symbols"]]
        columns = [np.stack([of_symbol[number] for of_symbol in held]) for number in range(len(_COLUMNS))]
        return cls(tuple(label["symbols"]), date.fromisoformat(label["first_day"]), *columns)

    def recording(self, folder: Path, session: Session) -> Recording:
        """Return the bars as a recording of candles, as if they had been read from files.

        Args:
            folder: Where the bars were saved; the recording's fingerprint is made of the files there.
            session: Defines the days.
        """
        return Recording([self._part(folder, number) for number in range(len(self.symbols))], session=session)

    def _part(self, folder: Path, number: int) -> RecordedPart:
        times_ms = self.times_ms
        columns = [getattr(self, name)[number].reshape(-1) for name in _COLUMNS]
        bars = Bars(self.symbols[number], MINUTE_MS, times_ms, *columns)

        def read(_: int) -> Iterator[TradeBatch]:
            for start in range(0, len(bars), _BARS_PER_CHUNK):
                yield trades_of_bars(bars[start : start + _BARS_PER_CHUNK])

        end_ms = int(times_ms[-1]) + MINUTE_MS
        return RecordedPart(
            path=_file(folder, bars.symbol),
            symbol=bars.symbol,
            start_ms=int(times_ms[0]),
            last_ms=end_ms - 1,
            trades=4 * len(bars),
            covered=((int(times_ms[0]), end_ms),),
            may_share_last_ms=False,
            observed=False,
            read=read,
        )


def _file(folder: Path, symbol: str) -> Path:
    return folder / f"{symbol}.npy"


def synthetic_bars(*, days: int, seed: int) -> MinuteBars:
    """Return bars of the ten usual symbols; the same seed gives the same bars, and more days only add to them.

    Each day draws its volatility, each minute a log-return; high and low lie beyond open and close by a share of a
    minute's usual move. A bar opens where the one before closed.
    """
    drawn = {
        symbol: _draw(symbol, days, seed, price)
        for symbol, price in sorted(zip(DEFAULT_SYMBOLS, _FIRST_PRICES, strict=True))
    }
    columns = [np.stack(column) for column in zip(*drawn.values(), strict=True)]
    return MinuteBars(tuple(drawn), _FIRST_DAY, *columns)


def _draw(symbol: str, days: int, seed: int, price: float) -> list[NDArray[np.float64]]:
    ticks_per_unit = round(1 / instruments()[symbol].tick_size)
    columns = []
    last = round(price * ticks_per_unit)
    for day in range(days):
        generator = np.random.default_rng([seed, zlib.crc32(symbol.encode()), day])
        move = _DAILY_VOLATILITY * np.exp(0.4 * generator.standard_normal()) / np.sqrt(BARS_PER_DAY)
        pull = 0.02 * np.log(price * ticks_per_unit / last) / BARS_PER_DAY
        returns = move * generator.standard_normal(BARS_PER_DAY) + pull
        closes = np.maximum(10.0, np.rint(last * np.exp(np.cumsum(returns))))
        opens = np.concatenate(([last], closes[:-1]))
        beyond = 0.5 * move * np.abs(generator.standard_normal((2, BARS_PER_DAY)))
        highs = np.rint(np.maximum(opens, closes) * (1 + beyond[0]))
        lows = np.rint(np.minimum(opens, closes) * (1 - beyond[1]))
        volumes = np.rint(1e6 * generator.lognormal(0.0, 1.0, BARS_PER_DAY)) / 1e3 + 1
        last = int(closes[-1])
        columns.append([*(column / ticks_per_unit for column in (opens, highs, lows, closes)), volumes])
    return [np.stack(column) for column in zip(*columns, strict=True)]


def recorded_bars(recording: Recording) -> MinuteBars:
    """Return the first run of days that all symbols of a recording of minute candles hold completely.

    A minute in which nobody traded becomes a bar at the close before it, of `QUIET_VOLUME`, so that every engine gets
    the same bars. Symbols whose prices lie between the venue's ticks are refused: their fills would be rounded.

    Raises:
        BenchmarkError: If there is no such day, the first minute has no trade, or prices do not fit their ticks.
    """
    common = set.intersection(*(set(recording.complete_days(symbol)) for symbol in recording.symbols))
    first = min(common, default=None)
    if first is None:
        raise BenchmarkError("no day is complete for every symbol of the recording")
    days = 0
    while first + timedelta(days=days) in common:
        days += 1
    start_ms = recording.session.day_start_ms(first)
    end_ms = start_ms + days * _DAY_MS
    columns = [_recorded_columns(recording, symbol, start_ms, end_ms) for symbol in recording.symbols]
    stacked = [np.stack(column).reshape(len(columns), days, BARS_PER_DAY) for column in zip(*columns, strict=True)]
    return MinuteBars(recording.symbols, first, *stacked)


def _recorded_columns(recording: Recording, symbol: str, start_ms: int, end_ms: int) -> Sequence[NDArray[np.float64]]:
    reader = recording.reader(symbol)
    reader.skip_to(start_ms)
    trades = reader.take_until(end_ms)
    opens, second, third, closes = trades.prices.reshape(-1, 4).T
    ticks = trades.prices / float(instrument_for(symbol, float(trades.prices[0])).tick_size)
    if np.abs(ticks - np.rint(ticks)).max() > 1e-6:
        raise BenchmarkError(f"{symbol}: prices lie between the ticks of the venue's rules")
    highs, lows = np.maximum(second, third), np.minimum(second, third)
    volumes = trades.sizes.reshape(-1, 4).sum(axis=1)
    minutes = (trades.times_ms.reshape(-1, 4)[:, 0] - start_ms) // MINUTE_MS
    if minutes[0] != 0:
        raise BenchmarkError(f"{symbol}: nobody traded in the first minute of {start_ms} ms UTC")
    return _with_quiet_minutes(minutes, (end_ms - start_ms) // MINUTE_MS, (opens, highs, lows, closes), volumes)


def _with_quiet_minutes(
    minutes: NDArray[np.int64], count: int, prices: Sequence[NDArray[np.float64]], volumes: NDArray[np.float64]
) -> Sequence[NDArray[np.float64]]:
    last_traded = np.searchsorted(minutes, np.arange(count), side="right") - 1
    is_traded = minutes[last_traded] == np.arange(count)
    closes = prices[-1]
    filled = [np.where(is_traded, column[last_traded], closes[last_traded]) for column in prices]
    return (*filled, np.where(is_traded, volumes[last_traded], QUIET_VOLUME))
