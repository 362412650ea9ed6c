"""The key of an account."""

from dataclasses import dataclass

from pydantic import SecretStr


@dataclass(frozen=True, slots=True)
class AccountKey:
    """An account's name in intents and messages, and its key at the exchange."""

    name: str
    api_key: SecretStr
    api_secret: SecretStr
