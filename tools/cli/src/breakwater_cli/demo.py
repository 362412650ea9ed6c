"""The demo: a synthetic market, generated from a seed, traded through every service as a process."""

import asyncio
from pathlib import Path
from typing import Any

from breakwater_cli.replay import ReplayRequest, replay
from breakwater_core.config import BreakwaterConfig
from breakwater_recordings.synthetic_folder import ensure_synthetic


async def run_demo(
    *, output: Path, days: int, trades_per_day: int, seed: int, executors: int, speed: str, quiet: bool
) -> dict[str, Any]:
    """Generate the market (once per seed and size), replay it and return the report."""
    config = BreakwaterConfig()
    recording = output / "recording"
    await asyncio.to_thread(
        ensure_synthetic,
        recording,
        seed=seed,
        days=days,
        trades_per_day=trades_per_day,
        session=config.session.session(),
    )
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
