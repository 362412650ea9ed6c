"""Two signals decide one replay: the result is that of one, also when one of them is killed and the other paused."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.command import breakwater, comparable
from tests.e2e.test_demo import SMALL, process_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def intents_of(output: Path, name: str) -> int:
    """Return how many intents a signal says to have published."""
    log = output / "logs" / f"{name}.log"
    return log.read_text().count("intent_published") if log.exists() else 0


def test_two_signals_of_which_one_is_killed_and_one_paused_give_the_report_of_one(tmp_path: Path) -> None:
    finished = breakwater("demo", "--out", tmp_path / "demo", *SMALL)
    assert finished.returncode == 0, finished.stderr[-2000:]
    recording, config = tmp_path / "demo" / "recording", tmp_path / "demo" / "config.json"
    one = json.loads((tmp_path / "demo" / "report.json").read_text())
    output = tmp_path / "two"
    command = [str(Path(sys.executable).parent / "breakwater"), "replay", str(recording), "--config", str(config)]
    process = subprocess.Popen(
        [*command, "--out", str(output), "--signals", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    killed = paused = alone_from = None
    try:
        while process.poll() is None:
            published = intents_of(output, "signal-2")
            if killed is None and published > 5 and (killed := process_of("signal", output)) is not None:
                os.kill(killed, signal.SIGKILL)
            if paused is None and published > 15 and (paused := process_of("signal-2", output)) is not None:
                os.kill(paused, signal.SIGSTOP)
                alone_from = intents_of(output, "signal")
            if paused is not None and alone_from is not None and intents_of(output, "signal") > alone_from + 10:
                os.kill(paused, signal.SIGCONT)  # the other one has gone on alone
                alone_from = None
    finally:
        process.kill()
        _, errors = process.communicate()
    assert process.returncode == 0, errors[-2000:]
    assert killed is not None
    assert paused is not None
    assert alone_from is None, "the one that was not paused went on"
    report = json.loads((output / "report.json").read_text())
    assert comparable(report) == comparable(one)
    assert report["run_id"] == one["run_id"]
