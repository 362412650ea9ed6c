"""What the tests of this member talk to: a real HTTP server and a real WebSocket server that can misbehave."""

import asyncio
import json
import os
import socket
import struct
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve

from breakwater_cli import nats_process

KEY = "canary-key-5f2a91"
SECRET = "canary-secret-c0ffee77"


@dataclass(frozen=True)
class Received:
    """A request as the server saw it."""

    method: str
    path: str
    raw_query: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.raw_query))

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Said:
    """An answer to give, or a fault to commit: `drop` resets the connection, `hang` never answers."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    fault: str = ""


def envelope(result: object = None, *, code: int | str = 0, text: str = "OK", **headers: str) -> Said:
    """Return an answer in Bybit's envelope."""
    payload = {"retCode": code, "retMsg": text, "result": result or {}, "retExtInfo": {}, "time": 1_700_000_000_000}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Said(json.dumps(payload).encode(), headers=named)


class HttpExchange:
    """An HTTP server that answers from a script, then with `otherwise`."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.script: deque[Said] = deque()
        self.otherwise: Callable[[Received], Said] = lambda _: envelope()
        self.released = threading.Event()
        exchange = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            disable_nagle_algorithm = True

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                parts = urlsplit(self.path)
                request = Received(
                    self.command,
                    parts.path,
                    parts.query,
                    {name.lower(): value for name, value in self.headers.items()},
                    self.rfile.read(length),
                    id(self),
                )
                exchange.received.append(request)
                self._say(exchange.script.popleft() if exchange.script else exchange.otherwise(request))

            do_GET = do_POST = _serve  # noqa: N815  # names that http.server calls

            def _say(self, said: Said) -> None:
                if said.fault == "hang":
                    exchange.released.wait(20)
                if said.fault:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                    self.close_connection = True
                    return
                self.send_response(said.status)
                for name, value in said.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(said.body)))
                self.end_headers()
                self.wfile.write(said.body)
                self.wfile.flush()

            def log_message(self, *_: object) -> None:
                """Stay silent."""

            def finish(self) -> None:
                with suppress(OSError, ValueError):
                    super().finish()

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that went away is part of the tests."""

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def exchange() -> Iterator[HttpExchange]:
    server = HttpExchange()
    yield server
    server.close()


@pytest.fixture
def say() -> Callable[..., Said]:
    return envelope


@pytest.fixture
def said() -> type[Said]:
    return Said


class StreamExchange:
    """A WebSocket server in Bybit's manner, with faults.

    `on_connect`, if set, runs instead of the normal conversation.
    """

    def __init__(self) -> None:
        self.connections = 0
        self.live: set[ServerConnection] = set()
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.accepts_login = True
        self.bad_topics: set[str] = set()
        self.on_connect: Callable[[ServerConnection], Any] | None = None
        self.url = ""
        self._server: Server | None = None
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until the server has seen what the condition asks for."""
        async with asyncio.timeout(8):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def start(self, port: int = 0) -> None:
        self._server = await serve(self._converse, "127.0.0.1", port, ping_interval=None, close_timeout=0.2)
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for connection in list(self.live):
                connection.transport.abort()
            await self._server.wait_closed()

    async def push(self, frame: object) -> None:
        text = frame if isinstance(frame, str) else json.dumps(frame)
        for connection in list(self.live):
            await connection.send(text)

    def cut(self) -> None:
        for connection in list(self.live):
            connection.transport.abort()

    async def _converse(self, connection: ServerConnection) -> None:
        self.connections += 1
        self.live.add(connection)
        self.paths.append(connection.request.path if connection.request else "")
        try:
            if self.on_connect is not None:
                await self.on_connect(connection)
                return
            async for message in connection:
                request = json.loads(message)
                self.requests.append(request)
                self._changed.set()
                await connection.send(json.dumps(self._answer(request)))
        finally:
            self.live.discard(connection)
            self._changed.set()

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        req_id = request.get("req_id", "")
        match request["op"]:
            case "ping":
                return {"success": True, "ret_msg": "pong", "conn_id": "c", "req_id": "", "op": "ping"}
            case "auth":
                text = "" if self.accepts_login else f"Params Error {request['args'][0]}"
                return {"success": self.accepts_login, "ret_msg": text, "op": "auth", "conn_id": "c"}
        refused = [topic for topic in request["args"] if topic in self.bad_topics]
        text = f"error:handler not found,topic:{refused[0]}" if refused else ""
        return {"success": not refused, "ret_msg": text, "conn_id": "c", "req_id": req_id, "op": "subscribe"}


@pytest.fixture
async def stream_exchange() -> AsyncIterator[StreamExchange]:
    server = StreamExchange()
    await server.start()
    yield server
    async with asyncio.timeout(5):
        await server.stop()


@pytest.fixture
def free_port() -> int:
    return nats_process.free_port()


@pytest.fixture
def key() -> str:
    return KEY


@pytest.fixture
def secret() -> str:
    return SECRET


@pytest.fixture(scope="session")
def payloads() -> Path:
    """Folder with real and documented payloads of the exchange."""
    default = Path(__file__).resolve().parents[3].parent / "shared"
    folder = Path(os.environ.get("BREAKWATER_SHARED", default)) / "bybit-payloads"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent; set BREAKWATER_SHARED to the folder that holds bybit-payloads")
    return folder
