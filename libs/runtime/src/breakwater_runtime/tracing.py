"""Spans of an intent's way from tick to Slack; off unless a process was told where to send them (docs/tracing.md).

What is called here never waits and never fails: a finished span goes into a bounded queue, or is counted as dropped.
While tracing is off each call returns at once, and nothing of OpenTelemetry is loaded. Times are nanoseconds since
1970-01-01T00:00Z of this machine's clock.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Self

from breakwater_runtime.trace_ids import OrderTraces, is_sampled, span_of

Value = str | int | float | bool
PREFIX = "breakwater."
"""Every attribute's name begins so."""


class Kind(StrEnum):
    """What a span is to the processes on both of its sides; the names are OpenTelemetry's."""

    INTERNAL = "INTERNAL"
    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"
    CLIENT = "CLIENT"


@dataclass(slots=True)
class Span:
    """One step of an intent.

    Attributes:
        name: Name of the step.
        trace_id: The intent's trace.
        span_id: Id, the same whoever makes it.
        parent_id: Id of the step that led to this one; None: it is the first.
        attributes: Facts, by names without the prefix.
        failure: Why the step did not come to its end; empty: it did.
        lineage: What ids of the steps inside it are made of.
    """

    name: str
    trace_id: int
    span_id: int
    parent_id: int | None
    kind: Kind
    start_ns: int
    lineage: str
    end_ns: int = 0
    attributes: dict[str, Value] = field(default_factory=dict)
    failure: str = ""
    mark_ns: int = 0
    is_dropped: bool = False
    _counts: Counter[str] = field(default_factory=Counter)

    def set(self, **attributes: Value) -> None:
        """Add facts; empty texts are left out."""
        self.attributes.update((name, value) for name, value in attributes.items() if value != "")

    def mark(self) -> None:
        """Remember the present time: a later step inside this one began now."""
        self.mark_ns = time.time_ns()

    def drop(self) -> None:
        """Do not send this span: another process has done the step."""
        self.is_dropped = True

    def number(self, name: str) -> int:
        """Return how often this was asked for the name before."""
        self._counts[name] += 1
        return self._counts[name] - 1

    def count(self, name: str) -> None:
        """Add one to a fact."""
        self.attributes[name] = int(self.attributes.get(name, 0)) + 1


class _Nothing(Span):
    """A span that is not made: tracing is off, or the trace is not sampled."""

    def set(self, **attributes: Value) -> None:
        """Do nothing."""

    def mark(self) -> None:
        """Do nothing."""

    def drop(self) -> None:
        """Do nothing."""

    def number(self, name: str) -> int:
        """Return 0."""
        return 0

    def count(self, name: str) -> None:
        """Do nothing."""


NOTHING: Span = _Nothing("", 0, 0, None, Kind.INTERNAL, 0, "")
_current: ContextVar[Span | None] = ContextVar("breakwater_span", default=None)


class Open:
    """An open span: the current one inside the context, sent at its end."""

    __slots__ = ("_cut_key", "_token", "_tracer", "span")

    def __init__(self, tracer: "Tracer", span: Span, cut_key: str = "") -> None:
        """Open the span; one that is cut off by an exception gets its id from `cut_key`, if that is given."""
        self._tracer = tracer
        self.span = span
        self._cut_key = cut_key
        self._token: Token[Span | None] | None = None

    def __enter__(self) -> Span:
        self._token = _current.set(self.span)
        return self.span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            _current.reset(self._token)
        span = self.span
        if kind is not None:
            span.failure = kind.__name__  # the text may quote anything
            span.set(outcome=kind.__name__)
            if self._cut_key:
                span.span_id = span_of(span.name, self._cut_key)
        self._tracer.finish(span)


class _Closed:
    """The context of a span that is not made."""

    __slots__ = ()

    def __enter__(self) -> Span:
        return NOTHING

    def __exit__(self, *_details: object) -> None:
        """Do nothing."""


CLOSED = _Closed()
Context = Open | _Closed


