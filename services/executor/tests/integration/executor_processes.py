"""An executor as a process of its own, as it runs in a pod."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def process(environment: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run an executor; it is killed at the end unless it has ended by then."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("EXECUTOR_")}
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "executor_service",
        env=inherited | environment,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()
