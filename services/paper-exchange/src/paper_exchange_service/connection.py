"""One WebSocket connection: a bounded queue of frames out, a callback for frames in. Who reads too slowly is closed."""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

IDLE_TIMEOUT_S = 600.0
"""Without a frame from the client for so long, the connection is closed."""
_SETTLE_S = 0.025
"""Least time before a login or subscription is answered, unless answers are immediate."""

_log = structlog.get_logger()


class Connection:
    """A client's socket."""

    def __init__(self, socket: WebSocket, *, queue_frames: int, reply_delay_s: float) -> None:
        """Wrap an accepted socket.

        Args:
            socket: The socket.
            queue_frames: Most frames that wait for the client; one more closes the connection.
            reply_delay_s: Time before the answer to a client's own frame.
        """
        self.id = uuid.uuid4().hex[:20] + "-" + uuid.uuid4().hex[:5]
        self.address = socket.client.host if socket.client else ""
        self.account = ""
        self.topics: set[str] = set()
        self._socket = socket
        self._frames: asyncio.Queue[str | None] = asyncio.Queue(queue_frames)
        self._reply_delay_s = reply_delay_s
        self._closing = False

    def send(self, frame: dict[str, Any]) -> None:
        """Queue a frame."""
        self.send_text(orjson.dumps(frame).decode())

    def send_text(self, text: str) -> None:
        """Queue a frame that is serialised already."""
        if self._closing:
            return
        try:
            self._frames.put_nowait(text)
        except asyncio.QueueFull:
            self._closing = True
            _log.warning("slow_consumer_closed", connection=self.id, topics=sorted(self.topics)[:5])
            self._end()

    def drop(self) -> None:
        """Close the connection at once; what waits for the client is lost."""
        if not self._closing:
            self._closing = True
            self._end()

    def reply(self, frame: dict[str, Any], *, delay_s: float = 0.0) -> None:
        """Queue the answer to a client's frame, not sooner than a real network brings it, and later by the delay."""
        delay_s += self._reply_delay_s
        if delay_s > 0:
            asyncio.get_running_loop().call_later(delay_s, self.send, frame)
        else:
            self.send(frame)

    def settle(self, frame: dict[str, Any], then: Callable[[], None] = lambda: None) -> None:
        """Queue the answer to a login or subscription, and go on with `then`, e.g. the topic's first frame.

        Both come late enough for a client that sends first and gets ready for the answer afterwards, as pybit does.
        """

        def answer() -> None:
            if not self._closing:
                self.send(frame)
                then()

        if self._reply_delay_s > 0:
            asyncio.get_running_loop().call_later(max(self._reply_delay_s, _SETTLE_S), answer)
        else:
            answer()

    def close_after_replies(self) -> None:
        """Close the connection once what was queued before has left."""
        delay_s = max(self._reply_delay_s, _SETTLE_S) if self._reply_delay_s > 0 else 0.0
        asyncio.get_running_loop().call_later(delay_s + 0.002, self._finish)

    async def run(self, received: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        """Serve the connection until either side ends it.

        Args:
            received: Handles a frame of the client, in order.
        """
        writer = asyncio.create_task(self._write(), name=f"socket-writer-{self.id}")
        reader = asyncio.create_task(self._read(received), name=f"socket-reader-{self.id}")
        try:
            await asyncio.wait({writer, reader}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._closing = True
            for task in (writer, reader):
                task.cancel()
            results = await asyncio.gather(writer, reader, return_exceptions=True)
            with contextlib.suppress(RuntimeError, WebSocketDisconnect, OSError):
                await self._socket.close()
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect | RuntimeError | OSError):
                raise result

    def _end(self) -> None:
        while not self._frames.empty():
            self._frames.get_nowait()
        self._frames.put_nowait(None)

    def _finish(self) -> None:
        if not self._closing:
            self._closing = True
            with contextlib.suppress(asyncio.QueueFull):
                self._frames.put_nowait(None)

    async def _write(self) -> None:
        while (text := await self._frames.get()) is not None:
            await self._socket.send_text(text)

    async def _read(self, received: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        while True:
            try:
                async with asyncio.timeout(IDLE_TIMEOUT_S):
                    text = await self._socket.receive_text()
            except TimeoutError:
                return
            try:
                frame = orjson.loads(text)
            except orjson.JSONDecodeError:
                frame = None
            if not isinstance(frame, dict):
                self.reply({"success": False, "ret_msg": "Params Error", "conn_id": self.id, "req_id": "", "op": ""})
                continue
            await received(frame)
