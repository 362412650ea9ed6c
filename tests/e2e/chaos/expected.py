"""The report that a run must equal when nothing changed prices or liquidity: the backtest's."""

from pathlib import Path
from typing import Any

from breakwater_recordings.sources import open_recording
from breakwater_research.tick_backtest import run_tick_backtest
from tests.e2e.chaos.plan import ChaosPlan
from tests.e2e.chaos.world import RUN_ID, configuration, recording


def expected_report(plan: ChaosPlan, folder: Path) -> dict[str, Any]:
    """Return the report of the plan's recording and configuration; `folder` holds the recordings."""
    config = configuration(plan)
    source = str(recording(folder, plan.recording))
    return run_tick_backtest(open_recording([source], session=config.session.session()), config, run_id=RUN_ID)
