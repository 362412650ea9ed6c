"""Making spans: what they hold, what they lead to, and that nothing happens while tracing is off."""

import subprocess
import sys

import pytest

from breakwater_runtime import tracing
from breakwater_runtime.logs import add_trace_id
from breakwater_runtime.trace_ids import span_of, trace_of_intent, trace_text
from breakwater_runtime.tracing import Span, Tracer

INTENT = "live/main/0123456789abcdef/BTCUSDT/2024-01-01/entry/1"


def test_steps_inside_a_step_follow_from_it_and_are_numbered() -> None:
    made: list[Span] = []
    with tracing.installed(Tracer(made.append)), tracing.opened("order", trace_id=7, key="k", parent_id=5) as order:
        for _ in range(2):
            with tracing.child("ask"):
                pass
        tracing.record_child("ask", start_ns=1, end_ns=2)
    *inside, outer = made
    assert outer is order
    assert (outer.trace_id, outer.span_id, outer.parent_id) == (7, span_of("order", "k"), 5)
    assert {span.parent_id for span in inside} == {outer.span_id}
    assert len({span.span_id for span in made}) == 4
    again: list[Span] = []
    tracer = Tracer(again.append)
    with tracing.installed(tracer), tracing.opened("order", trace_id=7, key="k", parent_id=5), tracing.child("ask"):
        pass
    assert again[0].span_id == inside[0].span_id


def test_a_step_that_fails_says_with_what_and_quotes_nothing() -> None:
    made: list[Span] = []
    with (
        tracing.installed(Tracer(made.append)),
        pytest.raises(ValueError, match="hunter2"),
        tracing.opened("order", trace_id=7, key="k", parent_id=None, cut_key="mine"),
    ):
        raise ValueError("hunter2")
    assert (made[0].failure, made[0].span_id) == ("ValueError", span_of("order", "mine"))
    assert "hunter2" not in repr(made)


def test_while_it_is_off_no_span_is_made_and_the_calls_do_no_harm() -> None:
    assert not tracing.is_on()
    with tracing.opened("order", trace_id=7, key="k", parent_id=None) as span, tracing.child("ask") as inner:
        assert span is inner is tracing.NOTHING
        span.set(outcome="x")
        span.mark()
        span.count("n")
        span.drop()
        tracing.record_child("ask", start_ns=1)
    tracing.record("tick", trace_id=7, key="k", parent_id=None, start_ns=1, end_ns=2)
    assert tracing.NOTHING.attributes == {}
    assert not tracing.NOTHING.is_dropped


def test_a_log_line_about_an_intent_or_an_order_names_its_trace_while_tracing_is_on() -> None:
    trace = trace_text(trace_of_intent(INTENT))
    link_id = f"bw-{trace}"
    assert add_trace_id(None, "info", {"intent_id": INTENT}) == {"intent_id": INTENT}
    with tracing.installed(Tracer(lambda _span: None)):
        assert add_trace_id(None, "info", {"intent_id": INTENT})["trace_id"] == trace
        assert add_trace_id(None, "info", {"order_link_id": link_id})["trace_id"] == trace
        assert "trace_id" not in add_trace_id(None, "info", {"event": "service_started"})
        assert "trace_id" not in add_trace_id(None, "info", {"order_link_id": ""})
    with tracing.installed(Tracer(lambda _span: None, sample_ratio=0.0)):
        assert "trace_id" not in add_trace_id(None, "info", {"intent_id": INTENT})


@pytest.mark.parametrize(
    "module", ["signal_service", "executor_service", "notifier_service", "reporter_service", "market_data_service"]
)
def test_a_service_that_is_not_traced_loads_nothing_of_opentelemetry(module: str) -> None:
    ours = ("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto")  # FastAPI loads the API by itself
    code = f"import sys, {module}.main; sys.exit(any(name.startswith({ours!r}) for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
