"""Every set of values renders, without a finding, to objects that Kubernetes 1.29 to 1.34 and the CRDs accept."""

import importlib.util
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import helm_python as helm
import jsonschema
import kubernetes_validate.utils as kubernetes_schemas
import pytest
import yaml
from referencing import Registry, Resource

from tests.deploy.chart.chart import CHART, NAMESPACE, RELEASE, ROOT, SETS, Manifest, notes, rendered, values_of

VERSIONS = ("1.29", "1.30", "1.31", "1.32", "1.33", "1.34")
CRDS = Path(os.environ.get("BREAKWATER_SHARED", ROOT.parent / "shared")) / "crd-schemas"
OWN_GROUPS = ("keda.sh", "monitoring.coreos.com", "external-secrets.io", "cilium.io")


def is_custom(made: Manifest) -> bool:
    return made["apiVersion"].partition("/")[0] in OWN_GROUPS


@cache
def kubernetes_validator(version: str, api_version: str, kind: str) -> Any:
    known = {kubernetes_schemas.major_minor(name): name for name in kubernetes_schemas.all_versions()}
    folder = f"kubernetes-json-schema/v{known[version]}-local-strict"
    group, _, plain = api_version.rpartition("/")
    stem = f"{group.partition('.')[0]}-{plain}" if group else plain
    schema = kubernetes_schemas.schema_contents(f"{folder}/{kind.lower()}-{stem}.json", version)
    return jsonschema.Draft202012Validator(schema, registry=definitions(folder, version))


@cache
def definitions(folder: str, version: str) -> Registry:
    contents = kubernetes_schemas.schema_contents(f"{folder}/_definitions.json", version)
    return Resource.from_contents(contents) @ Registry()


@cache
def custom_validator(kind: str, api_version: str) -> Any:
    path = CRDS / f"{kind.lower()}_{api_version.rpartition('/')[2]}.json"
    return jsonschema.Draft202012Validator(json.loads(path.read_text()))


def faults(validator: Any, made: Manifest) -> Iterator[str]:
    for error in validator.iter_errors(made):
        yield f"{made['kind']}/{made['metadata']['name']} {'.'.join(map(str, error.path))}: {error.message}"


@pytest.mark.parametrize("name", SETS)
def test_lint_finds_nothing(name: str) -> None:
    report = helm.lint(str(CHART), values_of(name), strict=True, kube_version="v1.32.0")
    assert [message for message in report["messages"] if message["severity"] > 1] == []


@pytest.mark.parametrize("name", SETS)
def test_client_side_installation_gives_what_is_rendered(name: str) -> None:
    config = helm.Config(storage_driver="memory", kubeconfig_content="apiVersion: v1\nkind: Config\n")
    release = config.install(str(CHART), RELEASE, values_of(name), namespace=NAMESPACE, dry_run="client")
    installed = [made for made in yaml.safe_load_all(release["manifest"]) if made]
    expected = [made for made in rendered(name) if "helm.sh/hook" not in made["metadata"].get("annotations", {})]
    assert sorted(identity(made) for made in installed) == sorted(identity(made) for made in expected)


def identity(made: Manifest) -> tuple[str, str]:
    return made["kind"], made["metadata"]["name"]


