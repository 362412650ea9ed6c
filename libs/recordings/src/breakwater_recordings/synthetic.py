"""Synthetic trades: plausible, reproducible, cheap to ask for any day of any symbol.

A day of a symbol depends on the seed, the symbol, the day, the session and the number of trades only, not on what else
is asked for. Prices follow a path of days that is drawn from the seed and starts at `EPOCH`, so that a day opens where
the one before closed; within the day a path is drawn that ends where the next day begins.

The model: log-price = beta x market + the symbol's own part. The volatility of both wanders from day to day
(log-AR(1)), wanders within the day around a pattern of busy and quiet hours, and has jumps. Takers arrive the faster
the more volatile it is, hit one to several resting orders at one instant, and trade heavy-tailed sizes.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from breakwater_core.errors import InvalidInputError
from breakwater_core.identities import check_name
from breakwater_core.market import Instrument, TradeBatch
from breakwater_core.session import Session
from breakwater_recordings.instruments import DEFAULT_SYMBOLS, default_instrument, instruments

__all__ = [
    "DEFAULT_SYMBOLS",
    "EPOCH",
    "default_instrument",
    "generate",
    "generate_day",
    "instruments",
    "synthetic_instrument",
    "write_synthetic",
]

EPOCH = date(2017, 1, 1)
"""First day that can be generated."""

_STEPS = 17_280  # of the path within a day: 5 seconds each
_BLOCKS = 144  # spans within a day over which volatility is constant: 10 minutes each
_STEPS_PER_BLOCK = _STEPS // _BLOCKS
_CACHED_DAYS = 512
_DAYS_TO_FORGET = 400  # time constant with which prices return to their usual level
_FILLS_PER_TAKER = 1.8
_JUMPS_PER_DAY = 0.6
_MARKET_VOLATILITY = 0.022


@dataclass(frozen=True, slots=True)
class _Profile:
    """How a symbol behaves.

    Attributes:
        price: Usual price, USDT.
        beta: Log-return per unit of the market's.
        volatility: Standard deviation of the symbol's own daily log-return.
        share: Share of the trades of all ten symbols.
        trade_value: Median value of a trade, USDT.
    """

    price: float
    beta: float
    volatility: float
    share: float
    trade_value: float


_PROFILES = {
    "BTCUSDT": _Profile(62_000.0, 1.0, 0.008, 0.28, 400.0),
    "ETHUSDT": _Profile(2_900.0, 1.15, 0.014, 0.22, 300.0),
    "SOLUSDT": _Profile(140.0, 1.35, 0.026, 0.13, 180.0),
    "XRPUSDT": _Profile(0.58, 1.1, 0.028, 0.08, 130.0),
    "DOGEUSDT": _Profile(0.14, 1.4, 0.028, 0.08, 120.0),
    "ADAUSDT": _Profile(0.47, 1.25, 0.024, 0.05, 90.0),
    "AVAXUSDT": _Profile(31.0, 1.35, 0.027, 0.05, 90.0),
    "LINKUSDT": _Profile(14.5, 1.25, 0.025, 0.05, 90.0),
    "DOTUSDT": _Profile(6.4, 1.25, 0.024, 0.03, 80.0),
    "LTCUSDT": _Profile(78.0, 1.05, 0.023, 0.03, 90.0),
}


@dataclass(frozen=True, slots=True)
class _DayPath:
    """Log-price of one factor within a day, at the ends of its steps.

    Attributes:
        levels: Shape (_STEPS + 1,).
        variances: Shape (_BLOCKS,); share of the day's variance per block, times the day's variance.
    """

    levels: NDArray[np.float64]
    variances: NDArray[np.float64]


def generate(
    *,
    seed: int,
    first_day: date,
    days: int,
    trades_per_day_total: int,
    session: Session,
    symbols: Sequence[str] = DEFAULT_SYMBOLS,
) -> Iterator[TradeBatch]:
    """Yield one batch per day and symbol: all symbols of the first day, then of the next.

    Args:
        seed: Any whole number; another seed is another history.
        first_day: First session day, `EPOCH` or later.
        days: Number of days, at least 1.
        trades_per_day_total: Average number of trades a day of the ten default symbols together. Each symbol has its
            fixed share of it (others than the ten: 3 %), whether or not the rest is asked for.
        session: Defines the days.
        symbols: Venue symbols.

    Raises:
        InvalidInputError: If a value is out of range or a symbol no name.
    """
    if days < 1 or not symbols:
        raise InvalidInputError(f"days and symbols must be at least 1, were {days} and {len(symbols)}")
    for ordinal in range(first_day.toordinal(), first_day.toordinal() + days):
        for symbol in symbols:
            yield generate_day(
                seed=seed,
                symbol=symbol,
                day=date.fromordinal(ordinal),
                trades_per_day_total=trades_per_day_total,
                session=session,
            )


def generate_day(*, seed: int, symbol: str, day: date, trades_per_day_total: int, session: Session) -> TradeBatch:
    """Return the trades of one symbol and day; see `generate`.

    Raises:
        InvalidInputError: If a value is out of range or the symbol no name.
    """
    if day < EPOCH or trades_per_day_total < 1:
        raise InvalidInputError(
            f"the day must be {EPOCH} or later and trades_per_day_total at least 1, "
            f"were {day} and {trades_per_day_total}"
        )
    profile = _profile(check_name("symbol", symbol))
    market = _market_day(seed, day)
    own = _factor_day(seed, symbol, day, profile.volatility)
    log_prices = math.log(profile.price) + profile.beta * market.levels + own.levels
    variances = profile.beta**2 * market.variances + own.variances
    usual = math.hypot(profile.beta * _MARKET_VOLATILITY, profile.volatility)
    activity = min(6.0, (math.sqrt(float(variances.sum())) / usual) ** 0.8)
    expected_takers = trades_per_day_total * profile.share * activity / _FILLS_PER_TAKER
    rng = _random(seed, "trades", symbol, day.isoformat())
    takers = max(1, int(rng.poisson(expected_takers)))
    day_start_ms = session.day_start_ms(day)
    return _trades(
        rng,
        instrument=synthetic_instrument(symbol),
        log_prices=log_prices,
        variances=variances,
        takers=takers,
        trade_value=profile.trade_value * activity**0.5,
        day_start_ms=day_start_ms,
        day_length_ms=session.day_end_ms(day) - day_start_ms,
    )


def synthetic_instrument(symbol: str) -> Instrument:
    """Return the trading rules on whose tick and quantity grid the symbol's trades lie."""
    return instruments().get(symbol) or default_instrument(symbol, _profile(symbol).price)


