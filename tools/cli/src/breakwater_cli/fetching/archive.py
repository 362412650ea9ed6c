"""Trades from the exchange's public archive: one .csv.gz per symbol and UTC day, made into our Parquet recording.

A day goes through these steps, and a fetch that is killed between any two of them goes on from there: bytes into a
`.part` file, CRC, rename to its name in `downloads/`, every row checked, Parquet file written, rename to its name in
`trades/`, line in the manifest, downloaded file removed. A few files are downloaded at a time; one is checked and
written at a time, so memory holds one day of one symbol.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import httpx

from breakwater_cli.fetching.download import Downloader, NotThereError
from breakwater_cli.fetching.manifest import Manifest, ManifestEntry
from breakwater_cli.fetching.periods import day_start_ms
from breakwater_cli.fetching.retries import Retries
from breakwater_core.errors import InvalidInputError, PermanentError, TransientError
from breakwater_core.identities import check_name
from breakwater_recordings.csv_tables import read_header
from breakwater_recordings.parquet_file import DEFAULT_VENUE, SUFFIX, write_trade_file
from breakwater_recordings.parts import DEFAULT_MAX_SILENCE_MS, file_digest
from breakwater_recordings.trade_archive import read_trade_archive
from breakwater_runtime.errors import DependencyError
from breakwater_runtime.service import first_cause

PUBLICATION_DAYS = 7
"""Days after which a file that the archive does not have will not appear any more."""


@dataclass(slots=True)
class ArchiveCounts:
    """What was done.

    Attributes:
        files: Files fetched and recorded.
        trades: Trades in them.
        bytes: Bytes that were downloaded, repeated ones included.
        kept: Files that were there already.
        absent: Files that the archive does not have, e.g. of days before a listing.
        failures: What could not be had, one line each.
    """

    files: int = 0
    trades: int = 0
    bytes: int = 0
    kept: int = 0
    absent: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ArchiveFetch:
    """Fetches days of trades into a folder.

    Attributes:
        client: Sends the requests.
        archive_url: Address of the archive; below it lies `<symbol>/<symbol><day>.csv.gz`.
        directory: Folder that is fetched into: the recording is its `trades/`, the manifest lies beside.
        today: UTC day on which this runs.
        retries: Tries in a row for a file that may bring nothing new.
        connections: Files that are downloaded at a time.
        keep_downloads: Leave the archive's files in `downloads/`.
        verify: Compare the checksums of what is there.
        on_bytes: Is told how many bytes came.
        on_day: Is told that a file is done with.
    """

    client: httpx.AsyncClient
    archive_url: str
    directory: Path
    today: date
    retries: Retries = field(default_factory=Retries)
    connections: int = 4
    keep_downloads: bool = False
    verify: bool = False
    on_bytes: Callable[[int], None] = lambda _count: None
    on_day: Callable[[], None] = lambda: None
    counts: ArchiveCounts = field(default_factory=ArchiveCounts)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def fetch(self, symbols: Sequence[str], days: Sequence[date]) -> ArchiveCounts:
        """Fetch what the folder lacks of the symbols' days.

        A file that cannot be had or read is counted as a failure, and the others are fetched.

        Raises:
            DependencyError: If the archive cannot be reached, or refuses this address.
            InvalidInputError: If a symbol is no name, or the manifest is damaged.
        """
        wanted = [(check_name("symbol", symbol), day) for day in days for symbol in symbols]
        with Manifest(self.directory) as manifest:
            waiting = iter(wanted)
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(self.connections, len(wanted))):
                        group.create_task(self._work(waiting, manifest))
            except ExceptionGroup as failures:
                raise first_cause(failures) from failures
        return self.counts

    async def _work(self, waiting: Iterator[tuple[str, date]], manifest: Manifest) -> None:
        for symbol, day in waiting:
            source = f"{symbol}/{symbol}{day}.csv.gz"
            entry = await asyncio.to_thread(manifest.find, source, verify=self.verify)
            if entry is not None and not (entry.is_absent and self.verify):
                self._count(entry, is_new=False)
            else:
                await self._fetch_day(symbol, day, source, manifest)
            self.on_day()

    async def _fetch_day(self, symbol: str, day: date, source: str, manifest: Manifest) -> None:
        downloaded = self.directory / "downloads" / source
        downloader = Downloader(self.client, self.retries, self._count_bytes)
        try:
            if not downloaded.exists():
                await downloader.download(f"{self.archive_url.rstrip('/')}/{source}", downloaded)
            async with self._turn:
                entry = await asyncio.to_thread(self._record, downloaded, symbol, day, source)
        except NotThereError:
            entry = ManifestEntry(source)
            if self.today - day <= timedelta(days=PUBLICATION_DAYS):
                self._count(entry, is_new=True)
                return  # it may still appear
        except DependencyError:
            raise
        except (TransientError, PermanentError) as error:
            self.counts.failures.append(str(error))
            return
        manifest.add(entry)
        if not entry.is_absent and not self.keep_downloads:
            downloaded.unlink()
        self._count(entry, is_new=True)

    def _record(self, downloaded: Path, symbol: str, day: date, source: str) -> ManifestEntry:
        """Make the Parquet file of a downloaded one and return its entry.

        Raises:
            InvalidInputError: If the file breaks a rule of the archive, or the day was recorded by another program.
        """
        target = self.directory / "trades" / symbol / day.isoformat() / f"trades-{day_start_ms(day)}{SUFFIX}"
        others = [path for path in target.parent.glob(f"*{SUFFIX}") if path != target and not path.name.startswith(".")]
        if others:
            raise InvalidInputError(f"{others[0]}: holds trades of {symbol} on {day} already; fetch to another folder")
        try:
            part = read_trade_archive(
                read_header(downloaded), given_symbol=symbol, max_silence_ms=DEFAULT_MAX_SILENCE_MS
            )
        except InvalidInputError as error:
            raise InvalidInputError(f"{error} (remove the file to have it fetched again)") from error
        trades = write_trade_file(
            target, part.read(0), symbol=symbol, venue=DEFAULT_VENUE, day=day, coverage=lambda: part.covered
        )
        return ManifestEntry(
            source=source,
            bytes=downloaded.stat().st_size,
            sha256=file_digest(downloaded),
            recording=str(target.relative_to(self.directory)),
            recording_bytes=target.stat().st_size,
            recording_sha256=file_digest(target),
            trades=trades,
        )

    def _count(self, entry: ManifestEntry, *, is_new: bool) -> None:
        if entry.is_absent:
            self.counts.absent.append(entry.source)
        elif is_new:
            self.counts.files += 1
            self.counts.trades += entry.trades
        else:
            self.counts.kept += 1

    def _count_bytes(self, count: int) -> None:
        self.counts.bytes += count
        self.on_bytes(count)
