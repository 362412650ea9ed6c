"""`python -m notifier_service`: loads the settings and runs the notifier."""

import sys

from breakwater_runtime.service import run_service
from notifier_service.main import NAME, main
from notifier_service.settings import NotifierSettings

if __name__ == "__main__":
    sys.exit(run_service(NAME, NotifierSettings, main))
