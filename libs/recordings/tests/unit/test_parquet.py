"""The writer of recordings, through restarts and crashes."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater_core.errors import InvalidInputError
from breakwater_core.market import TradeBatch
from breakwater_core.session import Session
from breakwater_recordings import parquet
from breakwater_recordings.parquet import RecordingWriter
from breakwater_recordings.recording import Recording
from breakwater_recordings.sources import open_recording

DAY_MS = 1_704_067_200_000  # 2024-01-01T00:00Z
HOURS_24_MS = 86_400_000
END_MS = 2**61


def opened(directory: Path) -> Recording:
    return open_recording([str(directory)], session=Session())


def files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*.parquet"))


def crash(writer: RecordingWriter) -> None:
    """Let go of the lock as the end of a process does, and of nothing else."""
    writer._lock.close()


def test_trades_and_coverage_are_read_back(tmp_path: Path, make_batch: Callable[..., TradeBatch]) -> None:
    with RecordingWriter(tmp_path) as writer:
        writer.cover("BTCUSDT", DAY_MS, DAY_MS + HOURS_24_MS // 2)
        writer.write(make_batch([DAY_MS + 5, DAY_MS + 7]))
        writer.cover("BTCUSDT", DAY_MS + HOURS_24_MS // 2, DAY_MS + HOURS_24_MS)

    recording = opened(tmp_path)
    assert files(tmp_path) == [f"BTCUSDT/2024-01-01/trades-{DAY_MS}.parquet"]
    assert recording.reader("BTCUSDT").take_until(END_MS).times_ms.tolist() == [DAY_MS + 5, DAY_MS + 7]
    assert recording.is_complete("BTCUSDT", date(2024, 1, 1))


def test_a_batch_over_midnight_goes_to_the_folders_of_both_days(
    tmp_path: Path, make_batch: Callable[..., TradeBatch]
) -> None:
    midnight_ms = DAY_MS + HOURS_24_MS
    with RecordingWriter(tmp_path) as writer:
        writer.write(make_batch([midnight_ms - 1, midnight_ms, midnight_ms + 1]))
        writer.cover("BTCUSDT", midnight_ms - 60_000, midnight_ms + 60_000)

    assert files(tmp_path) == [
        f"BTCUSDT/2024-01-01/trades-{midnight_ms - 1}.parquet",
        f"BTCUSDT/2024-01-02/trades-{midnight_ms}.parquet",
    ]
    assert opened(tmp_path).coverage["BTCUSDT"].intervals == ((midnight_ms - 60_000, midnight_ms + 60_000),)


def test_a_day_is_finished_while_recording_goes_on_and_late_coverage_is_kept(
    tmp_path: Path, make_batch: Callable[..., TradeBatch]
) -> None:
    midnight_ms = DAY_MS + HOURS_24_MS
    with RecordingWriter(tmp_path) as writer:
        writer.write(make_batch([midnight_ms - 9]))
        writer.write(make_batch([midnight_ms + 9]))
        assert files(tmp_path) == []
        writer.write(make_batch([midnight_ms + parquet.DAY_GRACE_MS]))
        assert files(tmp_path) == [f"BTCUSDT/2024-01-01/trades-{midnight_ms - 9}.parquet"]
        writer.cover("BTCUSDT", DAY_MS, midnight_ms + parquet.DAY_GRACE_MS)

    recording = opened(tmp_path)
    assert recording.is_complete("BTCUSDT", date(2024, 1, 1))
    assert len(recording.reader("BTCUSDT").take_until(END_MS)) == 3


def test_nothing_unfinished_is_read_as_a_recording(tmp_path: Path, make_batch: Callable[..., TradeBatch]) -> None:
    with RecordingWriter(tmp_path) as writer:
        writer.write(make_batch([DAY_MS]))
        writer.flush()
        with pytest.raises(InvalidInputError, match="no recording beneath"):
            opened(tmp_path)


def test_a_restart_on_the_same_day_adds_a_file_and_both_are_read(
    tmp_path: Path, make_batch: Callable[..., TradeBatch]
) -> None:
    for latest_ms, offsets, sizes in ((None, [0, 3], [1, 2]), (DAY_MS + 3, [3], [5]), (DAY_MS + 3, [3], [6])):
        with RecordingWriter(tmp_path) as writer:
            assert writer.recorded_until_ms("BTCUSDT") == latest_ms
            writer.write(make_batch([DAY_MS + offset for offset in offsets], sizes=sizes))

    assert files(tmp_path) == [
        f"BTCUSDT/2024-01-01/trades-{DAY_MS}.parquet",
        f"BTCUSDT/2024-01-01/trades-{DAY_MS + 3}.parquet",
        f"BTCUSDT/2024-01-01/trades-{DAY_MS + 3}_2.parquet",
    ]
    batch = opened(tmp_path).reader("BTCUSDT").take_until(END_MS)
    assert batch.times_ms.tolist() == [DAY_MS, DAY_MS + 3, DAY_MS + 3, DAY_MS + 3]
    assert batch.sizes.tolist() == [1.0, 2.0, 5.0, 6.0]


def test_trades_already_recorded_are_refused(tmp_path: Path, make_batch: Callable[..., TradeBatch]) -> None:
    with RecordingWriter(tmp_path) as writer:
        writer.write(make_batch([DAY_MS + 5]))
    with RecordingWriter(tmp_path) as writer:
        with pytest.raises(InvalidInputError, match="recorded_until_ms"):
            writer.write(make_batch([DAY_MS + 4]))
        writer.write(make_batch([DAY_MS + 6]))

    assert opened(tmp_path).reader("BTCUSDT").take_until(END_MS).times_ms.tolist() == [DAY_MS + 5, DAY_MS + 6]


def test_a_batch_with_a_faulty_trade_is_refused_as_a_whole(
    tmp_path: Path, make_batch: Callable[..., TradeBatch]
) -> None:
    with RecordingWriter(tmp_path) as writer:
        with pytest.raises(InvalidInputError, match="trade 2 of a batch cannot be recorded: price"):
            writer.write(make_batch([DAY_MS, DAY_MS + 1], prices=[1.0, -1.0]))
        assert writer.recorded_until_ms("BTCUSDT") is None


def test_a_crash_loses_only_what_was_not_flushed(tmp_path: Path, make_batch: Callable[..., TradeBatch]) -> None:
    writer = RecordingWriter(tmp_path)
    writer.write(make_batch([DAY_MS, DAY_MS + 1]))
    writer.cover("BTCUSDT", DAY_MS, DAY_MS + 2)
    writer.flush()
    writer.write(make_batch([DAY_MS + 2]))
    writer.cover("BTCUSDT", DAY_MS + 2, DAY_MS + 3)
    crash(writer)

    with RecordingWriter(tmp_path) as again:
        assert again.recorded_until_ms("BTCUSDT") == DAY_MS + 1
        again.write(make_batch([DAY_MS + 4]))

    recording = opened(tmp_path)
    assert recording.reader("BTCUSDT").take_until(END_MS).times_ms.tolist() == [DAY_MS, DAY_MS + 1, DAY_MS + 4]
    assert recording.coverage["BTCUSDT"].intervals == ((DAY_MS, DAY_MS + 2),)


@given(share=st.floats(0, 1))
def test_a_journal_cut_anywhere_gives_the_flushed_batches_before_the_cut(
    share: float, tmp_path_factory: pytest.TempPathFactory, make_batch: Callable[..., TradeBatch]
) -> None:
    directory = tmp_path_factory.mktemp("recording")
    writer = RecordingWriter(directory)
    for start in range(4):
        writer.write(make_batch([DAY_MS + start]))
        writer.cover("BTCUSDT", DAY_MS + start, DAY_MS + start + 1)
        writer.flush()
    crash(writer)
    (journal,) = directory.rglob("*.journal")
    journal.write_bytes(journal.read_bytes()[: int(share * journal.stat().st_size)])

    with RecordingWriter(directory) as again:
        again.write(make_batch([DAY_MS + 100]))

    recording = opened(directory)
    times = recording.reader("BTCUSDT").take_until(DAY_MS + 50).times_ms - DAY_MS
    assert times.tolist() == list(range(len(times)))
    covered = recording.coverage["BTCUSDT"].intervals
    assert covered == (((DAY_MS, DAY_MS + len(times)),) if len(times) else ())
    assert list(directory.rglob("*.journal")) == []


def test_a_crash_between_finishing_a_file_and_removing_its_journal_doubles_nothing(
    tmp_path: Path, make_batch: Callable[..., TradeBatch]
) -> None:
    with RecordingWriter(tmp_path) as writer:
        writer.write(make_batch([DAY_MS, DAY_MS + 1]))
        writer.flush()
        (journal,) = tmp_path.rglob("*.journal")
        content = journal.read_bytes()
    journal.write_bytes(content)

    RecordingWriter(tmp_path).close()

    assert opened(tmp_path).estimated_trades == 2
    assert not journal.exists()


def test_a_long_day_is_split_into_files_of_bounded_size(
    tmp_path: Path, make_batch: Callable[..., TradeBatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROWS_PER_FILE", 250)
    with RecordingWriter(tmp_path) as writer:
        for start in range(0, 1_000, 100):
            writer.write(make_batch(range(DAY_MS + start, DAY_MS + start + 100)))

    assert len(files(tmp_path)) == 4
    times = opened(tmp_path).reader("BTCUSDT").take_until(END_MS).times_ms
    assert np.array_equal(times, DAY_MS + np.arange(1_000))


def test_a_directory_has_one_writer_at_a_time(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path), pytest.raises(InvalidInputError, match="another recorder writes here"):
        RecordingWriter(tmp_path)
    RecordingWriter(tmp_path).close()


def test_the_writer_keeps_no_hold_of_the_arrays_that_it_was_given(
    tmp_path: Path, make_batch: Callable[..., TradeBatch]
) -> None:
    batch = make_batch([DAY_MS])
    with RecordingWriter(tmp_path) as writer:
        writer.write(batch)
        batch.prices[0] = 7.0

    assert opened(tmp_path).reader("BTCUSDT").take_until(END_MS).prices.tolist() == [100.0]
