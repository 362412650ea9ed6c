"""docs/metrics.md: a table of every metric that the code declares; written and checked by the tests' catalogue."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_UNITS_BY_END = (
    ("_timestamp_seconds", "Unix time, seconds"),
    ("_until_seconds", "Unix time, seconds"),
    ("_market_time_seconds", "Unix time, seconds"),
    ("_seconds", "seconds"),
    ("_limit_bytes", "bytes"),
    ("_bytes", "bytes"),
    ("_ratio", "share"),
    ("_bps_total", "basis points"),
    ("_bps", "basis points"),
    ("_total", "count"),
)
_UNITS = {
    "breakwater_equity": "quote currency",
    "breakwater_wallet_balance": "quote currency",
    "breakwater_day_open_equity": "quote currency",
    "breakwater_position_size": "base units",
    "breakwater_position_value": "quote currency",
    "breakwater_unrealised_pnl": "quote currency",
    "breakwater_fees_paid": "quote currency",
    "breakwater_funding_paid": "quote currency",
    "breakwater_ledger_difference": "quote currency",
    "breakwater_executor_equity": "quote currency",
    "breakwater_executor_wallet_difference": "quote currency",
    "breakwater_daily_return": "share",
    "breakwater_drawdown": "share",
    "breakwater_max_drawdown": "share",
    "breakwater_cumulative": "factor",
    "breakwater_market_data_replay_window": "number of a window",
    "breakwater_build_info": "1",
    "breakwater_ready": "0 or 1",
    "breakwater_halted": "0 or 1",
    "breakwater_bus_connected": "0 or 1",
    "breakwater_bus_store_full": "0 or 1",
    "breakwater_budget_shared": "0 or 1",
    "breakwater_egress_matched": "0 or 1",
    "breakwater_signal_tradable": "0 or 1",
    "breakwater_signal_exits_due": "count",
    "breakwater_executor_private_stream_connected": "0 or 1",
}
_GROUPS = (
    ("breakwater_runtime", "Every service"),
    ("breakwater_budget", "Request budget (market-data, executor)"),
    ("market_data_service", "market-data"),
    ("signal_service", "signal"),
    ("executor_service", "executor"),
    ("reporter_service", "reporter"),
    ("notifier_service", "notifier"),
    ("", "Others"),
)
_HEAD = """# Metrics

Every service answers `GET /metrics` on its port in Prometheus' text format. Besides the labels below each series of a service has
`run` (`live`, or the id of a replay), and from the scrape `job="breakwater"`, `service` (`market-data`, `signal`, `executor-order`,
`executor-account`, `reporter`, `notifier`, `paper-exchange`), `instance`, and in Kubernetes `namespace`. Label values come from short, known lists: accounts and symbols of
the configuration, rules, outcomes, streams. Counters and histograms whose labels are known begin at zero, so that the first event is
seen. `process_...` and `python_...` are those of the Prometheus client: memory, processor time, file descriptors, garbage collections.

Dashboards (`deploy/k8s/files/dashboards`) and rules (`deploy/k8s/files/rules`) use every one of these; the tests see to it, and that
this table is what the code declares (`make metrics`). Recorded series have names with colons and stand in `recording.yaml`.

Where several processes state the same (two reporters, two hot signals), take the `max`; sums of gauges count it twice. Gauges of an account
are those of the newest message that a reporter has taken in, or of its last reading (`REPORTER_METRICS_INTERVAL_S`).
"""


@dataclass(frozen=True)
class Row:
    """One metric as the table shows it."""

    name: str
    kind: str
    labels: Sequence[str]
    meaning: str
    module: str


def unit_of(name: str, kind: str) -> str:
    """Return the unit of a metric: by its name's end, or by name; a gauge that counts has `count`."""
    if name in _UNITS:
        return _UNITS[name]
    for end, unit in _UNITS_BY_END:
        if name.endswith(end):
            return unit
    return "count" if kind in {"gauge", "histogram"} else ""


def render(rows: Iterable[Row]) -> str:
    """Return the document."""
    groups: Mapping[str, list[Row]] = {title: [] for _, title in _GROUPS}
    for row in sorted(rows, key=lambda row: row.name):
        title = next(title for start, title in _GROUPS if row.module.startswith(start))
        groups[title].append(row)
    parts = [_HEAD]
    for title, members in groups.items():
        if members:
            lines = [
                f"| `{row.name}` | {row.kind} | {_listed(row.labels)} | {unit_of(row.name, row.kind)} | {row.meaning} |"
                for row in members
            ]
            parts.append(
                "\n".join(
                    [f"## {title}", "", "| metric | kind | labels | unit | |", "|---|---|---|---|---|", *lines, ""]
                )
            )
    return "\n".join(parts)


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(f"`{label}`" for label in labels)
