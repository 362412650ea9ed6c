"""The environment of the notifier."""

from pathlib import Path

import pytest

from breakwater_core.errors import InvalidInputError
from notifier_service.notice import NoticeKind
from notifier_service.settings import NotifierSettings


def load(monkeypatch: pytest.MonkeyPatch, **values: str) -> NotifierSettings:
    for name, value in values.items():
        monkeypatch.setenv(f"NOTIFIER_{name}", value)
    return NotifierSettings.load()


def test_without_a_token_messages_go_to_the_console(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch)
    assert settings.read_token() is None
    assert settings.kinds == tuple(NoticeKind)


def test_the_token_comes_from_the_environment_or_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("xoxb-file\n")
    token = load(monkeypatch, SLACK_TOKEN_FILE=str(file), SLACK_CHANNEL="C1").read_token()
    assert token is not None
    assert token.get_secret_value() == "xoxb-file"
    monkeypatch.delenv("NOTIFIER_SLACK_TOKEN_FILE")
    token = load(monkeypatch, SLACK_TOKEN="xoxb-environment").read_token()
    assert token is not None
    assert token.get_secret_value() == "xoxb-environment"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"SLACK_TOKEN": "xoxb-canary"}, "NOTIFIER_SLACK_CHANNEL"),
        ({"SLACK_TOKEN": "xoxb-canary", "SLACK_TOKEN_FILE": "x", "SLACK_CHANNEL": "C1"}, "NOTIFIER_SLACK_TOKEN_FILE"),
        ({"KINDS": '["fill", "fill"]'}, "NOTIFIER_KINDS"),
        ({"KINDS": "[]"}, "NOTIFIER_KINDS"),
        ({"KINDS": '["trades"]'}, "NOTIFIER_KINDS"),
        ({"OLDEST_H": "169"}, "NOTIFIER_OLDEST_H"),
        ({"MESSAGE_INTERVAL_S": "-1"}, "NOTIFIER_MESSAGE_INTERVAL_S"),
        ({"LINK_BASE": "ui.example.com"}, "NOTIFIER_LINK_BASE"),
        ({"GROUP_AFTR": "5"}, "NOTIFIER_GROUP_AFTR"),
    ],
)
def test_an_absurd_setting_stops_the_start_and_is_named(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], named: str
) -> None:
    with pytest.raises(InvalidInputError, match=named) as caught:
        load(monkeypatch, **values)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_a_token_file_that_is_absent_or_empty_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InvalidInputError, match="NOTIFIER_SLACK_TOKEN_FILE"):
        load(monkeypatch, SLACK_TOKEN_FILE=str(file), SLACK_CHANNEL="C1")


def test_the_token_is_not_shown_with_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "canary" not in repr(load(monkeypatch, SLACK_TOKEN="xoxb-canary", SLACK_CHANNEL="C1"))
