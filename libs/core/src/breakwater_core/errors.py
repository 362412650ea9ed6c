"""The kinds of failure, classed by what the caller should do about them."""


class BreakwaterError(Exception):
    """Base of every error that this project raises on purpose."""


class TransientError(BreakwaterError):
    """May succeed if tried again unchanged, e.g. the venue timed out before anything was sent."""


class PermanentError(BreakwaterError):
    """Will fail again unchanged, e.g. the venue refused the order."""


class InvariantError(BreakwaterError):
    """Our own books disagree; stop rather than guess."""


class InvalidInputError(PermanentError, ValueError):
    """A value given by a person or a file is out of range; the message says which and how to mend it."""
