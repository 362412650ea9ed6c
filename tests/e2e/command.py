"""Runs the `breakwater` command as a user does: as a process, in a folder of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def breakwater(*arguments: str | Path, timeout_s: float = 170, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end and return what it printed; `environment` is added to the inherited one."""
    command = [str(Path(sys.executable).parent / "breakwater"), *map(str, arguments)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env=os.environ | {"COLUMNS": "120"} | environment,
    )


def replay_report(output: Path, *arguments: str | Path, timeout_s: float = 170) -> dict[str, Any]:
    """Replay into a folder and return the report; the command must succeed."""
    finished = breakwater("replay", *arguments, "--out", output, "--json", timeout_s=timeout_s)
    assert finished.returncode == 0, finished.stderr[-2000:]
    report: dict[str, Any] = json.loads((output / "report.json").read_text())
    return report


def backtest_report(output: Path, *arguments: str | Path, timeout_s: float = 170) -> dict[str, Any]:
    """Backtest into a folder and return the report; the command must succeed."""
    finished = breakwater("backtest", *arguments, "--out", output, "--json", timeout_s=timeout_s)
    assert finished.returncode == 0, finished.stderr[-2000:]
    report: dict[str, Any] = json.loads((output / "report.json").read_text())
    return report


def comparable(report: dict[str, Any]) -> str:
    """Return the report's text without the run id and the wall-clock figures, which may differ between equal runs."""
    counters = {
        key: value for key, value in report["counters"].items() if key not in {"wall_seconds", "trades_per_second"}
    }
    rest = {key: value for key, value in report.items() if key not in {"run_id", "counters"}}
    return json.dumps(rest | {"counters": counters}, indent=1)
