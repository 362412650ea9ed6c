"""How likely a Sharpe ratio is above what the best of many worthless tries would show.

Bailey and Lopez de Prado (2014), "The Deflated Sharpe Ratio: Correcting for Selection Bias, Backtest Overfitting and
Non-Normality", Journal of Portfolio Management 40(5). With N tries whose Sharpe ratios vary by V, the Euler-Mascheroni
constant g and the normal quantile Z:

    benchmark   = sqrt(V) * ((1 - g) * Z(1 - 1/N) + g * Z(1 - 1/(N e)))
    spread      = 1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe^2
    probability = normal cdf of (sharpe - benchmark) * sqrt(T - 1) / sqrt(spread)

Every Sharpe ratio here is per observation (a day), not annual. N counts every set that was looked at. Neighbouring
sets resemble each other, so the number of *independent* tries is smaller: the result errs on the side of doubt.
"""

from dataclasses import dataclass
from math import e, sqrt
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from breakwater_core.errors import InvalidInputError
from breakwater_research.search.figures import daily_sharpe

EULER_MASCHERONI: Final = 0.5772156649015329
_NORMAL: Final = NormalDist()


@dataclass(frozen=True)
class DeflatedSharpe:
    """The result and what it is made of; Sharpe ratios are per day.

    Attributes:
        probability: Probability that the true Sharpe ratio is above the benchmark, given what was seen.
        sharpe: Of the chosen set.
        benchmark: Expected largest Sharpe ratio of so many tries that are worth nothing.
        tries: Number of sets looked at.
        variance: Of the tries' Sharpe ratios.
        skewness: Of the chosen set's returns.
        kurtosis: Of the chosen set's returns; 3 for a normal distribution.
        days: Number of returns.
    """

    probability: float
    sharpe: float
    benchmark: float
    tries: int
    variance: float
    skewness: float
    kurtosis: float
    days: int


def expected_largest_sharpe(tries: int, variance: float) -> float:
    """Return the Sharpe ratio that the best of `tries` worthless, independent tries is expected to show.

    Args:
        tries: At least 1; one try is no selection, so 0 is expected of it.
        variance: Of the tries' Sharpe ratios, not negative.

    Raises:
        InvalidInputError: If an argument is out of range.
    """
    if tries < 1 or not variance >= 0.0:
        raise InvalidInputError(f"tries must be at least 1 and variance not negative, were {tries} and {variance}")
    if tries == 1:
        return 0.0
    highest = (1.0 - EULER_MASCHERONI) * _NORMAL.inv_cdf(1.0 - 1.0 / tries)
    return sqrt(variance) * (highest + EULER_MASCHERONI * _NORMAL.inv_cdf(1.0 - 1.0 / (tries * e)))


def probability_above(*, sharpe: float, benchmark: float, days: int, skewness: float, kurtosis: float) -> float:
    """Return the probability that the true Sharpe ratio is above the benchmark (the probabilistic Sharpe ratio).

    Args:
        sharpe: Seen, per day.
        benchmark: Per day.
        days: Number of returns it was seen over, at least 2.
        skewness: Of the returns.
        kurtosis: Of the returns; 3 for a normal distribution.

    Raises:
        InvalidInputError: If there are fewer than two days.
    """
    if days < 2:
        raise InvalidInputError(f"a Sharpe ratio needs at least two days, there were {days}")
    spread = 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe * sharpe
    # kurtosis >= 1 + skewness^2 in every sample, so the spread is at least (1 - skewness * sharpe / 2)^2 >= 0
    return _NORMAL.cdf((sharpe - benchmark) * sqrt(days - 1) / sqrt(max(spread, 1e-12)))


def deflated_sharpe(returns: NDArray[np.float64], chosen: int) -> DeflatedSharpe:
    """Return the deflated Sharpe ratio of one of the sets that were looked at.

    Args:
        returns: Shape (n_sets, n_days): daily returns of every set looked at, the days it was chosen on.
        chosen: Row of the chosen set.

    Raises:
        InvalidInputError: If there are fewer than two days.
    """
    sharpes = daily_sharpe(returns)
    tries, days = returns.shape
    variance = float(sharpes.var(ddof=1)) if tries > 1 else 0.0
    benchmark = expected_largest_sharpe(tries, variance)
    skewness, kurtosis = _shape_of(returns[chosen])
    sharpe = float(sharpes[chosen])
    probability = probability_above(sharpe=sharpe, benchmark=benchmark, days=days, skewness=skewness, kurtosis=kurtosis)
    return DeflatedSharpe(probability, sharpe, benchmark, tries, variance, skewness, kurtosis, days)


def _shape_of(returns: NDArray[np.float64]) -> tuple[float, float]:
    """Return skewness and kurtosis; those of a normal distribution where the returns do not vary."""
    if np.ptp(returns) == 0.0:
        return 0.0, 3.0
    standard = (returns - returns.mean()) / returns.std()
    return float((standard**3).mean()), float((standard**4).mean())
