"""API keys as they are used: plain text, and only inside the clients."""

from pydantic import SecretStr


def revealed(secret: SecretStr | str | None) -> str | None:
    """Return the plain text without surrounding blanks (files end in a line break); None when there is none."""
    text = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
    return (text or "").strip() or None
