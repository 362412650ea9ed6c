"""Docker for tests: whether it is here, commands with their output, and the images of this checkout."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
BASE_IMAGE = "python:3.12-slim"
TARGETS = ("market-data", "signal", "executor", "reporter", "notifier", "paper-exchange", "cli")
SERVICES = TARGETS[:-1]
TAG = f"test-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]}"
"""Tag of the images that tests build: checkouts do not take them from each other."""
BUILD_TIMEOUT_S = 900


@cache
def missing(*images: str) -> str | None:
    """Return why tests with Docker cannot run here; None if they can."""
    if shutil.which("docker") is None:
        return "Docker is not installed"
    if _run("docker", "info").returncode:
        return "the Docker daemon does not answer"
    if _run("docker", "compose", "version").returncode:
        return "docker compose is not installed"
    absent = [name for name in (BASE_IMAGE, *images) if _run("docker", "image", "inspect", name).returncode]
    return f"images that cannot be pulled here: {', '.join(absent)}" if absent and "CI" not in os.environ else None


def docker(*arguments: str | Path, environment: Mapping[str, str] | None = None, timeout_s: float = 120) -> str:
    """Run a docker command that must succeed; return its standard output."""
    finished = _run("docker", *map(str, arguments), environment=environment, timeout_s=timeout_s)
    assert finished.returncode == 0, f"docker {' '.join(map(str, arguments))}: {finished.stderr[-3000:]}"
    return finished.stdout


def image_of(target: str) -> str:
    """Build a target of this checkout, as far as it is not built yet, and return its tag."""
    tag = f"breakwater-test/{target}:{TAG}"
    docker("build", "-q", "-f", DOCKERFILE, "--target", target, "-t", tag, ROOT, timeout_s=BUILD_TIMEOUT_S)
    return tag


def inspected(image: str) -> dict[str, Any]:
    """Return what Docker knows of an image."""
    found: list[dict[str, Any]] = json.loads(docker("image", "inspect", image))
    return found[0]


def ran(image: str, *command: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run a command in a new container as production would: nothing writable, no rights, no network."""
    restricted = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none")
    return _run("docker", "run", "--rm", *restricted, *options, image, *command)


def python(image: str, code: str, *options: str) -> str:
    """Run Python in an image; return what it prints."""
    finished = ran(image, "-c", code, options=("--entrypoint", "/app/.venv/bin/python", *options))
    assert finished.returncode == 0, finished.stderr[-3000:]
    return finished.stdout


def _run(
    *command: str, environment: Mapping[str, str] | None = None, timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith(("BREAKWATER_", "COMPOSE_"))}
        | dict(environment or {}),
    )
