"""What `breakwater data` prints."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from breakwater_cli.app import app

DAY_MS = 1_696_896_000_000  # 2023-10-10T00:00Z
RUNNER = CliRunner()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A day of minutes without two of them, and a file with a minute twice."""
    header = "timestamp,open,high,low,close,volume"
    for symbol, minutes in (("BTCUSDT", [*range(600), *range(602, 1440)]), ("ETHUSDT", [*range(5), 4, *range(5, 9)])):
        rows = [f"{DAY_MS + minute * 60_000},1,1,1,1,1" for minute in minutes]
        (tmp_path / f"{symbol}.csv").write_text("\n".join([header, *rows]))
    return tmp_path


def test_people_get_a_table_and_a_line_for_each_thing_amiss(folder: Path) -> None:
    result = RUNNER.invoke(app, ["data", str(folder)])

    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert any("BTCUSDT" in line and "1m candles (CSV)" in line and "1,438" in line for line in lines)
    assert "BTCUSDT 1m candles (CSV): gap 2023-10-10 10:00:00 to 2023-10-10 10:02:00 (2 bars)" in lines
    assert "BTCUSDT 1m candles (CSV): incomplete day 2023-10-10" in lines
    assert f"ETHUSDT 1m candles (CSV): 2023-10-10 00:04:00 stands twice, {folder}/ETHUSDT.csv, row 7" in lines
    assert any(line.startswith(f"fault: {folder}/ETHUSDT.csv, row 7: the bar's time stands twice") for line in lines)


def test_machines_get_the_same_as_json(folder: Path) -> None:
    values = json.loads(RUNNER.invoke(app, ["data", str(folder), "--json"]).stdout)

    bitcoin, ether = values["holdings"]
    assert bitcoin["gaps"] == [{"start_ms": DAY_MS + 36_000_000, "end_ms": DAY_MS + 36_120_000, "bars": 2}]
    assert (bitcoin["first_day"], bitcoin["incomplete_days"]) == ("2023-10-10", ["2023-10-10"])
    assert ether["repeats"] == [{"file": f"{folder}/ETHUSDT.csv", "row": 7, "time_ms": DAY_MS + 240_000}]
    assert len(values["faults"]) == 1


def test_files_without_fault_end_with_0_though_a_day_is_incomplete(folder: Path) -> None:
    result = RUNNER.invoke(app, ["data", f"XUSDT={folder}/BTCUSDT.csv"])

    assert result.exit_code == 0
    assert "XUSDT" in result.stdout


def test_long_lists_are_cut_unless_all_is_wanted(tmp_path: Path) -> None:
    rows = [f"{DAY_MS + minute * 60_000},1,1,1,1,1" for minute in (0, *range(1, 60, 2))]
    path = tmp_path / "BTCUSDT.csv"
    path.write_text("\n".join(["timestamp,open,high,low,close,volume", *rows]))

    short, long = (RUNNER.invoke(app, ["data", str(path), *more]).stdout for more in ([], ["--all"]))

    assert short.count(": gap ") == 10
    assert "and 19 more (--all lists them)" in short
    assert long.count(": gap ") == 29
