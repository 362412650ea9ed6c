"""Figures of a series of daily returns: growth, risk, and one for the other.

Returns are shares of the equity at the day's open (0.01 is +1 %). A year has 365 days, for crypto trades on all of
them, and cash is taken to earn nothing. With n returns r:

    CAGR       = (product of 1 + r) ** (365 / n) - 1
    volatility = s * sqrt(365)                     s: standard deviation with n - 1 in the denominator
    Sharpe     = mean(r) / s * sqrt(365)           Sharpe (1994), at a risk-free rate of 0
    Sortino    = mean(r) / d * sqrt(365)           Sortino and Price (1994), with
                                                   d = sqrt(mean(min(r, 0) ** 2)) over all days
    drawdown   = 1 - growth / its peak, and the peak begins at 1, so that a loss on the first day counts
    Calmar     = CAGR / largest drawdown           over the whole series, not its last three years
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from breakwater_core.errors import InvalidInputError

DAYS_PER_YEAR = 365
"""Crypto trades on every day of the year; figures of stocks are commonly made with 252."""


@dataclass(frozen=True, slots=True)
class ReturnFigures:
    """Figures of daily returns; one that the series does not define is None.

    Attributes:
        days: Number of returns.
        total_return: Growth over all days, less 1.
        cagr: Growth per year, less 1; -1 if nothing is left.
        volatility: Standard deviation per year, a share; None with fewer than two days.
        sharpe: Per year; None where nothing varies.
        sortino: Per year; None without a losing day.
        calmar: CAGR per largest drawdown; None without a drawdown.
        max_drawdown: Largest fall from a peak, a share at or above 0.
    """

    days: int
    total_return: float
    cagr: float
    volatility: float | None
    sharpe: float | None
    sortino: float | None
    calmar: float | None
    max_drawdown: float


def return_figures(returns: NDArray[np.float64]) -> ReturnFigures:
    """Return the figures of the returns.

    Args:
        returns: Shape (n_days,), oldest first, finite, at or above -1: a day cannot lose more than there is.

    Raises:
        InvalidInputError: If there is no return, or one is not finite or below -1.
    """
    if returns.ndim != 1 or not returns.size:
        raise InvalidInputError(f"figures need one row of at least one daily return, was of shape {returns.shape}")
    good = np.isfinite(returns) & (returns >= -1)
    if not good.all():
        day = int(np.argmin(good))
        raise InvalidInputError(f"daily return {day} must be finite and at least -1, was {returns[day]}")
    growth = np.cumprod(1.0 + returns)
    peaks = np.maximum(np.maximum.accumulate(growth), 1.0)
    drawdown = float((1.0 - growth / peaks).max())
    final = float(growth[-1])
    cagr = final ** (DAYS_PER_YEAR / returns.size) - 1.0
    mean = float(returns.mean())
    spread = float(returns.std(ddof=1)) if returns.size > 1 and np.ptp(returns) > 0 else 0.0
    shortfall = math.sqrt(float(np.square(np.minimum(returns, 0.0)).mean()))
    per_year = math.sqrt(DAYS_PER_YEAR)
    return ReturnFigures(
        days=returns.size,
        total_return=final - 1.0,
        cagr=cagr,
        volatility=spread * per_year if returns.size > 1 else None,
        sharpe=mean / spread * per_year if spread > 0 else None,
        sortino=mean / shortfall * per_year if shortfall > 0 else None,
        calmar=cagr / drawdown if drawdown > 0 else None,
        max_drawdown=drawdown,
    )
