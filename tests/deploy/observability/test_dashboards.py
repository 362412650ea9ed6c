"""The dashboards as files: what Grafana would make of them, without a Grafana."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.observability.generator.__main__ import texts
from tests.deploy.observability import catalogue

NAMES = [path.stem for path in catalogue.DASHBOARDS]
UNKNOWN_TO_THE_SDK = re.compile(r"\.annotations\.list\[\d+\]\.titleFormat")
"""Grafana's Prometheus data source reads it; the SDK knows annotations of no data source in particular."""


def _lost(given: Any, kept: Any, path: str = "") -> Iterator[str]:
    if isinstance(given, dict):
        for key, value in given.items():
            if not isinstance(kept, dict) or key not in kept:
                yield f"{path}.{key}"
            else:
                yield from _lost(value, kept[key], f"{path}.{key}")
    elif isinstance(given, list):
        if not isinstance(kept, list) or len(given) != len(kept):
            yield path
        else:
            for place, (value, other) in enumerate(zip(given, kept, strict=True)):
                yield from _lost(value, other, f"{path}[{place}]")
    elif given != kept:
        yield f"{path}: {given!r} became {kept!r}"


def test_there_are_four() -> None:
    assert NAMES == ["bus", "flow", "money", "services"]


def test_the_files_are_what_the_generator_gives() -> None:
    assert {path: path.read_text(encoding="utf-8") for path in texts()} == texts(), "run `make dashboards`"


@pytest.mark.parametrize("name", NAMES)
def test_grafana_s_model_of_a_dashboard_loses_nothing_of_it(name: str) -> None:
    register_default_plugins()
    given = catalogue.dashboards()[name]
    kept = json.loads(JSONEncoder().encode(Dashboard.from_json(json.loads(json.dumps(given)))))
    assert [path for path in _lost(given, kept) if not UNKNOWN_TO_THE_SDK.fullmatch(path)] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_says_what_it_shows_in_which_unit_and_from_where(name: str) -> None:
    dashboard = catalogue.dashboards()[name]
    numbers = Counter(panel["id"] for panel in dashboard["panels"])
    assert max(numbers.values()) == 1
    for panel in catalogue.panels(dashboard):
        assert panel["title"], panel
        assert len(panel["description"]) > 20, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["value"] is None, panel["title"]
        for source in (panel, *panel["targets"]):
            assert source["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
        assert [target["refId"] for target in panel["targets"]] == list("ABCDEFGHIJ"[: len(panel["targets"])])


def test_uids_and_titles_are_unique() -> None:
    found = list(catalogue.dashboards().values())
    assert len({dashboard["uid"] for dashboard in found}) == len(found)
    assert len({dashboard["title"] for dashboard in found}) == len(found)


@pytest.mark.parametrize("name", NAMES)
def test_panels_stay_on_the_page_and_do_not_cover_each_other(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in catalogue.dashboards()[name]["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("query", catalogue.queries() + catalogue.annotation_queries(), ids=lambda query: query.panel)
def test_every_query_is_promql_that_uses_variables_of_its_dashboard(query: catalogue.Query) -> None:
    promql_parser.parse(query.filled_in)
    variables = {entry["name"] for entry in catalogue.dashboards()[query.dashboard]["templating"]["list"]}
    built_in = {"__rate_interval", "__interval", "__range"}
    assert set(re.findall(r"\$\{?(\w+)\}?", query.expression)) <= variables | built_in


@pytest.mark.parametrize("query", catalogue.queries(), ids=lambda query: query.panel)
def test_no_panel_adds_up_deployments_that_share_a_prometheus(query: catalogue.Query) -> None:
    for selector in catalogue.selectors(re.sub(r"\[\$__\w+\]", "[5m]", query.expression)):
        assert 'namespace=~"$namespace"' in selector, selector


@pytest.mark.parametrize("name", NAMES)
def test_one_namespace_and_one_run_are_looked_at_at_a_time(name: str) -> None:
    variables = {entry["name"]: entry for entry in catalogue.dashboards()[name]["templating"]["list"]}
    for single in ("namespace", "run"):
        assert not variables[single]["multi"]
        assert not variables[single]["includeAll"]


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_is_used(name: str) -> None:
    text = json.dumps(catalogue.dashboards()[name]["panels"])
    for variable in catalogue.dashboards()[name]["templating"]["list"]:
        assert f"${variable['name']}" in text or f"${{{variable['name']}}}" in text, variable["name"]


@pytest.mark.parametrize("name", NAMES)
def test_links_to_the_runbook_lead_to_entries_of_it(name: str) -> None:
    linked = {
        link["url"] for panel in catalogue.panels(catalogue.dashboards()[name]) for link in panel.get("links", ())
    }
    assert linked
    assert linked <= {f"${{runbook}}#{entry}" for entry in catalogue.runbook_entries()}
