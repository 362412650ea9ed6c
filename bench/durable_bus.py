"""What a durable message costs on this disk: bare nats-py on a stream that syncs each write before it acknowledges."""

import os
import time
from pathlib import Path
from statistics import median

import nats

from bench.effort import Effort
from bench.processes import nats_server
from breakwater_runtime.bus import connect
from breakwater_runtime.settings import ServiceSettings

_PAYLOAD = b"x" * 256
_SUBJECT = "intent.bare"


async def durable_publishing(effort: Effort) -> tuple[float, float]:
    """Return milliseconds of one awaited publish (median), and publishes a second when they are pipelined."""
    awaited, pipelined = effort.pick((200, 800), (50, 200))
    with nats_server(effort.scratch("durable") / "bus") as server:
        async with connect(ServiceSettings(nats_url=server.url), name="bench"):
            pass  # makes the streams, with the settings of production
        client = await nats.connect(server.url)
        try:
            jetstream = client.jetstream(publish_async_max_pending=256)
            times_ms = []
            for _ in range(awaited):
                began_s = time.perf_counter()
                await jetstream.publish(_SUBJECT, _PAYLOAD)
                times_ms.append((time.perf_counter() - began_s) * 1000)
            began_s = time.perf_counter()
            for _ in range(pipelined):
                await jetstream.publish_async(_SUBJECT, _PAYLOAD, wait_stall=30)
            await jetstream.publish_async_completed()
            return median(times_ms), pipelined / (time.perf_counter() - began_s)
        finally:
            await client.close()


def sync_ms(folder: Path, count: int = 100) -> float:
    """Return milliseconds (median) that the disk of a folder takes to keep 256 bytes for good."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "sync.bin"
    times_ms = []
    with path.open("wb", buffering=0) as file:
        for _ in range(count):
            file.write(_PAYLOAD)
            began_s = time.perf_counter()
            os.fsync(file.fileno())
            times_ms.append((time.perf_counter() - began_s) * 1000)
    path.unlink()
    return median(times_ms)
