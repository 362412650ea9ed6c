"""Figures of many daily return series at once, and the objectives that sets are ranked by.

Returns are net and per calendar day, as a share of the equity at the day's open; a year has 365 of them.

    growth[t]    = product of 1 + return[1..t]          cagr   = growth[T] ** (365 / T) - 1
    drawdown[t]  = 1 - growth[t] / max(1, growth[1..t]) calmar = cagr / max(maximum drawdown, 0.0001)
    sharpe       = mean / standard deviation * sqrt(365), no risk-free rate; the deviation with T - 1
"""

import re
from dataclasses import dataclass
from math import sqrt
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from breakwater_core.errors import InvalidInputError

DAYS_PER_YEAR: Final = 365
SMALLEST_DRAWDOWN: Final = 1e-4
"""A drawdown below one basis point counts as one, so that a series without any has a finite Calmar ratio."""

RUINED: Final = -1e9
"""Score of a set that lost everything, by any objective: below every other."""

_SETS_AT_A_TIME: Final = 512

Returns = NDArray[np.float64]


@dataclass(frozen=True)
class FigureTable:
    """Figures of each set over one span of days; every array has shape (n_sets,), float64.

    Attributes:
        total_return: Growth - 1 at the end; 0.1 is 10 %.
        cagr: Compound growth per year of 365 days - 1.
        sharpe: Annual Sharpe ratio; 0 where the returns do not vary.
        max_drawdown: Largest fall from the highest growth so far (at least 1), as a share of it.
        calmar: CAGR over maximum drawdown.
    """

    total_return: NDArray[np.float64]
    cagr: NDArray[np.float64]
    sharpe: NDArray[np.float64]
    max_drawdown: NDArray[np.float64]
    calmar: NDArray[np.float64]

    def row(self, number: int) -> dict[str, float]:
        """Return the figures of one set by name."""
        return {name: float(values[number]) for name, values in vars(self).items()}


def daily_sharpe(returns: Returns) -> NDArray[np.float64]:
    """Return mean / standard deviation per day of each row; 0 where a row does not vary.

    Args:
        returns: Shape (n_sets, n_days).
    """
    if returns.shape[1] < 2:
        return np.zeros(len(returns))
    deviation = returns.std(axis=1, ddof=1)
    flat = (np.ptp(returns, axis=1) == 0.0) | (deviation == 0.0)
    return np.where(flat, 0.0, returns.mean(axis=1) / np.where(flat, 1.0, deviation))


def figures(returns: Returns) -> FigureTable:
    """Return the figures of each row.

    Args:
        returns: Shape (n_sets, n_days), at least one day, each at least -1.

    Raises:
        InvalidInputError: If there is no day, or a return is not finite or below -1.
    """
    if returns.ndim != 2 or returns.shape[1] == 0:
        raise InvalidInputError(f"figures need returns of at least one day, the shape was {returns.shape}")
    if not np.isfinite(returns).all() or (returns < -1.0).any():
        raise InvalidInputError("a daily return is not finite or below -1")
    grown, drawdown = np.empty(len(returns)), np.empty(len(returns))
    for start in range(0, len(returns), _SETS_AT_A_TIME):
        part = slice(start, start + _SETS_AT_A_TIME)
        growth = np.cumprod(1.0 + returns[part], axis=1)
        peak = np.maximum(np.maximum.accumulate(growth, axis=1), 1.0)
        grown[part] = growth[:, -1]
        drawdown[part] = np.max(1.0 - growth / peak, axis=1)
    cagr = grown ** (DAYS_PER_YEAR / returns.shape[1]) - 1.0
    return FigureTable(
        total_return=grown - 1.0,
        cagr=cagr,
        sharpe=daily_sharpe(returns) * sqrt(DAYS_PER_YEAR),
        max_drawdown=drawdown,
        calmar=cagr / np.maximum(drawdown, SMALLEST_DRAWDOWN),
    )


@dataclass(frozen=True)
class Objective:
    """What a search makes as large as it can.

    Attributes:
        name: `sharpe`, `calmar` or `cagr`.
        drawdown_cap: With `cagr`: largest maximum drawdown allowed, a share; a set beyond it ranks below every set
            within it, the lower the further beyond. None: no cap.
    """

    name: str
    drawdown_cap: float | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the objective that a text such as `sharpe`, `calmar`, `cagr` or `cagr@0.25` names.

        Raises:
            InvalidInputError: If it names none, or the cap is not in (0, 1).
        """
        match = re.fullmatch(r"(sharpe|calmar|cagr)(?:@([0-9.]+))?", text.strip().lower())
        if match is None or (match[2] is not None and match[1] != "cagr"):
            raise InvalidInputError(f"an objective is sharpe, calmar, cagr or cagr@CAP (cagr@0.25), was {text!r}")
        if match[2] is None:
            return cls(match[1])
        try:
            cap = float(match[2])
        except ValueError:
            cap = 0.0
        if not 0.0 < cap < 1.0:
            raise InvalidInputError(f"a drawdown cap is a share in (0, 1), e.g. cagr@0.25; was {text!r}")
        return cls(match[1], cap)

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        return self.name if self.drawdown_cap is None else f"{self.name}@{self.drawdown_cap:g}"

    def scores(self, table: FigureTable) -> NDArray[np.float64]:
        """Return the score of each set, shape (n_sets,), finite; larger is better.

        A set that lost everything scores `RUINED`: one day of -100 % between calm ones has a Sharpe ratio close to 0.
        """
        return np.where(table.total_return <= -1.0, RUINED, self._of_survivors(table))

    def _of_survivors(self, table: FigureTable) -> NDArray[np.float64]:
        if self.name == "sharpe":
            return table.sharpe
        if self.name == "calmar":
            return table.calmar
        if self.drawdown_cap is None:
            return table.cagr
        beyond = self.drawdown_cap - table.max_drawdown
        return np.where(beyond >= 0.0, table.cagr, beyond - 1.0)
