"""Runs signal: `python -m signal_service`."""

import sys

from breakwater_runtime.service import run_service
from signal_service.main import run
from signal_service.settings import SignalSettings

if __name__ == "__main__":
    sys.exit(run_service("signal", SignalSettings, run))
