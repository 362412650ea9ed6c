"""Bills of materials that say what an image holds, and an audit that passes only if somebody has told it so."""

import json
import os
import subprocess
import sys
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.compose_file import ROOT

pytest.importorskip("cyclonedx.schema", reason="cyclonedx-bom is not installed; it comes with the group `dev`")
import jsonschema
from referencing import Registry, Resource

sys.path.insert(0, str(ROOT / "deploy" / "docker"))
audit = import_module("audit")

CLEAN = {"dependencies": [{"name": "numpy", "version": "2.0", "vulns": []}]}
VULNERABLE = {
    "dependencies": [
        {"name": "jinja2", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]},
        {"name": "numpy", "skip_reason": "not found"},
    ]
}
UNTOLD = {"dependencies": [*CLEAN["dependencies"], {"name": "uvloop", "skip_reason": "Dependency not found on PyPI"}]}


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (CLEAN, 0, "knows of nothing"),
        (VULNERABLE, 1, "jinja2 2.0: PYSEC-1, fixed in 2.1"),
        (UNTOLD, None, "has no word on 1 packages, e.g. uvloop"),
    ],
)
def test_an_audit_passes_only_if_every_package_was_looked_at(
    answer: dict[str, Any], code: int | None, said: str
) -> None:
    judged, text = audit.judge("pypi", json.dumps(answer), "")
    assert judged == code
    assert said in text


def test_a_service_that_does_not_answer_is_no_pass() -> None:
    assert audit.judge("osv", "", "Traceback\nConnectionError: no such host\n") == (
        None,
        "audit: osv does not answer: ConnectionError: no such host",
    )


def cyclonedx_validator() -> jsonschema.Draft7Validator:
    """Return a validator of CycloneDX 1.5, which takes formats such as addresses as they are."""
    folder = files("cyclonedx.schema") / "_res"
    names = {
        "bom-1.5": "bom-1.5.SNAPSHOT.schema.json",
        "spdx": "spdx.SNAPSHOT.schema.json",
        "jsf": "jsf-0.82.SNAPSHOT.schema.json",
    }
    schemas = {name: json.loads((folder / file).read_text()) for name, file in names.items()}
    registry: Registry[Any] = Registry()
    for schema in schemas.values():
        registry = registry.with_resource(schema["$id"], Resource.from_contents(schema))
    return jsonschema.Draft7Validator(schemas["bom-1.5"], registry=registry)


@pytest.fixture(scope="module")
def bills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bills")
    command = [sys.executable, "deploy/docker/sbom.py", os.environ.get("UV", "uv"), str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


def test_a_bill_is_valid_and_holds_what_the_image_holds(bills: Path) -> None:
    validator = cyclonedx_validator()
    for path in sorted(bills.iterdir()):
        assert [error.message for error in validator.iter_errors(json.loads(path.read_text()))] == [], path.name
    made = json.loads((bills / "signal.cdx.json").read_text())
    versions = {component["name"]: component["version"] for component in made["components"]}
    assert made["metadata"]["component"]["name"] == "breakwater/signal"
    assert {"nats-py", "boto3", "opentelemetry-sdk", "breakwater-signal", "breakwater-core"} <= versions.keys()
    assert not {"pandas", "pyarrow", "pytest", "mypy"} & versions.keys()
    lock = (ROOT / "uv.lock").read_text()
    assert f'name = "nats-py"\nversion = "{versions["nats-py"]}"' in lock
    assert len(list(bills.iterdir())) == 8


def test_bills_of_one_lock_file_are_equal_to_the_byte(bills: Path, tmp_path: Path) -> None:
    command = [sys.executable, "deploy/docker/sbom.py", os.environ.get("UV", "uv"), str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    for path in bills.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
