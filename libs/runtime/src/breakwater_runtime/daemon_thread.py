"""Blocking work that a stop does not wait for.

The end of an event loop waits for the threads of `asyncio.to_thread`, minutes if need be: a name server that does not
answer would keep a process that has drained from ending.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial


async def in_daemon_thread[T](work: Callable[[], T], *, name: str) -> T:
    """Return what `work` returns, or raise what it raises; when this is cancelled, the thread is left to itself."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            tell = partial(_succeed, outcome, work())
        except Exception as error:  # noqa: BLE001  # raised where it is awaited
            tell = partial(_fail, outcome, error)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await outcome


def _succeed[T](outcome: asyncio.Future[T], result: T) -> None:
    if not outcome.done():
        outcome.set_result(result)


def _fail[T](outcome: asyncio.Future[T], error: Exception) -> None:
    if not outcome.done():
        outcome.set_exception(error)
