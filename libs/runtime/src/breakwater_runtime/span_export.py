"""Spans to an OTLP/HTTP collector, from a thread of its own: nothing that happens there is felt by trading.

The only module that loads OpenTelemetry, and only where an endpoint is set.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Protocol
from urllib.parse import unquote

from breakwater_runtime import tracing
from breakwater_runtime.errors import SettingsError
from breakwater_runtime.logs import get_logger
from breakwater_runtime.metrics import SPANS_DROPPED, SPANS_EXPORTED
from breakwater_runtime.settings import ServiceSettings
from breakwater_runtime.tracing import PREFIX, Span, Tracer

QUEUE_LIMIT = 4096
"""Spans that wait; what comes beyond them is dropped."""
BATCH = 256
INTERVAL_S = 1.0
REQUEST_TIMEOUT_S = 5.0
FLUSH_S = 2.0
"""Longest time that the end of a process waits for what is left; less if its drain time is over before."""
_PATH = "/v1/traces"


class Exporter(Protocol):
    """Takes spans to where they are looked at."""

    shown: str
    """Where that is, for the log."""

    def export(self, spans: list[Span]) -> bool:
        """Send spans and return whether they have arrived; may take seconds."""

    def close(self) -> None:
        """Stop trying."""


class SpanQueue:
    """Finished spans on their way to an exporter."""

    def __init__(self, exporter: Exporter, *, limit: int = QUEUE_LIMIT, interval_s: float = INTERVAL_S) -> None:
        """Begin to send every `interval_s` seconds; `limit` spans may wait."""
        self._exporter = exporter
        self._limit = limit
        self._interval_s = interval_s
        self._waiting: deque[Span] = deque()
        self._in_hand = 0
        self._wake = threading.Event()
        self._closing = False
        self._is_away = False
        self._thread = threading.Thread(target=self._run, name="span-export", daemon=True)
        self._thread.start()

    def put(self, span: Span) -> None:
        """Take a span in; never waits."""
        if len(self._waiting) >= self._limit:
            SPANS_DROPPED.labels("queue_full").inc()
            return
        self._waiting.append(span)
        if len(self._waiting) >= BATCH:
            self._wake.set()

    def close(self, timeout_s: float) -> None:
        """Send what waits, for no longer than `timeout_s` seconds; what is left by then is dropped."""
        self._closing = True
        self._wake.set()
        self._thread.join(max(0.0, timeout_s))
        if not self._thread.is_alive():
            return
        self._exporter.close()
        left = len(self._waiting) + self._in_hand
        SPANS_DROPPED.labels("stopped").inc(left)
        get_logger().warning("spans_left", count=left, endpoint=self._exporter.shown)

    def _run(self) -> None:
        while not (self._closing and not self._waiting):
            self._wake.wait(0 if self._closing else self._interval_s)
            self._wake.clear()
            while self._waiting:
                self._send([self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))])
        self._exporter.close()

    def _send(self, batch: list[Span]) -> None:
        self._in_hand = len(batch)
        try:
            has_arrived = self._exporter.export(batch)
        except Exception:  # noqa: BLE001  # spans are not worth more than a word, whatever a library raises
            has_arrived = False
        self._in_hand = 0
        if has_arrived:
            SPANS_EXPORTED.inc(len(batch))
        else:
            SPANS_DROPPED.labels("not_exported").inc(len(batch))
        if has_arrived is self._is_away:
            self._is_away = not has_arrived
            self._tell()

    def _tell(self) -> None:
        """Log a change: once when the collector has gone, once when it is back."""
        log = get_logger().bind(endpoint=self._exporter.shown)
        if self._is_away:
            log.warning("spans_not_exported", reason="the collector is away or refuses them; nothing waits for it")
        else:
            log.info("spans_exported_again")


class OtlpExporter:
    """OpenTelemetry's OTLP/HTTP exporter, fed with our spans under the ids that they have."""

    def __init__(
        self,
        endpoint: str,
        *,
        headers: Mapping[str, str],
        resource: Mapping[str, str],
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        """Send to a base address, or one that ends with `/v1/traces`; `resource` says who sends.

        Raises:
            SettingsError: If OpenTelemetry is not installed.
        """
        try:
            from opentelemetry import context, trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
            from opentelemetry.sdk.trace.id_generator import IdGenerator
            from opentelemetry.sdk.trace.sampling import ALWAYS_ON
        except ImportError as error:
            raise SettingsError(
                f"an OTLP endpoint is set, but {error.name} is not installed: install breakwater-runtime[tracing]"
            ) from error
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # it would tell of each request that failed
        url = endpoint.rstrip("/")
        self.shown = url
        self._exporter = OTLPSpanExporter(
            endpoint=url if url.endswith(_PATH) else f"{url}{_PATH}", headers=dict(headers), timeout=timeout_s
        )
        given: list[Span] = []
        done: list[ReadableSpan] = []

        class GivenIds(IdGenerator):
            def generate_span_id(self) -> int:
                return given[-1].span_id

            def generate_trace_id(self) -> int:
                return given[-1].trace_id

        class Kept(SpanProcessor):
            def on_end(self, span: ReadableSpan) -> None:
                done.append(span)

        provider = TracerProvider(
            sampler=ALWAYS_ON, resource=Resource.create(dict(resource)), id_generator=GivenIds(), shutdown_on_exit=False
        )
        provider.add_span_processor(Kept())
        tracer = provider.get_tracer("breakwater")

        def translated(span: Span) -> None:
            given.append(span)
            parent = context.Context()
            if span.parent_id is not None:
                flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
                place = trace.SpanContext(span.trace_id, span.parent_id, is_remote=False, trace_flags=flags)
                parent = trace.set_span_in_context(trace.NonRecordingSpan(place), parent)
            made = tracer.start_span(
                span.name,
                context=parent,
                kind=trace.SpanKind[span.kind.value],
                attributes={f"{PREFIX}{name}": value for name, value in span.attributes.items()},
                start_time=span.start_ns,
            )
            if span.failure:
                made.set_status(trace.Status(trace.StatusCode.ERROR, span.failure))
            made.end(span.end_ns)
            given.clear()

        self._translated = translated
        self._done = done

    def export(self, spans: list[Span]) -> bool:
        """Send spans and return whether the collector has taken them; tries again for a few seconds."""
        for span in spans:
            self._translated(span)
        batch = list(self._done)
        self._done.clear()
        return self._exporter.export(batch).name == "SUCCESS"

    def close(self) -> None:
        """Stop trying."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # OpenTelemetry does not annotate it


def headers_of(text: str) -> dict[str, str]:
    """Return request headers from `name=value,name=value`, values percent-encoded, as OpenTelemetry writes them.

    Raises:
        SettingsError: If the text is not of that form; it is not quoted, as it may be a secret.
    """
    headers = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise SettingsError("OTLP_HEADERS must read name=value, several separated by commas")
        headers[name.strip().lower()] = unquote(value.strip())
    return headers


@contextmanager
def exporting(settings: ServiceSettings, *, service: str, left_s: Callable[[], float]) -> Iterator[None]:
    """Make and send spans while the context is open, if the settings name an endpoint.

    Args:
        settings: Of the process.
        service: Name under which its spans are shown.
        left_s: Asked at the end: seconds of the drain time that are left.

    Raises:
        SettingsError: If OpenTelemetry is not installed, or the headers cannot be read.
    """
    if settings.otlp_endpoint is None:
        yield
        return
    headers = settings.otlp_headers
    exporter = OtlpExporter(
        settings.otlp_endpoint,
        headers={} if headers is None else headers_of(headers.get_secret_value()),
        resource={
            "service.name": service,
            "service.namespace": "breakwater",
            "service.version": version("breakwater-runtime"),
            "service.instance.id": settings.instance,
            f"{PREFIX}run_id": settings.run_id,
        },
    )
    queue = SpanQueue(exporter)
    get_logger().info("tracing_on", endpoint=exporter.shown, sample_ratio=settings.otlp_sample_ratio)
    try:
        with tracing.installed(Tracer(queue.put, sample_ratio=settings.otlp_sample_ratio)):
            yield
    finally:
        queue.close(min(FLUSH_S, left_s()))


class DrainTime:
    """How much of the drain time is left, once it has begun."""

    def __init__(self, drain_timeout_s: float) -> None:
        """Have so many seconds from `begin` on."""
        self._timeout_s = drain_timeout_s
        self._until_s: float | None = None

    def begin(self) -> None:
        """The process was asked to stop; the first time counts."""
        if self._until_s is None:
            self._until_s = time.monotonic() + self._timeout_s

    def left_s(self) -> float:
        """Return the seconds left; all of them if nobody has asked to stop."""
        return self._timeout_s if self._until_s is None else max(0.0, self._until_s - time.monotonic())
