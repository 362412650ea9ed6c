"""A helper: signal or executor reduced to what the bus and the exchange demand, as the limit for latency.

{"role": "signal", "url"}              market stream in; a durable message for each batch behind the target
{"role": "executor", "url", "port"}    that message in; one POST on a connection that is kept
"""

import asyncio
from typing import Any

import nats
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from bench.helper_talk import Words, run_helper, say
from bench.live_market import TARGET_PRICE
from breakwater_runtime import codec

_INTENT = b"x" * 220
"""As long as an intent."""


async def main(request: dict[str, Any], words: Words) -> None:
    """Play the role of the request until the benchmark ends."""
    client = await nats.connect(request["url"])
    async with asyncio.TaskGroup() as tasks:
        if request["role"] == "signal":
            await _signal(client, tasks)
        else:
            await _executor(client, request["port"], tasks)
        say({"ready": True})
        await words.next()


async def _signal(client: Client, tasks: asyncio.TaskGroup) -> None:
    jetstream = client.jetstream()

    async def received(message: Msg) -> None:
        batch = codec.decode(message.subject, message.data).value
        if batch.prices[-1] >= TARGET_PRICE:
            tasks.create_task(jetstream.publish(f"intent.0.main.{batch.symbol}", _INTENT))

    await jetstream.subscribe("md.trades.>", stream="MD", ordered_consumer=True, cb=received)


async def _executor(client: Client, port: int, tasks: asyncio.TaskGroup) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    waiting: asyncio.Queue[str] = asyncio.Queue()

    async def received(message: Msg) -> None:
        waiting.put_nowait(message.subject.rpartition(".")[2])

    async def send() -> None:
        while True:
            await post_order(reader, writer, symbol=await waiting.get(), number=0)

    await client.jetstream().subscribe("intent.>", stream="INTENT", ordered_consumer=True, cb=received)
    tasks.create_task(send())


async def post_order(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, symbol: str, number: int) -> None:
    """Send one order/create and read the answer."""
    order = {"symbol": symbol, "side": "Buy", "qty": "1", "orderLinkId": f"bare-{symbol}-{number}"}
    await _exchange(reader, writer, "POST /v5/order/create", orjson.dumps(order))


async def get_order(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, symbol: str, number: int) -> None:
    """Look one order up and read the answer."""
    await _exchange(reader, writer, f"GET /v5/order/realtime?orderLinkId=bare-{symbol}-{number}", b"")


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: str, body: bytes) -> None:
    writer.write(f"{target} HTTP/1.1\r\nHost: stub\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]))


if __name__ == "__main__":
    run_helper(main)
