"""A replay as its traces show it at a collector: whole, the same each time, and never in the way."""

import json
import socket
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from breakwater_core.identities import order_link_id
from breakwater_runtime.config_file import write_config
from tests.e2e.command import backtest_report, comparable
from tests.e2e.tracing.collector import Collector, Received
from tests.e2e.tracing.world import CONFIG, Run, recording, replay

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ENTRY_FILL = [
    ("signal", "tick"),
    ("signal", "publish intent"),
    ("executor-order", "handle intent"),
    ("executor-order", "order"),
    ("executor-account", "fill"),
    ("notifier", "notify"),
    ("notifier", "post to Slack"),
]
"""From the tick to the message that tells of the fill."""
ORDER_TOLD = [
    *ENTRY_FILL[:4],
    ("executor-order", "publish order event"),
    ("notifier", "notify"),
    ("notifier", "post to Slack"),
]
"""From the tick to the message that tells of the order's end."""
TOKEN = "Bearer hunter2"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recording(tmp_path_factory.mktemp("recording"))


@pytest.fixture(scope="module")
def expected(source: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the report of the recording, from a backtest: it knows nothing of traces."""
    config = tmp_path_factory.mktemp("backtest") / "config.json"
    write_config(CONFIG, config)
    return comparable(backtest_report(config.parent / "report", source, "--config", config))


class Traced:
    """A traced run and what the collector got of it."""

    def __init__(self, run: Run, collector: Collector) -> None:
        self.run = run
        self.spans = collector.spans
        self.headers = collector.headers
        self.by_id = {(span.trace_id, span.span_id): span for span in self.spans}

    def path(self, span: Received) -> list[Received]:
        """Return the span's ancestors, the first step first, and itself."""
        path = [span]
        while path[0].parent_id:
            path.insert(0, self.by_id[path[0].trace_id, path[0].parent_id])
        return path

    def traces(self) -> Iterator[tuple[str, list[Received]]]:
        """Yield each trace's intent id and spans."""
        spans = defaultdict(list)
        for span in self.spans:
            spans[span.trace_id].append(span)
        for found in spans.values():
            (intent,) = {value for span in found if (value := span.attributes.get("breakwater.intent_id"))}
            yield intent, found


async def traced(source: Path, folder: Path, *, executors: int) -> Traced:
    collector = Collector()
    await collector.start()
    environment = {"OTLP_ENDPOINT": collector.url, "OTLP_HEADERS": "authorization=Bearer%20hunter2"}
    try:
        run = await replay(source, folder, environment_of=lambda _name: environment, executors=executors)
    finally:
        await collector.stop()
    return Traced(run, collector)


async def test_every_intent_is_one_whole_trace_from_tick_to_slack_the_same_in_each_run(
    source: Path, expected: str, tmp_path: Path
) -> None:
    first = await traced(source, tmp_path / "first", executors=1)
    assert_is_whole(first)
    assert_leads_from_tick_to_slack(first)
    assert_logs_name_the_trace(first)
    assert_nothing_secret_shows(first)
    assert comparable(first.run.report) == expected

    again = await traced(source, tmp_path / "again", executors=2)
    assert comparable(again.run.report) == expected
    assert identities(again) == identities(first)


def identities(run: Traced) -> set[tuple[str, str, str, str]]:
    return {(span.trace_id, span.span_id, span.parent_id, span.name) for span in run.spans}


def assert_is_whole(run: Traced) -> None:
    """Each span is there once, its parent too, in a trace that begins with one tick."""
    assert set(run.run.exit_codes.values()) == {0}
    report = run.run.report
    assert len(run.by_id) == len(run.spans) > 0
    followers = [span for span in run.spans if span.parent_id]
    assert [span.name for span in followers if (span.trace_id, span.parent_id) not in run.by_id] == []
    intents = {order["intent_id"] for order in report["orders"]}
    assert {intent for intent, _ in run.traces()} == intents
    for intent, spans in run.traces():
        assert [span.name for span in spans if not span.parent_id] == ["tick"]
        assert {span.trace_id for span in spans} == {order_link_id(intent, 0).removeprefix("bw-")}
    assert Counter(span.name for span in run.spans)["fill"] == len(report["fills"])
    assert not any(span.failed for span in run.spans)
    dropped = "breakwater_spans_dropped_total{"
    assert not any(line.startswith(dropped) for text in run.run.metrics.values() for line in text.splitlines())


def assert_leads_from_tick_to_slack(run: Traced) -> None:
    posts = [run.path(span) for span in run.spans if span.name == "post to Slack"]
    ways = Counter(tuple((span.service, span.name) for span in path) for path in posts)
    report = run.run.report
    assert ways == {tuple(ENTRY_FILL): len(report["fills"]), tuple(ORDER_TOLD): len(report["orders"])}
    for path in posts:
        starts = [span.start_ns for span in path]
        assert starts == sorted(starts)
        assert all(span.start_ns <= span.end_ns for span in path)
    named = {span.name for span in run.spans}
    assert {"decide", "check entry", "wait for slot", "order/create", "follow order", "position/list"} <= named
    assert {"commit fill", "commit order event"} <= named
    orders = [span for span in run.spans if span.name == "order"]
    assert {span.attributes["breakwater.outcome"] for span in orders} == {"filled"}
    requests = [span for span in run.spans if span.name == "order/create"]
    assert {span.attributes["breakwater.ret_code"] for span in requests} == {0}
    assert {"entry", "exit"} == {span.attributes["breakwater.leg"] for span in orders}


def assert_logs_name_the_trace(run: Traced) -> None:
    for process, event in (
        ("signal", "intent_published"),
        ("executor-1", "order_acknowledged"),
        ("executor-1", "intent_closed"),
        ("executor-account", "fill_published"),
    ):
        lines = [line for line in run.run.logs[process] if line["event"] == event]
        assert lines
        known = {span.trace_id for span in run.spans}
        assert {line["trace_id"] for line in lines} <= known, event


def assert_nothing_secret_shows(run: Traced) -> None:
    assert run.headers["authorization"] == TOKEN
    written = json.dumps(run.run.logs) + json.dumps(run.run.metrics) + repr(run.spans)
    assert "hunter2" not in written
    assert "paper-secret" not in repr(run.spans)
    assert run.run.report["days"]
    values = {str(value) for span in run.spans for value in span.attributes.values()}
    assert not values & {str(day["equity"]) for day in run.run.report["days"]}


async def test_collectors_that_are_away_fail_or_hang_change_neither_the_report_nor_the_drain(
    source: Path, expected: str, tmp_path: Path
) -> None:
    failing, busy, hanging = Collector(status=500), Collector(status=503), Collector(hangs=True)
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        away = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        for collector in (failing, busy, hanging):
            await collector.start()
        endpoints = {
            "signal": away,
            "executor-1": hanging.url,
            "executor-account": failing.url,
            "reporter": busy.url,
            "notifier": hanging.url,
        }
        run = await replay(
            source,
            tmp_path / "troubled",
            environment_of=lambda name: {"OTLP_ENDPOINT": endpoints[name]} if name in endpoints else {},
        )
        for collector in (failing, busy, hanging):
            await collector.stop()
    assert comparable(run.report) == expected
    assert set(run.exit_codes.values()) == {0}
    assert run.told == Counter(fill["exec_id"] for fill in run.report["fills"])
    assert min(failing.requests, busy.requests, hanging.requests) > 0
    for name in endpoints:
        events = [line["event"] for line in run.logs[name]]
        assert "service_drained" in events
        told = [event for event in events if event in {"spans_not_exported", "spans_left"}]
        assert 1 <= len(told) == len(set(told)), (name, told)
    for name in run.logs.keys() - endpoints.keys():
        assert "tracing_on" not in {line["event"] for line in run.logs[name]}
