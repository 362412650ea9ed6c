"""What every service needs: settings, logs, metrics, health, bus, codec, start and stop.

nats-py and structlog import aiohttp and rich where they find them, for WebSocket addresses of NATS and for coloured
tracebacks. Neither is used here, and both cost every service some ten megabytes and half a second of start. So they are
hidden from these two while they are imported, which happens before anything else of this package.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _hidden(*names: str) -> Iterator[None]:
    """Let imports of the modules fail while the context is open, unless they are loaded already."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None is how Python marks "not to be imported"
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


with _hidden("aiohttp", "rich"):
    import nats as _nats  # noqa: F401
    import structlog as _structlog  # noqa: F401
