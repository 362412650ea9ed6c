"""Running a command's coroutine: on uvloop, with ctrl-C and SIGTERM as a cancellation."""

import asyncio
import sys
from collections.abc import Awaitable, Callable


def run_async[T](work: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine on uvloop; ctrl-C and SIGTERM cancel it, so that child processes are drained."""
    import signal

    import uvloop

    async def guarded() -> T:
        task = asyncio.ensure_future(work())
        interrupted = False

        def interrupt() -> None:
            nonlocal interrupted
            interrupted = True
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, interrupt)
        try:
            return await task
        except asyncio.CancelledError:
            if interrupted:
                raise KeyboardInterrupt from None
            raise

    return uvloop.run(guarded())


def run_until_interrupted(work: Callable[[], Awaitable[None]]) -> None:
    """Run work that only ctrl-C or SIGTERM ends: being interrupted is its success."""
    try:
        run_async(work)
    except KeyboardInterrupt:
        sys.stderr.write("breakwater: drained\n")
