"""The report that a run must equal when nothing changed prices or liquidity."""

import json
from pathlib import Path
from typing import Any

from breakwater_cli.replay import ReplayRequest, replay
from tests.e2e.chaos.plan import ChaosPlan
from tests.e2e.chaos.world import RUN_ID, configuration, recording


def expected_report(plan: ChaosPlan, folder: Path) -> dict[str, Any]:
    """Return the report of a calm run; one is made per recording and configuration, and kept beside the recordings."""
    import asyncio

    config = configuration(plan)
    out = folder / f"expected-{plan.recording}-{config.version}"
    if not (out / "report.json").exists():
        request = ReplayRequest(
            sources=(str(recording(folder, plan.recording)),),
            config=config,
            output=out,
            run_id=RUN_ID,
            quiet=True,
        )
        asyncio.run(replay(request))
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    return report
