"""How a benchmark fails."""

from breakwater_core.errors import BreakwaterError


class BenchmarkError(BreakwaterError):
    """A benchmark could not be carried out; the message says what broke and where to look."""
