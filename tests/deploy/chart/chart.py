"""The chart rendered for each set of values in deploy/k8s/ci, once per process."""

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

ROOT = Path(__file__).parents[3]
CHART = ROOT / "deploy" / "k8s"
SETS = {path.stem: path for path in sorted((CHART / "ci").glob("*.yaml"))}
RELEASE, NAMESPACE = "rel", "trading"

type Manifest = dict[str, Any]

helm.disable_logging()


@cache
def _chart() -> helm.Chart:
    return helm.Chart.load(str(CHART))


def values_of(name: str) -> dict[str, Any]:
    """Return the values of a set."""
    return yaml.safe_load(SETS[name].read_text()) or {}


def render(values: dict[str, Any], *, release: str = RELEASE) -> list[Manifest]:
    """Return the objects that the chart makes of these values, hooks included."""
    texts = _chart().render(values, name=release, namespace=NAMESPACE)
    return [made for path, text in texts.items() if path.endswith(".yaml") for made in yaml.safe_load_all(text) if made]


def notes(values: dict[str, Any]) -> str:
    """Return what Helm says after the installation."""
    texts = _chart().render(values, name=RELEASE, namespace=NAMESPACE)
    return next(text for path, text in texts.items() if path.endswith("NOTES.txt"))


@cache
def rendered(name: str) -> tuple[Manifest, ...]:
    """Return the objects of a set; not to be changed."""
    return tuple(render(values_of(name)))


@cache
def defaults() -> dict[str, Any]:
    """Return values.yaml."""
    return yaml.safe_load((CHART / "values.yaml").read_text())


@cache
def merged(name: str) -> dict[str, Any]:
    """Return the values of a set with the defaults filled in, as Helm does it."""
    return merge(deepcopy(defaults()), values_of(name))


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with what `over` says."""
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        base[key] = merge(base[key], value) if both else value
    return base


def of_kind(manifests: tuple[Manifest, ...] | list[Manifest], *kinds: str) -> list[Manifest]:
    """Return the objects of these kinds."""
    return [made for made in manifests if made["kind"] in kinds]


def component(made: Manifest) -> str:
    """Return the component that an object or a pod template belongs to."""
    labels: dict[str, str] = made["metadata"]["labels"]
    return labels["app.kubernetes.io/component"]


def pods(manifests: tuple[Manifest, ...] | list[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """Yield each object that runs pods, with its pod template."""
    for made in of_kind(manifests, "Deployment", "StatefulSet", "Job"):
        yield made, made["spec"]["template"]


def pods_by_component(manifests: tuple[Manifest, ...] | list[Manifest]) -> dict[str, Manifest]:
    """Return the pod templates by component."""
    return {component(template): template for _, template in pods(manifests)}


def environment(template: Manifest) -> dict[str, Any]:
    """Return the environment of a pod's main container: texts, or what stands for them."""
    listed = template["spec"]["containers"][0].get("env", [])
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in listed}


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Return whether a label selector takes these labels."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for expression in selector.get("matchExpressions", []):
        inside = labels.get(expression["key"]) in expression.get("values", [])
        if {"In": not inside, "NotIn": inside}[expression["operator"]]:
            return False
    return True
