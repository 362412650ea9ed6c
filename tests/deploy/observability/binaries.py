"""Where promtool and prometheus are; `.ci/tools` brings them along without installing a service."""

import os
import shutil
from pathlib import Path

import pytest


def promtool() -> str:
    """Return promtool's path, or skip the test."""
    return _binary("promtool", "BREAKWATER_PROMTOOL")


def prometheus() -> str:
    """Return prometheus' path, or skip the test."""
    return _binary("prometheus", "BREAKWATER_PROMETHEUS")


def _binary(name: str, variable: str) -> str:
    stated = os.environ.get(variable)
    if stated is None and (beside := os.environ.get("BREAKWATER_PROMTOOL")):
        stated = str(Path(beside).with_name(name))
    found = shutil.which(stated or name)
    if found is None:
        pytest.skip(f"{name} is not on the PATH, nor at {variable}; .ci/tools brings it")
    return found
