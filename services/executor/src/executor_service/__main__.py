"""Runs the executor: `python -m executor_service`.

Executors are started and stopped all the time where an autoscaler counts them. So one that is asked to stop while it is
still being loaded must hear of it, which the first process of a container would not; and one that has drained must end,
though a request that the exchange never answers is still held by a thread.
"""

import signal

_STOPS = {signal.SIGTERM, signal.SIGINT}
signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)  # they wait until `run_service` can take them

import atexit  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402

from breakwater_runtime.service import run_service  # noqa: E402
from executor_service.main import run  # noqa: E402
from executor_service.settings import ExecutorSettings  # noqa: E402

if __name__ == "__main__":
    code = run_service("executor", ExecutorSettings, run)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