def write_synthetic(
    directory: Path,
    *,
    seed: int,
    first_day: date,
    days: int,
    trades_per_day_total: int,
    session: Session,
    symbols: Sequence[str] = DEFAULT_SYMBOLS,
) -> int:
    """Write what `generate` yields as a Parquet recording, one file per symbol and session day; return the trades.

    Files that exist under the same names are replaced.

    Args:
        directory: Root of the recording; made if absent.
        seed: See `generate`, also for the others.
        first_day: First session day.
        days: Number of days.
        trades_per_day_total: Average number of trades a day.
        session: Defines the days.
        symbols: Venue symbols.

    Raises:
        InvalidInputError: If a value is out of range or a symbol no name.
    """
    from breakwater_recordings.parquet_file import write_trade_file  # Arrow is not needed to generate

    written = 0
    for batch in generate(
        seed=seed,
        first_day=first_day,
        days=days,
        trades_per_day_total=trades_per_day_total,
        session=session,
        symbols=symbols,
    ):
        day = session.day_of(int(batch.times_ms[0]))
        span = (session.day_start_ms(day), session.day_end_ms(day))
        written += write_trade_file(
            directory / batch.symbol / day.isoformat() / f"trades-{span[0]}.parquet",
            [batch],
            symbol=batch.symbol,
            venue="synthetic",
            day=day,
            coverage=partial(list, [span]),
        )
    return written


def _trades(
    rng: np.random.Generator,
    *,
    instrument: Instrument,
    log_prices: NDArray[np.float64],
    variances: NDArray[np.float64],
    takers: int,
    trade_value: float,
    day_start_ms: int,
    day_length_ms: int,
) -> TradeBatch:
    fills = rng.geometric(1 / _FILLS_PER_TAKER, takers)
    steps = _arrivals(rng, variances, takers)
    fractions = steps - (whole := steps.astype(np.int64))
    logs = log_prices[whole] + fractions * (moves := log_prices[whole + 1] - log_prices[whole])
    buys = rng.random(takers, dtype=np.float32) < 0.5 + 0.1 * np.sign(moves)
    # grid values are n x numerator / denominator, so that each is the float nearest to its decimal
    tick_numerator, tick_denominator = instrument.tick_size.as_integer_ratio()
    ticks = np.exp(logs) * (tick_denominator / tick_numerator)
    best = np.maximum(np.where(buys, np.ceil(ticks), np.floor(ticks)), 1.0)

    trades = int(fills.sum())
    signs = np.where(buys, 1, -1).astype(np.int8)
    sides = np.repeat(signs, fills)
    worse = np.cumsum(rng.random(trades, dtype=np.float32) < 0.1)
    firsts = np.cumsum(fills) - fills
    walked = worse - np.repeat(worse[firsts], fills)  # ticks that a taker has walked through the book so far
    prices = np.maximum(np.repeat(best, fills) + walked * sides, 1.0) * tick_numerator / tick_denominator

    values = np.exp(rng.standard_normal(trades, dtype=np.float32) * np.float32(1.3)) * np.float32(trade_value)
    large = np.flatnonzero(rng.random(trades, dtype=np.float32) < 0.003)
    values[large] *= 1 + rng.pareto(1.6, large.size).astype(np.float32)
    step_numerator, step_denominator = instrument.quantity_step.as_integer_ratio()
    quantity_steps = np.maximum(np.floor(values / prices * (step_denominator / step_numerator)), 1.0)
    limit = float(instrument.max_market_quantity / instrument.quantity_step)
    times_ms = day_start_ms + (steps * (day_length_ms / _STEPS)).astype(np.int64)
    return TradeBatch(
        symbol=instrument.symbol,
        times_ms=np.repeat(times_ms, fills),
        prices=prices,
        sizes=np.minimum(quantity_steps, limit) * step_numerator / step_denominator,
        taker_sides=sides,
    )


