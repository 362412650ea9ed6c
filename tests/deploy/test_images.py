"""The images, built: who they run as, what is in them, and that they start with nothing but what production gives."""

import json
import os
import re
import subprocess
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.deploy.docker import (
    BUILD_TIMEOUT_S,
    DOCKERFILE,
    ROOT,
    SERVICES,
    TARGETS,
    docker,
    image_of,
    inspected,
    missing,
    python,
    ran,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("docker"),
    pytest.mark.timeout(900),
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
RESEARCH = {"pandas", "numba", "llvmlite", "optuna", "jinja2"}
ARROW = {"market-data", "reporter", "paper-exchange", "cli"}
NO_SHELL = tuple(option for path in ("/bin/sh", "/bin/bash", "/bin/dash") for option in ("-v", f"/dev/null:{path}:ro"))
WRITABLE = ("--tmpfs", "/tmp:size=16m")
FIND_OURS = """
import sysconfig
from pathlib import Path
site = Path(sysconfig.get_path("purelib"))
ours = [f for f in sorted(site.iterdir()) if f.name.startswith("breakwater_") or f.name.endswith("_service")]
ours = [f for f in ours if f.suffix != ".dist-info"]
print(*(f.name for f in ours))
print(sum(not list(m.parent.glob(f"__pycache__/{m.stem}.*.pyc")) for f in ours for m in f.rglob("*.py")))
"""
IMPORT_ALL = """
import importlib, pkgutil, sys
for name in {names!r}:
    package = importlib.import_module(name)
    for found in pkgutil.walk_packages(package.__path__, name + "."):
        if not found.name.endswith("__main__") and ".migrations." not in found.name:
            importlib.import_module(found.name)
print("imported")
"""


@pytest.fixture(scope="module")
def images() -> Iterator[dict[str, str]]:
    """Every image of this checkout."""
    built = {target: image_of(target) for target in TARGETS}
    yield built
    for tag in built.values():
        docker("image", "rm", "--no-prune", tag)


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_says_what_it_is_and_runs_as_nobody_in_particular(images: dict[str, str], target: str) -> None:
    config: dict[str, Any] = inspected(images[target])["Config"]
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] == "SIGTERM"
    prefix = "org.opencontainers.image."
    labels = {name.removeprefix(prefix): value for name, value in config["Labels"].items() if name.startswith(prefix)}
    assert labels["title"] == f"breakwater/{target}"
    assert labels["version"] == VERSION
    assert labels["licenses"] == "Apache-2.0"
    assert {"revision", "source", "description"} <= set(labels)
    assert config["Entrypoint"][0].startswith("/app/.venv/bin/")  # and not a shell
    if target in SERVICES:
        assert config["Entrypoint"][1:] == ["-m", f"{target.replace('-', '_')}_service"]
        assert list(config["ExposedPorts"]) == ["8080/tcp"]
        assert config["Healthcheck"]["Test"][0] == "CMD"
        assert config["Healthcheck"]["Test"][-1].endswith("breakwater_runtime/probe.py")


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_holds_the_locked_packages_of_its_service_and_no_other(images: dict[str, str], target: str) -> None:
    listed = python(
        images[target],
        "import importlib.metadata as m, json;"
        "print(json.dumps({d.name.lower().replace('_', '-'): d.version for d in m.distributions()"
        " if '/app/.venv/' in str(d.locate_file(''))}))",
    )
    found: dict[str, str] = json.loads(listed)
    assert found == _locked(target)
    names = set(found)
    assert bool(names & {"pyarrow"}) == (target in ARROW)
    assert bool(names & RESEARCH) == (target == "cli")
    assert not names & {"pytest", "mypy", "ruff", "moto", "uv"}
    assert {"boto3", "opentelemetry-sdk"} <= names


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_that_was_stripped_is_missed_and_all_modules_are_compiled(images: dict[str, str], target: str) -> None:
    names, uncompiled = python(images[target], FIND_OURS).split("\n")[:2]
    assert uncompiled == "0"
    walked = [name for name in names.split() if target == "cli" or name != "breakwater_research"]
    assert "imported" in python(images[target], IMPORT_ALL.format(names=walked), *WRITABLE)


def test_secrets_of_aws_can_be_asked_for_though_botocore_lost_most_of_its_data(images: dict[str, str]) -> None:
    code = (
        "import boto3;"
        "k = dict(region_name='eu-west-1', aws_access_key_id='a', aws_secret_access_key='b');"
        "print(boto3.client('s3', **k).generate_presigned_url('get_object', Params=dict(Bucket='b', Key='k')));"
        "print(boto3.client('secretsmanager', **k).meta.endpoint_url, boto3.client('sts', **k).meta.endpoint_url)"
    )
    printed = python(images["signal"], code)
    assert re.search(r"https://\S*s3\S*amazonaws.com\S*Signature=", printed)
    assert "https://secretsmanager.eu-west-1.amazonaws.com https://sts.eu-west-1.amazonaws.com" in printed


