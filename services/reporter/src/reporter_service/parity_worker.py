"""Compares one day: a job as JSON on standard input, the comparison as JSON on standard output.

A process of its own, with the lowest priority, so that the reporter never waits for it, and neither memory nor time of
a backtest are the reporter's: `python -m reporter_service.parity_worker`.
"""

import json
import os
import sys
from datetime import date

from breakwater_core.config import BreakwaterConfig
from breakwater_core.report import Report
from breakwater_recordings.recording import Recording
from breakwater_research.tick_backtest import run_tick_backtest
from reporter_service.parity_day import compare_day
from reporter_service.parity_job import ParityJob

_LOWEST_PRIORITY = 19


def backtest_day(recording: Recording, config: BreakwaterConfig, day: date) -> Report:
    """Return the report of the exact backtest of one day."""
    return run_tick_backtest(recording, config, first_day=day, last_day=day, run_id="backtest")


def main() -> int:
    """Compare the day that standard input names; return the exit code."""
    os.nice(_LOWEST_PRIORITY)
    job = ParityJob(**json.load(sys.stdin))
    json.dump(compare_day(job, backtest_day), sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
