"""Prometheus' own word on configuration and rules, and that each alert was tested both ways."""

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.observability import catalogue
from tests.deploy.observability.binaries import promtool

TESTS = tuple(sorted((catalogue.FOLDER / "tests").glob("*.yaml")))


def _run(*arguments: str | Path) -> None:
    done = subprocess.run([promtool(), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_rules() -> None:
    _run("check", "rules", *catalogue.RULES)


def test_promtool_accepts_the_configuration_of_compose() -> None:
    _run("check", "config", catalogue.FOLDER / "prometheus.yml")


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_and_end_as_their_unit_tests_say(path: Path) -> None:
    _run("test", "rules", path)


def test_every_alert_is_seen_to_fire_and_to_stay_away_in_a_unit_test() -> None:
    fires, stays_away = set(), set()
    for path in TESTS:
        for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for check in case.get("alert_rule_test", ()):
                for alert in check["exp_alerts"]:
                    fires.add((check["alertname"], alert["exp_labels"]["severity"]))
                if not check["exp_alerts"]:
                    stays_away.add(check["alertname"])
    assert fires == {(rule["alert"], rule["labels"]["severity"]) for rule in catalogue.alerts()}
    assert stays_away == {rule["alert"] for rule in catalogue.alerts()}


def test_every_recorded_figure_has_a_unit_test_of_its_value() -> None:
    asked = {
        name
        for path in TESTS
        for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
        for check in case.get("promql_expr_test", ())
        for name in catalogue.metric_names(check["expr"])
    }
    assert asked >= {rule["record"] for rule in catalogue.rules() if "record" in rule}


@pytest.mark.parametrize("rule", catalogue.alerts(), ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_an_alert_says_how_urgent_it_is_what_is_wrong_and_where_to_read_on(rule: dict) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["alert"].startswith("Breakwater")
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{catalogue.alert_entry(rule['alert'])}"
