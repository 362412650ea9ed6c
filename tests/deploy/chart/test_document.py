"""docs/deploy.md: its values are accepted by the chart, its commands by the command line, its links lead somewhere."""

import re
import shlex
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from breakwater_cli.app import app
from tests.deploy.chart.chart import ROOT, SETS, component, of_kind, pods, render

DOCUMENT = ROOT / "docs" / "deploy.md"
TEXT = DOCUMENT.read_text()
BLOCKS = re.findall(r"^ *```(bash|yaml)\n(.*?)^ *```", TEXT, flags=re.DOTALL | re.MULTILINE)


def operator_commands() -> list[list[str]]:
    """Return the words of each command of the command line in the document's code."""
    code = "\n".join(text.replace("\\\n", " ") for kind, text in BLOCKS if kind == "bash")
    inline = re.findall(r"`(kubectl[^`]*|helm[^`]*)`", TEXT)
    found = []
    for line in [*code.splitlines(), *inline]:
        words = shlex.split(line, comments=True)
        if "--" in words and "breakwater" in words:
            found.append(words[words.index("--") + 2 :])
    return found


def sets_of_values() -> list[dict[str, Any]]:
    return [yaml.safe_load(text) for kind, text in BLOCKS if kind == "yaml"]


@pytest.mark.parametrize("words", operator_commands(), ids=" ".join)
def test_each_breakwater_command_of_the_document_exists(words: list[str]) -> None:
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("values", sets_of_values(), ids=lambda values: str(values.get("mode", "images")))
def test_the_values_of_the_document_are_accepted(values: dict[str, Any]) -> None:
    assert render(values)


def test_the_values_on_command_lines_are_accepted() -> None:
    given = [
        {"nats": {"persistence": {"enabled": False}}, "database": {"persistence": {"enabled": False}}},
        {"nats": {"passwords": {"existingSecret": "nats-users"}}},
        {
            "mode": "testnet",
            "exchange": {"accounts": {"existingSecret": "bybit"}},
            "operator": {"exchangeAccess": True},
        },
    ]
    for values in given:
        assert render(values)
    named = set(re.findall(r"--set ([A-Za-z.]+)=", TEXT))
    known = {path for values in given for path in paths_of(values)} | {"image.tag"}
    assert named <= known


def paths_of(values: dict[str, Any], above: str = "") -> set[str]:
    found = set()
    for key, value in values.items():
        found |= paths_of(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}"}
    return found


def test_the_objects_that_the_commands_name_are_made() -> None:
    """For a release `breakwater`, and `staging` for the replay."""
    made: set[str] = set()
    for release, sets in (("breakwater", ("minimal", "live")), ("staging", ("replay-s3",))):
        for name in sets:
            for entry in render(yaml.safe_load(SETS[name].read_text()) or {}, release=release):
                made.add(f"{entry['kind'].lower()}/{entry['metadata']['name']}")
    kinds = {"deploy": "deployment", "svc": "service", "statefulset": "statefulset"}
    named = set(re.findall(r" (deploy|svc|statefulset)/([a-z-]+)(?![a-z0-9./-])", TEXT))
    assert len(named) >= 5
    assert {f"{kinds[kind]}/{name}" for kind, name in named} <= made


def test_components_that_the_commands_select_exist() -> None:
    components = {component(template) for _, template in pods(render({}))}
    assert set(re.findall(r"app.kubernetes.io/component=([a-z-]+)", TEXT)) <= components


def test_users_of_the_bus_are_those_whose_passwords_the_chart_makes() -> None:
    (line,) = re.findall(r"for user in ([a-z -]+); do", TEXT)
    (secret,) = [made for made in of_kind(render({}), "Secret") if made["metadata"]["name"].endswith("-nats")]
    assert set(line.split()) == set(secret["data"])
    authorization = (ROOT / "deploy" / "k8s" / "files" / "authorization.conf").read_text()
    assert set(re.findall(r'user: "([a-z-]+)"', authorization)) == set(secret["data"])


def test_files_that_it_links_to_are_there() -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", TEXT):
        assert (DOCUMENT.parent / link).exists(), link
