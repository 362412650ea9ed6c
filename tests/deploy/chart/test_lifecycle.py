"""Install, upgrade, roll back, remove, install again: what Helm itself does with the objects of the chart.

The API behind it keeps objects and runs nothing (`kept_objects.py`), so this shows what is made, kept and refused.
"""

import shutil
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml

from tests.deploy.chart.chart import CHART, NAMESPACE, RELEASE, Manifest, of_kind, render
from tests.deploy.chart.kept_objects import KeptObjects, kept_objects

BUNDLED = {"database": {"mode": "bundled"}}
TESTNET = {"mode": "testnet", "exchange": {"accounts": {"existingSecret": "bybit"}}}
PASSWORDS = (f"{RELEASE}-breakwater-nats", f"{RELEASE}-breakwater-postgres")


@pytest.fixture
def objects() -> Iterator[KeptObjects]:
    with kept_objects() as made:
        yield made


def passwords(objects: KeptObjects) -> list[dict[str, str]]:
    return [deepcopy(objects.named("Secret", name)["data"]) for name in PASSWORDS]


def test_made_passwords_outlive_upgrades_and_the_release(objects: KeptObjects) -> None:
    release = objects.helm()
    release.install(str(CHART), RELEASE, BUNDLED, namespace=NAMESPACE)
    made = passwords(objects)
    assert len(set(made[0].values())) == len(made[0]), "each user has a password of its own"
    release.upgrade(str(CHART), RELEASE, {**BUNDLED, "logLevel": "debug"}, namespace=NAMESPACE)
    assert passwords(objects) == made
    release.rollback(RELEASE, version=1)
    assert passwords(objects) == made
    release.uninstall(RELEASE)
    assert objects.names("Secret") == set(PASSWORDS), "the volumes, which are kept, know them"
    objects.helm().install(str(CHART), RELEASE, BUNDLED, namespace=NAMESPACE)
    assert passwords(objects) == made


def test_one_set_up_job_is_left_after_each_step(objects: KeptObjects) -> None:
    release = objects.helm()
    release.install(str(CHART), RELEASE, {}, namespace=NAMESPACE)
    seen = [objects.names("Job")]
    release.upgrade(str(CHART), RELEASE, {}, namespace=NAMESPACE)
    seen.append(objects.names("Job"))
    release.rollback(RELEASE, version=1)
    seen.append(objects.names("Job"))
    assert [len(names) for names in seen] == [1, 1, 1]
    assert seen[0] != seen[1]
    release.uninstall(RELEASE)
    assert objects.names("Job") == objects.names("Deployment") == objects.names("NetworkPolicy") == set()


def test_another_mode_does_not_take_over_bus_and_books(objects: KeptObjects) -> None:
    release = objects.helm()
    release.install(str(CHART), RELEASE, {}, namespace=NAMESPACE)
    with pytest.raises(helm.HelmError, match="are those of mode paper: install mode testnet in a namespace of its own"):
        release.upgrade(str(CHART), RELEASE, TESTNET, namespace=NAMESPACE)
    release.uninstall(RELEASE)
    with pytest.raises(helm.HelmError, match="are those of mode paper"):
        objects.helm().install(str(CHART), RELEASE, TESTNET, namespace=NAMESPACE)
    objects.helm().install(str(CHART), RELEASE, {}, namespace=NAMESPACE)


def test_nothing_that_cannot_be_changed_is_changed_by_an_upgrade() -> None:
    later: dict[str, Any] = {
        "image": {"tag": "0.2.0"},
        "logLevel": "debug",
        "podAnnotations": {"example.com/team": "desk"},
        "config": {"strategy": {"k_long": 0.7}},
        "nats": {"maxFileStore": "4Gi", "tls": {"enabled": True, "serverSecret": "nats-server"}},
        "database": {"mode": "bundled", "resources": {"requests": {"cpu": "1"}}},
        "signal": {"replicas": 3},
    }
    assert fixed_fields(render(later)) == fixed_fields(render(BUNDLED))


def fixed_fields(objects: list[Manifest]) -> dict[tuple[str, str], Any]:
    names = ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates")
    return {
        (made["kind"], made["metadata"]["name"]): {name: made["spec"].get(name) for name in names}
        for made in of_kind(objects, "Deployment", "StatefulSet")
    }


