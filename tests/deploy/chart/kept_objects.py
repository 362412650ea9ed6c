"""Where Helm installs without a cluster: an API that keeps what it is sent and does nothing with it.

So Helm's own install, upgrade, rollback and uninstall run, with `lookup`, ownership and server-side apply as requests.
Nothing is validated, defaulted or started here.
"""

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import helm_python as helm
import yaml

from tests.deploy.chart.chart import NAMESPACE

GROUPS = {
    "v1": ("ConfigMap", "Secret", "Service", "ServiceAccount", "PersistentVolumeClaim"),
    "apps/v1": ("Deployment", "StatefulSet"),
    "batch/v1": ("Job",),
    "policy/v1": ("PodDisruptionBudget",),
    "networking.k8s.io/v1": ("NetworkPolicy",),
}


def plural(kind: str) -> str:
    """Return the name of a kind in addresses."""
    return kind.lower().removesuffix("y") + ("ies" if kind.endswith("y") else "s")


def resources(version: str) -> dict[str, Any]:
    """Return what discovery says of a group."""
    verbs = ["create", "delete", "get", "list", "patch", "update"]
    listed = [{"name": plural(kind), "kind": kind, "namespaced": True, "verbs": verbs} for kind in GROUPS[version]]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": listed}


def groups() -> dict[str, Any]:
    """Return the list of groups."""
    versions = [{"groupVersion": name, "version": name.partition("/")[2]} for name in GROUPS if "/" in name]
    listed = [
        {"name": one["groupVersion"].partition("/")[0], "versions": [one], "preferredVersion": one} for one in versions
    ]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}


FIXED = {
    "/version": {"major": "1", "minor": "33", "gitVersion": "v1.33.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": groups(),
    **{f"/{'apis' if '/' in name else 'api'}/{name}": resources(name) for name in GROUPS},
}
ABSENT = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}


class _Handler(BaseHTTPRequestHandler):
    kept: dict[str, dict[str, Any]]

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = urlsplit(self.path).path
        if path == "/openapi/v2":  # an empty document: no kind is known, so none is validated
            self._send(200, b"", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
            return
        found = FIXED.get(path) or self._kept(path, body)
        self._send(404 if found is None else 200, json.dumps(found or ABSENT).encode(), "application/json")

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _answer  # noqa: N815 - names that http.server calls

    def _kept(self, path: str, body: bytes) -> dict[str, Any] | None:
        if self.command == "GET":
            return self.kept.get(path)
        if self.command == "DELETE":
            return self.kept.pop(path, None)
        made = yaml.safe_load(body)
        address = f"{path}/{made['metadata']['name']}" if self.command == "POST" else path
        made["metadata"].setdefault("uid", address)
        for key, text in made.pop("stringData", {}).items():
            made.setdefault("data", {})[key] = b64encode(text.encode()).decode()
        self.kept[address] = made
        return dict(made)

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


class KeptObjects:
    """The objects that are there, and Helm's view of them."""

    def __init__(self, port: int, kept: dict[str, dict[str, Any]]) -> None:
        """Look at what is kept behind a port."""
        self._port, self._kept = port, kept

    def helm(self) -> helm.Config:
        """Return a Helm with no release yet."""
        configuration = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{self._port}"}}],
            "users": [{"name": "here", "user": {}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "here"}}],
            "current-context": "here",
        }
        return helm.Config(
            namespace=NAMESPACE,
            storage_driver="memory",
            kubeconfig_content=yaml.safe_dump(configuration),
            qps=1000,
            burst_limit=1000,
        )

    def named(self, kind: str, name: str) -> dict[str, Any]:
        """Return an object."""
        (found,) = [made for made in self._kept.values() if (made["kind"], made["metadata"]["name"]) == (kind, name)]
        return found

    def names(self, kind: str) -> set[str]:
        """Return the names of the objects of a kind."""
        return {made["metadata"]["name"] for made in self._kept.values() if made["kind"] == kind}


@contextmanager
def kept_objects() -> Iterator[KeptObjects]:
    """Serve the API on a port of this machine."""
    kept: dict[str, dict[str, Any]] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"kept": kept}))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield KeptObjects(server.server_port, kept)
    finally:
        server.shutdown()
        server.server_close()
