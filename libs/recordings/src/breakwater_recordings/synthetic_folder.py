"""A folder with a synthetic recording, written only if what is there was made from other figures."""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from breakwater_core.session import Session
from breakwater_recordings.synthetic import DEFAULT_SYMBOLS, write_synthetic

FIRST_DAY = date(2024, 1, 1)
LABEL = "made_from.json"
"""Says what the recording was made from; written last, so that half a recording is made anew."""


def ensure_synthetic(
    folder: Path,
    *,
    seed: int,
    days: int,
    trades_per_day: int,
    session: Session,
    symbols: Sequence[str] = DEFAULT_SYMBOLS,
) -> bool:
    """Write the recording unless the one that is there was made from the same figures; return whether it was written.

    Args:
        folder: Root of the recording; made if absent. Trades of another recording in it are removed.
        seed: Another seed is another market.
        days: Number of days from `FIRST_DAY` on, at least 1.
        trades_per_day: Average number of trades a day, all symbols together.
        session: Defines the days.
        symbols: Venue symbols.

    Raises:
        InvalidInputError: If a figure is out of range or a symbol no name.
    """
    wanted = {
        "seed": seed,
        "days": days,
        "trades_per_day": trades_per_day,
        "first_day": FIRST_DAY.isoformat(),
        "day_start_ms": session.day_start_ms(FIRST_DAY),
        "symbols": list(symbols),
        "format": 2,
    }
    label = folder / LABEL
    if label.exists() and json.loads(label.read_text(encoding="utf-8")) == wanted:
        return False
    label.unlink(missing_ok=True)
    for file in sorted(folder.rglob("*.parquet")):
        file.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    write_synthetic(
        folder,
        seed=seed,
        first_day=FIRST_DAY,
        days=days,
        trades_per_day_total=trades_per_day,
        session=session,
        symbols=symbols,
    )
    label.write_text(json.dumps(wanted), encoding="utf-8")
    return True
