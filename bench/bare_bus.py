"""A helper: one end of the bare bus, nats-py without anything of ours: a pipelined publisher or a push subscriber.

{"role": "publisher", "url", "payloads": [file, ...], "rounds": 3}     word `go`; says when it began and ended
{"role": "subscriber", "url", "messages": 1234}                        says when the last message had arrived
"""

import asyncio
import struct
import time
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from bench.helper_talk import Words, run_helper, say

STREAM = "MD"
SUBJECT = "md.bare"
_IN_FLIGHT = 256
_PENDING_BYTES = 1 << 30


async def main(request: dict[str, Any], words: Words) -> None:
    """Play the role of the request."""
    client = await nats.connect(request["url"], pending_size=64 << 20)
    try:
        if request["role"] == "publisher":
            await _publish(client, request, words)
        else:
            await _subscribe(client, int(request["messages"]))
    finally:
        await client.close()


async def _publish(client: Client, request: dict[str, Any], words: Words) -> None:
    payloads = read_payloads(Path(request["payloads"]))
    jetstream = client.jetstream(publish_async_max_pending=_IN_FLIGHT)
    say({"ready": True})
    await words.next()
    began_ns = time.time_ns()
    for _ in range(request["rounds"]):
        for payload in payloads:
            await jetstream.publish_async(SUBJECT, payload, wait_stall=30)
    await jetstream.publish_async_completed()
    say({"began_ns": began_ns, "ended_ns": time.time_ns()})
    await words.next()


async def _subscribe(client: Client, messages: int) -> None:
    seen = 0
    done = asyncio.Event()

    async def received(_message: Msg) -> None:
        nonlocal seen
        seen += 1
        if seen == messages:
            done.set()

    await client.jetstream().subscribe(
        SUBJECT, stream=STREAM, ordered_consumer=True, cb=received, pending_bytes_limit=_PENDING_BYTES
    )
    say({"ready": True})
    await done.wait()
    say({"ended_ns": time.time_ns()})


def write_payloads(path: Path, payloads: list[bytes]) -> None:
    """Write payloads, each behind its length."""
    with path.open("wb") as file:
        for payload in payloads:
            file.write(struct.pack("<I", len(payload)))
            file.write(payload)


def read_payloads(path: Path) -> list[bytes]:
    """Return the payloads that `write_payloads` wrote."""
    data = path.read_bytes()
    payloads, offset = [], 0
    while offset < len(data):
        (length,) = struct.unpack_from("<I", data, offset)
        payloads.append(data[offset + 4 : offset + 4 + length])
        offset += 4 + length
    return payloads


if __name__ == "__main__":
    run_helper(main)
