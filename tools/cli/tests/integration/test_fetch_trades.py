"""Days of trades from an archive that drops connections, lies about lengths, lacks days and is damaged."""

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
from fetch_servers import Fault, Served, archive_rows, packed, serve_archive
from typer.testing import CliRunner

from breakwater_cli.app import app
from breakwater_cli.fetching.archive import ArchiveCounts, ArchiveFetch
from breakwater_cli.fetching.directory import sole_writer
from breakwater_cli.fetching.manifest import NAME, Manifest
from breakwater_cli.fetching.periods import day_start_ms
from breakwater_cli.fetching.retries import Retries
from breakwater_core.errors import InvalidInputError
from breakwater_core.session import Session
from breakwater_recordings.sources import open_recording
from breakwater_runtime.errors import DependencyError

DAYS = [date(2024, 1, 5), date(2024, 1, 6), date(2024, 1, 7)]
SYMBOLS = ["BTCUSDT", "ETHUSDT"]
COMMAND = Path(sys.executable).with_name("breakwater")


def source_of(symbol: str, day: date) -> str:
    return f"{symbol}/{symbol}{day}.csv.gz"


ROWS = {source_of(symbol, day): archive_rows(symbol, day_start_ms(day) // 1000) for symbol in SYMBOLS for day in DAYS}
FIRST = source_of("BTCUSDT", DAYS[0])


@pytest.fixture
def archive() -> Iterator[Served]:
    """An archive with three days of two symbols."""
    with serve_archive({source: packed(rows) for source, rows in ROWS.items()}) as served:
        yield served


def fetch(
    served: Served, directory: Path, *, symbols: list[str] = SYMBOLS, days: list[date] = DAYS, **options: object
) -> ArchiveCounts:
    pauses: list[float] = options.pop("pauses", [])  # type: ignore[assignment]  # a list, if given

    async def pause(pause_s: float) -> None:
        pauses.append(pause_s)

    async def run() -> ArchiveCounts:
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            values: dict[str, object] = {"today": date(2024, 6, 1), "retries": Retries(4, sleep=pause)}
            directory.mkdir(parents=True, exist_ok=True)
            job = ArchiveFetch(client, served.url, directory, **(values | options))  # type: ignore[arg-type]  # as above
            return await job.fetch(symbols, days)

    return asyncio.run(run())


def assert_all_recorded(directory: Path, sources: dict[str, list[str]] = ROWS) -> None:
    """Each row of the sources stands in the recording once, and nothing else does."""
    recording = open_recording([str(directory / "trades")], session=Session())
    for symbol in recording.symbols:
        rows = [
            line.split(",") for source in sorted(sources) if source.startswith(symbol) for line in sources[source][1:]
        ]
        batch = recording.reader(symbol).take_until(2**61)
        times_ms = [int(row[0].replace(".", "")[:-1]) for row in rows]
        assert batch.times_ms.tolist() == times_ms
        assert batch.prices.tolist() == [float(row[4]) for row in rows]
        assert batch.sizes.tolist() == [float(row[3]) for row in rows]
        assert batch.taker_sides.tolist() == [1 if row[2] == "Buy" else -1 for row in rows]
    days = {source[-17:-7] for source in sources}
    assert {day.isoformat() for day in recording.complete_days(recording.symbols[0])} == days
    assert sorted(recording.symbols) == sorted({source.partition("/")[0] for source in sources})


def test_days_become_a_recording_with_the_checksums_of_what_they_were_made_of(archive: Served, tmp_path: Path) -> None:
    counts = fetch(archive, tmp_path)

    assert (counts.files, counts.kept, counts.trades) == (6, 0, 6 * 400)
    assert_all_recorded(tmp_path)
    entries = [json.loads(line) for line in (tmp_path / NAME).read_text().splitlines()]
    assert {entry["source"]: entry["sha256"] for entry in entries} == {
        source: hashlib.sha256(packed(rows)).hexdigest() for source, rows in ROWS.items()
    }
    for entry in entries:
        content = (tmp_path / entry["recording"]).read_bytes()
        assert entry["recording_sha256"] == hashlib.sha256(content).hexdigest()
    assert not [path for path in (tmp_path / "downloads").rglob("*") if path.is_file()]


def test_a_second_fetch_asks_for_nothing(archive: Served, tmp_path: Path) -> None:
    days = [*DAYS, date(2024, 1, 8)]
    fetch(archive, tmp_path, days=days)
    asked = len(archive.requests)

    counts = fetch(archive, tmp_path, days=days)

    assert asked == 8
    assert len(archive.requests) == asked
    assert (counts.files, counts.kept, len(counts.absent)) == (0, 6, 2)


def test_a_day_that_may_still_be_published_is_asked_for_again(archive: Served, tmp_path: Path) -> None:
    day = date(2024, 1, 8)
    for _ in range(2):
        counts = fetch(archive, tmp_path, symbols=["BTCUSDT"], days=[day], today=date(2024, 1, 10))
        assert counts.absent == [source_of("BTCUSDT", day)]

    assert len(archive.requests) == 2


@pytest.mark.parametrize(
    "faults",
    [
        [Fault("drop", 1000)],
        [Fault("drop", 0), Fault("drop", 10), Fault("drop", 3000)],
        [Fault("status", 500), Fault("status", 503), Fault("status", 429)],
        [Fault("short", 2000)],
        [Fault("drop", 1500), Fault("no range")],
        [Fault("drop", 1500), Fault("status", 502), Fault("drop", 1500)],
    ],
    ids=lambda faults: "-".join(f"{fault.kind} {fault.value}" for fault in faults),
)
def test_faults_that_pass_cost_neither_a_row_nor_double_one(
    faults: list[Fault], archive: Served, tmp_path: Path
) -> None:
    archive.faults[f"/trading/{FIRST}"] = list(faults)

    counts = fetch(archive, tmp_path)

    assert counts.failures == []
    assert_all_recorded(tmp_path)


def test_what_has_come_is_not_asked_for_again(archive: Served, tmp_path: Path) -> None:
    archive.faults[f"/trading/{FIRST}"] = [Fault("drop", 1000), Fault("drop", 500)]

    fetch(archive, tmp_path, symbols=["BTCUSDT"], days=DAYS[:1])

    assert [wanted for _, _, wanted in archive.requests] == ["", "bytes=1000-", "bytes=1500-"]


def test_tries_that_bring_something_do_not_count(archive: Served, tmp_path: Path) -> None:
    archive.faults[f"/trading/{FIRST}"] = [Fault("drop", 200) for _ in range(12)]

    assert fetch(archive, tmp_path, symbols=["BTCUSDT"], days=DAYS[:1]).files == 1


def test_a_file_that_cannot_be_had_fails_alone_and_comes_with_the_next_fetch(archive: Served, tmp_path: Path) -> None:
    archive.faults[f"/trading/{FIRST}"] = [Fault("status", 500)] * 4
    pauses: list[float] = []

    first = fetch(archive, tmp_path, pauses=pauses)
    second = fetch(archive, tmp_path)

    assert len(first.failures) == 1
    assert f"{FIRST}: HTTP 500" in first.failures[0]
    assert len(pauses) == 3
    assert 0.25 <= pauses[0] <= 0.5 <= pauses[1] * 1.01 <= 1.01 <= pauses[2] * 1.01
    assert (first.files, second.files, second.kept) == (5, 1, 5)
    assert_all_recorded(tmp_path)


@pytest.mark.parametrize("content", [b"<html>gone</html>", packed(ROWS[FIRST])[:-4], packed(ROWS[FIRST])[:2000]])
def test_a_file_that_is_damaged_at_the_source_is_a_failure_that_names_it(content: bytes, tmp_path: Path) -> None:
    with serve_archive({FIRST: content}) as served:
        counts = fetch(served, tmp_path, symbols=["BTCUSDT"], days=DAYS[:1])

        assert len(served.requests) == 4
    assert len(counts.failures) == 1
    assert f"{FIRST}: what came is no whole gzip file" in counts.failures[0]
    assert not list((tmp_path).rglob("*.parquet"))


def test_a_row_that_is_wrong_is_a_failure_that_names_file_and_row(tmp_path: Path) -> None:
    rows = list(ROWS[FIRST])
    rows[7] = rows[7].replace(",Buy,", ",Hold,").replace(",Sell,", ",Hold,")
    with serve_archive({FIRST: packed(rows)}) as served:
        counts = fetch(served, tmp_path, symbols=["BTCUSDT"], days=DAYS[:1])

    assert len(counts.failures) == 1
    assert ".csv.gz, row 8: side is 'Hold' instead of Buy or Sell" in counts.failures[0]
    assert not list(tmp_path.rglob("*.parquet"))


def test_an_address_that_is_refused_ends_the_fetch(archive: Served, tmp_path: Path) -> None:
    archive.faults[f"/trading/{FIRST}"] = [Fault("status", 403)]

    with pytest.raises(DependencyError, match="HTTP 403, this address is refused"):
        fetch(archive, tmp_path, connections=1)

    assert len(archive.requests) == 1


def test_an_archive_that_cannot_be_reached_ends_the_fetch(tmp_path: Path) -> None:
    with serve_archive({}) as served:
        gone = Served(url=served.url)

    with pytest.raises(DependencyError, match="check the address and the network"):
        fetch(gone, tmp_path)


def test_at_most_as_many_files_as_allowed_are_downloaded_at_a_time(archive: Served, tmp_path: Path) -> None:
    for source in ROWS:
        archive.faults[f"/trading/{source}"] = [Fault("hold", 100)]

    async def run() -> int:
        job = asyncio.create_task(asyncio.to_thread(fetch, archive, tmp_path, connections=2))
        await asyncio.to_thread(archive.held.wait, 30)
        while len(archive.requests) < 2:
            await asyncio.sleep(0)
        waiting = len(archive.requests)
        archive.release.set()
        await job
        return waiting

    assert asyncio.run(run()) == 2
    assert_all_recorded(tmp_path)


@pytest.mark.parametrize("left", ["download", "recording", "torn line", "no recording", "other recording", "partial"])
def test_a_fetch_that_ended_between_two_steps_goes_on_from_there(left: str, archive: Served, tmp_path: Path) -> None:
    fetch(archive, tmp_path, keep_downloads=True)
    manifest = tmp_path / NAME
    lines = manifest.read_bytes().splitlines(keepends=True)
    recording = tmp_path / json.loads(lines[-1])["recording"]
    if left in {"download", "partial"}:
        recording.unlink()
    if left == "partial":
        recording.with_name(f".{recording.name}.partial").write_bytes(b"half of it")
    if left == "no recording":
        recording.unlink()
    elif left == "other recording":
        recording.write_bytes(b"damaged")
    else:
        manifest.write_bytes(b"".join(lines[:-1]) + (lines[-1][:50] if left == "torn line" else b""))
    asked = len(archive.requests)

    counts = fetch(archive, tmp_path)

    assert (counts.files, counts.kept) == (1, 5)
    assert len(archive.requests) == asked
    assert_all_recorded(tmp_path)
    with Manifest(tmp_path) as read:
        assert all(read.find(source, verify=True) is not None for source in ROWS)


def test_verify_finds_a_recording_that_was_changed_and_fetches_it_again(archive: Served, tmp_path: Path) -> None:
    fetch(archive, tmp_path)
    victim = next(tmp_path.rglob("*.parquet"))
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)

    assert fetch(archive, tmp_path).kept == 6
    assert fetch(archive, tmp_path, verify=True).files == 1
    assert_all_recorded(tmp_path)


def test_a_damaged_manifest_is_refused_with_its_row(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text('{"source": "a"}\nnonsense\n')

    with pytest.raises(InvalidInputError, match=r"manifest.jsonl, row 2: is no entry"):
        Manifest(tmp_path)


def test_a_day_that_was_recorded_live_is_not_mixed_with_the_archives(archive: Served, tmp_path: Path) -> None:
    folder = tmp_path / "trades" / "BTCUSDT" / DAYS[0].isoformat()
    folder.mkdir(parents=True)
    (folder / "trades-1.parquet").touch()

    counts = fetch(archive, tmp_path, symbols=["BTCUSDT"], days=DAYS[:1])

    assert "holds trades of BTCUSDT on 2024-01-05 already" in counts.failures[0]


def test_old_files_whose_rows_are_out_of_order_are_recorded_in_order(tmp_path: Path) -> None:
    day = date(2020, 3, 26)
    rows = archive_rows("BTCUSDT", day_start_ms(day) // 1000)
    with serve_archive({source_of("BTCUSDT", day): packed([rows[0], *reversed(rows[1:])])}) as served:
        assert fetch(served, tmp_path, symbols=["BTCUSDT"], days=[day]).failures == []

    assert_all_recorded(tmp_path, {source_of("BTCUSDT", day): rows})


def command(served: Served, directory: Path, *more: str) -> list[str]:
    days = ["--start", "2024-01-05", "--end", "2024-01-07"]
    return [
        str(COMMAND),
        "fetch",
        "trades",
        *SYMBOLS,
        *days,
        "--out",
        str(directory),
        "--archive-url",
        served.url,
        *more,
    ]


def test_killed_in_the_middle_and_run_again_nothing_is_lost_or_doubled(archive: Served, tmp_path: Path) -> None:
    archive.faults[f"/trading/{source_of('ETHUSDT', DAYS[1])}"] = [Fault("hold", 1234)]
    with ExitStack() as stack:
        first = stack.enter_context(subprocess.Popen(command(archive, tmp_path, "--connections", "1")))
        assert archive.held.wait(60)
        os.kill(first.pid, signal.SIGKILL)
        assert first.wait(30) == -signal.SIGKILL
    archive.release.set()
    done = {path.stat().st_ino for path in tmp_path.rglob("*.parquet")}

    second = fetch(archive, tmp_path)

    assert (second.files + second.kept, second.kept) == (6, len(done))
    assert_all_recorded(tmp_path)
    assert done <= {path.stat().st_ino for path in tmp_path.rglob("*.parquet")}
    assert not [path for path in tmp_path.rglob(".*") if path.name.endswith((".part", ".partial"))]


RUNNER = CliRunner()


def test_the_command_ends_with_1_and_a_line_for_what_could_not_be_had(archive: Served, tmp_path: Path) -> None:
    archive.faults[f"/trading/{FIRST}"] = [Fault("status", 500)]

    result = RUNNER.invoke(app, command(archive, tmp_path, "--tries", "1")[1:])

    assert result.exit_code == 1
    assert "5 files fetched" in result.stdout
    assert f"{FIRST}: HTTP 500" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--start", "2024-01-07", "--end", "2024-01-05"], "the range is empty"),
        (["--start", "yesterday"], "--start takes a day"),
        (["--start", "2024-01-05", "--archive-url", "ftp://x"], "--archive-url must start with http"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(arguments: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=message):
        RUNNER.invoke(app, ["fetch", "trades", "BTCUSDT", "--out", str(tmp_path), *arguments], catch_exceptions=False)


def test_a_folder_has_one_fetch_at_a_time(archive: Served, tmp_path: Path) -> None:
    with sole_writer(tmp_path), pytest.raises(InvalidInputError, match="another fetch writes here"):
        RUNNER.invoke(app, command(archive, tmp_path)[1:], catch_exceptions=False)

    assert RUNNER.invoke(app, command(archive, tmp_path)[1:], catch_exceptions=False).exit_code == 0


def test_coverage_of_a_fetched_day_is_the_whole_day(archive: Served, tmp_path: Path) -> None:
    fetch(archive, tmp_path, symbols=["BTCUSDT"])

    table = pq.read_table(next((tmp_path / "trades").rglob("*.parquet")), partitioning=None)
    recording = open_recording([str(tmp_path / "trades")], session=Session())
    assert table.num_rows == 400
    assert np.diff(recording.coverage["BTCUSDT"].intervals).tolist() == [[3 * 86_400_000]]
