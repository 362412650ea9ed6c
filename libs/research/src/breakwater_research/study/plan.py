"""What a study asks for: where the candles are, the settings that everything starts from, and what is varied."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError

SYMBOLS = 10
"""Size of the portfolio unless the symbols are named."""

ASSUMED_COSTS = {"costs.slippage_bps": "2", "costs.funding_rate": "0.0001"}
"""Used where the configuration does not say otherwise: two basis points against each order, and the neutral funding
rate of 0.01 % per 8 hours, which longs pay to shorts."""


@dataclass(frozen=True)
class StudyPlan:
    """What to study.

    Attributes:
        folders: Folders or files of candles.
        config: Settings that everything starts from; `portfolio.symbols` empty: the longest histories.
        leave_out: Patterns of file names of other markets.
        first_day: First day wanted; None: the first there is.
        last_day: Last day wanted, included; None: the last there is.
        k_values: Values of `strategy.k_long` and `k_short`.
        ma_windows: Values of `strategy.ma_window`.
        leverages: Values of `portfolio.gross_leverage`.
        slippages_bps: Values of `costs.slippage_bps`.
        train_days: Days on which a walk-forward window chooses.
        test_days: Days on which it is judged.
        permutations: Copies with flipped signs, of each such test against chance.
        shuffles: Copies with shuffled days; each runs every set again.
        seed: Of the copies.
        steps_per_leg: Into how many steps a leg of a long bar is cut.
    """

    folders: tuple[Path, ...]
    config: BreakwaterConfig
    leave_out: tuple[str, ...] = ("*_spot_*",)
    first_day: date | None = None
    last_day: date | None = None
    k_values: Sequence[float] = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    ma_windows: Sequence[int] = (3, 5, 10, 20, 40, 80)
    leverages: Sequence[Decimal] = field(default=tuple(Decimal(times) for times in range(1, 6)))
    slippages_bps: Sequence[Decimal] = field(default=tuple(Decimal(bps) for bps in (0, 1, 2, 5, 10, 20)))
    train_days: int = 365
    test_days: int = 90
    permutations: int = 1000
    shuffles: int = 99
    seed: int = 1
    steps_per_leg: int = 20

    def __post_init__(self) -> None:
        if not self.folders:
            raise InvalidInputError("a study needs candles; name a folder with --data")
        if not (self.k_values and self.ma_windows and self.leverages and self.slippages_bps):
            raise InvalidInputError("a study varies k, moving average, leverage and slippage; give each a value")
        if self.permutations < 1 or self.shuffles < 1:
            raise InvalidInputError(
                f"permutations and shuffles must be at least 1, were {self.permutations} and {self.shuffles}"
            )
