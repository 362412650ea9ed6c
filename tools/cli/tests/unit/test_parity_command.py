"""`breakwater parity`: what it reads, what it prints, and its exit codes."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from breakwater_cli.app import app
from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError
from breakwater_core.events import DailyPerformance
from breakwater_core.report import build_report
from breakwater_research.report_files import write_report
from reporter_service.database import Database
from reporter_service.migrate import migrate
from reporter_service.recording import record_run

RUNNER = CliRunner()
CONFIG = BreakwaterConfig().as_values()


def report_with(equity: str) -> dict[str, Any]:
    row = DailyPerformance(
        "replay-1", "main", date(2024, 3, 1), Decimal(equity), *[Decimal(0)] * 2, *[Decimal(1), Decimal(0), Decimal(0)]
    )
    return build_report(run_id="replay-1", config=CONFIG, outcomes=[], fills=[], days=[row], trades=0, wall_seconds=0)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    write_report(report_with("100000"), tmp_path / "a" / "report.json")
    write_report(report_with("100001"), tmp_path / "b" / "report.json")
    return str(tmp_path / "a" / "report.json"), str(tmp_path / "b")


def test_equal_reports_end_with_0(files: tuple[str, str]) -> None:
    result = RUNNER.invoke(app, ["parity", files[0], files[0]], catch_exceptions=False)
    assert (result.exit_code, result.output) == (0, "equal: 0 orders; total 0 bps\n")


def test_differences_are_shown_and_end_with_1_and_a_folder_stands_for_its_report(files: tuple[str, str]) -> None:
    result = RUNNER.invoke(app, ["parity", *files], catch_exceptions=False)
    assert result.exit_code == 1
    assert "equity" in result.output
    assert "1 difference: 0 orders equal" in result.output


def test_json_names_each_difference(files: tuple[str, str]) -> None:
    result = RUNNER.invoke(app, ["parity", *files, "--json"], catch_exceptions=False)
    values = json.loads(result.output)
    assert (result.exit_code, values["equal"]) == (1, False)
    (found,) = values["differences"]
    assert (found["cause"], found["field"], found["a"], found["b"]) == ("day", "equity", "100000", "100001")


def test_a_tolerance_in_basis_points_is_kept(files: tuple[str, str]) -> None:
    assert RUNNER.invoke(app, ["parity", *files, "--tolerance-bps", "0.11"], catch_exceptions=False).exit_code == 0
    assert RUNNER.invoke(app, ["parity", *files, "--tolerance-bps", "0.09"], catch_exceptions=False).exit_code == 1


def test_runs_of_a_database_are_read_by_their_ids(files: tuple[str, str], tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/breakwater.db")
    migrate(database)
    with database.writing() as session:
        record_run(session, run_id="live", strategy_version="v", config=CONFIG, wall_ms=0)
    database.close()
    result = RUNNER.invoke(app, ["parity", files[0], "live", "--database", str(tmp_path), "--json"])
    (found,) = json.loads(result.output)["differences"]
    assert (found["cause"], found["only_in"]) == ("day", "a")
    with pytest.raises(InvalidInputError, match="no run 'dead'"):
        RUNNER.invoke(app, ["parity", files[0], "dead", "--database", str(tmp_path)], catch_exceptions=False)


@pytest.mark.parametrize("content", ["", "[]", '{"run_id": 1}', "\x00"])
def test_what_is_no_report_is_refused_on_one_line(files: tuple[str, str], tmp_path: Path, content: str) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text(content)
    with pytest.raises(InvalidInputError, match=r"broken\.json") as caught:
        RUNNER.invoke(app, ["parity", files[0], str(broken)], catch_exceptions=False)
    assert "\n" not in str(caught.value)


def test_a_report_that_is_absent_is_named_with_the_remedy(files: tuple[str, str]) -> None:
    with pytest.raises(InvalidInputError, match="absent: no such report; give a"):
        RUNNER.invoke(app, ["parity", files[0], "absent"], catch_exceptions=False)
    with pytest.raises(InvalidInputError, match="decimal number"):
        RUNNER.invoke(app, ["parity", *files, "--tolerance-bps", "much"], catch_exceptions=False)
