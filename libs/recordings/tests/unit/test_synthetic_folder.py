"""A synthetic recording is made once, and anew if it is asked for otherwise or was left half made."""

from pathlib import Path

import pytest

from breakwater_core.errors import InvalidInputError
from breakwater_core.session import Session
from breakwater_recordings.sources import open_recording
from breakwater_recordings.synthetic_folder import LABEL, ensure_synthetic


def ensure(folder: Path, *, seed: int = 1, days: int = 2, symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")) -> bool:
    return ensure_synthetic(folder, seed=seed, days=days, trades_per_day=1000, session=Session(), symbols=symbols)


def test_it_is_made_once(tmp_path: Path) -> None:
    assert ensure(tmp_path / "a")
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*.parquet")}
    assert not ensure(tmp_path / "a")
    assert written == {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*.parquet")}


def test_other_figures_give_another_recording_and_leave_nothing_of_the_first(tmp_path: Path) -> None:
    ensure(tmp_path, days=3)
    assert ensure(tmp_path, days=2, symbols=("BTCUSDT",))
    recording = open_recording([str(tmp_path)], session=Session())
    assert recording.symbols == ("BTCUSDT",)
    assert len(recording.days) == 2
    assert ensure(tmp_path, days=2, symbols=("BTCUSDT",), seed=2)


def test_a_recording_that_was_left_half_made_is_made_anew(tmp_path: Path) -> None:
    ensure(tmp_path)
    (tmp_path / LABEL).unlink()
    next(tmp_path.rglob("*.parquet")).unlink()
    assert ensure(tmp_path)
    assert len(list(tmp_path.rglob("*.parquet"))) == 4


def test_it_is_not_said_to_be_there_when_it_could_not_be_made(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError):
        ensure(tmp_path, days=0)
    assert not (tmp_path / LABEL).exists()
