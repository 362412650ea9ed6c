"""Text as Slack reads it: escaped, within its limits, free of control characters.

Limits are in characters and count the escaped text.
"""

import re
from collections.abc import Sequence

TEXT_LIMIT = 3000
"""Longest text of a section."""
HEADER_LIMIT = 150
"""Longest text of a header."""
FIELD_LIMIT = 2000
"""Longest text of a section's field."""

_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_ELLIPSIS = "…"


def one_line(text: str) -> str:
    """Return the text on one line, without control characters, so that it cannot pass for other lines."""
    return " ".join(_UNPRINTABLE.sub(" ", text).split())


def escape(text: str) -> str:
    """Return the text with `&`, `<` and `>` as entities, so that it can neither mention anybody nor form a link."""
    return "".join(_ESCAPES.get(character, character) for character in text)


def clip(text: str, limit: int) -> str:
    """Return the escaped text, shortened so that it fits the limit and no entity is cut."""
    escaped = escape(text)
    if len(escaped) <= limit:
        return escaped
    parts: list[str] = []
    room = limit - len(_ELLIPSIS)
    for character in text:
        part = _ESCAPES.get(character, character)
        if len(part) > room:
            break
        room -= len(part)
        parts.append(part)
    return "".join(parts) + _ELLIPSIS


def link(url: str, label: str) -> str:
    """Return a link; the address must hold no `|`, `<`, `>` or space."""
    return f"<{escape(url)}|{escape(label)}>"


def code_block(rows: Sequence[str], *, row_limit: int, limit: int = TEXT_LIMIT) -> tuple[str, int]:
    """Return as many rows as fit, as preformatted text, and their number.

    Args:
        rows: Plain text of each row.
        row_limit: Longest row, characters.
        limit: Longest text in all, characters.
    """
    shown: list[str] = []
    room = limit - len("```\n\n```")
    for row in rows:
        text = clip(_UNPRINTABLE.sub(" ", row).replace("`", "'"), row_limit)
        if len(text) + 1 > room:
            break
        room -= len(text) + 1
        shown.append(text)
    return "```\n" + "\n".join(shown) + "\n```", len(shown)
