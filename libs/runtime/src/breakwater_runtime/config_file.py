"""The strategy configuration on disk: YAML or JSON, with single keys set from a command line."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError


def read_config(path: Path | None, overrides: Iterable[str] = ()) -> BreakwaterConfig:
    """Return the configuration of a file (or the defaults), with `section.key=value` overrides applied.

    Raises:
        InvalidInputError: If the file is absent or no mapping, an override has no `=`, or a key or value is wrong.
    """
    values = {} if path is None else _read_mapping(path)
    for override in overrides:
        key, separator, text = override.partition("=")
        section, dot, name = key.strip().partition(".")
        if not separator or not dot:
            raise InvalidInputError(f"--set takes section.key=value, e.g. strategy.filter=trend; was {override!r}")
        part = values.setdefault(section, {})
        if not isinstance(part, dict):
            raise InvalidInputError(f"{section} is not a section")
        part[name] = _plain(text)
    try:
        return BreakwaterConfig.parse(values)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}" if path else str(error)) from error


def write_config(config: BreakwaterConfig, path: Path) -> None:
    """Write the configuration as JSON, which `read_config` reads back to the same version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config.as_values(), indent=2) + "\n", encoding="utf-8")


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InvalidInputError(f"{path}: no such configuration file") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInputError(f"{path}: cannot be read as YAML or JSON: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InvalidInputError(f"{path}: must hold a mapping with sections such as 'strategy'")
    return values


def _plain(text: str) -> Any:
    """Read a scalar as YAML does, but keep times of day such as `09:00` as text (YAML 1.1 takes them for base 60)."""
    text = text.strip()
    if text.startswith(("[", "{")):
        return yaml.safe_load(text)
    if text.lower() in {"null", "~", ""}:
        return None
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    return text
