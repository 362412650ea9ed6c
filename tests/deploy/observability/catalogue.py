"""What there is to compare: metrics that the code declares, and what dashboards and rules ask for."""

import importlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

REPOSITORY = Path(__file__).parents[3]
FOLDER = REPOSITORY / "deploy" / "observability"
_MADE = REPOSITORY / "deploy" / "k8s" / "files"
DASHBOARDS = tuple(sorted((_MADE / "dashboards").glob("*.json")))
RULES = (_MADE / "rules" / "recording.yaml", _MADE / "rules" / "alerts.yaml")
RUNBOOK = REPOSITORY / "docs" / "runbook.md"

_DECLARES = re.compile(r"^from prometheus_client import .*\b(Counter|Gauge|Histogram)\b", re.MULTILINE)
_SUFFIXES = ("_bucket", "_sum", "_count")
_RANGES = {"$__rate_interval": "20s", "$__interval": "5s", "$__range": "10m"}
_VARIABLE = re.compile(r"\$\{?(namespace|run|account|symbol|service)\b\}?")
_CHILDREN = ("expr", "lhs", "rhs", "vector_selector", "param")


@dataclass(frozen=True)
class Metric:
    """One metric that the code declares; counters by the name that Prometheus sees."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str
    module: str


def declared_metrics() -> dict[str, Metric]:
    """Import every module that declares metrics and return these by name."""
    modules = {}
    for source in sorted([*REPOSITORY.glob("libs/*/src/**/*.py"), *REPOSITORY.glob("services/*/src/**/*.py")]):
        if _DECLARES.search(source.read_text(encoding="utf-8")):
            parts = source.relative_to(REPOSITORY).parts[3:]
            modules[".".join(parts).removesuffix(".py")] = source
    found: dict[str, Metric] = {}
    for name in modules:
        for value in vars(importlib.import_module(name)).values():
            if isinstance(value, MetricWrapperBase):
                family = next(iter(value.describe()))
                seen = f"{family.name}_total" if family.type == "counter" else family.name
                metric = Metric(seen, family.type, tuple(value._labelnames), family.documentation, name)
                known = found.setdefault(seen, metric)
                if len(known.module) > len(name) and name.endswith("metrics"):
                    found[seen] = metric
    return found


def library_metrics() -> set[str]:
    """Return what the client library shows of process and interpreter by itself."""
    return {
        sample.name
        for family in REGISTRY.collect()
        if family.name.startswith(("process_", "python_"))
        for sample in family.samples
    }


@dataclass(frozen=True)
class Query:
    """One expression of a dashboard."""

    dashboard: str
    panel: str
    expression: str
    is_instant: bool

    @property
    def filled_in(self) -> str:
        """The expression with `All` for every variable, and with ranges that fit a test."""
        text = self.expression
        for variable, value in _RANGES.items():
            text = text.replace(variable, value)
        return _VARIABLE.sub(".*", text)


def dashboards() -> dict[str, dict[str, Any]]:
    """Return the committed dashboards by their files' names."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in DASHBOARDS}


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return all panels that show something."""
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            yield panel


def queries() -> list[Query]:
    """Return every query of every panel."""
    return [
        Query(name, panel["title"], target["expr"], bool(target["instant"]))
        for name, dashboard in dashboards().items()
        for panel in panels(dashboard)
        for target in panel["targets"]
    ]


def annotation_queries() -> list[Query]:
    """Return the queries of the dashboards' annotations."""
    return [
        Query(name, annotation["name"], annotation["expr"], is_instant=False)
        for name, dashboard in dashboards().items()
        for annotation in dashboard["annotations"]["list"]
    ]


def variable_queries() -> list[Query]:
    """Return the series that the dashboards' variables take their values from."""
    found = []
    for name, dashboard in dashboards().items():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                series = re.fullmatch(r"label_values\((.+), \w+\)", variable["query"]["query"])
                assert series, variable
                found.append(Query(name, variable["name"], series[1], is_instant=True))
    return found


def rules() -> list[dict[str, Any]]:
    """Return every recording and alert rule."""
    return [
        rule
        for path in RULES
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    ]


def alerts() -> list[dict[str, Any]]:
    """Return the alert rules."""
    return [rule for rule in rules() if "alert" in rule]


def selectors(expression: str) -> list[str]:
    """Return every selector of an expression, without ranges."""
    return [str(selector) for selector in _selectors(promql_parser.parse(expression))]


def metric_names(expression: str) -> set[str]:
    """Return the metrics and recorded series that an expression asks for."""
    return {selector.name for selector in _selectors(promql_parser.parse(expression))}


def base_name(name: str, known: dict[str, Metric]) -> str:
    """Return the name under which a series of a histogram is declared."""
    for suffix in _SUFFIXES:
        base = name.removesuffix(suffix)
        if base != name and base in known and known[base].kind == "histogram":
            return base
    return name


def _selectors(expression: Any) -> Iterator[Any]:
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
        return
    for child in _CHILDREN:
        inner = getattr(expression, child, None)
        if isinstance(inner, promql_parser.Expr) or type(inner).__module__.startswith("promql_parser"):
            yield from _selectors(inner)
    for argument in getattr(expression, "args", None) or ():
        yield from _selectors(argument)


def alert_entry(alert: str) -> str:
    """Return the runbook's entry of a Prometheus alert: BreakwaterPositionNotFlat has position_not_flat."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", alert.removeprefix("Breakwater")).lower()


def runbook_entries() -> set[str]:
    """Return the runbook's entries that are alerts: the headings before the commands, in one word."""
    text = RUNBOOK.read_text(encoding="utf-8").partition("\n# Commands")[0]
    return set(re.findall(r"^## ([a-z_]+)$", text, re.MULTILINE))
