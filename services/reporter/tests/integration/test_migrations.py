"""The tables: made from nothing, by any number of processes at once, and exactly those that the program maps."""

import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from breakwater_runtime.errors import DependencyError
from reporter_service.database import Database
from reporter_service.migrate import REVISIONS, _config, check_migrated, migrate
from reporter_service.tables import Table


def test_tables_made_by_the_migrations_are_those_that_are_mapped(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Table.metadata) == []


def test_every_table_and_every_key_begins_with_the_run() -> None:
    for table in Table.metadata.sorted_tables:
        assert next(column.name for column in table.primary_key) == "run_id"


def test_the_named_revisions_are_those_of_the_scripts() -> None:
    scripts = ScriptDirectory.from_config(_config()).walk_revisions()
    assert [script.revision for script in scripts] == list(reversed(REVISIONS))


def test_a_start_with_nothing_to_migrate_loads_neither_alembic_nor_numpy(database: Database) -> None:
    """They would stay in memory: some twenty megabytes."""
    code = (
        "import sys; from reporter_service import main; from reporter_service.database import Database; "
        "from reporter_service.migrate import check_migrated, migrate; "
        "database = Database(sys.argv[1]); check_migrated(database); migrate(database); "
        "print({'alembic', 'numpy', 'pyarrow', 'pandas'} & set(sys.modules))"
    )
    url = database.url.render_as_string(hide_password=False)
    finished = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "set()"


def test_migrating_again_changes_nothing(database: Database) -> None:
    migrate(database)
    check_migrated(database)


def test_processes_that_start_at_once_all_find_the_tables(database_url: str) -> None:
    environment = {**os.environ, "REPORTER_DATABASE_URL": database_url}
    command_line = [sys.executable, "-m", "reporter_service.migrate"]
    processes = [subprocess.Popen(command_line, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    results = [(process.communicate(timeout=60)[1], process.returncode) for process in processes]
    assert [code for _, code in results] == [0, 0], results
    check_migrated(Database(database_url))


def test_a_new_file_that_another_process_writes_to_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "breakwater.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other, ThreadPoolExecutor() as pool:
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE something (id INTEGER)")
        check = pool.submit(Database(f"sqlite:///{path}").check_present)
        finished, _ = wait([check], timeout=0.3)
        other.execute("COMMIT")
        assert not finished
        check.result()


def test_a_migration_can_be_undone(database: Database) -> None:
    config = _config()
    with database.engine.execution_options(writes=True).begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert set(inspect(database.engine).get_table_names()) == {"alembic_version"}
    migrate(database)
    check_migrated(database)


def test_tables_that_are_too_old_stop_the_start_and_name_the_remedy(database_url: str) -> None:
    database = Database(database_url)
    database.create_folder()
    with database.engine.execution_options(writes=True).begin() as connection:
        connection.execute(text("CREATE TABLE something (id INTEGER)"))
    with pytest.raises(DependencyError, match=r"python -m reporter_service\.migrate"):
        check_migrated(database)
    database.close()


def test_tables_of_a_newer_program_stop_the_start(database: Database) -> None:
    with database.engine.execution_options(writes=True).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DependencyError, match="does not know"):
        migrate(database)
    with pytest.raises(DependencyError, match="does not know"):
        check_migrated(database)


def test_an_absent_file_or_server_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="there is no database file"):
        check_migrated(Database(f"sqlite:///{tmp_path}/absent.db"))
    assert not (tmp_path / "absent.db").exists()
    with pytest.raises(DependencyError, match=r"Postgres at 127\.0\.0\.1:1 cannot be used") as caught:
        migrate(Database("postgresql://someone:hidden@127.0.0.1:1/breakwater"))
    assert "hidden" not in str(caught.value)
