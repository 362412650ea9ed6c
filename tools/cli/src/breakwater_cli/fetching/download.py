"""One file over HTTP, resumed where an earlier try or process left off, and checked before it gets its name.

What has come is kept in a hidden `.part` file. That a resumed file is of one piece, and whole, is what the CRC and
length at the end of the gzip stream prove: a file that fails them is fetched anew.
"""

import asyncio
import gzip
import os
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import httpx

from breakwater_cli.fetching.retries import Retries
from breakwater_core.errors import PermanentError, TransientError
from breakwater_recordings.parquet_file import sync_folder
from breakwater_runtime.errors import DependencyError

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
_REFUSALS = (HTTPStatus.FORBIDDEN, HTTPStatus.UNAUTHORIZED)
_PASSING = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


class NotThereError(PermanentError):
    """The server does not have the file."""


class _TryAgain(TransientError):
    """This try failed for a reason that may pass; what has come is kept.

    Attributes:
        pause_s: How long the server wants to be left alone, in seconds.
        was_reached: Whether the server answered at all.
    """

    def __init__(self, message: str, *, pause_s: float = 0.0, was_reached: bool = True) -> None:
        super().__init__(message)
        self.pause_s = pause_s
        self.was_reached = was_reached


@dataclass(frozen=True, slots=True)
class Downloader:
    """Downloads gzip files.

    Attributes:
        client: Sends the requests.
        retries: Tries in a row that may bring nothing new.
        on_bytes: Is told how many bytes came.
    """

    client: httpx.AsyncClient
    retries: Retries = field(default_factory=Retries)
    on_bytes: Callable[[int], None] = lambda _count: None

    async def download(self, url: str, path: Path) -> None:
        """Download a gzip file; it appears under its name when it is whole.

        Args:
            url: Where it is.
            path: Its name here; `.<name>.part` beside it holds what has come.

        Raises:
            NotThereError: If the server answers 404 or 410.
            PermanentError: If it answers with another status that asking again does not change.
            TransientError: If it could not be had whole in all tries; what has come is kept.
            DependencyError: If the server cannot be reached, or refuses this address.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        failures, most = 0, _size(part)
        while True:
            try:
                await self._try(url, part)
            except _TryAgain as error:
                failures = 1 if _size(part) > most else failures + 1
                most = max(most, _size(part))
                if failures >= self.retries.tries:
                    if not error.was_reached:
                        raise DependencyError(f"{url}: {error}; check the address and the network") from error
                    raise
                await self.retries.sleep(self.retries.pause_s(failures, at_least_s=error.pause_s))
            else:
                break
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        part.replace(path)
        sync_folder(path.parent)

    async def _try(self, url: str, part: Path) -> None:
        """Fetch what is missing and check the whole."""
        held = _size(part)
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={held}-"} if held else {})
        try:
            async with self.client.stream("GET", url, headers=headers) as response:
                await self._take(url, response, part, held)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _TryAgain(f"no connection ({error})", was_reached=False) from error
        except httpx.TransportError as error:
            raise _TryAgain(f"{url}: the connection failed ({type(error).__name__}: {error})") from error
        damage = await asyncio.to_thread(_damage, part)
        if damage is not None:
            _drop(part)
            raise _TryAgain(f"{url}: what came is no whole gzip file ({damage}); the archive's file may be damaged")

    async def _take(self, url: str, response: httpx.Response, part: Path, held: int) -> None:
        status = response.status_code
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            _, total = _content_range(response)
            if total != held:
                _drop(part)  # the file has changed and is shorter now
                raise _TryAgain(f"{url}: has another length than before")
            return
        if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            raise _error_of(url, response)
        resumes = status == HTTPStatus.PARTIAL_CONTENT and _content_range(response)[0] == held
        if status == HTTPStatus.PARTIAL_CONTENT and not resumes:
            _drop(part)
            raise _TryAgain(f"{url}: the server sent another range than asked for")
        with part.open("ab" if resumes else "wb") as stream:
            async for (
                chunk
            ) in response.aiter_raw():  # of no size: whole chunks alone would be kept of a lost connection
                stream.write(chunk)
                self.on_bytes(len(chunk))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _drop(path: Path) -> None:
    path.unlink(missing_ok=True)


def _content_range(response: httpx.Response) -> tuple[int | None, int | None]:
    """Return first byte and total length as `Content-Range` states them."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None:
        return None, None
    first, total = match.groups()
    return (None if first is None else int(first)), (None if total == "*" else int(total))


def _error_of(url: str, response: httpx.Response) -> Exception:
    status = response.status_code
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        return NotThereError(f"{url}: HTTP {status}")
    if status in _REFUSALS:
        return DependencyError(f"{url}: HTTP {status}, this address is refused; ask less, from another place, or later")
    if status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        after = response.headers.get("Retry-After", "")
        return _TryAgain(f"{url}: HTTP {status}", pause_s=float(after) if after.isdecimal() else 0.0)
    return PermanentError(f"{url}: HTTP {status}; check the archive's address")


def _damage(path: Path) -> str | None:
    """Return what is wrong with a gzip file; None if its CRC and length are right."""
    try:
        with gzip.open(path, "rb") as stream:
            while stream.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error) as error:
        return str(error)
    return None
