"""Finished chunks of a search on disk: each is written whole or not at all, and found again by what it was made of.

    OUT/chunks/request.json       identity of the search that the folder belongs to
    OUT/chunks/sets-<hash>.npz    returns and costs of some sets
    OUT/chunks/shuffle-<n>.npz    best score of one shuffling of the days

A file that cannot be read (a disk that was full) is computed again.
"""

import hashlib
import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breakwater_core.errors import InvalidInputError

Arrays = Mapping[str, NDArray[Any]]


class ChunkStore:
    """Chunks of one search in one folder."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        """Open the folder, or make it; one in which another search ended before its first chunk is taken over.

        Args:
            folder: Output folder of the search.
            fingerprint: Identity of the search.

        Raises:
            InvalidInputError: If the folder holds chunks of another search, or cannot be written.
        """
        self._folder = folder / "chunks"
        self._identity = self._folder / "request.json"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            known = json.loads(self._identity.read_text()) if self._identity.exists() else None
        except OSError as error:
            raise InvalidInputError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from error
        except ValueError as error:
            raise InvalidInputError(f"{self._identity}: is damaged; remove {self._folder}") from error
        wanted = {"fingerprint": fingerprint}
        if known == wanted:
            return
        if any(self._folder.glob("*.npz")):
            raise InvalidInputError(
                f"{folder} holds an unfinished search of other data or settings; "
                f"ask for the same again, choose another --out, or remove {self._folder}"
            )
        write_whole(self._identity, json.dumps(wanted).encode())

    def read(self, name: str) -> Arrays | None:
        """Return a chunk; None if it is not there whole."""
        try:
            with np.load(self._folder / f"{name}.npz", allow_pickle=False) as stored:
                return {key: stored[key] for key in stored.files}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def write(self, name: str, arrays: Arrays) -> None:
        """Store a chunk; once this returns it survives the process and the machine.

        Raises:
            InvalidInputError: If it cannot be written.
        """
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]  # stubs take the keywords for `allow_pickle`
        write_whole(self._folder / f"{name}.npz", buffer.getvalue())

    def remove(self) -> None:
        """Forget all chunks: the search has its results."""
        shutil.rmtree(self._folder)


def chunk_name(versions: Sequence[str]) -> str:
    """Return the name of the chunk of sets with these configuration versions, in this order."""
    return "sets-" + hashlib.sha256(" ".join(versions).encode()).hexdigest()[:24]


def write_whole(path: Path, content: bytes) -> None:
    """Put a file with this content in the place of `path`: a temporary file beside it, then one rename.

    Raises:
        InvalidInputError: If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be written ({error.strerror}); choose another --out") from error
