"""A series of daily returns under a name, as charts and tables take it; its figures are those of `return_figures`.

Returns are shares of the equity at the day's open (0.01 is 1 %), net of all costs, and compound.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from breakwater_core.errors import InvalidInputError
from breakwater_research.return_figures import DAYS_PER_YEAR, ReturnFigures, return_figures

_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class ReturnSeries:
    """Daily returns under a name.

    Attributes:
        name: As it stands in legends.
        days: Shape (n_days,), days since 1970-01-01, rising.
        returns: Shape (n_days,), share gained on the day, at least -1.

    Raises:
        InvalidInputError: If the shapes differ, there is no day, days do not rise, or a return is below -1 or infinite.
    """

    name: str
    days: NDArray[np.int64]
    returns: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.days.ndim != 1 or self.days.shape != self.returns.shape or self.days.size == 0:
            raise InvalidInputError(f"{self.name}: needs one return per day and a day, had {self.returns.shape}")
        if not (np.diff(self.days) > 0).all():
            raise InvalidInputError(f"{self.name}: days must rise, each once")
        good = np.isfinite(self.returns) & (self.returns >= -1)
        if not good.all():
            index = int(np.argmin(good))
            raise InvalidInputError(
                f"{self.name}: return of {self.dates[index]} must be finite and -1 or more, was {self.returns[index]}"
            )

    @property
    def dates(self) -> list[date]:
        """The days as dates."""
        return [_EPOCH + timedelta(days=int(day)) for day in self.days]

    @property
    def growth(self) -> NDArray[np.float64]:
        """Shape (n_days,); equity at each day's end as a multiple of that at the beginning."""
        return np.asarray(np.cumprod(1 + self.returns))

    @property
    def drawdowns(self) -> NDArray[np.float64]:
        """Shape (n_days,); distance below the highest value so far, as a share of it, in [0, 1]."""
        growth = self.growth
        return np.asarray(1 - growth / np.maximum.accumulate(np.maximum(growth, 1.0)))

    @property
    def total(self) -> float:
        """Compounded return of the whole series."""
        return float(self.growth[-1]) - 1

    @property
    def years(self) -> float:
        """Length of the series, years."""
        return self.days.size / DAYS_PER_YEAR

    @cached_property
    def figures(self) -> ReturnFigures:
        """Growth and risk, as `return_figures` defines them."""
        return return_figures(self.returns)

    @property
    def annual_growth(self) -> float:
        """Compound annual growth rate."""
        return self.figures.cagr

    @property
    def annual_volatility(self) -> float:
        """Standard deviation per year; no number for fewer than two days."""
        return _number(self.figures.volatility)

    @property
    def sharpe(self) -> float:
        """Sharpe ratio per year; no number where nothing varies."""
        return _number(self.figures.sharpe)

    @property
    def max_drawdown(self) -> float:
        """Largest drawdown, as a share."""
        return self.figures.max_drawdown

    @property
    def calmar(self) -> float:
        """Growth per year over the largest drawdown; no number without a drawdown."""
        return _number(self.figures.calmar)

    @property
    def longest_below_peak_days(self) -> int:
        """Longest run of days below an earlier value."""
        longest = run = 0
        for is_below in self.drawdowns > 0:
            run = run + 1 if is_below else 0
            longest = max(longest, run)
        return longest

    def by_month(self) -> dict[tuple[int, int], float]:
        """Return the compounded return per year and month."""
        growth: dict[tuple[int, int], float] = {}
        for day, value in zip(self.dates, self.returns, strict=True):
            growth[day.year, day.month] = growth.get((day.year, day.month), 1.0) * (1 + float(value))
        return {month: value - 1 for month, value in growth.items()}

    def by_year(self) -> dict[int, float]:
        """Return the compounded return per year."""
        growth: dict[int, float] = {}
        for day, value in zip(self.dates, self.returns, strict=True):
            growth[day.year] = growth.get(day.year, 1.0) * (1 + float(value))
        return {year: value - 1 for year, value in growth.items()}

    def between(self, first: date, last: date) -> "ReturnSeries":
        """Return the days from `first` to `last`, both included.

        Raises:
            InvalidInputError: If there is none.
        """
        chosen = (self.days >= day_number(first)) & (self.days <= day_number(last))
        return ReturnSeries(self.name, self.days[chosen], self.returns[chosen])


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def day_number(day: date) -> int:
    """Return the day as days since 1970-01-01."""
    return (day - _EPOCH).days


def days_of_texts(texts: Sequence[str]) -> NDArray[np.int64]:
    """Return days written as `2024-01-31` as days since 1970-01-01.

    Raises:
        InvalidInputError: If one is no date.
    """
    try:
        return np.array([day_number(date.fromisoformat(text)) for text in texts], dtype=np.int64)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"days must be dates such as 2024-01-31: {error}") from error
