"""The daily bars that a live day was traded with, kept beside its trades in `openings/<day>.json`.

A recorded day can so be played by itself: its warm-up bars and its opens are those of the exchange's candles, which the
day's own trades do not tell. Prices are quote currency per 1 base unit, volumes base units.
"""

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from breakwater_core.errors import InvalidInputError
from breakwater_core.identities import check_name
from breakwater_core.market import BarState, DailyBar

_FOLDER = "openings"
_PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True, slots=True)
class DayOpening:
    """What is known of the days before a day, and of its open.

    Attributes:
        day: The day.
        bars: CLOSED bars of the days before and the OPEN bar of the day, by symbol and day.
    """

    day: date
    bars: tuple[DailyBar, ...]

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols whose open is known, sorted."""
        return tuple(sorted(bar.symbol for bar in self.bars if bar.state is BarState.OPEN))


def write_day_opening(directory: Path, opening: DayOpening) -> None:
    """Store an opening; what is stored of symbols that it does not have stays.

    Raises:
        InvalidInputError: If what is stored is damaged.
        OSError: If the disk is full or fails.
    """
    stored = read_day_opening(directory, opening.day)
    symbols = {bar.symbol for bar in opening.bars}
    others = [] if stored is None else [bar for bar in stored.bars if bar.symbol not in symbols]
    bars = sorted([*opening.bars, *others], key=lambda bar: (bar.symbol, bar.day))
    path = _path(directory, opening.day)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump({"day": opening.day.isoformat(), "bars": [_values(bar) for bar in bars]}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_day_opening(directory: Path, day: date) -> DayOpening | None:
    """Return the opening of a day; None if none is stored.

    Raises:
        InvalidInputError: If the file is damaged.
    """
    path = _path(directory, day)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return DayOpening(date.fromisoformat(values["day"]), tuple(_bars(values["bars"])))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read ({error.strerror}); check its rights") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"{path}: is no opening of a day ({error}); remove it") from error


def _path(directory: Path, day: date) -> Path:
    return directory / _FOLDER / f"{day.isoformat()}.json"


def _values(bar: DailyBar) -> dict[str, Any]:
    return {
        "symbol": bar.symbol,
        "day": bar.day.isoformat(),
        "state": bar.state.value,
        **{name: getattr(bar, name) for name in _PRICES},
        "volume": bar.volume,
        "complete": bar.complete,
    }


def _bars(rows: Iterable[dict[str, Any]]) -> Iterable[DailyBar]:
    for row in rows:
        prices = [float(row[name]) for name in _PRICES]
        if not all(math.isfinite(price) and price > 0 for price in prices):
            raise ValueError(f"prices of {row['symbol']} on {row['day']} must be finite and above 0")
        opened, high, low, close = prices
        yield DailyBar(
            symbol=check_name("symbol", row["symbol"]),
            day=date.fromisoformat(row["day"]),
            state=BarState(row["state"]),
            open=opened,
            high=high,
            low=low,
            close=close,
            volume=float(row["volume"]),
            complete=bool(row["complete"]),
        )
