"""`breakwater optimize` as a process: its output, its files, and ctrl-C."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from breakwater_cli.app import app
from breakwater_core.errors import InvalidInputError
from breakwater_runtime.config_file import read_config
from breakwater_runtime.errors import DependencyError

RUNNER = CliRunner()
COMMAND = [sys.executable, "-c", "from breakwater_cli.app import main; main()", "optimize"]
FILES = ("results.parquet", "search.json", "chosen.yaml")
VARY = ["--vary", "strategy.k_long=0.3:0.9:0.2", "--vary", "strategy.filter=trend,none"]


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Hourly bars of 120 days of a market that wanders."""
    steps = np.random.default_rng(3).normal(0.0, 0.005, size=120 * 24)
    closes = 100.0 * np.exp(np.cumsum(steps))
    opens = np.concatenate(([100.0], closes[:-1]))
    path = tmp_path_factory.mktemp("candles") / "AAAUSDT_1h.csv"
    times = 1_704_067_200_000 + np.arange(closes.size) * 3_600_000
    columns = zip(times, opens, np.maximum(opens, closes), np.minimum(opens, closes), closes, strict=True)
    rows = [f"{opened},{first:.4f},{high:.4f},{low:.4f},{last:.4f},5" for opened, first, high, low, last in columns]
    path.write_text("timestamp,open,high,low,close,volume\n" + "\n".join(rows) + "\n")
    return str(path)


def arguments(candles: str, out: Path, *more: str) -> list[str]:
    windows = ["--train-days", "60", "--test-days", "20"]
    return [candles, *VARY, *windows, "--out", str(out), *more]


def test_the_table_the_checks_and_a_plain_verdict_are_printed(candles: str, tmp_path: Path) -> None:
    given = arguments(candles, tmp_path, "--permutations", "9", "--objective", "cagr@0.5")
    printed = RUNNER.invoke(app, ["optimize", *given], catch_exceptions=False).output
    assert "8 sets by cagr@0.5: in-sample 2024-01-01 to 2024-03-24, out-of-sample 2024-03-25 to" in printed
    assert "walk-forward, 3 windows" in printed
    assert "\nNot significant: " in printed
    assert not (tmp_path / "chunks").exists()
    assert read_config(tmp_path / "chosen.yaml").portfolio.symbols == ("AAAUSDT",)


def test_json_is_what_search_json_holds(candles: str, tmp_path: Path) -> None:
    given = arguments(candles, tmp_path, "--permutations", "0", "--walk-forward", "none", "--holdout", "0", "--json")
    printed = RUNNER.invoke(app, ["optimize", *given], catch_exceptions=False).output
    values = json.loads(printed)
    assert values == json.loads((tmp_path / "search.json").read_text())
    assert values["walk_forward"] is values["permutation"] is values["chosen"]["out_of_sample"] is None
    assert values["verdict"]["significant"] is False  # what was not tested is not shown
    assert values["out_of_sample"] == {"days": [], "returns": []}


def test_a_search_file_says_the_same_as_options(candles: str, tmp_path: Path) -> None:
    (tmp_path / "search.yaml").write_text(
        "vary: {strategy.k_long: 0.3:0.9:0.2, strategy.filter: [trend, none]}\n"
        "walk_forward: anchored\ntrain_days: 60\ntest_days: 20\npermutations: 3\nholdout: 0.25\nlast_day: 2024-04-20\n"
    )
    more = ["--walk-forward", "anchored", "--permutations", "3", "--holdout", "0.25", "--end", "2024-04-20"]
    one = ["optimize", *arguments(candles, tmp_path / "a", *more)]
    two = ["optimize", candles, "--search", str(tmp_path / "search.yaml"), "--out", str(tmp_path / "b")]
    for given in (one, two):
        assert RUNNER.invoke(app, given, catch_exceptions=False).exit_code == 0
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--objective", "profit"], "an objective is"),
        (["--method", "random"], "--method takes"),
        (["--walk-forward", "sideways"], "--walk-forward takes"),
        (["--train-days", "200"], "leaves none"),
        (["--vary", "strategy.k_long=nothing"], "strategy.k_long"),
        (["--holdout", "1.5"], "holdout must be"),
        (["--start", "2030-01-01"], "no complete day"),
    ],
)
def test_a_wrong_option_is_refused(candles: str, tmp_path: Path, more: list[str], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        RUNNER.invoke(app, ["optimize", *arguments(candles, tmp_path, *more)], catch_exceptions=False)


def test_a_cluster_that_is_not_there_is_something_needed_that_is_absent(
    candles: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("breakwater_research.search.execution._CONNECT_TIMEOUT_S", 1)
    given = ["optimize", *arguments(candles, tmp_path, "--cluster", "tcp://127.0.0.1:9")]
    with pytest.raises(DependencyError, match=r"tcp://127\.0\.0\.1:9"):
        RUNNER.invoke(app, given, catch_exceptions=False)


def test_ctrl_c_keeps_finished_chunks_and_the_same_command_goes_on(candles: str, tmp_path: Path) -> None:
    given = ["--permutations", "120", "--chunk-sets", "2", "--workers", "1"]
    whole = ["optimize", *arguments(candles, tmp_path / "a", *given)]
    assert RUNNER.invoke(app, whole, catch_exceptions=False).exit_code == 0
    command = [*COMMAND, *arguments(candles, tmp_path / "b", *given)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    chunks = tmp_path / "b/chunks"
    while process.poll() is None and len(list(chunks.glob("shuffle-*.npz"))) < 3:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "goes on from there" in told
    numbers = sorted(int(path.name[8:13]) for path in chunks.glob("shuffle-*.npz"))
    assert 3 <= len(numbers) < 120
    assert numbers == list(range(len(numbers)))  # what was begun was finished
    assert len(list(chunks.glob("sets-*.npz"))) == 4
    assert not (tmp_path / "b/search.json").exists()
    again = ["optimize", *arguments(candles, tmp_path / "b", *given)]
    assert RUNNER.invoke(app, again, catch_exceptions=False).exit_code == 0
    assert not chunks.exists()
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert pq.read_table(tmp_path / "b/results.parquet").num_rows == 8
