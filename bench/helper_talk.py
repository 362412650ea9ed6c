"""The helper's side of the talk with the benchmark that started it: words in, lines of JSON out."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop


def say(values: dict[str, Any]) -> None:
    """Answer with one line."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


class Words:
    """Words of the benchmark, one a line; the helper ends with the benchmark."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        """Read standard input."""
        self._reader = reader

    async def next(self) -> str:
        """Return the next word.

        Raises:
            SystemExit: If the benchmark is gone.
        """
        line = await self._reader.readline()
        if not line:
            raise SystemExit(0)
        return line.decode().strip()


def run_helper(main: Callable[[dict[str, Any], Words], Awaitable[None]]) -> None:
    """Run a helper's `main` with the request it was started with, as the services run: on uvloop."""

    async def running() -> None:
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        await main(json.loads(sys.argv[1]), Words(reader))

    uvloop.run(running())