def _arrivals(rng: np.random.Generator, variances: NDArray[np.float64], takers: int) -> NDArray[np.float64]:
    """Return sorted times in steps, Shape (takers,), in [0, _STEPS): denser where the variance is larger."""
    gaps = rng.standard_exponential(takers + 1)
    sums = np.cumsum(gaps)
    uniforms = sums[:-1] / sums[-1]
    rates = np.sqrt(variances)
    cumulated = np.concatenate(([0.0], np.cumsum(rates)))
    steps: NDArray[np.float64] = np.interp(
        uniforms, cumulated / cumulated[-1], np.arange(_BLOCKS + 1) * float(_STEPS_PER_BLOCK)
    )
    return np.clip(steps, 0.0, np.nextafter(_STEPS, 0))


def _profile(symbol: str) -> _Profile:
    known = _PROFILES.get(symbol)
    if known is not None:
        return known
    rng = _random(0, "profile", symbol)
    price = float(f"{10 ** rng.uniform(-1.5, 2.5):.3g}")
    return _Profile(price, float(rng.uniform(0.9, 1.5)), float(rng.uniform(0.02, 0.04)), 0.03, 80.0)


@lru_cache(maxsize=4)
def _market_day(seed: int, day: date) -> _DayPath:
    return _factor_day(seed, "", day, _MARKET_VOLATILITY)


def _factor_day(seed: int, factor: str, day: date, volatility: float) -> _DayPath:
    """Return a factor's path within the day; the market's is named by the empty text."""
    index = day.toordinal() - EPOCH.toordinal()
    levels, day_volatilities = _daily_path(seed, factor, (index // _CACHED_DAYS + 1) * _CACHED_DAYS)
    rng = _random(seed, "day", factor, day.isoformat())
    shape = _hours_pattern() * np.exp(_autoregression(rng.standard_normal(_BLOCKS), 0.95, 0.35))
    weights = shape**2 / np.sum(shape**2)
    steps = rng.standard_normal(_STEPS) * np.repeat(np.sqrt(weights / _STEPS_PER_BLOCK), _STEPS_PER_BLOCK)
    for _ in range(int(rng.poisson(_JUMPS_PER_DAY))):
        steps[rng.integers(_STEPS)] += 0.3 * rng.standard_normal()
    walk = np.concatenate(([0.0], np.cumsum(steps)))
    elapsed = np.concatenate(([0.0], np.cumsum(np.repeat(weights / _STEPS_PER_BLOCK, _STEPS_PER_BLOCK))))
    start, end = float(levels[index]), float(levels[index + 1])
    day_volatility = volatility * float(day_volatilities[index])
    bridge = day_volatility * (walk - elapsed * walk[-1])
    path = volatility * start + bridge + elapsed * volatility * (end - start)
    return _DayPath(path, weights * day_volatility**2)


@lru_cache(maxsize=64)
def _daily_path(seed: int, factor: str, days: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return levels at day starts, Shape (days + 1,), and volatilities, Shape (days,), in units of usual volatility.

    The first values do not depend on `days`: the draws of day n are the n-th of their generators.
    """
    shocks = _random(seed, "shocks", factor).standard_normal(days)
    volatilities = np.exp(_autoregression(_random(seed, "volatility", factor).standard_normal(days), 0.85, 0.5) - 0.25)
    levels = np.zeros(days + 1)
    for index, move in enumerate((volatilities * shocks).tolist()):
        levels[index + 1] = levels[index] * (1 - 1 / _DAYS_TO_FORGET) + move
    return levels, volatilities


def _autoregression(shocks: NDArray[np.float64], memory: float, deviation: float) -> NDArray[np.float64]:
    """Return a stationary AR(1) series with the given standard deviation, driven by standard normal shocks."""
    scale = deviation * math.sqrt(1 - memory**2)
    value = deviation * float(shocks[0])
    values = [value]
    for shock in shocks[1:].tolist():
        value = memory * value + scale * shock
        values.append(value)
    return np.array(values)


@lru_cache(maxsize=1)
def _hours_pattern() -> NDArray[np.float64]:
    """Return the usual volatility per block, around 1: busy at the day's start, and in its second third and after."""
    hours = (np.arange(_BLOCKS) + 0.5) * 24 / _BLOCKS
    pattern = 0.8 + 0.5 * np.exp(-hours / 0.7) + 0.7 * np.exp(-(((hours - 15) / 2.5) ** 2))
    pattern += 0.25 * np.exp(-(((hours - 8) / 1.5) ** 2))
    return np.asarray(pattern / pattern.mean(), dtype=np.float64)


def _random(seed: int, *names: str) -> np.random.Generator:
    """Return the generator that the seed and the names stand for, whatever the process."""
    digest = hashlib.sha256("\x1f".join((str(seed), *names)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))
