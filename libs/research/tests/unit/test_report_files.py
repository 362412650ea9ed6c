"""Report files: the same bytes for the same report, whole or not at all."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_reports import made_report, made_run

from breakwater_core.errors import InvalidInputError
from breakwater_research.report_files import REPORT_KEYS, read_report, report_text, write_report

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_a_report_is_read_back_as_it_was_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "report.json"
    write_report(made_run(), path)
    assert read_report(path) == made_run()
    assert [entry.name for entry in path.parent.iterdir()] == ["report.json"]


@given(config=st.dictionaries(st.text(), PLAIN, max_size=3))
def test_text_states_any_plain_values_in_their_own_order(config: dict[str, Any]) -> None:
    report = made_report(config=config)
    text = report_text(report)
    read = json.loads(text)
    assert read == report
    assert list(read) == list(REPORT_KEYS)
    assert list(read["config"]) == list(config)
    assert report_text(read) == text
    assert text.isascii()


def test_text_is_indented_by_two_and_ends_with_one_newline() -> None:
    text = report_text(made_report())
    assert text.startswith('{\n  "run_id": "replay-1",\n  "config": {\n    "strategy"')
    assert text.endswith("}\n")
    assert not text.endswith("\n\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Decimal(1)])
def test_a_report_unfit_for_json_leaves_the_old_file_as_it_was(tmp_path: Path, value: object) -> None:
    path = tmp_path / "report.json"
    write_report(made_run(), path)
    with pytest.raises(InvalidInputError, match="cannot be written as JSON"):
        write_report(made_report(counters={"trades": value}), path)
    assert read_report(path) == made_run()
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]


def test_a_new_report_replaces_the_old_one_as_a_new_file_so_that_readers_keep_theirs(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_report(made_run(), path)
    with path.open() as reader:
        write_report(made_report(), path)
        assert json.load(reader) == made_run()
    assert read_report(path) == made_report()
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_place_that_cannot_be_written_is_named_and_left_clean(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "report.json").mkdir()
    for path in (tmp_path / "file" / "report.json", tmp_path / "report.json"):
        with pytest.raises(InvalidInputError, match=f"{path}: cannot be written .*choose another place"):
            write_report(made_report(), path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "report.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read .No such file"),
        (b"", "line 1 is not JSON"),
        (b'{\n"run_id": ', "line 2 is not JSON"),
        (b"\xff\xfe", "is not UTF-8"),
        (b'{"run_id": NaN}', "NaN is no number"),
        (b"[" * 200_000, "cannot be read as JSON"),
        (b"[]", "must hold one JSON object"),
        (b'{"run_id": "x", "config": {}, "orders": []}', "it lacks fills, refused, days, counters"),
        (report_text(made_report(orders=[1])).encode(), "orders must be an array of objects"),
        (report_text(made_report(days={})).encode(), "days must be an array of objects"),
        (report_text(made_report(counters=[])).encode(), "counters must be an object"),
    ],
)
def test_what_is_no_report_is_refused_with_its_name_and_a_remedy(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "report.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=rf"report\.json: .*{message}.*; give the report\.json of"):
        read_report(path)
