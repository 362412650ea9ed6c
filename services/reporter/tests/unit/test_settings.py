"""The reporter's settings: absurd values stop the start, and secrets stay secret."""

import pytest

from breakwater_runtime.errors import SettingsError
from reporter_service.database import Database, check_url
from reporter_service.settings import ReporterSettings


def test_defaults_keep_a_sqlite_file_and_migrate_it() -> None:
    settings = ReporterSettings.load({})
    assert settings.database_url.get_secret_value() == "sqlite:///var/breakwater.db"
    assert settings.migrate is True


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://root:hidden@host/db", "sqlite://", "sqlite:///:memory:"])
def test_an_address_of_no_supported_database_is_refused_without_repeating_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPORTER_DATABASE_URL", url)
    with pytest.raises(SettingsError, match="REPORTER_DATABASE_URL") as caught:
        ReporterSettings.load()
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_usual_postgres_scheme_is_taken(scheme: str) -> None:
    assert check_url(f"{scheme}://user:word@host:5433/name").drivername == "postgresql+psycopg"


def test_the_place_of_a_database_names_neither_user_nor_password() -> None:
    assert Database("postgresql://user:word@host/name").place == "host:5432"


def test_a_misspelt_name_is_refused() -> None:
    with pytest.raises(SettingsError, match="REPORTER_DATABASE_ULR"):
        ReporterSettings.load({"REPORTER_DATABASE_ULR": "sqlite:///x.db"})


def test_the_password_is_not_shown_by_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORTER_DATABASE_URL", "postgresql://user:hidden@host/name")
    assert "hidden" not in repr(ReporterSettings.load())


def test_a_password_that_is_taken_for_a_port_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORTER_DATABASE_URL", "postgresql://keeper:canary-word/db")
    with pytest.raises(SettingsError, match="URL-encoded") as raised:
        ReporterSettings.load()
    assert "canary" not in str(raised.value)
