"""The demo: a synthetic market, generated from a seed, traded through every service as a process."""

import asyncio
import json
from datetime import date
from pathlib import Path
from typing import Any

from breakwater_cli.replay import ReplayRequest, replay
from breakwater_core.config import BreakwaterConfig
from breakwater_recordings.synthetic import write_synthetic

FIRST_DAY = date(2024, 1, 1)


async def run_demo(
    *, output: Path, days: int, trades_per_day: int, seed: int, executors: int, speed: str, quiet: bool
) -> dict[str, Any]:
    """Generate the market (once per seed and size), replay it and return the report."""
    config = BreakwaterConfig()
    recording = output / "recording"
    await asyncio.to_thread(_generate, recording, config, days, trades_per_day, seed)
    request = ReplayRequest(
        sources=(str(recording),),
        config=config,
        output=output,
        speed=speed,
        executors=executors,
        quiet=quiet,
        show_positions=True,
    )
    return await replay(request)


def _generate(recording: Path, config: BreakwaterConfig, days: int, trades_per_day: int, seed: int) -> None:
    """Write the recording unless the one that is there was made from the same figures."""
    wanted = {
        "seed": seed,
        "days": days,
        "trades_per_day": trades_per_day,
        "first_day": FIRST_DAY.isoformat(),
        "format": 1,
    }
    label = recording / "made_from.json"
    if label.exists() and json.loads(label.read_text(encoding="utf-8")) == wanted:
        return
    if recording.exists():
        for file in sorted(recording.rglob("*.parquet")):
            file.unlink()
        label.unlink(missing_ok=True)
    recording.mkdir(parents=True, exist_ok=True)
    write_synthetic(
        recording,
        seed=seed,
        first_day=FIRST_DAY,
        days=days,
        trades_per_day_total=trades_per_day,
        session=config.session.session(),
    )
    label.write_text(json.dumps(wanted), encoding="utf-8")
