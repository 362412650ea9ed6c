"""Every alert has an entry in the runbook, and every entry is raised by something."""

import ast
import re
from collections.abc import Iterator

from breakwater_core.alert_names import ALERT_SEVERITIES
from tests.deploy.observability import catalogue


def _words_near_alerts() -> Iterator[str]:
    """Yield every text in the arguments of a call that raises an alert."""
    for source in [
        *catalogue.REPOSITORY.glob("libs/*/src/**/*.py"),
        *catalogue.REPOSITORY.glob("services/*/src/**/*.py"),
    ]:
        text = source.read_text(encoding="utf-8")
        if "lert" not in text or source.name == "alert_names.py":
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_every_alert_of_services_and_rules_has_an_entry() -> None:
    raised = ALERT_SEVERITIES.keys() | {catalogue.alert_entry(rule["alert"]) for rule in catalogue.alerts()}
    assert raised - catalogue.runbook_entries() == set()


def test_every_entry_is_raised_by_a_service_or_a_rule() -> None:
    raised = ALERT_SEVERITIES.keys() | {catalogue.alert_entry(rule["alert"]) for rule in catalogue.alerts()}
    assert catalogue.runbook_entries() - raised == set()


def test_no_two_entries_have_one_anchor() -> None:
    headings = re.findall(r"^#+ (.+)$", catalogue.RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(headings) == len(set(headings))


def test_every_alert_that_is_listed_is_published_by_some_service() -> None:
    assert ALERT_SEVERITIES.keys() - set(_words_near_alerts()) == set()


def test_every_alert_that_a_service_publishes_by_a_plain_name_is_listed() -> None:
    """Names stand as `name="..."` of an `Alert` or of what makes one, or first in a call of `_alert` and the like."""
    found = set()
    for source in [
        *catalogue.REPOSITORY.glob("libs/*/src/**/*.py"),
        *catalogue.REPOSITORY.glob("services/*/src/**/*.py"),
    ]:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"Alert", "OutageAlarm", "intent_alert"}:
                named = [word.value for word in node.keywords if word.arg == "name"]
            elif called in {"_alert", "_tell"}:
                named = list(node.args)
            else:
                continue
            found |= {
                value.value
                for value in named
                if isinstance(value, ast.Constant)
                and isinstance(value.value, str)
                and re.fullmatch(r"[a-z]+(_[a-z]+)+", value.value)
            }
    assert len(found) > 20
    assert found - ALERT_SEVERITIES.keys() == set()
