"""The bars that a day was traded with come back as they were; what is damaged is said to be."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from breakwater_core.errors import InvalidInputError
from breakwater_core.market import BarState, DailyBar
from breakwater_recordings.day_openings import DayOpening, read_day_opening, write_day_opening

DAY = date(2024, 3, 1)
CLOSED = DailyBar("BTCUSDT", date(2024, 2, 29), BarState.CLOSED, 1.1, 2.0, 0.1, 1.5, 9.0, complete=True)
OPEN = DailyBar("BTCUSDT", DAY, BarState.OPEN, 0.1 + 0.2, 0.3, 0.3, 0.3, 0.0, complete=True)


def test_an_opening_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    assert read_day_opening(tmp_path, DAY) is None
    write_day_opening(tmp_path, DayOpening(DAY, (CLOSED, OPEN)))
    assert read_day_opening(tmp_path, DAY) == DayOpening(DAY, (CLOSED, OPEN))
    assert not list(tmp_path.glob("openings/.*"))


def test_a_later_word_on_a_symbol_replaces_it_and_leaves_the_others(tmp_path: Path) -> None:
    other = replace(OPEN, symbol="ETHUSDT")
    write_day_opening(tmp_path, DayOpening(DAY, (CLOSED, OPEN)))
    write_day_opening(tmp_path, DayOpening(DAY, (other,)))
    gap = replace(OPEN, complete=False)
    write_day_opening(tmp_path, DayOpening(DAY, (CLOSED, gap)))
    found = read_day_opening(tmp_path, DAY)
    assert found is not None
    assert found.bars == (CLOSED, gap, other)
    assert found.symbols == ("BTCUSDT", "ETHUSDT")


@pytest.mark.parametrize(
    "text", ["", "[]", '{"day": "2024-03-01"}', '{"day": "2024-03-01", "bars": [{"symbol": "BTCUSDT"}]}', "{", "\x00"]
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "openings").mkdir()
    (tmp_path / "openings" / f"{DAY}.json").write_text(text)
    with pytest.raises(InvalidInputError, match=r"2024-03-01\.json: is no opening"):
        read_day_opening(tmp_path, DAY)


def test_prices_that_are_none_are_refused(tmp_path: Path) -> None:
    write_day_opening(tmp_path, DayOpening(DAY, (replace(OPEN, open=float("nan")),)))
    with pytest.raises(InvalidInputError, match="finite"):
        read_day_opening(tmp_path, DAY)
