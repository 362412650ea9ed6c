"""Loads the settings and runs the paper exchange."""

import sys

from breakwater_runtime.service import run_service
from paper_exchange_service.main import run
from paper_exchange_service.settings import PaperExchangeSettings

if __name__ == "__main__":
    sys.exit(run_service("paper-exchange", PaperExchangeSettings, run))
