"""Code, panels, rules and docs/metrics.md name the same metrics."""

import re

from deploy.observability.generator.metrics_table import unit_of
from tests.deploy.observability import catalogue
from tests.deploy.observability.write_metrics_table import table

METRICS = catalogue.declared_metrics()
OF_PROMETHEUS = {"up", "ALERTS"}
"""What Prometheus itself adds."""


def _asked_for() -> set[str]:
    expressions = [
        query.filled_in for query in catalogue.queries() + catalogue.annotation_queries() + catalogue.variable_queries()
    ]
    expressions += [rule["expr"] for rule in catalogue.rules()]
    return {
        catalogue.base_name(name, METRICS) for expression in expressions for name in catalogue.metric_names(expression)
    }


def test_every_metric_in_a_panel_or_rule_exists_in_the_code() -> None:
    recorded = {rule["record"] for rule in catalogue.rules() if "record" in rule}
    known = METRICS.keys() | recorded | catalogue.library_metrics() | OF_PROMETHEUS
    assert _asked_for() - known == set()


def test_every_metric_of_the_code_is_in_a_panel_or_rule() -> None:
    assert METRICS.keys() - _asked_for() == set()


def test_every_recorded_figure_is_used() -> None:
    recorded = {rule["record"] for rule in catalogue.rules() if "record" in rule}
    assert recorded <= _asked_for()


def test_labels_in_panels_and_rules_are_labels_of_their_metrics() -> None:
    of_the_scrape = {"job", "namespace", "service", "instance", "run"}
    expressions = [query.filled_in for query in catalogue.queries()] + [rule["expr"] for rule in catalogue.rules()]
    unknown = set()
    for expression in expressions:
        for selector in catalogue.selectors(expression):
            name, _, rest = selector.partition("{")
            metric = METRICS.get(catalogue.base_name(name, METRICS))
            if metric is not None:
                asked = set(re.findall(r"(\w+)(?:=~|!~|!=|=)", rest))
                unknown |= {f"{name}: {label}" for label in asked - of_the_scrape - set(metric.labels)}
    assert unknown == set()


def test_names_follow_one_form_and_every_metric_has_a_meaning_and_a_unit() -> None:
    for metric in METRICS.values():
        assert re.fullmatch(r"breakwater_[a-z0-9_]+", metric.name)
        assert (metric.kind == "counter") == metric.name.endswith("_total"), metric.name
        assert metric.meaning.endswith("."), metric.name
        assert unit_of(metric.name, metric.kind), metric.name


def test_the_table_of_metrics_is_what_the_code_declares() -> None:
    assert (catalogue.REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8") == table(), "run `make metrics`"
