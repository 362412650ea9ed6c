"""Building blocks of the dashboards: panels, rows and variables as Grafana's JSON (schema 39, Grafana 11 and later)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
RUNBOOK = "${runbook}"
"""A variable of every dashboard: where the runbook is."""
WIDTH = 24
GREEN, YELLOW, RED, BLUE = "green", "#EAB839", "red", "blue"
USDT = "suffix: USDT"
BPS = "suffix: bps"

Json = dict[str, Any]
Steps = Sequence[tuple[float | None, str]]
"""Colours from a value on; the first one has no value."""
GOOD_AT_ONE: Steps = ((None, RED), (1, GREEN))
BAD_ABOVE_ZERO: Steps = ((None, GREEN), (1e-9, RED))


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel; `queries` are pairs of expression and legend.

    Attributes:
        title: What it shows.
        description: What it means and what is usual.
        unit: Grafana's name of the unit.
        queries: Expression and legend.
        kind: Grafana's panel type.
        width: In columns of 24.
        height: In grid units.
        steps: Colours by value.
        mappings: Texts for values.
        custom: Settings of the graph besides the usual ones.
        options: Settings of the panel besides the usual ones.
        runbook: Entry of the runbook that helps, without `#`.
        minimum: Lower end of the axis.
        maximum: Upper end of the axis.
        decimals: Digits shown; None: Grafana's choice.
        instant: Ask for the newest value only.
    """

    title: str
    description: str
    unit: str
    queries: Sequence[tuple[str, str]]
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    steps: Steps = ((None, GREEN),)
    mappings: Sequence[tuple[str, str, str]] = ()
    custom: Json = field(default_factory=dict)
    options: Json = field(default_factory=dict)
    runbook: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    decimals: int | None = None
    instant: bool = False

    def as_values(self, number: int, x: int, y: int) -> Json:
        """Return the panel as Grafana keeps it."""
        values: Json = {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": dict(DATASOURCE),
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": self._usual_options() | self.options,
            "targets": [self._target(place, *query) for place, query in enumerate(self.queries)],
        }
        if self.runbook is not None:
            values["links"] = [
                {"title": "Runbook", "url": f"{RUNBOOK}#{self.runbook}", "targetBlank": True, "type": "link"}
            ]
        return values

    def _target(self, place: int, expression: str, legend: str) -> Json:
        return {
            "refId": chr(ord("A") + place),
            "datasource": dict(DATASOURCE),
            "editorMode": "code",
            "expr": expression,
            "legendFormat": legend,
            "instant": self.instant,
            "range": not self.instant,
            "format": "table" if self.kind == "table" else "time_series",
        }

    def _defaults(self) -> Json:
        defaults: Json = {
            "unit": self.unit,
            "color": {"mode": "palette-classic" if self.kind == "timeseries" else "thresholds"},
            "thresholds": {"mode": "absolute", "steps": [{"value": at, "color": color} for at, color in self.steps]},
            "mappings": [
                {"type": "value", "options": {value: {"text": text, "color": color, "index": place}}}
                for place, (value, text, color) in enumerate(self.mappings)
            ],
            "custom": self._custom(),
        }
        for name, value in (("min", self.minimum), ("max", self.maximum), ("decimals", self.decimals)):
            if value is not None:
                defaults[name] = value
        return defaults

    def _custom(self) -> Json:
        if self.kind == "timeseries":
            usual: Json = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 8, "showPoints": "never"}
            if len(self.steps) > 1:
                usual["thresholdsStyle"] = {"mode": "dashed"}
            return usual | self.custom
        if self.kind == "state-timeline":
            return {"lineWidth": 0, "fillOpacity": 80} | self.custom
        return dict(self.custom)

    def _usual_options(self) -> Json:
        match self.kind:
            case "timeseries":
                return {
                    "legend": {
                        "displayMode": "table",
                        "placement": "bottom",
                        "showLegend": True,
                        "calcs": ["lastNotNull", "max"],
                    },
                    "tooltip": {"mode": "multi", "sort": "desc"},
                }
            case "stat":
                return {
                    "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                    "colorMode": "value",
                    "graphMode": "area",
                    "textMode": "auto",
                    "justifyMode": "auto",
                    "orientation": "auto",
                }
            case "bargauge":
                return {
                    "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                    "displayMode": "gradient",
                    "orientation": "horizontal",
                    "showUnfilled": True,
                }
            case "state-timeline":
                return {
                    "mergeValues": True,
                    "showValue": "never",
                    "rowHeight": 0.85,
                    "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False},
                    "tooltip": {"mode": "single", "sort": "none"},
                }
            case _:
                return {"showHeader": True, "cellHeight": "sm"}


BARS: Json = {"drawStyle": "bars", "fillOpacity": 60, "lineWidth": 0}
STACKED_BARS: Json = BARS | {"stacking": {"mode": "normal", "group": "A"}}
STACKED: Json = {"fillOpacity": 30, "stacking": {"mode": "normal", "group": "A"}}
STEPS: Json = {"lineInterpolation": "stepAfter"}


