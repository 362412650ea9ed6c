"""The first spans of an intent: from the tick that caused it to the bus that has it (docs/tracing.md)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from breakwater_core.events import Intent
from breakwater_runtime import trace_steps, tracing
from breakwater_runtime.trace_steps import MILLISECOND_NS


@dataclass(frozen=True, slots=True)
class Cause:
    """What led to a decision, and when; seconds of the monotonic clock, `stored_ns` of the bus's wall clock.

    Attributes:
        received_s: The message that made the decision possible was taken from the bus.
        stored_ns: The bus stored that message, nanoseconds since 1970.
        begun_s: Signal set out to decide; later than `received_s` where an earlier decision was waited for.
        decided_s: Signal had decided.
    """

    received_s: float
    stored_ns: int
    begun_s: float
    decided_s: float


@contextmanager
def traced_tick(intent: Intent, cause: Cause, *, is_live: bool) -> Iterator[None]:
    """Make the spans around the publishing of an intent; none if the bus has it from another process.

    Live the tick begins with the venue's time of the trade, or of the opening of the exit window; in a replay, where
    that lies in the past, when signal set out to decide.
    """
    if not tracing.is_on():
        yield
        return
    moments = tracing.Moments()
    begun_ns = moments.ns_of(cause.begun_s)
    start_ns = min(begun_ns, intent.trigger_time_ms * MILLISECOND_NS) if is_live else begun_ns
    with trace_steps.tick(intent, start_ns=start_ns) as tick:
        yield
        if tick.is_dropped:
            return
        if is_live:
            received_ns = moments.ns_of(cause.received_s)
            tracing.record_child(trace_steps.TRADES_TO_BUS, start_ns=start_ns, end_ns=cause.stored_ns)
            tracing.record_child(trace_steps.BUS_TO_SIGNAL, start_ns=cause.stored_ns, end_ns=received_ns)
        tracing.record_child(trace_steps.DECIDE, start_ns=begun_ns, end_ns=moments.ns_of(cause.decided_s))
