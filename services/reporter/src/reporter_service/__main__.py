"""Entry point: `python -m reporter_service`."""

from breakwater_runtime.service import run_service
from reporter_service.main import run
from reporter_service.settings import ReporterSettings

if __name__ == "__main__":
    raise SystemExit(run_service("reporter", ReporterSettings, run))