class Tracer:
    """Makes the spans of one process."""

    def __init__(self, sink: Callable[[Span], None], *, sample_ratio: float = 1.0) -> None:
        """Hand finished spans to `sink`, which must not wait; keep this share of traces."""
        self._sink = sink
        self._ratio = sample_ratio
        self.orders = OrderTraces()

    def keeps(self, trace_id: int) -> bool:
        """Return whether spans of the trace are made."""
        return self._ratio >= 1 or is_sampled(trace_id, self._ratio)

    def finish(self, span: Span) -> None:
        """End a span now, unless its end was set, and hand it on."""
        if span.is_dropped:
            return
        span.end_ns = max(span.start_ns, span.end_ns or time.time_ns())
        self._sink(span)


_tracer: Tracer | None = None


def active() -> Tracer | None:
    """Return what makes spans in this process; None: tracing is off."""
    return _tracer


def is_on() -> bool:
    """Return whether this process makes spans."""
    return _tracer is not None


@contextmanager
def installed(tracer: Tracer | None) -> Iterator[None]:
    """Have the process make spans with `tracer` while the context is open; None: none."""
    global _tracer  # one per process, as the metrics and the logs are
    before, _tracer = _tracer, tracer
    try:
        yield
    finally:
        _tracer = before


def current() -> Span:
    """Return the innermost open span of this task, or one that is not made."""
    return _current.get() or NOTHING


def current_of(trace_id: int) -> Span | None:
    """Return the innermost open span of this task if it belongs to the trace."""
    span = _current.get()
    return span if span is not None and span.trace_id == trace_id else None


def opened(
    name: str,
    *,
    trace_id: int,
    key: str,
    parent_id: int | None,
    kind: Kind = Kind.INTERNAL,
    start_ns: int | None = None,
    lineage: str | None = None,
    cut_key: str = "",
) -> Context:
    """Return the context of a step whose id follows from its name and `key`; for the current span use `child`.

    Args:
        name: The step.
        trace_id: The intent's trace.
        key: What the step is about.
        parent_id: The step that led to it.
        kind: See `Kind`.
        start_ns: When it began; None: now.
        lineage: What the ids of steps inside it are made of; None: `key`.
        cut_key: Instead of `key` if an exception ends it, where another process goes on with the same step.
    """
    tracer = _tracer
    if tracer is None or not tracer.keeps(trace_id):
        return CLOSED
    began_ns = time.time_ns() if start_ns is None else start_ns
    span = Span(name, trace_id, span_of(name, key), parent_id, kind, began_ns, key if lineage is None else lineage)
    return Open(tracer, span, cut_key)


def child(name: str, *, kind: Kind = Kind.INTERNAL) -> Context:
    """Return the context of a step inside the current one."""
    tracer, parent = _tracer, _current.get()
    if tracer is None or parent is None:
        return CLOSED
    return Open(tracer, _inside(parent, name, kind, time.time_ns()))


def record(
    name: str,
    *,
    trace_id: int,
    key: str,
    parent_id: int | None,
    start_ns: int,
    end_ns: int,
    kind: Kind = Kind.INTERNAL,
    **attributes: Value,
) -> None:
    """Hand on a step that is over."""
    tracer = _tracer
    if tracer is None or not tracer.keeps(trace_id):
        return
    span = Span(name, trace_id, span_of(name, key), parent_id, kind, min(start_ns, end_ns), key, end_ns)
    span.set(**attributes)
    tracer.finish(span)


def record_child(
    name: str, *, start_ns: int, end_ns: int | None = None, kind: Kind = Kind.INTERNAL, **attributes: Value
) -> None:
    """Hand on a step inside the current one that is over; `end_ns` None: just now."""
    tracer, parent = _tracer, _current.get()
    if tracer is None or parent is None:
        return
    span = _inside(parent, name, kind, start_ns)
    span.end_ns = end_ns or time.time_ns()
    span.set(**attributes)
    tracer.finish(span)


def _inside(parent: Span, name: str, kind: Kind, start_ns: int) -> Span:
    key = f"{parent.lineage}/{parent.number(name)}"
    return Span(name, parent.trace_id, span_of(name, key), parent.span_id, kind, start_ns, f"{key}/{name}")


class Moments:
    """Moments of the monotonic clock as times of the wall clock."""

    def __init__(self) -> None:
        """Compare the clocks once."""
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    @classmethod
    def now(cls) -> Self:
        """Return the comparison as of now."""
        return cls()

    def ns_of(self, monotonic_s: float) -> int:
        """Return the wall-clock time of a moment of `time.monotonic`."""
        return round(monotonic_s * 1e9) + self._offset_ns
