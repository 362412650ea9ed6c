"""Secrets that are in use, and blanking them in whatever is about to leave the process as text.

The registry belongs to the process: what was once a secret here is blanked until it ends, also after it was replaced.
"""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus, unquote

BLANK = "[redacted]"
SHORTEST = 4
"""A value with fewer characters is not blanked: it would turn ordinary words into gaps."""
SECRET_NAME = re.compile(r"secret|password|passwd|token|api_?key|signature|authorization|^key$", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(?<=://)([^/@\s:\"]*):([^/@\s\"]+)@")

_forms: dict[str, None] = {}
"""What is looked for, longest first."""


def keep_secret(text: str | None) -> None:
    """Blank this secret, and what it is made of, in everything that is written from now on.

    Of a URL the password is taken too (one without a password is none), of a JSON text the values under names that
    promise a secret.
    """
    for value in _parts(text or ""):
        if len(value) >= SHORTEST:
            _forms.update(dict.fromkeys(_written(value)))
    ordered = sorted(_forms, key=len, reverse=True)
    _forms.clear()
    _forms.update(dict.fromkeys(ordered))


def blank(text: str) -> str:
    """Return the text without secrets and without passwords inside URLs."""
    for form in tuple(_forms):
        if form in text:
            text = text.replace(form, BLANK)
    return _URL_PASSWORD.sub(rf"\1:{BLANK}@", text) if "://" in text else text


def _parts(text: str) -> Iterator[str]:
    stripped = text.strip()
    if not stripped:
        return
    if "://" in stripped and stripped[0] not in "[{":
        yield from _password_of(stripped)
        return
    yield stripped
    if stripped[0] in "[{":
        try:
            yield from _named(json.loads(stripped))
        except ValueError:
            return


def _password_of(url: str) -> Iterator[str]:
    """Yield the password, also one that is not escaped as a URL wants it: then each part that a parser may cut out."""
    rest = url.partition("://")[2]
    login, at, _place = rest.rpartition("@")
    password = (login if at else rest.partition("/")[0]).partition(":")[2]
    if password and (at or not password.isdecimal()):  # without a host a parser takes the password for a port
        yield from (url, password, unquote(password), *re.split(r"[/?#@:\[\]]", password))


def _named(value: Any, *, is_secret: bool = False) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _named(inner, is_secret=is_secret or bool(SECRET_NAME.search(str(name))))
    elif isinstance(value, list):
        for inner in value:
            yield from _named(inner, is_secret=is_secret)
    elif is_secret and isinstance(value, str):
        yield value.strip()


def _written(value: str) -> Iterator[str]:
    """Yield how a value may look in a text: plain, escaped as in JSON and in Python, as part of a URL, as base64."""
    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value)[1:-1]
    yield quote(value, safe="")
    yield quote(value)
    yield quote_plus(value)
    yield base64.b64encode(value.encode()).decode()
    yield base64.urlsafe_b64encode(value.encode()).decode()
