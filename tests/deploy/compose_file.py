"""docker-compose.yml as data: services with their environment, variables at their defaults, without Docker."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
ONCE = ("init", "recording", "setup", "migrate")
"""Services that do their work at the start and end."""
SERVICES = ("paper-exchange", "market-data", "signal", "executor", "executor-account", "reporter", "notifier")
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def with_defaults(text: str, values: dict[str, str] | None = None) -> str:
    """Return the text with `${NAME:-default}` filled in."""
    return _VARIABLE.sub(lambda found: (values or {}).get(found[1], found[2] or ""), text)


def compose(values: dict[str, str] | None = None) -> dict[str, Any]:
    """Return the file, its variables filled in."""
    parsed: dict[str, Any] = yaml.safe_load(with_defaults(FILE.read_text(encoding="utf-8"), values))
    return parsed


def environment(service: dict[str, Any], values: dict[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a service: its own over that of its files."""
    found: dict[str, str] = {}
    for file in service.get("env_file", ()):
        for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.partition("=")
                found[name] = with_defaults(value, values)
    return found | {name: str(value) for name, value in service.get("environment", {}).items()}


def seconds(text: str) -> float:
    """Return a duration such as `40s` in seconds."""
    return float(text.removesuffix("s"))