@pytest.mark.parametrize("name", SETS)
def test_no_two_objects_share_kind_and_name(name: str) -> None:
    names = [identity(made) for made in rendered(name)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", SETS)
def test_objects_are_valid_in_kubernetes(name: str, version: str) -> None:
    found = [
        fault
        for made in rendered(name)
        if not is_custom(made)
        for fault in faults(kubernetes_validator(version, made["apiVersion"], made["kind"]), made)
    ]
    assert found == []


@pytest.mark.skipif(not CRDS.is_dir(), reason="the schemas of custom resources (../shared/crd-schemas) are absent")
@pytest.mark.parametrize("name", SETS)
def test_custom_resources_are_valid(name: str) -> None:
    found = [
        fault
        for made in rendered(name)
        if is_custom(made)
        for fault in faults(custom_validator(made["kind"], made["apiVersion"]), made)
    ]
    assert found == []


@pytest.mark.skipif(not CRDS.is_dir(), reason="the schemas of custom resources (../shared/crd-schemas) are absent")
def test_the_sets_show_every_kind_of_custom_resource() -> None:
    kinds = {made["kind"] for name in SETS for made in rendered(name) if is_custom(made)}
    assert kinds == {
        "CiliumEgressGatewayPolicy",
        "ExternalSecret",
        "PodMonitor",
        "PrometheusRule",
        "ScaledObject",
        "SecretStore",
        "ServiceMonitor",
    }


def test_a_misspelt_field_is_found() -> None:
    """The checks above would notice."""
    (made, *_) = [dict(made) for made in rendered("minimal") if made["kind"] == "Deployment"]
    made["spec"] = {**made["spec"], "replica": 1}
    assert list(faults(kubernetes_validator("1.32", "apps/v1", "Deployment"), made))


def test_a_passwordless_rendering_is_repeatable() -> None:
    """What GitOps needs: with existing Secrets nothing in the manifests is made by chance."""
    values = values_of("existing-passwords")
    with helm.Chart.load(str(CHART)) as chart:
        first, second = (chart.render(values, name=RELEASE, namespace=NAMESPACE) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", SETS)
def test_notes_say_what_to_do_next(name: str) -> None:
    said, mode = notes(values_of(name)), values_of(name).get("mode", "paper")
    assert f"mode {mode}" in said
    assert "get pods" in said
    assert ("REAL MONEY" in said) == (mode == "live")
    assert ("breakwater halt" in said) == values_of(name).get("operator", {}).get("enabled", True)
    assert "<no value>" not in said


def test_made_files_are_current() -> None:
    """values.schema.json and README.md; `make chart` makes them."""
    made = subprocess.run(
        [sys.executable, CHART / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (made.returncode, made.stderr) == (0, "")


def test_every_value_is_documented_and_in_the_schema() -> None:
    generator = generate_module()
    schema = generator.values_schema()
    said = generator.descriptions((CHART / "values.yaml").read_text())
    missing = []

    def look(values: dict[str, Any], node: dict[str, Any], path: tuple[str, ...]) -> None:
        for key, value in values.items():
            here = (*path, key)
            if "properties" not in node or key not in node["properties"]:
                missing.append((*here, "schema"))
                continue
            if here not in said:
                missing.append((*here, "description"))
            if isinstance(value, dict) and value and key != "resources":
                look(value, node["properties"][key], here)

    look(yaml.safe_load((CHART / "values.yaml").read_text()), schema, ())
    assert missing == []


def generate_module() -> Any:
    specification = importlib.util.spec_from_file_location("chart_generate", CHART / "generate.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_schema_refuses_unknown_keys_everywhere() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    free = []

    def look(node: Any, path: str) -> None:
        if isinstance(node, dict):
            if node.get("type") == "object" and "properties" in node and node.get("additionalProperties") is not False:
                free.append(path)
            for key, part in node.items():
                look(part, f"{path}.{key}")

    look(schema, "")
    assert free == []


def test_schema_is_of_the_draft_that_every_helm_reads() -> None:
    """Draft 7, in which whatever stands beside a `$ref` is ignored."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    jsonschema.Draft7Validator.check_schema(schema)

    def look(node: Any) -> None:
        if isinstance(node, dict):
            assert "$ref" not in node or set(node) == {"$ref"}
            assert not {"prefixItems", "dependentRequired", "unevaluatedProperties"} & set(node)
        for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else []:
            look(part)

    look(schema)


def test_the_packaged_chart_holds_its_files(tmp_path: Path) -> None:
    archive = helm.package(str(CHART), destination=str(tmp_path))
    with helm.Chart.load(str(archive)) as packed:
        texts = packed.render(values_of("existing-passwords"), name=RELEASE, namespace=NAMESPACE)
    with helm.Chart.load(str(CHART)) as chart:
        assert texts == chart.render(values_of("existing-passwords"), name=RELEASE, namespace=NAMESPACE)
    with tarfile.open(archive) as packed_files:
        names = packed_files.getnames()
    assert "breakwater/files/authorization.conf" in names
    assert not [name for name in names if "/ci/" in name or name.endswith((".py", "schema.yaml"))]


def test_rules_and_dashboards_are_rendered_from_the_files_of_the_chart() -> None:
    """Compose mounts the same files, so that it and the chart cannot differ; no links, which Flux would leave out."""
    folder = Path(CHART / "files")
    assert not [path for path in CHART.rglob("*") if path.is_symlink()]
    dashboards = {path.name for path in (folder / "dashboards").glob("*.json")}
    made = {key for made in rendered("observability") if made["kind"] == "ConfigMap" for key in made["data"]}
    assert dashboards <= made
    rules = [made["spec"] for made in rendered("observability") if made["kind"] == "PrometheusRule"]
    texts = [path.read_text() for path in sorted((folder / "rules").glob("*.yaml"))]
    assert rules == [yaml.safe_load(text.replace("docs/runbook.md", "https://example.org/runbook")) for text in texts]
    assert any("https://example.org/runbook#" in str(rule) for rule in rules)
    pages = [made["data"] for made in rendered("observability") if made["kind"] == "ConfigMap"]
    assert "docs/runbook.md" not in str(pages)
