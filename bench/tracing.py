"""What spans cost: a step while tracing is off and on, and the thread that sends them to a collector."""

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from decimal import Decimal

from bench.effort import Effort
from bench.figures import Figure, Section, Target
from breakwater_core.events import Intent, Leg, Side
from breakwater_core.identities import intent_id
from breakwater_runtime import trace_steps, tracing
from breakwater_runtime.span_export import BATCH, OtlpExporter
from breakwater_runtime.tracing import Span, Tracer

_STEPS = 50_000
_STEPS_OF_AN_INTENT = 19
"""Spans of an entry that is filled at once, from tick to Slack, over all services."""
_COLLECTOR = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200); self.send_header("content-length", "0"); self.end_headers()
    def log_message(self, *details): pass
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


async def measure(effort: Effort) -> Section:
    """Time one step inside a handled intent, and the sending of full batches."""
    steps = _STEPS // 10 if effort.is_quick else _STEPS
    off, on, sent = [], [], []
    for number in range(effort.repetitions):
        effort.tell(f"spans, {number + 1} of {effort.repetitions}")
        off.append(_step_us(steps))
        with tracing.installed(Tracer(lambda _span: None)):
            on.append(_step_us(steps))
        sent.append(_sending_us(10 if effort.is_quick else 100))
    figures = (
        Figure("a step, tracing off", "us", tuple(off), Target(must=5, goal=1, at_most=True)),
        Figure("a step, traced", "us", tuple(on), Target(must=100, goal=20, at_most=True)),
        Figure("a span sent, in the exporting thread", "us", tuple(sent), Target(must=500, goal=100, at_most=True)),
    )
    notes = (
        "A step: the span of an intent with its facts, and one inside it; ids hashed, clock read.",
        f"An entry filled at once has {_STEPS_OF_AN_INTENT} spans over five services; other trades have none.",
    )
    return Section("spans from tick to Slack", figures, notes)


def _step_us(count: int) -> float:
    intent = _intent()

    def step() -> None:
        with trace_steps.handle(intent, delivery=1), tracing.child(trace_steps.CHECK_ENTRY) as span:
            span.set(outcome="approved")

    return _microseconds(step, count) / 2


def _sending_us(batches: int) -> float:
    server = subprocess.Popen([sys.executable, "-c", _COLLECTOR], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        exporter = OtlpExporter(
            f"http://127.0.0.1:{server.stdout.readline().strip()}", headers={}, resource={"service.name": "bench"}
        )
        made: list[Span] = []
        with tracing.installed(Tracer(made.append)):
            while len(made) < BATCH:
                with trace_steps.handle(_intent(), delivery=len(made)):
                    pass
        return _microseconds(lambda: exporter.export(made), batches) / BATCH
    finally:
        server.kill()
        server.wait()


def _microseconds(work: Callable[[], object], count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        work()
    return (time.perf_counter() - started) / count * 1e6


def _intent() -> Intent:
    run_id, account, version, symbol, day = "live", "main", "0123456789abcdef", "BTCUSDT", date(2024, 1, 1)
    return Intent(
        intent_id=intent_id(
            run_id=run_id,
            account=account,
            strategy_version=version,
            symbol=symbol,
            day=day,
            leg=Leg.ENTRY,
            attempt=1,
        ),
        run_id=run_id,
        account=account,
        strategy_version=version,
        symbol=symbol,
        day=day,
        leg=Leg.ENTRY,
        attempt=1,
        side=Side.BUY,
        target_price=Decimal(50_000),
        trigger_price=Decimal(50_001),
        trigger_time_ms=1_704_067_200_000,
        valid_until_ms=1_704_067_210_000,
        gross_leverage=Decimal(2),
        portfolio_size=10,
    )
