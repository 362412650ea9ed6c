"""JSON logs on standard error: one object a line, an event name in the past tense, facts as fields, no secrets."""

import logging
import sys
import threading
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from breakwater_runtime import tracing
from breakwater_runtime.redaction import BLANK, SECRET_NAME, blank
from breakwater_runtime.trace_ids import trace_of_intent, trace_text

_SHOWN = frozenset({"secret"})
"""Fields that only seem to hold a secret: here is the name of the setting."""


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Blank the fields whose name promises a secret, and passwords inside URLs."""
    for name, value in event.items():
        if SECRET_NAME.search(name) and name not in _SHOWN and value is not None:
            event[name] = BLANK
        elif isinstance(value, str):
            event[name] = blank(value)
    return event


def add_trace_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Add the trace of the intent or order that the line is about, while the process makes spans."""
    tracer = tracing.active()
    if tracer is None or "trace_id" in event:
        return event
    intent_id, link_id = event.get("intent_id"), event.get("order_link_id")
    trace_id = trace_of_intent(intent_id) if intent_id else tracer.orders.trace_of(link_id) if link_id else None
    if trace_id is not None and tracer.keeps(trace_id):
        event["trace_id"] = trace_text(trace_id)
    return event


class SafeRenderer:
    """Renders a line as JSON, then blanks the secrets that got into it by whatever way, e.g. in a traceback."""

    def __init__(self) -> None:
        self._render = structlog.processors.JSONRenderer(default=str)

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> str:
        """Return the line."""
        return blank(str(self._render(logger, method, event)))


def configure_logs(*, service: str, run_id: str, instance: str, level: str) -> None:
    """Set structlog and the standard library's logging to write JSON to standard error."""
    number = getattr(logging, level.upper())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        add_trace_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, SafeRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                SafeRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Client libraries log whole requests, keys included, below WARNING.
    root.setLevel(max(number, logging.WARNING))
    sys.excepthook = _log_crash
    threading.excepthook = lambda crash: _log_crash(
        crash.exc_type, crash.exc_value or crash.exc_type(), crash.exc_traceback
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(service=service, run_id=run_id, instance=instance)


def _log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log what nobody caught: Python would write it as it is."""
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    get_logger().error("crashed", reason=f"{kind.__name__}: {error}", exc_info=(kind, error, trace))


def get_logger() -> Any:
    """Return a logger whose lines carry the ids bound for the message in hand."""
    return structlog.get_logger()
