"""Spans on their way to the collector: bounded, counted, told of once, and given up in time."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from breakwater_runtime import tracing
from breakwater_runtime.errors import SettingsError
from breakwater_runtime.metrics import SPANS_DROPPED, SPANS_EXPORTED
from breakwater_runtime.settings import ServiceSettings
from breakwater_runtime.span_export import DrainTime, SpanQueue, exporting, headers_of
from breakwater_runtime.tracing import Kind, Span


class ThingSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="THING_", frozen=True, extra="forbid")


def span(number: int = 1, **changes: Any) -> Span:
    values: dict[str, Any] = {
        "name": "order",
        "trace_id": 2**127 + number,
        "span_id": number,
        "parent_id": None,
        "kind": Kind.CLIENT,
        "start_ns": 1_000,
        "lineage": "k",
        "end_ns": 2_000,
    }
    return Span(**values | changes)


class GatedExporter:
    """Takes spans only while the gate is open; `arrives` says whether they get there."""

    shown = "http://collector"

    def __init__(self, *, arrives: bool = True, is_open: bool = True) -> None:
        self.arrives = arrives
        self.taken: list[Span] = []
        self.entered = threading.Semaphore(0)
        self.left = threading.Semaphore(0)
        self.gate = threading.Event()
        if is_open:
            self.gate.set()

    def export(self, spans: list[Span]) -> bool:
        self.entered.release()
        self.gate.wait(60)
        if self.arrives:
            self.taken += spans
        self.left.release()
        return self.arrives

    def close(self) -> None:
        """Nothing is tried again here."""


def dropped(reason: str) -> float:
    return SPANS_DROPPED.labels(reason)._value.get()


@contextmanager
def difference(count: Callable[[], float]) -> Iterator[Callable[[], float]]:
    before = count()
    yield lambda: count() - before


def test_what_waits_is_sent_at_the_end() -> None:
    exporter = GatedExporter()
    queue = SpanQueue(exporter, interval_s=600)
    with difference(SPANS_EXPORTED._value.get) as exported:
        for number in range(1000):
            queue.put(span(number + 1))
        queue.close(30)
        assert exported() == 1000
    assert [taken.span_id for taken in exporter.taken] == list(range(1, 1001))


def test_a_full_queue_drops_and_counts_and_never_waits() -> None:
    exporter = GatedExporter(is_open=False)
    queue = SpanQueue(exporter, limit=3, interval_s=0.001)
    queue.put(span())
    exporter.entered.acquire()  # one is in hand and hangs
    with difference(lambda: dropped("queue_full")) as full, difference(lambda: dropped("stopped")) as stopped:
        for number in range(10):
            queue.put(span(number + 2))
        assert full() == 7
        queue.close(0)
        assert stopped() == 4
    exporter.gate.set()


def test_a_collector_that_is_away_is_told_of_once_and_once_when_it_is_back() -> None:
    exporter = GatedExporter(arrives=False)
    with structlog.testing.capture_logs() as lines, difference(lambda: dropped("not_exported")) as lost:
        queue = SpanQueue(exporter, interval_s=0.001)
        for number in range(3):
            queue.put(span(number + 1))
            exporter.left.acquire()
        exporter.arrives = True
        queue.put(span(4))
        exporter.left.acquire()
        queue.put(span(5))
        exporter.left.acquire()
        queue.close(30)
        assert lost() == 3
    assert [line["event"] for line in lines] == ["spans_not_exported", "spans_exported_again"]


def test_an_exporter_that_raises_loses_its_batch_and_nothing_else() -> None:
    class Broken(GatedExporter):
        def export(self, spans: list[Span]) -> bool:
            super().export(spans)
            if not self.arrives:
                raise RuntimeError("hunter2")
            return True

    exporter = Broken(arrives=False)
    queue = SpanQueue(exporter, interval_s=0.001)
    queue.put(span(1))
    exporter.left.acquire()
    exporter.arrives = True
    queue.put(span(2))
    exporter.left.acquire()
    queue.close(30)
    assert [taken.span_id for taken in exporter.taken] == [2]


@pytest.fixture
def collector() -> Iterator[Any]:
    """Serve OTLP/HTTP; `collector.got` are the requests as (path, headers, message)."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            server.got.append((self.path, dict(self.headers), ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_details: Any) -> None:
            """Say nothing."""

    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.got = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("suffix", ["", "/", "/v1/traces"])
