"""What a process logs holds no secret, whoever wrote the line: a field, a library, a traceback, a crash."""

import subprocess
import sys

import pytest

from breakwater_core.events import Alert, Severity
from breakwater_runtime.codec import decode, encode
from breakwater_runtime.errors import explain
from breakwater_runtime.health import Health
from breakwater_runtime.redaction import keep_secret

BEGIN = """
import logging, threading
from breakwater_runtime.logs import configure_logs, get_logger
from breakwater_runtime.redaction import keep_secret
configure_logs(service="thing", run_id="live", instance="0", level="debug")
keep_secret("canary-1234")
"""
IN_A_THREAD = """
def work():
    raise RuntimeError("canary-1234")
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def logged(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", BEGIN + program], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "program",
    [
        'get_logger().info("happened", detail="near canary-1234")',
        'get_logger().info("happened", detail={"inner": ["canary-1234"]})',
        'get_logger().info("happened canary-1234")',
        'logging.getLogger("library").warning("request to canary-1234 failed")',
        'try:\n    raise ValueError("canary-1234")\nexcept ValueError:\n    get_logger().exception("happened")',
        'try:\n    raise ValueError("canary-1234")\nexcept ValueError:\n    logging.exception("happened")',
        'raise RuntimeError("canary-1234")',
        IN_A_THREAD,
    ],
    ids=["field", "nested", "event", "library", "traceback", "library-traceback", "crash", "thread"],
)
def test_a_live_secret_is_blanked_in_every_line(program: str) -> None:
    text = logged(program)
    assert "canary" not in text
    assert "[redacted]" in text


def test_errors_readiness_and_alerts_hold_no_live_secret() -> None:
    keep_secret("canary-alert-1")
    assert explain(RuntimeError("canary-alert-1 refused")) == "RuntimeError: [redacted] refused"
    health = Health()
    health.fail("bus", "canary-alert-1 refused")
    assert health.faults == {"bus": "[redacted] refused"}
    alert = Alert(
        alert_id="a",
        run_id="live",
        severity=Severity.WARNING,
        service="thing",
        name="happened",
        summary="canary-alert-1 refused",
        event_time_ms=0,
        facts={"detail": "canary-alert-1"},
    )
    message = encode(alert, "live")
    assert b"canary" not in message.payload
    assert decode(message.subject, message.payload).value.facts == {"detail": "[redacted]"}