def test_services_start_without_a_shell_anything_writable_or_any_right(images: dict[str, str]) -> None:
    """Each comes as far as it can without a bus, and says what it needs: exit code 3."""
    with ThreadPoolExecutor(len(SERVICES)) as threads:  # each waits ten seconds for the bus
        ended = dict(zip(SERVICES, threads.map(lambda target: started(images[target], target), SERVICES), strict=True))
    for target, finished in ended.items():
        assert finished.returncode == 3, f"{target}: {finished.stdout}{finished.stderr}"
        assert "NATS is not reachable at nats://127.0.0.1:4222" in finished.stdout + finished.stderr


def started(image: str, target: str) -> subprocess.CompletedProcess[str]:
    """Run a service that has its settings and no bus."""
    settings = {
        "RUN_ID": "replay-1",
        "NATS_URL": "nats://127.0.0.1:4222",
        "CONFIG_FILE": "/config.yaml",
        "HTTP_PORT": "8080",
    }
    more: dict[str, dict[str, str]] = {
        "market-data": {"MODE": "replay", "RECORDINGS": '["/data"]'},
        "executor": {"ACCOUNTS": '[{"name": "main", "api_key": "k", "api_secret": "s"}]'},
        "paper-exchange": {"MODE": "replay"},
        "reporter": {"DATABASE_URL": "sqlite:////tmp/books.db"},
    }
    prefix = f"{target.replace('-', '_').upper()}_"
    given = settings | more.get(target, {})
    options = [part for name, value in given.items() for part in ("-e", f"{prefix}{name}={value}")]
    config = ROOT / "deploy" / "compose" / "breakwater.yaml"
    options += ["-v", f"{config}:/config.yaml:ro", *NO_SHELL, *(WRITABLE if target == "reporter" else ())]
    return ran(image, options=tuple(options))


def test_the_health_check_of_an_image_follows_the_service(images: dict[str, str]) -> None:
    """A paper exchange in real time needs no bus: it becomes healthy, with a shell that cannot be run."""
    name = f"breakwater-test-health-{time.time_ns()}"
    checks = ("--health-interval=1s", "--health-start-period=1s", "--health-retries=60")
    where = ("-e", "PAPER_EXCHANGE_HTTP_PORT=8080", "-e", "PAPER_EXCHANGE_SYNTHETIC_HISTORY_DAYS=1")
    options = (*checks, *where, "--read-only", "--network=none", *NO_SHELL)
    docker("run", "-d", "--name", name, *options, images["paper-exchange"])
    try:
        deadline = time.monotonic() + 90
        while (state := docker("inspect", "-f", "{{.State.Health.Status}}", name).strip()) == "starting":
            assert time.monotonic() < deadline, docker("logs", name)
            time.sleep(0.2)
        assert state == "healthy", docker("logs", name)
        docker("stop", "-t", "20", name)
        assert docker("inspect", "-f", "{{.State.ExitCode}}", name).strip() == "0"  # drained on SIGTERM
    finally:
        docker("rm", "-f", name)


def test_the_command_runs_in_its_image(images: dict[str, str]) -> None:
    finished = ran(images["cli"], "config", options=WRITABLE)
    assert finished.returncode == 0, finished.stderr
    assert "ma_window" in finished.stdout


def test_the_classic_builder_builds_the_same_files_again(images: dict[str, str]) -> None:
    """The same bytes, owners and times as BuildKit's, from a build of its own: what is in an image is reproducible."""
    tag = "breakwater-test/signal:classic"
    command = ("build", "-q", "-f", DOCKERFILE, "--target", "signal", "-t", tag, ROOT)
    docker(*command, environment={"DOCKER_BUILDKIT": "0"}, timeout_s=BUILD_TIMEOUT_S)
    try:
        assert _digest_of_files(tag) == _digest_of_files(images["signal"])
    finally:
        docker("image", "rm", "--no-prune", tag)


def _digest_of_files(image: str) -> str:
    code = (
        "import hashlib, os; from pathlib import Path; h = hashlib.sha256()\n"
        "for p in sorted(Path('/app').rglob('*')):\n"
        "    s = p.lstat(); h.update(f'{p} {s.st_mode} {s.st_uid}'.encode())\n"
        "    if p.is_file(): h.update(p.read_bytes() + str(int(s.st_mtime)).encode())\n"
        "print(h.hexdigest())"
    )
    return python(image, code)


def _locked(target: str) -> dict[str, str]:
    """Return names and versions that the lock file gives for an image, with those of the workspace."""
    packages = ("--package", f"breakwater-{target}", "--package", "breakwater-runtime")
    options = ("--frozen", "--no-dev", "--no-hashes", "--no-header", "--no-annotate", "--quiet")
    command = (
        os.environ.get("UV", "uv"),
        "export",
        *options,
        *packages,
        "--extra",
        "aws",
        "--extra",
        "tracing",
        "--no-editable",
    )
    exported = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    found = {}
    for line in exported.splitlines():
        requirement, _, marker = (part.strip() for part in line.partition(";"))
        if "sys_platform == 'win32'" in marker:
            continue
        if match := re.fullmatch(r"([\w.-]+)==(\S+)", requirement):
            found[match[1].lower().replace("_", "-")] = match[2]
        elif requirement.startswith("./"):
            project = tomllib.loads((ROOT / requirement / "pyproject.toml").read_text())["project"]
            found[project["name"]] = project["version"]
    return found
