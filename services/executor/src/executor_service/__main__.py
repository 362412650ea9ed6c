"""Runs the executor: `python -m executor_service`."""

import sys

from breakwater_runtime.service import run_service
from executor_service.main import run
from executor_service.settings import ExecutorSettings

if __name__ == "__main__":
    sys.exit(run_service("executor", ExecutorSettings, run))
