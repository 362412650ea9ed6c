"""The database: an engine for SQLite or Postgres, transactions for reading and for writing, failures told apart."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, exc, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from breakwater_core.errors import InvalidInputError, TransientError
from breakwater_runtime.errors import DependencyError
from breakwater_runtime.secret_rotation import SecretRefusedError

BUSY_TIMEOUT_S = 5.0
_SWITCH_PAUSE_S = 0.01
CONNECT_TIMEOUT_S = 5
PAUSED_WRITER_S = 5
"""Postgres ends a transaction whose process has done nothing for so long, e.g. because it was stopped or its machine
is gone: it would keep all other writers waiting."""
_DEAD_PEER = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}
"""How soon libpq gives up a connection whose other end is unreachable, seconds; the last in milliseconds."""
WRITER_LOCK = 0x627265616B  # any number that nothing else on the server locks
_SQLITE = "sqlite"
_DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "sqlite+pysqlite": "sqlite+pysqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}


class DatabaseAwayError(TransientError):
    """The database did not take or answer a request; the transaction has left nothing behind."""


def check_url(url: str) -> URL:
    """Return the parsed address with the driver that is used for it.

    Raises:
        InvalidInputError: If it is no address of SQLite or Postgres; the message does not repeat it.
    """
    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError):  # where the host is missing, the password is taken for a port and quoted
        parsed = None
    if parsed is None or parsed.drivername not in _DRIVERS:
        raise InvalidInputError(
            "the database address must look like sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/DATABASE, "
            "the password URL-encoded"
        ) from None
    if parsed.drivername.startswith(_SQLITE) and parsed.database in {None, "", ":memory:"}:
        raise InvalidInputError("the database address needs a file, e.g. sqlite:///var/breakwater.db")
    return parsed.set(drivername=_DRIVERS[parsed.drivername])


class Database:
    """One database. Sessions may be opened from any thread; writers take turns, over all processes."""

    def __init__(self, url: str) -> None:
        """Prepare an engine; nothing is opened yet.

        Raises:
            InvalidInputError: If the address is none of SQLite or Postgres.
        """
        self.url = check_url(url)
        self.is_sqlite = self.url.drivername.startswith(_SQLITE)
        if self.is_sqlite:
            self.engine = create_engine(self.url, connect_args={"timeout": BUSY_TIMEOUT_S})
            event.listen(self.engine, "connect", _configure_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            self.engine = create_engine(
                self.url,
                pool_pre_ping=True,
                pool_size=4,
                max_overflow=8,
                pool_timeout=BUSY_TIMEOUT_S,
                connect_args={"connect_timeout": CONNECT_TIMEOUT_S, **_DEAD_PEER},
            )
            event.listen(self.engine, "do_connect", self._log_in)
        self._writing_engine = self.engine.execution_options(writes=True)

    @property
    def place(self) -> str:
        """Where the database is, without user and password."""
        return self.url.database or "" if self.is_sqlite else f"{self.url.host}:{self.url.port or 5432}"

    def create_folder(self) -> None:
        """Make the folder of a SQLite file.

        Raises:
            DependencyError: If it cannot be made.
        """
        if not self.is_sqlite:
            return
        folder = Path(self.url.database or "").parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DependencyError(
                f"the database's folder {folder} cannot be made ({error.strerror}); choose another DATABASE_URL"
            ) from error

    def check_present(self) -> None:
        """Make sure that the database answers; a SQLite file that is absent is not made.

        Raises:
            DependencyError: If it does not.
        """
        if self.is_sqlite and not Path(self.url.database or "").is_file():
            raise DependencyError(f"there is no database file {self.place}; start the reporter or correct DATABASE_URL")
        try:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except exc.SQLAlchemyError as error:
            raise self.absent(error) from error

    def absent(self, error: Exception) -> DependencyError:
        """Return the error that tells a person that the database cannot be used."""
        kind = "SQLite file" if self.is_sqlite else "Postgres"
        return DependencyError(
            f"{kind} at {self.place} cannot be used ({_reason(error)}); start it or correct DATABASE_URL"
        )

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that sees one state of the database.

        Raises:
            DatabaseAwayError: If the database does not answer.
        """
        with _translated(), Session(self.engine) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Open a session that holds the only right to write, and commit it at the end unless an error is raised.

        Raises:
            DatabaseAwayError: If the database does not answer or another writer does not end; nothing was written.
        """
        with _translated(), Session(self._writing_engine, expire_on_commit=False) as session, session.begin():
            if not self.is_sqlite:
                take_writer_lock(session.connection())
            yield session

    def take_url(self, url: str) -> None:
        """Log in with the user and password of another address of the same database from now on, if it takes them.

        Transactions in hand end on their connections; no connection is used twice that was opened before. Blocks until
        the database has answered.

        Raises:
            SecretRefusedError: If it is another database, or the login is refused or not answered.
            InvalidInputError: If the address is none of SQLite or Postgres.
        """
        parsed = check_url(url)
        if _place_of(parsed) != _place_of(self.url):
            raise SecretRefusedError("it names another database; only user and password may change without a restart")
        if not self.is_sqlite:
            candidate = create_engine(parsed, poolclass=NullPool, connect_args={"connect_timeout": CONNECT_TIMEOUT_S})
            try:
                candidate.connect().close()
            except exc.SQLAlchemyError as error:
                raise SecretRefusedError(f"the database does not take it ({_reason(error)})") from error
        self.url = parsed
        self.engine.dispose()

    def _log_in(self, _dialect: Any, _record: Any, _arguments: Any, options: dict[str, Any]) -> None:
        """Have a new connection log in with what holds now."""
        options |= {
            name: value for name, value in (("user", self.url.username), ("password", self.url.password)) if value
        }

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _place_of(url: URL) -> tuple[Any, ...]:
    return url.drivername, url.host, url.port, url.database, url.query


def take_writer_lock(connection: Connection) -> None:
    """Wait until no other transaction of Postgres writes; held until this one ends."""
    connection.execute(
        text("SELECT set_config('idle_in_transaction_session_timeout', :paused, true), pg_advisory_xact_lock(:number)"),
        {"number": WRITER_LOCK, "paused": f"{PAUSED_WRITER_S}s"},
    )


def writing_connection(engine: Engine) -> Connection:
    """Return a connection whose transactions hold the right to write from their begin."""
    return engine.execution_options(writes=True).connect()


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where _begin_sqlite says, not where the driver thinks
    cursor = connection.cursor()
    _keep_a_write_ahead_log(cursor)
    cursor.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut: its message is acknowledged next
    cursor.close()


def _keep_a_write_ahead_log(cursor: Any) -> None:
    """Switch a new file over. SQLite refuses at once, without its busy timeout, while another process does the same."""
    give_up_s = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_s:
                raise
            time.sleep(_SWITCH_PAUSE_S)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError) as error:
        raise DatabaseAwayError(f"the database does not answer ({_reason(error)})") from error
    except exc.DBAPIError as error:
        if not error.connection_invalidated:
            raise
        raise DatabaseAwayError(f"the connection to the database was lost ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return " ".join(str(cause).split())[:200]
