"""The whole system as processes, every secret of it a canary, and everything that it writes collected for a search."""

import base64
import json
import os
import secrets
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import sqlalchemy
from pydantic import SecretStr

from breakwater_cli.nats_process import NatsProcess
from breakwater_cli.processes import ProcessSpecification
from breakwater_runtime.bus import Bus, BusError
from breakwater_runtime.settings import ServiceSettings

PREFIXES = {
    "market_data_service": "MARKET_DATA_",
    "signal_service": "SIGNAL_",
    "executor_service": "EXECUTOR_",
    "reporter_service": "REPORTER_",
    "notifier_service": "NOTIFIER_",
    "paper_exchange_service": "PAPER_EXCHANGE_",
}
PLANTED = "planted"


class Canaries:
    """Secrets that nothing else looks like, by what they are for, and files that hold them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.values: dict[str, str] = {PLANTED: f"{secrets.token_hex(12)}+/ü"}

    def __getitem__(self, purpose: str) -> str:
        """Return the canary of a purpose; characters that are escaped in URLs belong to it."""
        return self.values.setdefault(purpose, f"canary{secrets.token_hex(12)}=")

    def file(self, name: str, text: str) -> Path:
        """Write a file of secrets, in one step."""
        path = self.folder / name
        draft = path.with_suffix(".new")
        draft.write_text(f"{text}\n")
        draft.replace(path)
        return path

    def found_in(self, texts: Mapping[str, str]) -> list[str]:
        """Return where canaries stand, as `purpose (form) in place`."""
        forms = {purpose: forms_of(value) for purpose, value in self.values.items()}
        return [
            f"{purpose} ({form}) in {place}: ...{text[max(0, at - 60) : at]}"
            for place, text in texts.items()
            for purpose, written in forms.items()
            for form, looked_for in written.items()
            if (at := text.find(looked_for)) >= 0
        ]


def forms_of(value: str) -> dict[str, str]:
    """Return how a value may stand in a text; base64 also as the middle of something longer."""
    forms = {
        "plain": value,
        "json": json.dumps(value)[1:-1],
        "url": quote(value, safe=""),
        "hexadecimal": value.encode().hex(),
    }
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + value.encode()).decode()
        forms[f"base64 at {shift}"] = encoded[(shift * 8 + 5) // 6 : -4]
    return forms


class SlackOfCanaries(ThreadingHTTPServer):
    """Slack's Web API that refuses tokens, at first with HTTP 401, until one is let in; it keeps what is posted."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _SlackHandler)
        self.accepted: str | None = None
        self.refusals = 0
        self.posted: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/api/"


class _SlackHandler(BaseHTTPRequestHandler):
    server: SlackOfCanaries

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        status, answer = 200, {"ok": True, "channel": "C0123456789", "ts": "1"}
        if self.headers.get("Authorization") != f"Bearer {self.server.accepted}":
            self.server.refusals += 1
            status = 401 if self.server.refusals % 2 else 200
            answer = {"ok": False, "error": "invalid_auth"}
        elif self.path.endswith("chat.postMessage"):
            self.server.posted.append(body)
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


class GuardedNats(NatsProcess):
    """A NATS server with a user and a password for each service."""

    def guard(self, canaries: Canaries) -> None:
        """Want passwords from now on."""
        assert self.process is not None
        users = ", ".join(f'{{user: "{user}", password: "{canaries[f"nats {user}"]}"}}' for user in (*PREFIXES, "cli"))
        with (self.directory / "nats.conf").open("a") as configuration:
            configuration.write(f"authorization {{ users = [ {users} ] }}\n")
        os.kill(self.process.pid, signal.SIGHUP)
        pause = threading.Event()
        while "Reloaded server configuration" not in self._log_path.read_text():
            pause.wait(0.01)


def with_secrets(
    specification: ProcessSpecification, additions: Mapping[str, str], *, without: tuple[str, ...] = ()
) -> ProcessSpecification:
    """Return the process with settings of its service added (names without prefix) and others left out."""
    prefix = PREFIXES[specification.module]
    kept = {
        name: value for name, value in specification.environment.items() if name not in {prefix + x for x in without}
    }
    return replace(specification, environment=kept | {f"{prefix}{name}": value for name, value in additions.items()})


def command_lines() -> dict[str, str]:
    """Return the command line of every process of this machine."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found[str(path)] = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
    return found


def pages_of(ports: Mapping[str, int], run_id: str) -> dict[str, str]:
    """Return what the processes answer over HTTP: health, metrics, scaling, and every page of the reporter's API."""
    found = {}
    with httpx.Client(timeout=20, trust_env=False) as client:
        for name, port in ports.items():
            paths = ["/health", "/ready", "/metrics", "/scaling", "/openapi.json"]
            if name == "reporter":
                described = client.get(f"http://127.0.0.1:{port}/openapi.json").json()
                paths += [
                    path.replace("{run_id}", run_id) for path, ways in described["paths"].items() if "get" in ways
                ]
            if name == "paper-exchange":
                paths += ["/paper/books", "/paper/faults", "/paper/health"]
            for path in paths:
                answer = client.get(f"http://127.0.0.1:{port}{path}")
                found[f"{name}{path}"] = f"{answer.headers} {answer.text}"
    return found


def rows_of(url: str) -> dict[str, str]:
    """Return every table of a database as text."""
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        tables = sqlalchemy.inspect(connection).get_table_names()
        found = {
            f"table {table}": "\n".join(map(str, connection.execute(sqlalchemy.text(f'SELECT * FROM "{table}"'))))
            for table in tables
        }
    engine.dispose()
    return found


async def messages_of(bus: Bus, *streams: str) -> dict[str, str]:
    """Return every message of the streams (of every stream and bucket, if none is named), with subject and headers."""
    found = {}
    for stream in streams or (await bus.api("STREAM.NAMES"))["streams"]:
        state = (await bus.api(f"STREAM.INFO.{stream}"))["state"]
        texts = []
        for sequence in range(max(1, state["first_seq"]), state["last_seq"] + 1):  # an empty stream begins at 0
            try:
                stored = (await bus.api(f"STREAM.MSG.GET.{stream}", {"seq": sequence}))["message"]
            except BusError as error:
                if "no message found" in str(error):  # a newer entry of its key has taken its place
                    continue
                raise
            parts = [base64.b64decode(stored.get(part, "")).decode(errors="replace") for part in ("hdrs", "data")]
            texts.append(" ".join([stored["subject"], *parts]))
        found[f"stream {stream}"] = "\n".join(texts)
    return found


def files_of(*folders: Path) -> Iterator[tuple[str, str]]:
    """Yield every file of the folders as text."""
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                yield str(path), path.read_bytes().decode("utf-8", errors="replace")


def bus_settings(url: str, canaries: Canaries, run_id: str) -> ServiceSettings:
    """Return how this test logs in to the bus."""
    return ServiceSettings(nats_url=url, nats_user="cli", nats_password=SecretStr(canaries["nats cli"]), run_id=run_id)
