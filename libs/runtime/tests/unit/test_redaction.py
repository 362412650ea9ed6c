"""Live secrets are blanked in every form that they are written in."""

import base64
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest

from breakwater_runtime.redaction import blank, keep_secret


@pytest.mark.parametrize(
    "written",
    [
        lambda secret: secret,
        lambda secret: f"prefix{secret}suffix",
        lambda secret: json.dumps({"a": secret}),
        lambda secret: repr(secret),
        lambda secret: f"q={quote(secret, safe='')}&b",
        lambda secret: base64.b64encode(secret.encode()).decode(),
    ],
    ids=["plain", "inside", "json", "repr", "url", "base64"],
)
def test_a_secret_is_blanked_however_it_is_written(written: Callable[[str], str]) -> None:
    secret = 'red"act\\me ü/+7'
    keep_secret(secret)
    text = written(secret)
    assert blank(text) != text
    assert "act" not in blank(text).replace("[redacted]", "")


def test_the_parts_of_a_structured_secret_are_blanked_by_themselves() -> None:
    keep_secret('[{"name": "mainaccount", "api_key": "struct-key-1", "api_secret": "struct-secret-1"}]')
    keep_secret("postgresql://someuser:p%40ss-word-1@host/db")
    assert blank("mainaccount struct-key-1 struct-secret-1") == "mainaccount [redacted] [redacted]"
    assert blank("someuser p@ss-word-1 p%40ss-word-1 host") == "someuser [redacted] [redacted] host"


def test_a_password_in_a_wrong_address_is_blanked_in_each_part_that_a_parser_may_cut_out() -> None:
    keep_secret("postgresql://someuser:half-one@half-two@host:5432/db")
    assert blank("cannot resolve half-two@host:5432/db") == "cannot resolve [redacted]@host:5432/db"
    keep_secret("postgresql://someuser:no-host-pw/db")
    assert blank("invalid literal for int(): 'no-host-pw'") == "invalid literal for int(): '[redacted]'"
    keep_secret("http://host:54321/path")
    assert blank("http://host:54321/path") == "http://host:54321/path"


def test_an_address_without_a_password_is_no_secret() -> None:
    keep_secret("sqlite:///var/plain-address.db")
    assert blank("sqlite:///var/plain-address.db") == "sqlite:///var/plain-address.db"


def test_a_value_too_short_to_tell_from_a_word_is_left() -> None:
    keep_secret("a")
    keep_secret("")
    keep_secret(None)
    assert blank("a banana") == "a banana"


def test_passwords_in_unknown_urls_are_blanked() -> None:
    assert blank("at nats://user:pw@host:4222 and redis://:pw@x") == (
        "at nats://user:[redacted]@host:4222 and redis://:[redacted]@x"
    )
