"""Failures of a service's surroundings, each with the exit code that tells an operator which kind it was."""

from breakwater_core.errors import BreakwaterError, InvalidInputError, TransientError
from breakwater_runtime.redaction import blank

EXIT_DRAINED = 0
EXIT_FAILED = 1
EXIT_BAD_SETTINGS = 2
EXIT_DEPENDENCY = 3


class BusError(TransientError):
    """The bus did not acknowledge in time, is away or refuses; the message may or may not be stored."""


class DependencyError(TransientError):
    """Something the service cannot run without is absent; the message names it and how to mend it."""


class SettingsError(InvalidInputError):
    """The environment or a configuration file is wrong; the message names the setting."""


class StoppedError(BreakwaterError):
    """The service was told to stop before it had begun: an orderly end, and no failure."""


def exit_code_of(error: BaseException) -> int:
    """Return the process exit code that the failure calls for."""
    if isinstance(error, StoppedError):
        return EXIT_DRAINED
    if isinstance(error, DependencyError):
        return EXIT_DEPENDENCY
    if isinstance(error, InvalidInputError):
        return EXIT_BAD_SETTINGS
    return EXIT_FAILED


def explain(error: BaseException) -> str:
    """Return one line for a person, without secrets: our own errors speak for themselves, others are named by type."""
    text = " ".join(blank(str(error)).split())
    return text if isinstance(error, BreakwaterError) else f"{type(error).__name__}: {text}"


def reason_of(error: Exception) -> str:
    """Return what the bus says of a failure in a few words; the error's type if it says nothing."""
    return str(getattr(error, "description", None) or type(error).__name__)
