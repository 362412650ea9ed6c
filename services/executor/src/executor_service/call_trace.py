"""Requests to the exchange as spans inside the step that asked for them; an order's look-ups are only counted."""

from breakwater_bybit.caller import CallReport
from breakwater_bybit.errors import RequestKind
from breakwater_runtime import trace_steps, tracing
from breakwater_runtime.tracing import Kind


def observe(report: CallReport) -> None:
    """Make the spans of a request: its wait for the budget, if one is kept, and itself."""
    step = tracing.current()
    if step is tracing.NOTHING:
        return
    if step.name == trace_steps.ORDER and report.endpoint.kind is RequestKind.QUERY:
        step.count("look_ups")
        return
    if report.asked_ns is not None:
        tracing.record_child(trace_steps.WAIT_FOR_BUDGET, start_ns=report.asked_ns, end_ns=report.begun_ns)
    facts: dict[str, tracing.Value] = {} if report.ret_code is None else {"ret_code": report.ret_code}
    tracing.record_child(
        report.endpoint.path,
        start_ns=report.begun_ns,
        end_ns=report.ended_ns,
        kind=Kind.CLIENT,
        http_status=report.http_status,
        outcome="answered" if report.http_status else "no_answer",
        **facts,
    )
