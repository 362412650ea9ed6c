"""The decorators of the functions that numba compiles: once per machine, callable from any number of threads."""

from collections.abc import Callable
from typing import Any

import numba


def compiled[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Return the function compiled by numba, kept on disk, and without the interpreter's lock while it runs."""
    made: Callable[P, R] = numba.njit(cache=True, nogil=True)(function)
    return made


def inlined[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Return the function compiled by numba, its body put into each compiled caller.

    For small functions that take tuples of arrays: a call would count references to every array of them, which costs
    more than such a function does, and threads would wait for each other's counts.
    """
    made: Callable[P, R] = numba.njit(cache=True, nogil=True, inline="always")(function)
    return made


def uncounted[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Return the function compiled by numba without counting references to arrays; one that makes an array is refused.

    For the functions that run for each symbol and day with some thirty arrays, which their caller holds: counts are
    atomic, take longer than the work between them, and threads wait for each other's.
    """
    options: dict[str, Any] = {"cache": True, "nogil": True, "_nrt": False}  # the last: as numba's own modules use it
    made: Callable[P, R] = numba.njit(**options)(function)
    return made
