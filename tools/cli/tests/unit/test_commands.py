"""What the command line makes of its arguments."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from breakwater_cli import paper
from breakwater_cli.app import app
from breakwater_core.errors import InvalidInputError

RUNNER = CliRunner()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the paper exchange would have been started with."""
    values: dict[str, Any] = {}
    monkeypatch.setattr(paper, "serve_paper_exchange", lambda **given: values.update(given))
    return values


def test_several_recordings_may_follow_one_option(served: dict[str, Any]) -> None:
    arguments = ["paper-exchange", "--port", "0", "--recording", "a.csv", "b.csv", "--recording", "c.csv"]
    result = RUNNER.invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert sorted(served["recordings"]) == ["a.csv", "b.csv", "c.csv"]


def test_a_recording_and_the_synthetic_market_exclude_each_other(served: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="exclude"):
        RUNNER.invoke(app, ["paper-exchange", "--recording", "a.csv", "--synthetic"], catch_exceptions=False)
    assert served == {}


def test_the_configuration_is_printed_with_its_version() -> None:
    result = RUNNER.invoke(app, ["config", "--set", "strategy.filter=none"], catch_exceptions=False)
    assert "# version " in result.output
    assert "filter: none" in result.output


def test_every_command_has_a_help_text() -> None:
    for command in (
        "demo",
        "replay",
        "record",
        "up",
        "run",
        "paper-exchange",
        "report",
        "parity",
        "config",
        "doctor",
        "data",
    ):
        result = RUNNER.invoke(app, [command, "--help"])
        assert result.exit_code == 0, command
        assert len(result.output.splitlines()) > 4, command


def test_a_day_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="--start takes a day"):
        RUNNER.invoke(app, ["replay", "x.csv", "--out", str(tmp_path), "--start", "yesterday"], catch_exceptions=False)
