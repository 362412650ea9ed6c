"""The folder that is fetched into: what lies where, and that only one fetch writes to it.

`candles-<interval>/<symbol>/`, `funding/<symbol>.csv`, `trades/<symbol>/<day>/`: each is a source of its own.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from breakwater_core.errors import InvalidInputError
from breakwater_recordings.parquet_file import sync_folder


@contextmanager
def sole_writer(directory: Path) -> Iterator[Path]:
    """Make the folder if it is absent and keep other fetches away from it while the context is open.

    Raises:
        InvalidInputError: If another fetch has the folder.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".fetch.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InvalidInputError(
                f"{directory}: another fetch writes here; wait for it or name another folder"
            ) from error
        yield directory


def replace_text(path: Path, text: str) -> None:
    """Write a text file under another name, flush it to the disk and rename it: it is never seen half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8", newline="") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)
    sync_folder(path.parent)
