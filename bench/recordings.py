"""The synthetic recording that is replayed: made once, kept in the benchmarks' folder.

Five days with few trades warm the moving average up, so that on every busy day behind them the strategy really looks
for entries.
"""

import asyncio
import json
import shutil
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from breakwater_core.session import Session
from breakwater_recordings.synthetic import DEFAULT_SYMBOLS, write_synthetic

_WARM_UP_DAYS = 5
_WARM_UP_TRADES_PER_DAY = 20_000
_FIRST_DAY = date(2024, 1, 1)
_SEED = 11


@dataclass(frozen=True)
class BusyRecording:
    """A recording with ten symbols.

    Attributes:
        folder: Its root.
        trades: Number of trades of each busy day, oldest first.
        first_day: First busy day.
    """

    folder: Path
    trades: tuple[int, ...]
    first_day: date

    def day(self, number: int) -> date:
        """Return the busy day of that number, counted from 1."""
        return self.first_day + timedelta(days=number - 1)


async def busy_recording(root: Path, *, days: int, trades_per_day: int) -> BusyRecording:
    """Return a recording of so many busy days with about so many trades each; it is made if it is not there yet."""
    folder = root / "recordings" / f"busy-{days}x{trades_per_day}"
    label = folder / "made.json"
    wanted = {"seed": _SEED, "days": days, "trades_per_day": trades_per_day, "symbols": list(DEFAULT_SYMBOLS)}
    if label.exists():
        made: dict[str, Any] = json.loads(label.read_text(encoding="utf-8"))
        if made["from"] == wanted:
            return BusyRecording(folder, tuple(made["trades"]), date.fromisoformat(made["first_day"]))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    recording = await asyncio.to_thread(_make, folder, days, trades_per_day)
    values = asdict(recording) | {"folder": str(folder), "first_day": recording.first_day.isoformat(), "from": wanted}
    label.write_text(json.dumps(values), encoding="utf-8")
    return recording


def _make(folder: Path, days: int, trades_per_day: int) -> BusyRecording:
    first_busy = _FIRST_DAY + timedelta(days=_WARM_UP_DAYS)
    _write(folder, _FIRST_DAY, _WARM_UP_DAYS, _WARM_UP_TRADES_PER_DAY)
    trades = tuple(_write(folder, first_busy + timedelta(days=number), 1, trades_per_day) for number in range(days))
    return BusyRecording(folder, trades, first_busy)


def _write(folder: Path, first_day: date, days: int, trades_per_day: int) -> int:
    return write_synthetic(
        folder, seed=_SEED, first_day=first_day, days=days, trades_per_day_total=trades_per_day, session=Session()
    )
