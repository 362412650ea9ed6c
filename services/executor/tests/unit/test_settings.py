"""Settings: keys from the environment or a file, and no secret in what is said about them."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from breakwater_runtime.errors import SettingsError
from executor_service.settings import ExecutorSettings

ACCOUNTS = '[{"name": "main", "api_key": "key-canary", "api_secret": "secret-canary"}]'


def test_keys_come_from_the_environment() -> None:
    (key,) = ExecutorSettings(accounts=SecretStr(ACCOUNTS)).account_keys()
    assert (key.name, key.api_secret.get_secret_value()) == ("main", "secret-canary")
    assert "canary" not in repr(key)


def test_keys_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "accounts.json"
    path.write_text(ACCOUNTS)
    monkeypatch.setenv("EXECUTOR_ACCOUNTS_FILE", str(path))
    (key,) = ExecutorSettings.load().account_keys()
    assert key.name == "main"
    path.unlink()
    with pytest.raises(SettingsError, match=r"EXECUTOR_ACCOUNTS_FILE.*cannot be read"):
        ExecutorSettings.load()


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        "canary",
        '[{"name": "main", "api_key": "canary"}]',
        '[{"name": "a b", "api_key": "canary", "api_secret": "canary"}]',
        ACCOUNTS[:-1] + "," + ACCOUNTS[1:],
        ACCOUNTS[:-2],
    ],
)
def test_wrong_accounts_are_refused_without_quoting_them(text: str) -> None:
    with pytest.raises(SettingsError, match="EXECUTOR_ACCOUNTS") as raised:
        ExecutorSettings(accounts=SecretStr(text)).account_keys()
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize("both", [True, False])
def test_one_source_of_keys_is_needed(monkeypatch: pytest.MonkeyPatch, both: bool) -> None:
    if both:
        monkeypatch.setenv("EXECUTOR_ACCOUNTS", ACCOUNTS)
        monkeypatch.setenv("EXECUTOR_ACCOUNTS_FILE", "accounts.json")
    with pytest.raises(SettingsError, match="one of EXECUTOR_ACCOUNTS"):
        ExecutorSettings.load()


def test_a_misspelt_name_is_refused() -> None:
    with pytest.raises(SettingsError, match="EXECUTOR_CONCURRENCI"):
        ExecutorSettings.load({"EXECUTOR_CONCURRENCI": "1"})
