"""A helper: a bare HTTP client that sends orders to the stub and looks each of them up, so many at a time.

{"port", "orders": 240, "in_flight": 8, "name": "A"}      word `go`: sends; says {"done": true}
"""

import asyncio
from typing import Any

from bench.bare_chain import get_order, post_order
from bench.helper_talk import Words, run_helper, say


async def main(request: dict[str, Any], words: Words) -> None:
    """Send all orders once told to."""
    connections = [await asyncio.open_connection("127.0.0.1", request["port"]) for _ in range(request["in_flight"])]
    numbers = iter(range(request["orders"]))

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in numbers:
            await post_order(reader, writer, symbol=request["name"], number=number)
            await get_order(reader, writer, symbol=request["name"], number=number)

    say({"ready": True})
    await words.next()
    await asyncio.gather(*(work(*connection) for connection in connections))
    say({"done": True})
    await words.next()


if __name__ == "__main__":
    run_helper(main)
