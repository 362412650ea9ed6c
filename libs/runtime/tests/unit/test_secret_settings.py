"""Secrets from values, files and references: one place each, and nothing of them in what is said about a fault."""

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from breakwater_core.errors import InvalidInputError
from breakwater_runtime.errors import SettingsError
from breakwater_runtime.redaction import blank
from breakwater_runtime.secret_settings import SECRET
from breakwater_runtime.secret_sources import LARGEST_BYTES, reference
from breakwater_runtime.settings import ServiceSettings


class ThingSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="THING_", frozen=True, extra="forbid")

    token: SecretStr | None = None
    places: Annotated[tuple[int, ...], SECRET] = ()


def load(monkeypatch: pytest.MonkeyPatch, **values: str) -> ThingSettings:
    for name, value in values.items():
        monkeypatch.setenv(f"THING_{name}", value)
    return ThingSettings.load()


def revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def test_every_secret_of_every_service_may_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("canary-password\n")
    (tmp_path / "token").write_text("canary token \r\n")
    settings = load(monkeypatch, NATS_PASSWORD_FILE=str(tmp_path / "password"), TOKEN_FILE=str(tmp_path / "token"))
    assert revealed(settings.nats_password) == "canary-password"
    assert revealed(settings.token) == "canary token "


def test_a_field_of_a_json_file_is_a_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "all secrets.json"
    path.write_text('{"token": "canary-token", "places": [1, 2]}')
    address = path.as_uri()
    settings = load(monkeypatch, TOKEN_FROM=f"{address}#token", PLACES_FROM=f"{address}#places")
    assert revealed(settings.token) == "canary-token"
    assert settings.places == (1, 2)


def test_only_what_was_given_by_its_place_may_change(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("canary-token")
    settings = load(monkeypatch, TOKEN_FILE=str(tmp_path / "token"), NATS_PASSWORD="canary-password")
    assert settings.rotating_secret("nats_password") is None
    assert settings.current_nats_password() == "canary-password"
    (rotating,) = settings.rotating_secrets
    assert (rotating.name, rotating.current) == ("THING_TOKEN", "canary-token")
    assert "canary" not in f"{rotating!r} {rotating.origin}"


def test_a_secret_given_twice_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="THING_TOKEN and THING_TOKEN_FILE") as raised:
        load(monkeypatch, TOKEN="canary-token", TOKEN_FILE="/no/such")
    assert "canary" not in str(raised.value)


def test_an_empty_name_counts_as_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert revealed(load(monkeypatch, TOKEN="canary-token", TOKEN_FILE="", TOKEN_FROM="").token) == "canary-token"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xffcanary", "no UTF-8"),
        (b"canary" * LARGEST_BYTES, "larger than"),
        (b"canary", "no JSON object"),
        (b'["canary"]', "no JSON object"),
        (b'{"other": "canary"}', "no field 'token'"),
        (b'{"token": "canary', "no JSON object"),
        (b'{"token": ""}', "empty field"),
    ],
)
def test_a_file_that_holds_no_secret_is_named_without_its_content(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=said) as raised:
        load(monkeypatch, TOKEN_FROM=f"{path.as_uri()}#token")
    assert "THING_TOKEN_FROM" in str(raised.value)
    assert str(path) in str(raised.value)
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize("text", ["canary", '["canary"]', '{"canary": 1}', '["1"'])
def test_a_structured_secret_that_is_malformed_is_not_quoted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    (tmp_path / "places").write_text(text)
    with pytest.raises(InvalidInputError, match="THING_PLACES") as raised:
        load(monkeypatch, PLACES_FILE=str(tmp_path / "places"))
    assert "canary" not in f"{raised.value!r} {raised.value.__cause__!r}"


@pytest.mark.parametrize(
    "address",
    ["canary", "s3://bucket", "s3://", "s3:///key", "secretsmanager://", "file://relative", "vault://a/b", "#x"],
)
def test_an_address_of_no_known_kind_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match=r"THING_TOKEN_FROM: must be s3://"):
        reference("THING_TOKEN_FROM", address)


def test_a_misspelt_way_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="THING_TOKEN_FIEL"):
        load(monkeypatch, TOKEN_FIEL="x")


def test_what_was_read_is_blanked_from_then_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("canary-token-7")
    load(monkeypatch, TOKEN_FILE=str(tmp_path / "token"))
    assert blank("error near canary-token-7!") == "error near [redacted]!"