def test_the_collector_gets_spans_under_their_ids_with_headers_and_who_sends(collector: Any, suffix: str) -> None:
    settings = ThingSettings(
        otlp_endpoint=f"http://127.0.0.1:{collector.server_port}{suffix}",
        otlp_headers=SecretStr("authorization=Bearer%20hunter2, x-scope=desk"),
        instance="thing-1",
    )
    with exporting(settings, service="thing", left_s=lambda: 30.0):
        tracing.record(
            "tick", trace_id=0xABC, key="k", parent_id=None, start_ns=5, end_ns=9, kind=Kind.PRODUCER, leg="entry"
        )
        with pytest.raises(KeyError), tracing.opened("order", trace_id=0xABC, key="k", parent_id=0x77):
            raise KeyError
    ((path, headers, message),) = collector.got
    assert path == "/v1/traces"
    assert (headers["authorization"], headers["x-scope"]) == ("Bearer hunter2", "desk")
    (batch,) = message.resource_spans
    resource = {pair.key: pair.value.string_value for pair in batch.resource.attributes}
    assert resource["service.name"] == "thing"
    assert resource["service.instance.id"] == "thing-1"
    assert (resource["service.namespace"], resource["breakwater.run_id"]) == ("breakwater", "live")
    tick, order = (made for scope in batch.scope_spans for made in scope.spans)
    assert (tick.trace_id.hex(), tick.parent_span_id) == (f"{0xABC:032x}", b"")
    assert (tick.name, tick.start_time_unix_nano, tick.end_time_unix_nano) == ("tick", 5, 9)
    assert tick.kind == tick.SPAN_KIND_PRODUCER
    assert [(pair.key, pair.value.string_value) for pair in tick.attributes] == [("breakwater.leg", "entry")]
    assert order.parent_span_id.hex() == f"{0x77:016x}"
    assert order.status.code == order.status.STATUS_CODE_ERROR
    assert not tracing.is_on()


def test_without_an_endpoint_nothing_is_made() -> None:
    with exporting(ThingSettings(), service="thing", left_s=lambda: 0.0):
        assert not tracing.is_on()


def test_the_end_waits_no_longer_than_the_drain_time_that_is_left() -> None:
    time_left = DrainTime(5.0)
    assert time_left.left_s() == 5.0
    time_left.begin()
    first = time_left.left_s()
    time_left.begin()
    assert 0 < time_left.left_s() <= first <= 5.0
    over = DrainTime(0.0)
    over.begin()
    assert over.left_s() == 0.0


def test_headers_that_cannot_be_read_are_refused_without_being_quoted() -> None:
    with pytest.raises(SettingsError) as refused:
        headers_of("hunter2")
    assert "hunter2" not in str(refused.value)
    assert headers_of("") == {}


def test_settings_come_from_the_service_or_for_all_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BREAKWATER_OTLP_ENDPOINT", "http://all:4318")
    monkeypatch.setenv("BREAKWATER_OTLP_HEADERS", "authorization=hunter2")
    monkeypatch.setenv("BREAKWATER_OTLP_SAMPLE_RATIO", "0.25")
    settings = ThingSettings.load()
    assert (settings.otlp_endpoint, settings.otlp_sample_ratio) == ("http://all:4318", 0.25)
    assert "hunter2" not in repr(settings)
    monkeypatch.setenv("THING_OTLP_ENDPOINT", "http://mine:4318")
    assert ThingSettings.load().otlp_endpoint == "http://mine:4318"
    monkeypatch.setenv("THING_OTLP_ENDPOINT", "")
    assert ThingSettings.load().otlp_endpoint is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("THING_OTLP_ENDPOINT", "collector:4318"),
        ("THING_OTLP_ENDPOINT", "http://user:hunter2@collector"),
        ("BREAKWATER_OTLP_SAMPLE_RATIO", "some"),
        ("THING_OTLP_SAMPLE_RATIO", "2"),
    ],
)
def test_absurd_settings_stop_the_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match="THING_OTLP") as refused:
        ThingSettings.load()
    assert "hunter2" not in str(refused.value)
