"""A socket's queue: bounded, in order, closed when its reader is too slow."""

import asyncio
from types import SimpleNamespace
from typing import Any

from starlette.websockets import WebSocketDisconnect

from paper_exchange_service.connection import Connection


class Socket:
    """The server's end of a socket whose client reads only while it is allowed to."""

    def __init__(self) -> None:
        self.client = SimpleNamespace(host="127.0.0.1")
        self.reads = asyncio.Event()
        self.incoming: asyncio.Queue[str] = asyncio.Queue()
        self.sent: list[str] = []
        self.closed = False

    async def send_text(self, text: str) -> None:
        await self.reads.wait()
        self.sent.append(text)

    async def receive_text(self) -> str:
        text = await self.incoming.get()
        if text == "gone":
            raise WebSocketDisconnect
        return text

    async def close(self) -> None:
        self.closed = True


async def ignore(_frame: dict[str, Any]) -> None:
    return None


async def test_frames_leave_in_order() -> None:
    socket = Socket()
    socket.reads.set()
    connection = Connection(socket, queue_frames=10, reply_delay_s=0)
    for number in range(3):
        connection.send({"n": number})
    connection.close_after_replies()
    await connection.run(ignore)
    assert socket.sent == ['{"n":0}', '{"n":1}', '{"n":2}']
    assert socket.closed


async def test_a_client_that_does_not_read_is_closed_once_its_queue_is_full() -> None:
    socket = Socket()
    connection = Connection(socket, queue_frames=5, reply_delay_s=0)
    running = asyncio.create_task(connection.run(ignore))
    await asyncio.sleep(0)
    for number in range(20):
        connection.send({"n": number})
    socket.reads.set()
    await asyncio.wait_for(running, 5)
    assert socket.closed
    assert len(socket.sent) <= 1


async def test_a_frame_that_is_not_json_is_answered_and_the_connection_goes_on() -> None:
    socket = Socket()
    socket.reads.set()
    connection = Connection(socket, queue_frames=5, reply_delay_s=0)
    received: list[dict[str, Any]] = []

    async def keep(frame: dict[str, Any]) -> None:
        received.append(frame)

    for text in ("not json", "[1]", '{"op":"ping"}', "gone"):
        socket.incoming.put_nowait(text)
    await connection.run(keep)
    assert received == [{"op": "ping"}]
    assert socket.closed