def test_a_server_that_never_got_ready_does_not_hold_up_the_version_that_mends_it() -> None:
    for made in of_kind(render(BUNDLED), "StatefulSet"):
        assert made["spec"]["podManagementPolicy"] == "Parallel", made["metadata"]["name"]


def test_nothing_gives_up_on_a_bus_or_database_that_takes_long() -> None:
    for made in of_kind(render(BUNDLED), "StatefulSet"):
        for container in made["spec"]["template"]["spec"]["containers"]:
            if made["metadata"]["name"] in PASSWORDS:
                probe = container["startupProbe"]
                assert probe["periodSeconds"] * probe["failureThreshold"] >= 900, "recovery of a full volume"
    (job,) = of_kind(render(BUNDLED), "Job")
    assert "activeDeadlineSeconds" not in job["spec"], "a storage class that comes an hour later still gives streams"


@pytest.mark.parametrize(
    "values",
    [{"podAnnotations": {"example.com/team": "desk"}}, {"logLevel": "debug", "nats": {"setup": {"replicas": 1}}}],
)
def test_a_job_of_one_name_has_one_pod(values: dict[str, Any]) -> None:
    """With GitOps the revision is always 1."""
    one, other = (of_kind(render(each), "Job")[0] for each in ({}, values))
    same = one["spec"]["template"] == other["spec"]["template"]
    assert (one["metadata"]["name"] == other["metadata"]["name"]) == same


def test_another_version_of_the_chart_makes_another_job(tmp_path: Path) -> None:
    copied = copy_of_the_chart(tmp_path / "chart", version="0.1.1")
    with helm.Chart.load(str(copied)) as chart:
        texts = chart.render({}, name=RELEASE, namespace=NAMESPACE)
    made = [
        one for path, text in texts.items() if path.endswith("jobs.yaml") for one in yaml.safe_load_all(text) if one
    ]
    assert of_kind(made, "Job")[0]["metadata"]["name"] != of_kind(render({}), "Job")[0]["metadata"]["name"]


def test_it_can_be_part_of_another_chart(tmp_path: Path) -> None:
    """Helm hands `global` to each part, which a strict schema would refuse."""
    whole = tmp_path / "whole"
    copy_of_the_chart(whole / "charts" / "breakwater")
    (whole / "Chart.yaml").write_text(yaml.safe_dump({"apiVersion": "v2", "name": "whole", "version": "1.0.0"}))
    values = {"global": {"team": "desk"}, "breakwater": {"nats": {"passwords": {"existingSecret": "nats-users"}}}}
    with helm.Chart.load(str(whole)) as chart:
        texts = chart.render(values, name=RELEASE, namespace=NAMESPACE)
    assert any("kind: StatefulSet" in text for text in texts.values())


def test_a_chart_without_the_bus_users_is_refused(tmp_path: Path) -> None:
    """The server would ask nobody for a password."""
    copied = copy_of_the_chart(tmp_path / "chart")
    shutil.rmtree(copied / "files")
    with (
        helm.Chart.load(str(copied)) as chart,
        pytest.raises(helm.HelmError, match=r"lacks files/authorization\.conf"),
    ):
        chart.render({}, name=RELEASE, namespace=NAMESPACE)


@pytest.mark.parametrize(("what", "name"), [("rules", "rules"), ("dashboards", "dashboards")])
def test_a_chart_without_its_rules_or_dashboards_is_refused(tmp_path: Path, what: str, name: str) -> None:
    copied = copy_of_the_chart(tmp_path / "chart")
    shutil.rmtree(copied / "files" / name)
    with helm.Chart.load(str(copied)) as chart, pytest.raises(helm.HelmError, match=f"lacks files/{name}"):
        chart.render({"monitoring": {what: True}}, name=RELEASE, namespace=NAMESPACE)


def copy_of_the_chart(target: Path, *, version: str | None = None) -> Path:
    shutil.copytree(CHART, target, ignore=shutil.ignore_patterns("ci", "*.py", "schema.yaml", "__pycache__"))
    if version is not None:
        about = yaml.safe_load((target / "Chart.yaml").read_text())
        (target / "Chart.yaml").write_text(yaml.safe_dump(about | {"version": version}))
    return target
