"""An OTLP/HTTP collector: takes what OpenTelemetry's exporter sends, and can refuse it or never answer."""

import asyncio
import gzip
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Received:
    """One span as it arrived; ids as hexadecimal text, an empty parent is none."""

    service: str
    instance: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    start_ns: int
    end_ns: int
    failed: bool
    attributes: dict[str, Any]


@dataclass
class Collector:
    """Answers on `/v1/traces`.

    Attributes:
        spans: What arrived and was taken.
        status: What it answers; anything but 200 takes nothing.
        hangs: It never answers.
        requests: How many came.
        headers: Those of the last one.
    """

    spans: list[Received] = field(default_factory=list)
    status: int = 200
    hangs: bool = False
    requests: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    port: int = 0
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        application = web.Application(client_max_size=64 << 20)
        application.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        self.requests += 1
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        body = await request.read()
        if self.hangs:
            await asyncio.Event().wait()
        if self.status == web.HTTPOk.status_code:
            self.spans += spans_of(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(status=self.status, body=answer, content_type="application/x-protobuf")


def spans_of(body: bytes) -> list[Received]:
    """Return the spans of a request's body."""
    found = []
    for batch in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = _values(batch.resource.attributes)
        found += [
            Received(
                service=resource["service.name"],
                instance=resource["service.instance.id"],
                name=span.name,
                trace_id=span.trace_id.hex(),
                span_id=span.span_id.hex(),
                parent_id=span.parent_span_id.hex(),
                kind=span.kind,
                start_ns=span.start_time_unix_nano,
                end_ns=span.end_time_unix_nano,
                failed=span.status.code == span.status.STATUS_CODE_ERROR,
                attributes=_values(span.attributes),
            )
            for scope in batch.scope_spans
            for span in scope.spans
        ]
    return found


def _values(attributes: Any) -> dict[str, Any]:
    return {attribute.key: getattr(attribute.value, attribute.value.WhichOneof("value")) for attribute in attributes}
