"""The health check of the images: 0 for a ready service, 1 and the reason for everything else."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from breakwater_runtime import probe


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/cut":
            self.connection.close()
            return
        body = b'{"faults": {"bus": "starting"}}'
        self.send_response(200 if self.path == "/ready" else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_values: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def run(port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the file as the images do: isolated, and without site packages."""
    command = [sys.executable, "-I", "-S", probe.__file__, *arguments]
    environment = os.environ | {probe.PORT_NAME: str(port)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_ready_service_gives_exit_code_0(port: int) -> None:
    finished = run(port)
    assert (finished.returncode, finished.stderr) == (0, "")


@pytest.mark.parametrize(("path", "said"), [("/other", '503 from /other: {"faults": {"bus"'), ("/cut", "no answer")])
def test_any_other_answer_gives_exit_code_1_and_the_reason(port: int, path: str, said: str) -> None:
    finished = run(port, "--path", path)
    assert finished.returncode == 1
    assert said in finished.stderr


def test_no_service_gives_exit_code_1() -> None:
    finished = run(1)
    assert finished.returncode == 1
    assert "no answer from 127.0.0.1:1/ready (ConnectionRefusedError)" in finished.stderr


def test_it_runs_as_a_module_too(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(probe.PORT_NAME, raising=False)
    assert probe.main(["--port", str(port)]) == 0
    assert probe.main(["--port", str(port), "--path", "/else"]) == 1


def test_a_service_that_does_not_answer_in_time_is_not_well() -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert "TimeoutError" in str(probe.probe(port=silent.getsockname()[1], timeout_s=0.1))
