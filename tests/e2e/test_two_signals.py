"""Two signals decide one replay: the result is that of one, also when one of them is killed and the other paused."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.command import breakwater, comparable, replay_report
from tests.e2e.test_demo import SMALL, process_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_two_signals_of_which_one_is_killed_and_one_paused_give_the_report_of_one(tmp_path: Path) -> None:
    finished = breakwater("demo", "--out", tmp_path / "demo", *SMALL)
    assert finished.returncode == 0, finished.stderr[-2000:]
    recording, config = tmp_path / "demo" / "recording", tmp_path / "demo" / "config.json"
    one = replay_report(tmp_path / "one", recording, "--config", config)
    output = tmp_path / "two"
    command = [str(Path(sys.executable).parent / "breakwater"), "replay", str(recording), "--config", str(config)]
    process = subprocess.Popen(
        [*command, "--out", str(output), "--signals", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    killed = paused = None
    log = output / "logs" / "signal-2.log"
    try:
        while process.poll() is None:
            published = log.read_text().count("intent_published") if log.exists() else 0
            if killed is None and published > 5 and (killed := process_of("signal", output)) is not None:
                os.kill(killed, signal.SIGKILL)
            if paused is None and published > 15 and (paused := process_of("signal-2", output)) is not None:
                os.kill(paused, signal.SIGSTOP)
                breakwater("config")  # so long: the other one goes on alone
                os.kill(paused, signal.SIGCONT)
    finally:
        process.kill()
        _, errors = process.communicate()
    assert process.returncode == 0, errors[-2000:]
    assert killed is not None
    assert paused is not None
    report = json.loads((output / "report.json").read_text())
    assert comparable(report) == comparable(one)
    assert report["run_id"] == one["run_id"]
