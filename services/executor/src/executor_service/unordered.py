"""What may be done with a position or an order that nobody ordered."""

from enum import StrEnum


class Unordered(StrEnum):
    """What is done with a position or order that nobody ordered."""

    REPORT = "report"
    """It is told of and left alone."""
    ADOPT = "adopt"
    """A position counts as ours and is closed at the day's exit; an order is told of."""
    CLOSE = "close"
    """A position is closed, an order is cancelled."""
