"""Runs market-data: `python -m market_data_service`."""

import sys

from breakwater_runtime.service import run_service
from market_data_service.main import SERVICE, run
from market_data_service.settings import MarketDataSettings

if __name__ == "__main__":
    sys.exit(run_service(SERVICE, MarketDataSettings, run))
