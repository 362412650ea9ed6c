"""The keys of the accounts, and reading them without ever showing them."""

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from breakwater_core.errors import InvalidInputError
from breakwater_core.identities import check_name
from breakwater_runtime.errors import SettingsError
from breakwater_runtime.redaction import keep_secret


@dataclass(frozen=True, slots=True)
class AccountKey:
    """An account's name in intents and messages, and its key at the exchange."""

    name: str
    api_key: SecretStr
    api_secret: SecretStr


def keys_of_file(path: Path, source: str = "") -> tuple[AccountKey, ...]:
    """Return the accounts and keys in a file; `source` names it in messages.

    Raises:
        SettingsError: If it cannot be read; the message holds no part of it.
    """
    source = source or str(path)
    try:
        text = path.read_text()
    except OSError as error:
        raise SettingsError(f"{source} cannot be read ({error.strerror}); check its path and rights") from error
    return keys_of_text(text, source)


def keys_of_text(text: str, source: str) -> tuple[AccountKey, ...]:
    """Return the accounts and keys in a JSON list; `source` names it in messages.

    Raises:
        SettingsError: If it is none; the message holds no part of it.
    """
    try:
        keys = tuple(
            AccountKey(check_name("account name", row["name"]), SecretStr(row["api_key"]), SecretStr(row["api_secret"]))
            for row in json.loads(text)
        )
    except InvalidInputError as error:
        raise SettingsError(f"{source}: {error}") from error
    except (ValueError, KeyError, TypeError):  # the text of these errors may quote a secret
        raise SettingsError(
            f'{source} must be a JSON list such as [{{"name": "main", "api_key": "...", "api_secret": "..."}}]'
        ) from None
    for key in keys:
        keep_secret(key.api_key.get_secret_value())
        keep_secret(key.api_secret.get_secret_value())
    names = [key.name for key in keys]
    if not keys or len(set(names)) != len(names):
        raise SettingsError(f"{source} must name at least one account, and each once; has {names}")
    return keys
