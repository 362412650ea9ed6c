"""Writes the dashboards: `python -m deploy.observability.generator`; `--check` tells whether the files are what it gives."""

import json
import sys
from pathlib import Path

from deploy.observability.generator import bus, flow, money, services

FOLDER = Path(__file__).parents[2] / "k8s" / "files" / "dashboards"
DASHBOARDS = {
    "money": money.DASHBOARD,
    "flow": flow.DASHBOARD,
    "bus": bus.DASHBOARD,
    "services": services.DASHBOARD,
}


def texts() -> dict[Path, str]:
    """Return each file with its content."""
    return {
        FOLDER / f"{name}.json": json.dumps(dashboard.as_values(), indent=2) + "\n"
        for name, dashboard in DASHBOARDS.items()
    }


def main() -> int:
    """Write the files, or with `--check` compare them; returns the exit code."""
    is_check = "--check" in sys.argv[1:]
    for path, text in texts().items():
        if not is_check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.stderr.write(f"{path.name} is not what deploy/observability/generator gives: make dashboards\n")
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
