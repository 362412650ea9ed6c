"""Which settings are secrets, and reading each from the one place that it was given by."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from breakwater_runtime.errors import SettingsError
from breakwater_runtime.redaction import keep_secret
from breakwater_runtime.secret_sources import SecretReference, file_reference, reference


@dataclass(frozen=True, slots=True)
class SecretMark:
    """Marks a setting that is no `SecretStr` but holds secrets, e.g. a list of accounts with their keys."""


SECRET = SecretMark()


@dataclass(frozen=True, slots=True)
class Given:
    """A secret as it was given: the text, what the settings hold of it, and where to read it again (None: nowhere)."""

    text: str
    value: Any
    reference: SecretReference | None


def secret_fields(settings: type[BaseModel]) -> tuple[str, ...]:
    """Return the names of the fields that hold secrets."""
    return tuple(name for name, field in settings.model_fields.items() if _is_secret(field))


def _is_secret(field: FieldInfo) -> bool:
    return SECRET in field.metadata or _is_text(field)


def _is_text(field: FieldInfo) -> bool:
    return field.annotation is SecretStr or SecretStr in get_args(field.annotation)


def secrets_given(settings: type[BaseModel], environment: Mapping[str, str]) -> dict[str, Given]:
    """Return the secrets that the environment gives, by field; those that it does not give are left out.

    Raises:
        SettingsError: If one is given twice, is malformed or cannot be read; the message holds no part of it.
        DependencyError: If its place does not answer.
    """
    values = {name.upper(): value for name, value in environment.items()}
    prefix = settings.model_config.get("env_prefix", "")
    found = {}
    for name in secret_fields(settings):
        variable = f"{prefix}{name}".upper()
        given = _given(variable, values)
        if given is not None:
            text, place = given
            keep_secret(text)
            found[name] = Given(text, text if _is_text(settings.model_fields[name]) else _parsed(variable, text), place)
    return found


def _given(variable: str, values: Mapping[str, str]) -> tuple[str, SecretReference | None] | None:
    ways = [name for name in _ways(variable) if values.get(name)]
    if len(ways) > 1:
        raise SettingsError(f"set one of {' and '.join(ways)}, not {'both' if len(ways) == 2 else 'all'}")
    if not ways:
        return None
    way = ways[0]
    if way == variable:
        return values[way], None
    place = file_reference(way, values[way]) if way.endswith("_FILE") else reference(way, values[way])
    return place.read(), place


def _ways(variable: str) -> Iterator[str]:
    yield variable
    yield f"{variable}_FILE"
    yield f"{variable}_FROM"


def _parsed(variable: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise SettingsError(f"{variable}: must be JSON") from None
