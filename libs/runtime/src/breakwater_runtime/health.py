"""Health, readiness and metrics over HTTP: `/health` (alive), `/ready` (may take work), `/metrics` (Prometheus).

A service may add pages of its own, each a function that gives the status and what is answered as JSON.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from breakwater_runtime.errors import DependencyError
from breakwater_runtime.metrics import PROCESS, READY
from breakwater_runtime.redaction import blank

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Page = Callable[[], tuple[int, Mapping[str, Any]]]
"""Gives an HTTP status and a JSON object."""


class Health:
    """Why the service is not ready, condition by condition; ready when every condition holds."""

    def __init__(self, *conditions: str) -> None:
        """Start not ready, waiting for each named condition."""
        self._faults: dict[str, str] = dict.fromkeys(conditions, "starting")
        for condition in conditions:
            READY.labels(condition).set(0)

    def hold(self, condition: str) -> None:
        """State that the condition holds."""
        self._faults.pop(condition, None)
        READY.labels(condition).set(1)

    def fail(self, condition: str, reason: str) -> None:
        """State that the condition does not hold, and why."""
        self._faults[condition] = blank(reason)
        READY.labels(condition).set(0)

    @property
    def faults(self) -> dict[str, str]:
        """Conditions that do not hold, with their reasons."""
        return dict(self._faults)

    @property
    def ready(self) -> bool:
        """Whether every condition holds."""
        return not self._faults


def bind_socket(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        DependencyError: If the address cannot be had, e.g. because the port is taken.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else a small answer may wait 40 ms
    try:
        bound.bind((host, port))
        bound.listen(256)
    except OSError as error:
        bound.close()
        raise DependencyError(
            f"cannot listen on {host}:{port} ({error.strerror}); choose another port or end what uses it"
        ) from error
    return bound


@asynccontextmanager
async def serve_application(application: Any, bound: socket.socket, **options: Any) -> AsyncIterator[int]:
    """Serve an ASGI application on a bound socket while the context is open; yields the port."""
    config = uvicorn.Config(application, log_config=None, access_log=False, lifespan="off", **options)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]  # ours decide when to stop
    task = asyncio.create_task(server._serve([bound]), name="http-server")
    try:
        while not server.started and not task.done():  # noqa: ASYNC110  # uvicorn offers no event
            await asyncio.sleep(0.005)
        yield int(bound.getsockname()[1])
    finally:
        server.should_exit = True
        server.force_exit = True
        await asyncio.wait([task], timeout=5)
        bound.close()


def health_application(
    health: Health, pages: Mapping[str, Page] | None = None
) -> Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]:
    """Return the ASGI application that answers `/health`, `/ready`, `/metrics` and the pages, by their paths."""
    own = dict(pages or {})
    known = ", ".join([*sorted(own), "/health", "/ready"])

    async def application(scope: MutableMapping[str, Any], _receive: Receive, send: Send) -> None:
        path = scope.get("path")
        status, content_type = 200, "application/json"
        if path == "/metrics":
            content_type, body = CONTENT_TYPE_LATEST, generate_latest(PROCESS)
        elif path == "/ready":
            status = 200 if health.ready else 503
            body = json.dumps({"ready": health.ready, "faults": health.faults}).encode()
        elif path == "/health":
            body = b'{"alive": true}'
        elif (page := own.get(str(path))) is not None:
            status, values = page()
            body = json.dumps(values).encode()
        else:
            status, body = 404, json.dumps({"error": f"try {known} or /metrics"}).encode()
        headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return application
