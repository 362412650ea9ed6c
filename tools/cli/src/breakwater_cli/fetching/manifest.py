"""The manifest of fetched files: what each was made of, with checksums, and which days the archive does not have.

One JSON object a line, appended and flushed to the disk after the file it speaks of; a later line replaces an earlier
one of the same file. A line that a crash cut off is left out, and the file it would have spoken of is made again.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Self

from breakwater_core.errors import InvalidInputError
from breakwater_recordings.parts import file_digest

NAME = "manifest.jsonl"


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One file of the archive.

    Attributes:
        source: Its path below the archive's address, e.g. `BTCUSDT/BTCUSDT2024-01-05.csv.gz`.
        bytes: Its size; 0 if the archive does not have it.
        sha256: Of its bytes, hexadecimal; empty if the archive does not have it.
        recording: The Parquet file made of it, relative to the manifest; empty if there is none.
        recording_bytes: Size of that.
        recording_sha256: Of its bytes.
        trades: Trades in it.
    """

    source: str
    bytes: int = 0
    sha256: str = ""
    recording: str = ""
    recording_bytes: int = 0
    recording_sha256: str = ""
    trades: int = 0

    @property
    def is_absent(self) -> bool:
        """Whether the archive said that it does not have the file."""
        return not self.recording


class Manifest:
    """The manifest of a folder; use it as a context manager."""

    def __init__(self, directory: Path) -> None:
        """Read what is known.

        Raises:
            InvalidInputError: If a line other than the last one is unreadable.
        """
        self._directory = directory
        self._path = directory / NAME
        self._entries: dict[str, ManifestEntry] = {}
        self._stream: BinaryIO | None = None
        if self._path.exists():
            self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def find(self, source: str, *, verify: bool = False) -> ManifestEntry | None:
        """Return what is known of a file of the archive, if what was made of it is still there.

        Args:
            source: Path below the archive's address.
            verify: Compare the recording's checksum, not only its size.
        """
        entry = self._entries.get(source)
        if entry is None or entry.is_absent:
            return entry
        recording = self._directory / entry.recording
        if not recording.is_file() or recording.stat().st_size != entry.recording_bytes:
            return None
        return None if verify and file_digest(recording) != entry.recording_sha256 else entry

    def add(self, entry: ManifestEntry) -> None:
        """Append an entry and flush it to the disk."""
        if self._stream is None:
            self._stream = self._path.open("ab")
        self._stream.write(json.dumps(asdict(entry)).encode() + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._entries[entry.source] = entry

    def _read(self) -> None:
        content = self._path.read_bytes()
        lines = content.split(b"\n")
        for number, line in enumerate(lines[:-1], start=1):
            try:
                entry = ManifestEntry(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise InvalidInputError(
                    f"{self._path}, row {number}: is no entry ({error}); remove the row, its file is fetched again"
                ) from error
            self._entries[entry.source] = entry
        if lines[-1]:  # cut off by a crash: the next entry must not be joined to it
            with self._path.open("r+b") as stream:
                stream.truncate(len(content) - len(lines[-1]))
