"""What a replay makes of its arguments before anything starts."""

from datetime import date
from pathlib import Path

import pytest

from breakwater_cli.replay import ReplayRequest, check_speed, prepare
from breakwater_core.config import BreakwaterConfig
from breakwater_core.errors import InvalidInputError

START_MS = 1_704_067_200_000


def candle_file(folder: Path, symbol: str, *, days: int = 3, skip_minutes: int = 0) -> str:
    minutes = range(START_MS + skip_minutes * 60_000, START_MS + days * 86_400_000, 60_000)
    path = folder / f"candles_{symbol}_1m.csv"
    path.write_text("timestamp,open,high,low,close,volume\n" + "".join(f"{t},100,101,99,100,1\n" for t in minutes))
    return str(path)


def request(folder: Path, *sources: str, **changes: object) -> ReplayRequest:
    values: dict[str, object] = {"config": BreakwaterConfig(), "output": folder / "out"}
    return ReplayRequest(sources=sources, **(values | changes))


def test_symbols_and_days_come_from_the_recording(tmp_path: Path) -> None:
    files = (candle_file(tmp_path, "BTCUSDT"), candle_file(tmp_path, "ETHUSDT", skip_minutes=10))
    prepared = prepare(request(tmp_path, *files))
    assert prepared.config.portfolio.symbols == ("BTCUSDT", "ETHUSDT")
    assert (prepared.first_day, prepared.last_day) == (date(2024, 1, 1), date(2024, 1, 3))
    assert prepared.first_prices == {"BTCUSDT": 100.0, "ETHUSDT": 100.0}


def test_the_run_id_depends_on_inputs_and_not_on_how_they_are_played(tmp_path: Path) -> None:
    file = candle_file(tmp_path, "BTCUSDT")
    first = prepare(request(tmp_path, file))
    again = prepare(request(tmp_path, file, speed="100", executors=4, output=tmp_path / "elsewhere"))
    assert first.run_id == again.run_id
    other = BreakwaterConfig.parse({"strategy": {"k_long": 0.6}})
    assert prepare(request(tmp_path, file, config=other)).run_id != first.run_id
    assert prepare(request(tmp_path, file, end=date(2024, 1, 2))).run_id != first.run_id


def test_a_range_outside_the_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no complete day"):
        prepare(request(tmp_path, candle_file(tmp_path, "BTCUSDT"), start=date(2025, 1, 1)))


@pytest.mark.parametrize("speed", ["0", "-1", "fast", "inf", "nan"])
def test_a_bad_speed_is_refused(speed: str) -> None:
    with pytest.raises(InvalidInputError, match="--speed"):
        check_speed(speed)
