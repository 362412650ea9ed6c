"""A recorder that is killed, as a process."""

import subprocess
import sys
from pathlib import Path

import pytest

from breakwater_core.errors import InvalidInputError
from breakwater_core.session import Session
from breakwater_recordings.parquet import RecordingWriter
from breakwater_recordings.sources import open_recording

DAY_MS = 1_704_067_200_000
RECORDER = f"""
import sys
from pathlib import Path
import numpy as np
from breakwater_core.market import TradeBatch
from breakwater_recordings.parquet import RecordingWriter

def batch(start, stop):
    times = {DAY_MS} + np.arange(start, stop, dtype=np.int64)
    return TradeBatch("BTCUSDT", times, np.full(times.size, 5.0), np.ones(times.size), np.ones(times.size, np.int8))

writer = RecordingWriter(Path(sys.argv[1]))
writer.write(batch(0, 1000))
writer.cover("BTCUSDT", {DAY_MS}, {DAY_MS} + 1000)
writer.flush()
writer.write(batch(1000, 1500))
print("flushed", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_recorder_had_flushed_is_recovered_by_the_next_one(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", RECORDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "flushed\n"
        with pytest.raises(InvalidInputError, match="another recorder writes here"):
            RecordingWriter(tmp_path)
        process.kill()

    RecordingWriter(tmp_path).close()

    recording = open_recording([str(tmp_path)], session=Session())
    times = recording.reader("BTCUSDT").take_until(2**61).times_ms
    assert times.tolist() == list(range(DAY_MS, DAY_MS + 1000))
    assert recording.coverage["BTCUSDT"].intervals == ((DAY_MS, DAY_MS + 1000),)
