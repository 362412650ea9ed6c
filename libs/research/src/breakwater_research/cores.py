"""How many cores there are to compute on."""

import os


def usable_cores() -> int:
    """Return the number of cores that this process may use; where the system does not tell, of all cores."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1
