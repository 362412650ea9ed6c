"""The secrets of a first start: complete, random, readable by their service alone, and kept."""

import json
import os
import stat
import sys
from importlib import import_module
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError
from executor_service.account_keys import keys_of_text
from paper_exchange_service.settings import AccountSettings
from tests.deploy.compose_file import ROOT

sys.path.insert(0, str(ROOT / "deploy" / "compose"))
first_secrets = import_module("first_secrets")
first_recording = import_module("first_recording")

CONFIG = BreakwaterConfig.model_validate({"portfolio": {"accounts": ["main", "second"], "initial_equity": "5000"}})


def prepare(root: Path, config: BreakwaterConfig = CONFIG, authorization: str = "authorization {}\n") -> None:
    first_secrets.prepare(root, config, authorization, owner=os.getuid())


def contents(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}


def test_another_start_changes_nothing(tmp_path: Path) -> None:
    prepare(tmp_path)
    first = contents(tmp_path)
    prepare(tmp_path)
    assert contents(tmp_path) == first


def test_another_installation_has_other_secrets(tmp_path: Path) -> None:
    prepare(tmp_path / "a")
    prepare(tmp_path / "b")
    a, b = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert a.keys() == b.keys()
    assert not [name for name in a if a[name] == b[name]]


def test_files_are_for_their_owner_and_its_group_and_the_master_for_root(tmp_path: Path) -> None:
    prepare(tmp_path)
    for path in tmp_path.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.is_file():
            assert mode == (0o600 if path.parent.name == "master" else 0o440), path
        elif path.name != "master":
            assert mode == 0o750, path


def test_an_account_that_comes_later_gets_its_key_and_the_others_keep_theirs(tmp_path: Path) -> None:
    prepare(tmp_path, BreakwaterConfig())
    before = json.loads((tmp_path / "executor" / "accounts.json").read_text())
    prepare(tmp_path)
    after = json.loads((tmp_path / "executor" / "accounts.json").read_text())
    assert [account["name"] for account in after] == ["main", "second"]
    assert after[0] == before[0]


def test_the_exchange_knows_the_keys_of_both_executors_and_the_equity(tmp_path: Path) -> None:
    prepare(tmp_path)
    keys = keys_of_text((tmp_path / "executor" / "accounts.json").read_text(), "executor")
    assert (tmp_path / "executor-account" / "accounts.json").read_text() == (
        tmp_path / "executor" / "accounts.json"
    ).read_text()
    opened = TypeAdapter(tuple[AccountSettings, ...]).validate_json(
        (tmp_path / "paper-exchange" / "accounts.json").read_text()
    )
    assert [account.key for account in opened] == [
        key["api_key"] for key in json.loads((tmp_path / "executor" / "accounts.json").read_text())
    ]
    assert {str(account.usdt) for account in opened} == {"5000"}
    assert [key.name for key in keys] == ["main", "second"]


def test_nats_gets_each_password_that_a_service_has_and_the_permissions_as_they_are_now(tmp_path: Path) -> None:
    prepare(tmp_path)
    prepare(tmp_path, authorization="authorization { users = [] }\n")
    users = (tmp_path / "nats" / "users.conf").read_text()
    assert users.endswith("authorization { users = [] }\n")
    for folder, user in first_secrets.NATS_USERS.items():
        password = (tmp_path / folder / "nats_password").read_text()
        assert f'BREAKWATER_NATS_PASSWORD_{user.upper().replace("-", "_")}: "{password}"\n' in users


def test_no_folder_holds_a_secret_of_another_service(tmp_path: Path) -> None:
    prepare(tmp_path)
    passwords = {folder: (tmp_path / folder / "nats_password").read_text() for folder in first_secrets.NATS_USERS}
    for folder in first_secrets.NATS_USERS:
        held = "".join(path.read_text() for path in (tmp_path / folder).iterdir())
        assert not [other for other, password in passwords.items() if other != folder and password in held]


def test_an_unwritable_folder_leaves_the_old_file_whole(tmp_path: Path) -> None:
    prepare(tmp_path)
    path = tmp_path / "signal" / "nats_password"
    before = path.read_text()
    (tmp_path / "signal" / ".nats_password.new").mkdir()
    (tmp_path / "signal" / ".nats_password.new" / "x").touch()
    with pytest.raises(OSError, match="directory"):
        first_secrets.write(path, "changed", 0o440)
    assert path.read_text() == before


def test_a_damaged_memory_of_secrets_stops_the_start_before_anything_changes(tmp_path: Path) -> None:
    """New passwords would not open the database that was made with the old ones."""
    prepare(tmp_path)
    (tmp_path / "master" / "secrets.json").write_text("")
    before = contents(tmp_path)
    with pytest.raises(InvalidInputError, match=r"secrets\.json is damaged"):
        prepare(tmp_path)
    assert contents(tmp_path) == before


def test_a_lost_or_emptied_file_of_a_service_is_written_again(tmp_path: Path) -> None:
    prepare(tmp_path)
    before = contents(tmp_path)
    (tmp_path / "signal" / "nats_password").unlink()
    (tmp_path / "executor" / "accounts.json").chmod(0o600)
    (tmp_path / "executor" / "accounts.json").write_text("")
    prepare(tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("made_by", ["docker", "nobody"])
def test_a_configuration_that_is_not_there_ends_the_start_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], made_by: str
) -> None:
    """Docker makes a folder of a file that is to be mounted and is not there."""
    config = tmp_path / "mine.yaml"
    if made_by == "docker":
        config.mkdir()
    monkeypatch.setenv("CONFIG_FILE", str(config))
    monkeypatch.setenv("AUTHORIZATION_FILE", str(ROOT / "deploy" / "k8s" / "files" / "authorization.conf"))
    monkeypatch.setattr(sys, "argv", ["first_secrets.py", str(tmp_path / "secrets")])
    assert first_secrets.main() == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "mine.yaml" in line


def test_a_size_of_the_recording_that_is_no_number_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONFIG_FILE", str(ROOT / "deploy" / "compose" / "breakwater.yaml"))
    monkeypatch.setattr(sys, "argv", ["first_recording.py", str(tmp_path / "recording")])
    for name, text in (("SEED", "7"), ("DAYS", "many"), ("TRADES_PER_DAY", "1000")):
        monkeypatch.setenv(name, text)
    assert first_recording.main() == 2
    assert capsys.readouterr().err == "recording: BREAKWATER_DAYS must be a whole number, was 'many'\n"
