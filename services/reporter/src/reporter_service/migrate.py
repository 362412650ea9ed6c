"""Brings the database's tables up to date: at the reporter's start, or alone as `python -m reporter_service.migrate`.

The whole of it is one transaction under the writers' lock, so several processes may start at once: the first one
migrates, the others find nothing to do. Alembic is loaded where there is something to do: it stays in memory.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, exc, inspect, text

from breakwater_core.errors import BreakwaterError
from breakwater_runtime.errors import DependencyError, exit_code_of, explain
from breakwater_runtime.logs import configure_logs, get_logger
from reporter_service.database import Database, take_writer_lock, writing_connection
from reporter_service.settings import ReporterSettings

if TYPE_CHECKING:
    from alembic.config import Config

REVISIONS = ("0001", "0002", "0003")
"""Of the tables, oldest first: the names of the steps in `migrations/versions`."""


def migrate(database: Database) -> None:
    """Bring the tables to the newest revision.

    Raises:
        DependencyError: If the database cannot be used, or is newer than this program.
    """
    database.create_folder()
    try:
        with writing_connection(database.engine) as connection, connection.begin():
            if not database.is_sqlite:
                take_writer_lock(connection)
            present = _revision(connection)
            _refuse_newer(database, present)
            if present != REVISIONS[-1]:
                _upgrade(connection)
    except exc.SQLAlchemyError as error:
        raise database.absent(error) from error


def check_migrated(database: Database) -> None:
    """Make sure that the tables are those that this program knows.

    Raises:
        DependencyError: If the database cannot be used, or its tables are older or newer.
    """
    database.check_present()
    try:
        with database.engine.connect() as connection:
            present = _revision(connection)
    except exc.SQLAlchemyError as error:
        raise database.absent(error) from error
    _refuse_newer(database, present)
    if present != REVISIONS[-1]:
        raise DependencyError(
            f"the tables at {database.place} are at revision {present or 'none'}, this program needs {REVISIONS[-1]}; "
            "run `python -m reporter_service.migrate` or set REPORTER_MIGRATE=true"
        )


def _revision(connection: Connection) -> str | None:
    """Return the revision that the tables are at; None where there are none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _upgrade(connection: Connection) -> None:
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _refuse_newer(database: Database, present: str | None) -> None:
    if present is not None and present not in REVISIONS:
        raise DependencyError(
            f"the tables at {database.place} are at revision {present}, which this program does not know; "
            "run the newer program that made them"
        )


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def main() -> int:
    """Migrate the database of the environment's settings; return the exit code."""
    try:
        settings = ReporterSettings.load()
        configure_logs(
            service="reporter-migrate", run_id=settings.run_id, instance=settings.instance, level=settings.log_level
        )
        database = Database(settings.database_url.get_secret_value())
        migrate(database)
    except BreakwaterError as error:
        sys.stderr.write(f"reporter-migrate: {explain(error)}\n")
        return exit_code_of(error)
    get_logger().info("database_migrated", place=database.place)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