@dataclass(frozen=True)
class Row:
    """A heading and the panels below it, laid out from left to right."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Variable:
    """A choice at the top of a dashboard, filled from a label."""

    name: str
    label: str
    query: str
    usual: str | None = None
    """One value at a time, this one at first where there is it; None: any number of them."""

    def as_values(self) -> Json:
        """Return the variable as Grafana keeps it."""
        return {
            "name": self.name,
            "label": self.label,
            "type": "query",
            "datasource": dict(DATASOURCE),
            "query": {"query": self.query, "refId": f"variable-{self.name}", "qryType": 1},
            "refresh": 2,
            "sort": 1,
            "hide": 0,
        } | self._choice()

    def _choice(self) -> Json:
        if self.usual is not None:
            current = {"selected": True, "text": self.usual, "value": self.usual}
            return {"multi": False, "includeAll": False, "current": current}
        current = {"selected": True, "text": ["All"], "value": ["$__all"]}
        return {"multi": True, "includeAll": True, "allValue": ".*", "current": current}


# One namespace and run at a time: the same accounts stand in several, and sums over them mean nothing. Outside Kubernetes
# there are no namespaces: the choice is empty, and so is the label.
NAMESPACE = Variable("namespace", "Namespace", "label_values(breakwater_build_info, namespace)", usual="")
RUN = Variable("run", "Run", 'label_values(breakwater_build_info{namespace=~"$namespace"}, run)', usual="live")
ACCOUNT = Variable(
    "account", "Account", 'label_values(breakwater_equity{namespace=~"$namespace", run=~"$run"}, account)'
)
SYMBOL = Variable(
    "symbol", "Symbol", 'label_values(breakwater_signal_distance_ratio{namespace=~"$namespace", run=~"$run"}, symbol)'
)
SERVICE = Variable("service", "Service", 'label_values(up{job="breakwater", namespace=~"$namespace"}, service)')


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """A whole dashboard."""

    uid: str
    title: str
    description: str
    variables: Sequence[Variable]
    rows: Sequence[Row]
    time_from: str = "now-6h"

    def as_values(self) -> Json:
        """Return the dashboard as Grafana imports it."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["breakwater"],
            "schemaVersion": 39,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "refresh": "10s",
            "time": {"from": self.time_from, "to": "now"},
            "timezone": "utc",
            "templating": {"list": [_datasource(), *(variable.as_values() for variable in self.variables), _runbook()]},
            "annotations": {"list": _annotations()},
            "links": [
                {
                    "title": "Breakwater",
                    "type": "dashboards",
                    "tags": ["breakwater"],
                    "asDropdown": True,
                    "includeVars": True,
                    "keepTime": True,
                    "icon": "external link",
                    "url": "",
                    "tooltip": "",
                    "targetBlank": False,
                },
                {
                    "title": "Runbook",
                    "type": "link",
                    "url": RUNBOOK,
                    "icon": "doc",
                    "tooltip": "What each alert means and what to do",
                    "tags": [],
                    "asDropdown": False,
                    "includeVars": False,
                    "keepTime": False,
                    "targetBlank": True,
                },
            ],
            "panels": self._panels(),
        }

    def _panels(self) -> list[Json]:
        panels: list[Json] = []
        y = 0
        for row in self.rows:
            panels.append(
                {
                    "id": len(panels) + 1,
                    "type": "row",
                    "title": row.title,
                    "collapsed": False,
                    "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y},
                    "panels": [],
                }
            )
            y += 1
            x = height = 0
            for panel in row.panels:
                if x + panel.width > WIDTH:
                    x, y, height = 0, y + height, 0
                panels.append(panel.as_values(len(panels) + 1, x, y))
                x, height = x + panel.width, max(height, panel.height)
            y += height
        return panels


def _datasource() -> Json:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "current": {},
        "options": [],
    }


def _runbook() -> Json:
    value = "docs/runbook.md"
    return {
        "name": "runbook",
        "label": "Runbook",
        "description": "Where the runbook is; the chart puts the address in front of the path.",
        "type": "constant",
        "query": value,
        "hide": 2,
        "current": {"selected": True, "text": value, "value": value},
    }


def _annotations() -> list[Json]:
    return [
        _annotation(
            "Halts",
            RED,
            'max by (account) (breakwater_halted{namespace=~"$namespace", run=~"$run"}) > 0',
            "Entries halted: {{account}}",
        ),
        _annotation(
            "Alerts of the services",
            YELLOW,
            'sum by (name, severity) (increase(breakwater_alerts_total{namespace=~"$namespace", run=~"$run"}[$__interval])) > 0',
            "{{severity}}: {{name}}",
        ),
        _annotation(
            "Alerts of Prometheus",
            "orange",
            'max by (alertname, severity) (ALERTS{alertstate="firing", namespace=~"$namespace|", alertname=~"Breakwater.*", severity!="info"})',
            "{{severity}}: {{alertname}}",
        ),
    ]


def _annotation(name: str, color: str, expression: str, title: str) -> Json:
    return {
        "name": name,
        "datasource": dict(DATASOURCE),
        "enable": True,
        "hide": False,
        "iconColor": color,
        "expr": expression,
        "titleFormat": title,
    }


def quantiles(metric: str, selector: str, by: str = "", window: str = "1h") -> list[tuple[str, str]]:
    """Return p50 and p99 of a histogram over a window, with their legends.

    Args:
        metric: Name without `_bucket`.
        selector: What stands in the braces.
        by: Label that each pair is of; empty: one pair over all.
        window: Range of the rate; events that are rare need a long one.
    """
    labels, prefix = (f"{by}, le", f"{{{{{by}}}}} ") if by else ("le", "")
    return [
        (
            f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{{{selector}}}[{window}])))",
            f"{prefix}{name}",
        )
        for share, name in ((0.5, "p50"), (0.99, "p99"))
    ]
