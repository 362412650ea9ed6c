"""A Postgres server of our own, to be killed."""

import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from breakwater_cli.nats_process import free_port


def binaries() -> Path | None:
    """Return the folder of initdb and postgres; None: not on this machine."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "postgres").exists() and (place / "initdb").exists()), None)


def _as_postgres() -> list[str]:
    """Postgres refuses to run as root."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []


@dataclass
class PostgresProcess:
    """One server; `kill` and `start` keep its data."""

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="breakwater-chaos-")))
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def create(self) -> None:
        where = binaries()
        assert where is not None
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        command = [str(where / "initdb"), "-D", str(self.folder / "data"), "-U", "postgres", "-A", "trust", "-N"]
        subprocess.run([*_as_postgres(), *command], check=True, capture_output=True)

    def start(self) -> None:
        where = binaries()
        assert where is not None
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)
        options = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.folder}"]
        command = [str(where / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), *options]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([*_as_postgres(), *command], stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError(f"Postgres did not start; see {self.folder / 'log'}")

    def kill(self) -> None:
        """End every process of the server at once."""
        process, self.process = self.process, None
        if process is not None:
            os.killpg(process.pid, 9)
            process.wait(10)

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
